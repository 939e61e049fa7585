"""SHELL. Stops one bot that risks no money, measures each step, and re-arms it.

Times are this machine's, from the moment that a request was sent, and no finer than POLL_SECONDS; the trader's own
times stand beside them. The operator records the drill, under the id that the stop's patch carries, from what it sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tradingbot_api.conditions import LatchState, TradingState
from tradingbot_api.labels import drill_reason
from tradingbot_api.spec import Mode, Network, StopAction
from tradingbot_plugin.clock import Clock
from tradingbot_plugin.errors import PluginError, Refused, Unreachable
from tradingbot_plugin.kill import Kill, Wish, make_id
from tradingbot_plugin.kube import KubeApi
from tradingbot_plugin.proof import FAILED, NOT_FLAT, NOT_PROVED, OK, Asked, Outcome, judge
from tradingbot_plugin.rearm import Rearm, judge_release
from tradingbot_plugin.view import BotView, Ref, read_bot

POLL_SECONDS = 0.02
OPERATOR_SECONDS = 10.0
"""How long the bot is kept stopped so that the operator sees it; a drill passes without."""

Say = Callable[[str], None]


class Step(StrEnum):
    """In their order. The first four count from the kill, the others from the re-arm."""

    PATCH_ACCEPTED = "PatchAccepted"
    """The API server has taken the stop: the patch, and the halt where one is made."""
    ENGAGED = "Engaged"
    """Status shows that the trader has seen it."""
    ACKNOWLEDGED = "Acknowledged"
    """Status shows that the latch is durable and nothing adds risk any more."""
    STOPPED = "Stopped"
    """Status proves the stop."""
    REARM_ACCEPTED = "RearmAccepted"
    """The API server has taken the re-arm."""
    RELEASED = "Released"
    """The latch is gone."""
    ACTIVE = "Active"
    """The trader is Active again."""


@dataclass(frozen=True, slots=True)
class Measured:
    step: Step
    milliseconds: int
    at: str = ""
    """The trader's own time of it, where it tells one."""


@dataclass
class DrillReport:
    bot: BotView
    action: StopAction
    started_at: str
    drill_id: str = ""
    latch_id: str = ""
    steps: list[Measured] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    message: str = ""
    """Why it was not passed; empty when it was."""
    exit_code: int = NOT_PROVED

    def to_json(self) -> dict[str, Any]:
        return {
            "namespace": self.bot.ref.namespace,
            "name": self.bot.ref.name,
            "uid": self.bot.uid,
            "mode": self.bot.mode,
            "network": self.bot.network,
            "action": self.action.value,
            "startedAt": self.started_at,
            "drillId": self.drill_id,
            "latchId": self.latch_id,
            "passed": self.exit_code == OK,
            "message": self.message,
            "notes": self.notes,
            "steps": [
                {"step": each.step.value, "milliseconds": each.milliseconds} | ({"at": each.at} if each.at else {})
                for each in self.steps
            ],
        }


class Drill:
    def __init__(self, kube: KubeApi, clock: Clock, say: Say, *, make_id: Callable[[], str] = make_id) -> None:
        self._kube, self._clock, self._say, self._make_id = kube, clock, say, make_id

    def run(self, ref: Ref, wish: Wish) -> DrillReport:
        """`wish.timeout_seconds` is for the stop, and again for the way back. Refused: nothing was done."""
        bot = read_bot(self._kube.get_bot(ref))
        check_drillable(bot)
        started_at = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        drill_id = self._make_id()
        report = DrillReport(bot, wish.action or bot.action, started_at, drill_id)
        asked = self._stop(report, replace(wish, reason=drill_reason(drill_id), drill_id=drill_id))
        if asked is not None:
            self._release(report, asked, wish.timeout_seconds)
        return report

    def _stop(self, report: DrillReport, wish: Wish) -> Asked | None:
        """What was asked, when it was proved."""
        start = self._clock.monotonic()
        deadline = start + wish.timeout_seconds
        target = Kill(self._kube, self._clock, self._say).ask(report.bot.ref, wish, deadline)
        report.notes += target.notes
        asked = target.asked
        if asked is None:
            report.message, report.exit_code = target.proof.why, FAILED
            return None
        self._step(report, Step.PATCH_ACCEPTED, start)
        while not target.proof.is_final:
            bot = self._get(report.bot.ref)
            latch = bot.trader.latch if bot and bot.trader and bot.uid == asked.uid else None
            if bot is not None and latch is not None and latch.is_set:
                report.latch_id = latch.id
                self._step(report, Step.ENGAGED, start, latch.engaged_at)
                if latch.acknowledged_at:
                    self._step(report, Step.ACKNOWLEDGED, start, latch.acknowledged_at)
            if bot is not None:
                target.proof = judge(bot, asked)
            if self._clock.monotonic() >= deadline:
                break
            self._clock.sleep(0 if target.proof.is_final else POLL_SECONDS)
        if target.proof.outcome is Outcome.STOPPED:
            self._step(report, Step.STOPPED, start)
            self._wait_for_operator(report)
            return asked
        report.exit_code = NOT_FLAT if target.proof.outcome is Outcome.NOT_FLAT else NOT_PROVED
        report.message = f"{target.proof.why}. The bot was left as it is: look at it, then re-arm it yourself"
        return None

    def _wait_for_operator(self, report: DrillReport) -> None:
        """Released at once, the operator might never have seen the bot stopped."""
        deadline = self._clock.monotonic() + OPERATOR_SECONDS
        while self._clock.monotonic() < deadline:
            bot = self._get(report.bot.ref)
            if bot is not None and (bot.mirror.id, bot.mirror.state) == (report.latch_id, LatchState.STOPPED):
                return
            self._clock.sleep(POLL_SECONDS)
        report.notes.append("the operator has not seen the stop in time: it may not record this drill")

    def _release(self, report: DrillReport, asked: Asked, timeout_seconds: float) -> None:
        start = self._clock.monotonic()
        deadline = start + timeout_seconds
        try:
            release = Rearm(self._kube, self._clock, self._say).ask(
                report.bot.ref, latch_id=report.latch_id, is_wanted=lambda bot: is_ours_alone(bot, asked)
            )
        except PluginError as error:
            report.message = f"stopped, and not re-armed: {error}"
            return
        report.notes += release.notes
        self._step(report, Step.REARM_ACCEPTED, start)
        report.message = "not released in time"
        while True:
            bot = self._get(report.bot.ref)
            if bot is not None:
                is_released, is_final, why_not = judge_release(bot, report.latch_id, release.generation)
                if is_released:
                    self._step(report, Step.RELEASED, start)
                    state = bot.trader.state if bot.trader else ""
                    if state == TradingState.ACTIVE:
                        self._step(report, Step.ACTIVE, start)
                        report.message, report.exit_code = "", OK
                        return
                    causes = ", ".join(bot.trader.reasons) if bot.trader else ""
                    report.message = f"released, and its trader is {state or 'silent'} ({causes})"
                else:
                    report.message = f"not released: {why_not}"
                    if is_final:
                        return
            if self._clock.monotonic() >= deadline:
                return
            self._clock.sleep(POLL_SECONDS)

    def _get(self, ref: Ref) -> BotView | None:
        try:
            return read_bot(self._kube.get_bot(ref))
        except Unreachable:
            return None

    def _step(self, report: DrillReport, step: Step, start: float, at: str = "") -> None:
        """The first time that it is seen."""
        if all(each.step is not step for each in report.steps):
            report.steps.append(Measured(step, round((self._clock.monotonic() - start) * 1000), at))
            self._say(f"{report.bot.ref}: {step} after {report.steps[-1].milliseconds} ms")


def is_ours_alone(bot: BotView, asked: Asked) -> bool:
    """PURE. Nobody has changed the bot or joined its stop since: what somebody means in earnest, no drill undoes."""
    ours = {"KillSwitch", f"TradingHalt/{asked.halt}"}
    is_unchanged = not asked.generation or bot.generation == asked.generation
    return is_unchanged and ours.issuperset(bot.latch.active_sources)


def check_drillable(bot: BotView) -> None:
    """PURE. Refused for whatever may risk real money, and for a bot that a drill could not judge."""
    modes = {bot.mode, bot.permit_mode or Mode.PAPER.value, bot.trader.mode if bot.trader else ""}
    is_harmless = bot.network in (Network.SANDBOX, Network.TESTNET) or modes == {Mode.PAPER.value}
    if not is_harmless:
        raise Refused(
            f"{bot.ref} trades real money ({bot.mode or '?'} on {bot.network or '?'}): a drill stops Paper bots and"
            " those of network Sandbox or Testnet. Drill a copy of it on Paper"
        )
    if bot.trader is None:
        raise Refused(f"{bot.ref} has no trader that reports: a drill would measure nothing")
    if bot.is_engaged or bot.latch.is_set or bot.trader.state != TradingState.ACTIVE:
        raise Refused(
            f"{bot.ref} is not trading now ({bot.trader.state or 'state unknown'}"
            f"{': ' + ', '.join(bot.trader.reasons) if bot.trader.reasons else ''}): a drill begins and ends with an"
            " Active bot"
        )
