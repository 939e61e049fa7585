"""PURE. Which book the pod trades, paper or live, and how it gets from one to the other.

A swap has two steps, each of its own plan. First the permit is withdrawn, so that no pod ever starts beside a permit of
the other book. Then the pod is replaced: paper at once, live only when its trader takes no new risk and holds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_api.conditions import ConfigReason, Reason, TradingState
from tradingbot_api.spec import Mode, Network, TradingBotSpec
from tradingbot_operator import kinds
from tradingbot_operator.children.deployment import PodPlan, read_pod_plan
from tradingbot_operator.children.platform import Platform
from tradingbot_operator.manifest import Manifest, is_terminating, number
from tradingbot_operator.plan.drift import Ownership, find_owner
from tradingbot_operator.plan.view import BotView, TraderReport

NETWORKS_WITHOUT_GATES = frozenset({Network.SANDBOX, Network.TESTNET})
"""Invented money. Mainnet is not among them, and this version has no gates that could let it in."""


@dataclass(frozen=True, slots=True)
class BookDecision:
    pod: PodPlan | None
    """What the pod is made for; None: the spec cannot be read and there is no pod."""
    permitted: Mode | None
    """The only mode that a permit may have now; None: no permit may stand."""
    swap: str = ""
    """Which swap is under way and what it waits for; empty when none is."""

    @property
    def is_live(self) -> bool:
        return self.pod is not None and self.pod.is_live


@dataclass(frozen=True, slots=True)
class Eligibility:
    is_eligible: bool
    reason: str
    message: str


def judge_eligibility(spec: TradingBotSpec) -> Eligibility:
    """Whether live trading may begin, as far as the spec says; the trader's preflight comes after it."""
    network = spec.exchange.network
    if spec.mode is not Mode.LIVE:
        return Eligibility(False, Reason.NOT_REQUESTED, "spec.mode is Paper: no live orders are asked for.")
    if network not in NETWORKS_WITHOUT_GATES:
        return Eligibility(
            False,
            Reason.MAINNET_NOT_SUPPORTED,
            f"Missing for live trading: the gates and approvals that {network.value} requires, which this version of "
            "the operator does not have. Use exchange.network Sandbox or Testnet; until then the bot trades on paper.",
        )
    if spec.credentials is None or spec.credentials.secret_name is None:
        return Eligibility(
            False,
            Reason.EXTERNAL_SECRET_NOT_SUPPORTED,
            "Missing for live trading: keys. This version of the operator makes no ExternalSecret: name a Secret of "
            "the bot's namespace in spec.credentials.secretName. Until then no live orders are permitted.",
        )
    return Eligibility(True, Reason.TEST_NETWORK, f"{network.value} has no real money: it asks for no gates.")


def decide_book(
    view: BotView, deployment: Manifest | None, platform: Platform, *, trader_reports: bool
) -> BookDecision:
    if view.spec is None:
        kept = find_running(view, deployment)
        return BookDecision(kept, kept.book if kept is not None else Mode.PAPER)
    is_eligible = judge_eligibility(view.spec).is_eligible
    asked = _ask(view.spec, is_live=is_eligible)
    running = find_running(view, deployment) or asked
    # A bad edit never stops a healthy trader: it looks first.
    is_bad = _is_bad(view) or not platform.can_reach(asked.exchange)
    is_unseen = trader_reports and not _has_looked(view)
    if running.book is asked.book:
        if not running.is_live or running == asked:
            return BookDecision(asked, asked.book)
        if is_bad or is_unseen:
            return BookDecision(running, running.book)
        # Other keys, perhaps of another account: the new pod has to pass its own preflight.
        return BookDecision(running, None, _WITHDRAWING) if view.permit else BookDecision(asked, asked.book)
    if running.is_live:
        # The live permit is gone from here on, whatever else is so.
        if is_bad or (view.spec.mode is Mode.LIVE and view.spec.exchange == running.exchange):
            return BookDecision(running, None)  # ReduceOnly in place, never paper
        return _leave_live(view, deployment, running, asked, trader_reports=trader_reports)
    if is_bad or is_unseen:
        return BookDecision(running, running.book, "" if is_bad else _LOOKING)
    if view.permit is not None and view.permit.mode is not asked.book:
        return BookDecision(running, None, _WITHDRAWING)
    return BookDecision(asked, asked.book)


def _leave_live(
    view: BotView, deployment: Manifest | None, running: PodPlan, asked: PodPlan, *, trader_reports: bool
) -> BookDecision:
    if view.permit is not None:
        return BookDecision(running, None, _WITHDRAWING)
    if waits_for := _holds_live_pod(view.trader, deployment, suspended=view.suspended, trader_reports=trader_reports):
        return BookDecision(running, None, f"The live pod is replaced by one for paper as soon as {waits_for}.")
    return BookDecision(asked, asked.book)


_LOOKING = "The paper pod is replaced by a live one as soon as its trader has accepted this generation of the spec."
_WITHDRAWING = "The permit is withdrawn; then the pod is replaced."


def _ask(spec: TradingBotSpec, *, is_live: bool) -> PodPlan:
    if not is_live or spec.credentials is None:
        return PodPlan(spec.exchange)
    return PodPlan(spec.exchange, Mode.LIVE, spec.credentials.secret_name or "")


def find_running(view: BotView, deployment: Manifest | None) -> PodPlan | None:
    """What the Deployment that is there makes a pod for.

    None as well for a live pod on Mainnet, which this version never makes: there is nothing about it to keep.
    """
    if deployment is None or is_terminating(deployment):
        return None
    if find_owner(kinds.DEPLOYMENT, deployment, view.ref) is not Ownership.OURS:
        return None
    pod = read_pod_plan(deployment)
    is_ours = pod is not None and not (pod.is_live and pod.exchange.network not in NETWORKS_WITHOUT_GATES)
    return pod if is_ours else None


def _is_bad(view: BotView) -> bool:
    """What needs another pod is refused by the one that runs; that is no verdict on the spec."""
    config = view.trader.config if view.trader else None
    return view.is_rejected and config is not None and config.reason != ConfigReason.EXCHANGE_CHANGED


def _has_looked(view: BotView) -> bool:
    config = view.trader.config if view.trader else None
    return config is not None and config.generation >= view.generation


def _holds_live_pod(
    trader: TraderReport | None, deployment: Manifest | None, *, suspended: bool, trader_reports: bool
) -> str:
    """What the live pod has to be waited for; empty when it may go. An absent number is no proof of zero."""
    if trader is None or trader.mode is Mode.PAPER:
        return ""  # no live trader has ever reported, so none was ever permitted to trade
    is_gone = suspended and number(deployment, "status", "replicas") == 0
    if trader.mode is None or not (is_gone or trader_reports):
        return "its trader reports again (or set spec.suspend to true)"
    if not trader.has_books:
        return "its trader has opened its books: status.trader.config says what is in the way"
    # Its limit is 0 from the moment in which it saw the withdrawal; a state alone may have another cause, and pass.
    if not is_gone and (trader.limit_quote != 0 or trader.state == TradingState.ACTIVE):
        return "its trader has seen that nothing is permitted any more"
    if trader.open_orders != 0 or trader.unresolved_orders != 0:
        return "it has no open and no unresolved orders"
    if trader.open_positions != 0:
        return "nothing is held: wait for the strategy's exits, or stop the bot with killSwitch.action Flatten"
    return ""
