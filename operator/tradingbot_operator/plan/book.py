"""PURE. Which book the pod trades, paper or live, and how it gets from one to the other.

A swap has two steps, each of its own plan. First the permit is withdrawn, so that no pod ever starts beside a permit of
the other book. Then the pod is replaced: paper at once, live only when its trader has drained, and holds nothing unless
`updatePolicy` says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_api.conditions import ConfigReason, Reason, TradingState
from tradingbot_api.spec import Mode, Network, TradingBotSpec, UpdatePolicy
from tradingbot_operator import kinds
from tradingbot_operator.children.deployment import PodPlan, build_deployment, read_pod_plan, template_hash
from tradingbot_operator.children.external_secret import find_keys_secret
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.platform import Platform
from tradingbot_operator.manifest import Manifest, is_terminating, number
from tradingbot_operator.plan.drift import Ownership, find_owner
from tradingbot_operator.plan.rollout import Waiting, find_obstacle
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
    waiting: Waiting | None = None
    """Another pod is asked for and has to wait."""

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
    if spec.credentials is None:
        return Eligibility(False, Reason.INVALID_SPEC, "Missing for live trading: keys. Set spec.credentials.")
    return Eligibility(True, Reason.TEST_NETWORK, f"{network.value} has no real money: it asks for no gates.")


def decide_book(
    view: BotView, deployment: Manifest | None, platform: Platform, *, trader_reports: bool, may_enter_live: bool
) -> BookDecision:
    """`may_enter_live`: nothing that the operator knows speaks against a live pod. It matters for entering alone: what
    has failed since (a store of secrets, say) is no reason to stop a live trader."""
    kept = find_running(view, deployment)
    if view.spec is None:
        return BookDecision(kept, kept.book if kept is not None else Mode.PAPER)
    is_eligible = judge_eligibility(view.spec).is_eligible
    # Without a Deployment the permit says which book is in force: somebody may have deleted it.
    is_permitted_live = view.permit is not None and view.permit.mode is Mode.LIVE
    is_live = kept.is_live if kept is not None else is_permitted_live
    asked = _ask(view.spec, view.ref, is_live=is_eligible and (may_enter_live or is_live))
    running = kept or asked
    # A bad edit never stops a healthy trader: it looks first.
    is_bad = _is_bad(view) or not platform.can_reach(asked.exchange)
    is_unseen = trader_reports and not _has_looked(view)
    if running.book is asked.book:
        if not running.is_live or running == asked:
            return BookDecision(asked, asked.book)
        if is_bad or is_unseen:
            return BookDecision(running, running.book)
        # Other keys, perhaps of another account: the new pod has to pass its own preflight.
        if trader_reports and (obstacle := find_obstacle(view, wanted_hash=_hash(view, platform, asked))) is not None:
            message = f"Another pod is asked for, with other keys or another venue. {obstacle.message}"
            return BookDecision(running, running.book, waiting=Waiting(obstacle.reason, message))
        if view.permit is not None or (trader_reports and not _sees_no_limit(view.trader)):
            return BookDecision(running, None, _WITHDRAWING)
        return BookDecision(asked, asked.book)
    if running.is_live:
        # The live permit is gone from here on, whatever else is so.
        if is_bad or (view.spec.mode is Mode.LIVE and view.spec.exchange == running.exchange):
            return BookDecision(running, None)  # ReduceOnly in place, never paper
        return _leave_live(view, deployment, platform, running, asked, trader_reports=trader_reports)
    if is_bad or is_unseen:
        return BookDecision(running, running.book, "" if is_bad else _LOOKING)
    if view.permit is not None and view.permit.mode is not asked.book:
        return BookDecision(running, None, _WITHDRAWING)
    return BookDecision(asked, asked.book)


def _leave_live(
    view: BotView,
    deployment: Manifest | None,
    platform: Platform,
    running: PodPlan,
    asked: PodPlan,
    *,
    trader_reports: bool,
) -> BookDecision:
    if view.permit is not None:
        return BookDecision(running, None, _WITHDRAWING)
    is_gone = view.suspended and number(deployment, "status", "replicas") == 0
    # A trader drains by itself when it sees that Paper is asked for. Another venue says no such thing.
    asks_drain = view.spec is not None and view.spec.mode is Mode.PAPER
    waiting = _wait_for_drain(view.trader, is_gone=is_gone, trader_reports=trader_reports, asks_drain=asks_drain)
    was_live = view.trader is not None and view.trader.mode is not Mode.PAPER
    # Suspended by a person is as good as a person's word (Manual), but makes nobody flat.
    if waiting is None and was_live and (not is_gone or view.update_policy is UpdatePolicy.WHEN_FLAT):
        waiting = find_obstacle(view, wanted_hash=_hash(view, platform, asked))
    if waiting is None:
        return BookDecision(asked, asked.book)
    message = f"The live pod is to be replaced by one for paper, and risks nothing new. {waiting.message}"
    return BookDecision(running, None, message, Waiting(waiting.reason, message))


_LOOKING = "The paper pod is replaced by a live one as soon as its trader has accepted this generation of the spec."
_WITHDRAWING = "The permit is withdrawn; then the pod is replaced."


def _ask(spec: TradingBotSpec, bot: BotRef, *, is_live: bool) -> PodPlan:
    if not is_live or spec.credentials is None:
        return PodPlan(spec.exchange)
    return PodPlan(spec.exchange, Mode.LIVE, find_keys_secret(spec, bot))


def _hash(view: BotView, platform: Platform, pod: PodPlan) -> str:
    """Of the template of that pod, as `plan_workload` would make it."""
    addresses = platform.find_addresses(pod.exchange)
    return template_hash(build_deployment(view.ref, platform, pod=pod, addresses=addresses, suspended=False))


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
    """What needs another pod is refused by the one that runs, and one without books refuses everything: neither is a
    verdict on the spec."""
    trader = view.trader
    if trader is None or trader.config is None or not trader.has_books:
        return False
    return view.is_rejected and trader.config.reason != ConfigReason.EXCHANGE_CHANGED


def _has_looked(view: BotView) -> bool:
    config = view.trader.config if view.trader else None
    return config is not None and config.generation >= view.generation


def _sees_no_limit(trader: TraderReport | None) -> bool:
    """Its limit is 0 from the moment in which it saw the withdrawal: what it reports since then stays so."""
    return trader is None or trader.mode is Mode.PAPER or not trader.has_books or trader.limit_quote == 0


def _wait_for_drain(
    trader: TraderReport | None, *, is_gone: bool, trader_reports: bool, asks_drain: bool
) -> Waiting | None:
    """What the live trader has to be waited for. An absent number is no proof of zero."""
    if trader is None or trader.mode is Mode.PAPER:
        return None  # no live trader has ever reported, so none was ever permitted to trade
    if trader.mode is None or not (is_gone or trader_reports):
        return _drain("Its trader has to report again (or set spec.suspend to true).")
    if not trader.has_books:
        return _drain("Its trader has to open its books first: status.trader.config says what is in the way.")
    # Its limit is 0 from the moment in which it saw the withdrawal; a state alone may have another cause, and pass.
    if not is_gone and (trader.limit_quote != 0 or trader.state == TradingState.ACTIVE):
        return _drain("Its trader has to see that nothing is permitted any more.")
    if asks_drain and not is_gone and (trader.drain is None or not trader.drain.done):
        return _drain("Its orders have to be closed, and the account has to agree with the books.")
    # Of one that is gone its last report is all that there is.
    has_drained = trader.drain is not None and trader.drain.done
    if trader.unresolved_orders != 0 or (not (asks_drain and has_drained) and trader.open_orders != 0):
        return _drain("Its orders have to be closed: some are open or unresolved.")
    return None


def _drain(message: str) -> Waiting:
    return Waiting(Reason.WAITING_FOR_DRAIN, message)
