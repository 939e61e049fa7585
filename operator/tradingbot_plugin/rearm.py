"""SHELL. Releases one latch: switches off what kill switched on, names the latch, and waits until it is gone.

What is decided here holds for the bot as it was seen: the patch carries a test of its uid and its generation, so that a
kill by somebody else in the same moment is never switched off with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tradingbot_api.spec import StopAction
from tradingbot_plugin import halts
from tradingbot_plugin.clock import Clock
from tradingbot_plugin.errors import ApiError, Forbidden, Invalid, NotFound, Refused, Unreachable
from tradingbot_plugin.kube import KubeApi
from tradingbot_plugin.proof import NOT_PROVED, OK
from tradingbot_plugin.view import BotView, LatchView, Raw, Ref, read_bot

POLL_SECONDS = 0.1
_TRIES = 10

Say = Callable[[str], None]


@dataclass
class Release:
    """One re-arm."""

    ref: Ref
    latch: LatchView
    generation: int = 0
    """Of the spec that asks for it."""
    deleted_halts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_released: bool = False
    why_not: str = ""

    @property
    def exit_code(self) -> int:
        return OK if self.is_released else NOT_PROVED


class Rearm:
    def __init__(self, kube: KubeApi, clock: Clock, say: Say) -> None:
        self._kube, self._clock, self._say = kube, clock, say

    def run(self, ref: Ref, *, latch_id: str, is_wanted: Callable[[BotView], bool], timeout_seconds: float) -> Release:
        """`is_wanted` is asked, with the bot, before anything is changed. Refused: nothing was."""
        release = self.ask(ref, latch_id=latch_id, is_wanted=is_wanted)
        for note in release.notes:
            self._say(f"{ref}: {note}")
        self._wait(release, self._clock.monotonic() + timeout_seconds)
        return release

    def ask(self, ref: Ref, *, latch_id: str, is_wanted: Callable[[BotView], bool] = lambda bot: True) -> Release:  # noqa: ARG005  nobody is asked
        bot = read_bot(self._kube.get_bot(ref))
        latch = check_latch(bot, latch_id)
        release = Release(ref, latch)
        known = self._list_halts(release)
        check_halts(bot, [each for each in known if halts.matches(each, bot, self._clock.now())])
        if not is_wanted(bot):
            raise Refused("nothing was changed")
        ours = [each for each in known if halts.is_made_by_kill(each, ref)]
        release.generation = self._patch(bot, latch, halts.read_action_before(ours))
        self._delete_halts(release, ours)
        return release

    def _list_halts(self, release: Release) -> list[Raw]:
        try:
            return self._kube.list_halts()
        except Forbidden as error:
            release.notes.append(f"whether a TradingHalt still stops it cannot be seen: {error.message}")
            return []

    def _patch(self, bot: BotView, latch: LatchView, action: StopAction | None) -> int:
        """The generation that asks for the release."""
        seen = bot
        for _ in range(_TRIES):
            try:
                return read_bot(self._kube.patch_bot(bot.ref, build_operations(seen, latch.id, action))).generation
            except Invalid:
                now = read_bot(self._kube.get_bot(bot.ref))
                if (now.uid, now.generation) == (seen.uid, seen.generation):
                    raise  # it is not the tests that failed
                check_unchanged(bot, now, latch.id)
                seen = now
        raise Refused(f"{bot.ref} is changed all the time by somebody else: nothing was released, try again")

    def _delete_halts(self, release: Release, ours: Sequence[Raw]) -> None:
        for halt in ours:
            name = halts.name_of(halt)
            try:
                self._kube.delete_halt(name, halts.uid_of(halt))
            except NotFound:
                continue
            except ApiError as error:
                release.notes.append(f"still on: TradingHalt/{name}, which could not be deleted: {error.message}")
            else:
                release.deleted_halts.append(name)

    def _wait(self, release: Release, deadline: float) -> None:
        told = ""
        while True:
            try:
                bot = read_bot(self._kube.get_bot(release.ref))
                release.is_released, is_final, release.why_not = judge_release(
                    bot, release.latch.id, release.generation
                )
                if is_final:
                    return
            except NotFound:
                release.why_not = "the bot is gone"
                return
            except Unreachable as error:
                release.why_not = str(error)
            if release.why_not != told:
                told = release.why_not
                self._say(f"{release.ref}: {told}")
            if self._clock.monotonic() >= deadline:
                return
            self._clock.sleep(POLL_SECONDS)


def check_latch(bot: BotView, latch_id: str) -> LatchView:
    """PURE. The latch to release, or Refused."""
    latch = bot.latch
    if not latch.is_set:
        if bot.is_engaged:
            raise Refused(
                f"{bot.ref} is asked to stop, and nobody has latched it yet, so there is no latch to release: wait for"
                f" its trader or the operator (kubectl tradingbot status {bot.ref.name} -n {bot.ref.namespace} -w)"
            )
        raise Refused(f"{bot.ref} has no latch: there is nothing to release")
    if latch_id and latch_id != latch.id:
        raise Refused(
            f"{latch_id} is not the latch of {bot.ref}, and releases nothing: its latch is {latch.id}"
            f" ({latch.action or '-'} by {latch.source or '-'}{f', {latch.reason!r}' if latch.reason else ''})"
        )
    return latch


def check_halts(bot: BotView, matching: Sequence[Raw]) -> None:
    """PURE. Refused while somebody else's halt is on. A re-arm that waits for it in the spec would make the end of that
    halt a release, which it must never be."""
    others = sorted(halts.name_of(each) for each in matching if not halts.is_made_by_kill(each, bot.ref))
    if others:
        raise Refused(
            f"{bot.ref} is not re-armed, it is still stopped by {', '.join(f'TradingHalt/{name}' for name in others)}."
            f" Nothing was changed. First, where that is right: kubectl tradingbot resume {' '.join(others[:1])}"
        )


def check_unchanged(before: BotView, now: BotView, latch_id: str) -> None:
    """PURE. Refused when somebody has stopped the bot since, or it is another one."""
    if now.uid != before.uid:
        raise Refused(f"{before.ref} was deleted and made again meanwhile: nothing was released")
    was, is_now = ((bot.is_engaged, bot.action, bot.switch_reason) for bot in (before, now))
    if now.is_engaged and was != is_now:
        raise Refused(f"somebody has just stopped {before.ref} again: nothing was released. Look, then re-arm again")
    if now.latch.is_set and now.latch.id != latch_id:
        raise Refused(f"{before.ref} has another latch now, {now.latch.id}: nothing was released")


def build_operations(bot: BotView, latch_id: str, action: StopAction | None = None) -> list[dict[str, Any]]:
    """PURE. A JSON patch that is refused when the bot is not as it was seen. `action`: what a kill wrote over."""
    tests: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/uid", "value": bot.uid},
        {"op": "test", "path": "/metadata/generation", "value": bot.generation},
    ]
    change: dict[str, Any] = {"engaged": False, "rearm": latch_id}
    if action is not None:
        change["action"] = action.value
    if not bot.has_switch:
        return [*tests, {"op": "add", "path": "/spec/killSwitch", "value": change}]
    return tests + [{"op": "add", "path": f"/spec/killSwitch/{key}", "value": value} for key, value in change.items()]


def judge_release(bot: BotView, latch_id: str, generation: int) -> tuple[bool, bool, str]:
    """PURE. Whether it is released, whether that is the last word, and what is in the way."""
    latch = bot.latch
    if bot.trader is not None and bot.trader.generation >= generation:
        latch = bot.trader.latch  # it has looked: the operator's copy may lag behind
    if not latch.is_set:
        return True, True, ""
    if latch.id != latch_id:
        again = f"released, and stopped again by {latch.source or 'somebody'}, as latch {latch.id}"
        return False, True, again + (f": {latch.reason}" if latch.reason else "")
    if bot.is_engaged:
        return False, True, "somebody has stopped it again: it was not released"
    return False, False, _why_not(bot, latch)


def _why_not(bot: BotView, latch: LatchView) -> str:
    active = [each for each in latch.active_sources if each != "KillSwitch"]
    if bot.rearm != latch.id:
        # Not written again: it may have been a kill that took it back, and GitOps that then took back the kill.
        return "somebody has written over killSwitch.rearm, perhaps a GitOps sync; look, then re-arm again"
    if latch.message:
        return latch.message
    if active:
        return f"still on: {', '.join(active)}"
    if bot.trader is None:
        return "no trader of it reports; the operator releases its own latch when it looks next"
    return f"its trader has not answered yet; last heard of at {bot.trader.heartbeat_at or 'an unknown time'}"
