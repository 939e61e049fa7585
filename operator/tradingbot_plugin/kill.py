"""SHELL. Asks bots to stop, each in two ways at once where it may, and waits until each stop is proved (proof.py).

Two ways: a patch of the bot, which its owner's GitOps may take back within moments, and a TradingHalt for that very
bot, which no Git repository owns.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tradingbot_api.labels import DRILL, is_drill_reason
from tradingbot_api.spec import StopAction
from tradingbot_plugin import halts
from tradingbot_plugin.clock import Clock
from tradingbot_plugin.errors import AlreadyThere, ApiError, Forbidden, NotFound, Unreachable
from tradingbot_plugin.kube import MAX_PARALLEL, KubeApi
from tradingbot_plugin.proof import Asked, Outcome, Proof, judge
from tradingbot_plugin.view import BotView, Raw, Ref, is_as_strict, read_bot, strictest

POLL_SECONDS = 0.1
"""Of a few bots, one GET each."""
LIST_SECONDS = 0.5
"""Of many bots, one LIST for all."""
MAX_GETS = 16
REPEAT_SECONDS = 1.0
"""How often a request is repeated that nobody has obeyed yet and somebody has taken back."""
RETRY_SECONDS = 0.3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the person asked for."""

    action: StopAction | None
    """None: what each bot's own spec.killSwitch.action says."""
    reason: str
    makes_halt: bool
    timeout_seconds: float
    drill_id: str = ""
    """Of a drill: the operator records it under this id."""


@dataclass
class Target:
    """One bot, and how far its stop is."""

    ref: Ref
    asked: Asked | None = None
    """None: it could not be asked."""
    bot: BotView | None = None
    proof: Proof = field(default_factory=lambda: Proof(Outcome.FAILED, "not asked"))
    notes: list[str] = field(default_factory=list)
    """What did not go as it should, and matters to whoever reads the result."""
    may_patch: bool = True
    action_before: StopAction | None = None
    """What the spec said before this stop wrote its own action over it; None: it did not."""
    told: str = ""


def make_id() -> str:
    """Of a halt, or a drill: nobody had it before."""
    return uuid.uuid4().hex[:12]


class Kill:
    def __init__(
        self,
        kube: KubeApi,
        clock: Clock,
        say: Say,
        *,
        workers: int = MAX_PARALLEL,
        make_id: Callable[[], str] = make_id,
    ) -> None:
        """`say` takes lines of progress. `make_id`: what no halt's name had before."""
        self._kube, self._clock, self._say, self._workers = kube, clock, say, workers
        self._make_id = make_id

    def run(self, refs: Sequence[Ref], wish: Wish) -> list[Target]:
        """Every bot is asked before the first is waited for. Ctrl-C ends the waiting, not the stop."""
        deadline = self._clock.monotonic() + wish.timeout_seconds
        with ThreadPoolExecutor(min(self._workers, max(1, len(refs)))) as pool:
            targets = list(pool.map(lambda ref: self.ask(ref, wish, deadline), refs))
            for target in targets:
                for note in target.notes:
                    self._say(f"{target.ref}: {note}")
            try:
                self._wait([each for each in targets if each.asked is not None], wish, deadline, pool)
            except KeyboardInterrupt:
                self._say("Interrupted. The stop was asked for and stays asked for; what is told here may be older.")
        return targets

    def ask(self, ref: Ref, wish: Wish, deadline: float) -> Target:
        """Tries again until the deadline while the API server does not answer."""
        while True:
            target = Target(ref)
            try:
                self._ask_once(target, wish)
            except Unreachable as error:
                target.proof = Proof(Outcome.FAILED, str(error))
                if self._clock.monotonic() + RETRY_SECONDS < deadline:
                    self._clock.sleep(RETRY_SECONDS)
                    continue
            except ApiError as error:
                target.proof = Proof(Outcome.FAILED, str(error))
            return target

    def _ask_once(self, target: Target, wish: Wish) -> None:
        ref = target.ref
        try:
            target.bot = read_bot(self._kube.get_bot(ref))
        except Forbidden as error:
            target.notes.append(f"it may not be read, so nothing can be proved: {error.message}")
        action = decide_action(target.bot, wish)
        refusal: ApiError | None = None
        generation = 0
        try:
            patch = build_patch(target.bot, wish.reason, action if wish.action else None, drill_id=wish.drill_id)
            before = target.bot
            target.bot = read_bot(self._kube.merge_bot(ref, patch))
            if before and wish.action and before.action is not action:
                target.action_before = before.action
            generation, action = target.bot.generation, strictest(action, target.bot.action)
        except (NotFound, Unreachable):
            raise
        except ApiError as error:
            refusal, target.may_patch = error, False
            target.notes.append(f"the bot itself was not patched: {error.message}")
        name = self._make_halt(target, action, wish) if wish.makes_halt else ""
        if refusal is not None and not name:
            raise refusal
        bot = target.bot
        target.asked = Asked(uid=bot.uid if bot else "", action=action, generation=generation, halt=name)
        target.proof = judge(bot, target.asked) if bot else Proof(Outcome.NOT_PROVED, "the bot may not be read")

    def _make_halt(self, target: Target, action: StopAction, wish: Wish) -> str:
        """Its name, empty when there may be none. Where the patch was refused the halt alone proves the stop, so it has
        a name of its own (proof.py)."""
        build = partial(halts.build_kill_halt, target.ref, action, wish.reason, action_before=target.action_before)
        halt = build(suffix="" if target.may_patch else self._make_id())
        try:
            try:
                made = self._kube.create_halt(halt)
            except AlreadyThere:
                found = self._find_halt(halt, target.ref, action)
                made = found or self._kube.create_halt(build(suffix=self._make_id()))
        except Unreachable:
            return halts.name_of(halt)  # made by the next repetition
        except ApiError as error:
            self._note(
                target,
                "no TradingHalt was made, so a GitOps sync may take the stop back before its trader sees it:"
                f" {error.message}",
            )
            return ""
        return halts.name_of(made)

    def _find_halt(self, wanted: Raw, ref: Ref, action: StopAction) -> Raw | None:
        """The halt of its name, if it does the same; whoever may make halts may not be allowed to change them."""
        try:
            found = self._kube.get_halt(halts.name_of(wanted))
        except NotFound:  # deleted in this moment
            return None
        reason = halts.reason_of(found)
        stays = not is_drill_reason(reason) or reason == halts.reason_of(wanted)  # a drill deletes its own
        return found if stays and halts.does_the_same(found, ref, action) else None

    def _wait(self, targets: list[Target], wish: Wish, deadline: float, pool: ThreadPoolExecutor) -> None:
        repeat_at = self._clock.monotonic() + REPEAT_SECONDS
        while True:
            pending = [each for each in targets if not each.proof.is_final]
            for target in targets:
                self._tell(target)
            if not pending or self._clock.monotonic() >= deadline:
                return
            self._clock.sleep(POLL_SECONDS if len(pending) <= MAX_GETS else LIST_SECONDS)
            self._look(pending, pool)
            if self._clock.monotonic() >= repeat_at:
                self._repeat(pending, wish, pool)
                repeat_at = self._clock.monotonic() + REPEAT_SECONDS

    def _tell(self, target: Target) -> None:
        line = f"{target.ref}: {target.proof.outcome}: {target.proof.why}"
        if line != target.told:
            target.told = line
            self._say(line)

    def _look(self, pending: list[Target], pool: ThreadPoolExecutor) -> None:
        if len(pending) > MAX_GETS:
            try:
                self._look_by_lists(pending)
                return
            except Forbidden:
                pass  # who may read bots one by one is served one by one
            except ApiError as error:
                self._cannot_see(pending, error)
                return
        for _ in pool.map(self._look_at, pending):
            pass

    def _look_by_lists(self, pending: list[Target]) -> None:
        namespaces = {target.ref.namespace for target in pending}
        found: dict[Ref, BotView] = {}
        for namespace in [None] if len(namespaces) > MAX_GETS else sorted(namespaces):
            for raw in self._kube.list_bots(namespace).items:
                bot = read_bot(raw)
                found[bot.ref] = bot
        for target in pending:
            self._take(target, found.get(target.ref))

    def _look_at(self, target: Target) -> None:
        try:
            self._take(target, read_bot(self._kube.get_bot(target.ref)))
        except NotFound:
            self._take(target, None)
        except ApiError as error:
            self._cannot_see([target], error)

    @staticmethod
    def _take(target: Target, bot: BotView | None) -> None:
        asked = target.asked
        if asked is not None:
            target.bot = bot or target.bot
            target.proof = judge(bot, asked)

    @staticmethod
    def _cannot_see(targets: list[Target], error: ApiError) -> None:
        for target in targets:
            target.proof = Proof(Outcome.NOT_PROVED, f"it cannot be seen: {error}", is_latched=target.proof.is_latched)

    def _repeat(self, pending: list[Target], wish: Wish, pool: ThreadPoolExecutor) -> None:
        """Until a trader has latched it, a stop that was taken back has to be asked for again."""
        unheard = [each for each in pending if not each.proof.is_latched]
        there: set[str] | None = None
        if any(each.asked and each.asked.halt for each in unheard):
            try:
                there = {halts.name_of(each) for each in self._kube.list_halts()}
            except ApiError:
                there = None  # without a look nothing is known to be missing

        def ask_again(target: Target) -> None:
            asked, bot = target.asked, target.bot
            if asked is None:
                return
            is_taken_back = bot is not None and not (bot.is_engaged and is_as_strict(bot.action, asked.action))
            if target.may_patch and bot is not None and bot.uid == asked.uid and is_taken_back:
                try:
                    self._kube.merge_bot(target.ref, build_patch(bot, wish.reason, asked.action))
                except ApiError as error:
                    self._note(target, f"not asked again: {error}")
            if there is not None and asked.halt and asked.halt not in there:
                target.asked = replace(asked, halt=self._make_halt(target, asked.action, wish))

        for _ in pool.map(ask_again, unheard):
            pass

    @staticmethod
    def _note(target: Target, note: str) -> None:
        if note not in target.notes:
            target.notes.append(note)


def decide_action(bot: BotView | None, wish: Wish) -> StopAction:
    """PURE. Never milder than what is asked for already: somebody else may just have asked for it."""
    own = bot.action if bot else StopAction.CANCEL_ORDERS
    if wish.action is None:
        return own
    return strictest(wish.action, own) if bot and bot.is_engaged else wish.action


def build_patch(bot: BotView | None, reason: str, action: StopAction | None, *, drill_id: str = "") -> dict[str, Any]:
    """PURE. A merge patch; None leaves the action as it is. It takes back a re-arm that is under way, and says nothing
    of who asks for more risk. Over a drill's it writes its own reason, though that be empty: then the drill releases
    nothing."""
    switch: dict[str, Any] = {"engaged": True, "rearm": ""}
    if action is not None:
        switch["action"] = action.value
    if reason or not (bot and bot.is_engaged) or is_drill_reason(bot.switch_reason):
        switch["reason"] = reason[: halts.MAX_REASON]
    patch: dict[str, Any] = {"spec": {"killSwitch": switch}}
    return patch | ({"metadata": {"annotations": {DRILL: drill_id}}} if drill_id else {})
