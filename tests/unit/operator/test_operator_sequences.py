"""Sequences of events after which a plan once decided wrongly: what was lost, said, or waited for, and for whom."""
# ruff: noqa: ARG002  a fake takes what the protocol gives

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tradingbot_api.labels import FINALIZER
from tradingbot_operator import kinds
from tradingbot_operator.kinds import Key, Kind
from tradingbot_operator.plan.guard import GuardReport
from tradingbot_operator.plan.permit import Clearance, find_account_holder
from tradingbot_operator.plan.plan import Observation, plan
from tradingbot_operator.plan.view import read_bot
from tradingbot_operator.plan.workload import Problem
from tradingbot_operator.reconciler import Reconciler
from tradingbot_operator.store import Store
from tradingbot_operator.timestamps import format_time

Raw = dict[str, Any]
Make = Callable[..., Any]
ENGAGE = {"spec.killSwitch": {"engaged": True}}
OTHER_KEYS = {"spec.credentials": {"secretName": "other-keys"}}
UIDS = {"older": "00000000-0000-0000-0000-00000000000a", "younger": "00000000-0000-0000-0000-00000000000b"}
IN_USE = Clearance(GuardReport(()), account_holder="desk-b/eth")


def drained(cluster: Any, reason: str) -> Raw:
    return {"reason": reason, "since": format_time(cluster.now_ns), "done": True, "orders": []}


def delete(cluster: Any) -> Any:
    cluster.bot["metadata"]["deletionTimestamp"] = format_time(cluster.now_ns)
    return cluster


def without(cluster: Any, *parts: str) -> Any:
    """A report of a trader, or by a CRD, that does not know them."""
    for part in parts:
        cluster.bot["status"]["trader"].pop(part, None)
    return cluster


# 1. A kill that is lost


def test_kill_is_latched_while_the_pod_is_down_though_its_last_report_is_fresh(make_live: Make) -> None:
    cluster = make_live().wait(5)
    cluster.children[kinds.DEPLOYMENT]["status"] = {"observedGeneration": 1}  # it has crashed
    cluster.edit(ENGAGE).settle()
    cluster.edit({"spec.killSwitch": {"engaged": False}}).settle()  # GitOps, five seconds later
    assert cluster.status["killSwitch"]["state"] == "Stopping"
    assert cluster.verdict("Halted")[0] == "True"


def test_kill_is_latched_while_the_trader_has_no_books(make_live: Make) -> None:
    cluster = make_live().report_live(epoch=0, state="Halted", accepted=False).settle()
    cluster.edit(ENGAGE).report_live(epoch=0, state="Halted", accepted=False).settle()
    cluster.edit({"spec.killSwitch": {"engaged": False}}).settle()
    assert cluster.status["killSwitch"]["state"] == "Stopping"


# 2. One live bot for each account


def live_bot(make_bot: Make, make_report: Make, which: str, *, permit: bool, **report: Any) -> Raw:
    created = {"older": "2025-01-01T00:00:00Z", "younger": "2025-02-01T00:00:00Z"}[which]
    bot: Raw = make_bot(
        {
            "metadata.name": which,
            "metadata.uid": UIDS[which],
            "metadata.creationTimestamp": created,
            "spec.mode": "Live",
            "spec.credentials": {"secretName": "keys"},
        }
    )
    told = {
        "uid": UIDS[which],
        "mode": "Live",
        "limit": "50" if permit else "0",
        "state": "Active" if permit else "ReduceOnly",
        "unresolvedOrders": 0,
        "preflight": {"passed": True, "at": "2025-06-15T15:06:40Z"},
        "credentials": {"ready": True, "fingerprint": "abcdefabcdef"},
        "account": {"fingerprint": "0123456789ab"},
    }
    bot["status"] = {"trader": make_report(**(told | report))}
    if permit:
        bot["status"]["permit"] = {
            "uid": UIDS[which],
            "mode": "Live",
            "stage": "micro",
            "limit": "50",
            "digest": "v1:x",
            "specGeneration": 1,
            "issuedAt": "2025-06-15T15:06:40Z",
        }
    return bot


class Api:
    """Takes every write."""

    def __init__(self) -> None:
        self.version = 1000
        self.bots: dict[str, Raw] = {}

    def _numbered(self, manifest: Raw) -> Raw:
        self.version += 1
        return manifest | {"metadata": manifest["metadata"] | {"resourceVersion": str(self.version)}}

    async def get(self, kind: Kind, namespace: str, name: str) -> Raw | None:
        return self.bots.get(name) if kind == kinds.BOT else None

    async def apply(self, kind: Kind, manifest: Raw, *, force: bool) -> Raw:
        return self._numbered(manifest)

    async def apply_finalizers(self, key: Key, finalizers: Sequence[str], *, uid: str) -> Raw:
        bot = self.bots[key.name]
        self.bots[key.name] = self._numbered(bot | {"metadata": bot["metadata"] | {"finalizers": [*finalizers]}})
        return self.bots[key.name]

    async def apply_status(self, key: Key, status: Raw, *, resource_version: str) -> Raw:
        bot = self.bots[key.name]
        kept = {"trader": bot["status"]["trader"]}
        self.bots[key.name] = self._numbered(bot | {"status": kept | status})
        return self.bots[key.name]

    async def create_event(self, event: Raw) -> None:
        return


class Gate:
    """A guard whose answer for one bot is under way for as long as the test likes."""

    def __init__(self) -> None:
        self.slow = ""
        self.asked, self.answered = asyncio.Event(), asyncio.Event()

    async def check(self, bot: Raw) -> GuardReport:
        if bot["metadata"]["name"] == self.slow:
            self.asked.set()
            await self.answered.wait()
        return GuardReport(())


def see(api: Api, store: Store, cluster: Any, bot: Raw) -> None:
    """The bot and its Deployment, rolled out."""
    name = bot["metadata"]["name"]
    api.bots[name] = api._numbered(copy.deepcopy(bot))
    store.put(kinds.BOT, api.bots[name])
    one = copy.deepcopy(cluster)
    one.bot = copy.deepcopy(bot)
    one.bot["metadata"]["finalizers"] = [FINALIZER]
    one.children = dict.fromkeys(kinds.BUILT_IN)
    for apply in one.plan().applies:
        one.children[apply.kind] = one.children.get(apply.kind) or copy.deepcopy(apply.manifest)
    deployment = one.children[kinds.DEPLOYMENT]
    deployment["metadata"] |= {"uid": f"d-{name}", "generation": 1}
    one.make_available()
    api.bots[name]["status"]["trader"]["template"] = one.pod_template
    for kind, child in one.children.items():
        if child is not None:
            child["metadata"].setdefault("uid", f"{kind.name}-{name}")
            store.put(kind, api._numbered(child))


async def test_two_bots_that_are_cleared_at_once_do_not_both_get_the_account(
    make_bot: Make, make_report: Make, make_cluster: Make
) -> None:
    api, store, gate = Api(), Store(), Gate()
    cluster = make_cluster()
    reconciler = Reconciler(api, store, cluster.platform, gate, now_ns=lambda: cluster.now_ns, instance="o")
    see(api, store, cluster, live_bot(make_bot, make_report, "younger", permit=False))
    gate.slow = "younger"
    first = asyncio.create_task(reconciler.reconcile(Key("desk-a", "younger")))
    await asyncio.wait_for(gate.asked.wait(), 5)
    see(api, store, cluster, live_bot(make_bot, make_report, "older", permit=False))  # its first report
    second = asyncio.create_task(reconciler.reconcile(Key("desk-a", "older")))
    await asyncio.wait({second}, timeout=1)
    gate.answered.set()
    await asyncio.wait_for(asyncio.gather(first, second), 5)
    for name in api.bots:
        await reconciler.reconcile(Key("desk-a", name))
    assert len([name for name, bot in api.bots.items() if "permit" in bot["status"]]) == 1


def test_permitted_bot_keeps_its_account_while_its_restarted_trader_does_not_know_it(
    make_bot: Make, make_report: Make
) -> None:
    store = Store()
    holder = live_bot(make_bot, make_report, "older", permit=True, account=None)
    del holder["status"]["trader"]["account"]
    holder["status"]["permit"]["account"] = "0123456789ab"
    newcomer = live_bot(make_bot, make_report, "younger", permit=False)
    for bot in (holder, newcomer):
        store.put(kinds.BOT, bot)
    others = [read_bot(each) for each in store.bots_of_account("0123456789ab")]
    assert find_account_holder(read_bot(newcomer), others) == "desk-a/older"


def test_bot_that_leaves_live_keeps_its_account_until_it_is_flat(make_bot: Make, make_report: Make) -> None:
    leaving = live_bot(make_bot, make_report, "younger", permit=False, openPositions=2, openOrders=1)
    newcomer = live_bot(make_bot, make_report, "older", permit=False)
    assert find_account_holder(read_bot(newcomer), [read_bot(leaving)]) == "desk-a/younger"


# 3. Deletion that says more than is so


@pytest.mark.parametrize(
    ("edit", "reason"), [({"spec.mode": "Paper"}, "LeavingLive"), ({"spec.suspend": True}, "Suspended")]
)
def test_flatten_waits_for_its_own_drain(make_live: Make, edit: Raw, reason: str) -> None:
    cluster = make_live({"spec.onDelete": "Flatten"}).edit(edit)
    cluster.report_live(drain=drained(cluster, reason), openPositions=1)
    if reason == "LeavingLive":
        cluster.settle()  # WhenFlat: the live pod stays, its drain is done, and a position is held
    todo = delete(cluster).plan()
    assert todo.finalizer is None, "its trader has not seen the deletion yet, and is to sell"
    assert todo.events == ()


def test_trader_that_cannot_open_its_books_proves_nothing(make_live: Make) -> None:
    cluster = make_live().report_live(epoch=0, state="Halted", accepted=False).settle()
    todo = delete(cluster).plan()
    assert [event.reason for event in todo.events] != ["Drained"], "orders of the run before may rest at the venue"


def test_bot_that_has_never_traded_live_is_not_said_to_be_drained(make_running: Make) -> None:
    cluster = make_running().edit({"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}}).report().settle()
    assert cluster.book == "live"
    assert "compared" not in "".join(event.note for event in delete(cluster).plan().events)


def test_foreground_deletion_waits_for_the_pod_that_is_on_its_way_out(make_live: Make) -> None:
    cluster = delete(make_live())
    cluster.children[kinds.DEPLOYMENT]["metadata"]["deletionTimestamp"] = format_time(cluster.now_ns)
    assert cluster.plan().finalizer is None


# 4. A live bot that becomes paper, or changes its keys, too early


def too_old(cluster: Any) -> Any:
    since = format_time(cluster.now_ns - 721 * 3600 * 10**9)
    cluster.report_live(credentials={"ready": True, "fingerprint": "abcdefabcdef", "since": since})
    return cluster


def test_deployment_that_somebody_deleted_is_made_again_for_the_same_book(make_live: Make) -> None:
    cluster = too_old(make_live()).settle()
    assert (cluster.permitted, cluster.book) == ("Live", "live")
    cluster.bot["status"]["trader"]["openPositions"] = 1
    cluster.children[kinds.DEPLOYMENT] = None
    cluster.settle()
    assert (cluster.permitted, cluster.book) == ("Live", "live")


def test_keys_change_when_the_trader_has_seen_the_withdrawal(make_live: Make) -> None:
    cluster = make_live().edit(OTHER_KEYS)
    cluster.report_live(digest=cluster.status["permit"]["digest"])  # limit 50, Active, flat
    cluster.carry_out(cluster.plan())
    assert cluster.permitted == ""
    assert cluster.plan().applies == (), "it may have opened a position since that report"


def test_permit_of_a_new_live_pod_waits_for_its_own_preflight(make_live: Make) -> None:
    cluster = make_live().edit(OTHER_KEYS).report_live().settle().report_live().settle()
    assert (cluster.permitted, cluster.keys) == ("", ["other-keys"])
    cluster.make_available().wait(3).settle()  # the new pod is there, and has said nothing
    assert cluster.permitted == ""


# 5. What never ends


def test_suspension_ends_though_the_trader_does_not_know_what_a_drain_is(make_live: Make) -> None:
    cluster = make_live().edit({"spec.suspend": True})
    for _ in range(100):
        without(cluster.wait(30).report_live(), "drain").settle()
    assert cluster.children[kinds.DEPLOYMENT]["spec"]["replicas"] == 0, "50 minutes later"


def test_suspension_ends_though_the_trader_begins_its_drain_again_and_again(make_live: Make) -> None:
    cluster = make_live().edit({"spec.suspend": True})
    for _ in range(20):
        begun = {"reason": "Suspended", "since": format_time(cluster.now_ns), "done": False, "orders": []}
        cluster.report_live(drain=begun).settle().wait(80)
    assert cluster.children[kinds.DEPLOYMENT]["spec"]["replicas"] == 0, "26 minutes later"


@pytest.mark.parametrize("asks", ["a suspension", "the condition"])
def test_heartbeat_of_the_future_is_no_sign_of_life(make_live: Make, asks: str) -> None:
    cluster = make_live()
    cluster.report_live(at_ns=cluster.now_ns + 86_400 * 10**9).settle()
    cluster.wait(3600)
    if asks == "a suspension":
        without(cluster.edit({"spec.suspend": True}), "drain").settle()
        cluster.wait(3600).settle()
        assert cluster.children[kinds.DEPLOYMENT]["spec"]["replicas"] == 0
    else:
        assert cluster.settle().verdict("TraderAvailable")[0] == "False", "an hour of silence"


def test_suspending_a_dead_live_trader_lets_it_become_paper(make_live: Make) -> None:
    cluster = make_live().edit({"spec.mode": "Paper"})
    without(cluster.report_live(limit="0", state="ReduceOnly"), "drain").settle().wait(3600).settle()
    assert "set spec.suspend to true" in cluster.condition("ConfigDrift")["message"]
    cluster.edit({"spec.suspend": True}).settle()
    cluster.children[kinds.DEPLOYMENT]["status"] = {}
    assert cluster.settle().book == "paper", "it held nothing, and no order was open"


def test_suspension_does_not_wait_for_a_valid_spec(make_running: Make) -> None:
    cluster = make_running().edit({"spec.capital.stage": "none-such", "spec.suspend": True}).settle()
    assert cluster.children[kinds.DEPLOYMENT]["spec"]["replicas"] == 0


# 6. A live pod without our finalizer, and hand edits


def test_live_pod_whose_successor_is_refused_keeps_the_finalizer(make_live: Make) -> None:
    cluster = make_live({"spec.updatePolicy": "Auto"}).edit({"spec.mode": "Paper"}).settle()
    cluster.report_live(openPositions=1)
    assert [apply.kind for apply in cluster.plan().applies] == [kinds.DEPLOYMENT]
    refused = Observation(cluster.bot, cluster.children, (Problem("ApplyRefused", "quota"),))
    assert plan(refused, cluster.platform, cluster.now_ns).finalizer is not False


def test_live_pod_whose_successor_has_to_wait_for_a_child_keeps_the_finalizer(make_live: Make) -> None:
    cluster = make_live({"spec.updatePolicy": "Auto"}).edit({"spec.mode": "Paper"}).settle()
    cluster.report_live(openPositions=1)
    cluster.children[kinds.SERVICE]["metadata"]["deletionTimestamp"] = format_time(cluster.now_ns)
    todo = cluster.plan()
    assert kinds.DEPLOYMENT not in [apply.kind for apply in todo.applies]
    assert todo.finalizer is not False


def test_second_replica_is_taken_back_while_an_update_waits(make_running: Make) -> None:
    cluster = make_running({"spec.updatePolicy": "Manual"}).report(openPositions=1).settle()
    cluster.platform = replace(cluster.platform, trader_image="registry.example/tradingbot-trader:2")
    cluster.settle()
    assert cluster.verdict("ConfigDrift")[0] == "True"
    cluster.children[kinds.DEPLOYMENT]["spec"]["replicas"] = 2
    cluster.settle()
    assert cluster.children[kinds.DEPLOYMENT]["spec"]["replicas"] == 1


# 7. Conditions, and noise


def refuse(cluster: Any) -> Any:
    cluster.clearance = IN_USE
    return cluster.settle().make_available().report_live().settle()


def test_refused_permit_that_a_person_has_to_mend_is_stalled(make_cluster: Make) -> None:
    cluster = refuse(make_cluster({"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}}))
    assert cluster.verdict("LiveEligible") == ("False", "AccountInUse")
    assert cluster.verdict("Stalled")[0] == "True"
    assert cluster.verdict("Reconciling")[0] == "False"


def test_too_old_key_costs_no_look_at_the_policies(make_live: Make) -> None:
    cluster = too_old(make_live()).settle().edit({"spec.capital.stage": "small"})
    too_old(cluster)
    assert not plan(Observation(cluster.bot, cluster.children), cluster.platform, cluster.now_ns).asks_clearance


def test_spec_whose_keys_wait_is_not_said_to_be_carried_out(make_live: Make) -> None:
    cluster = make_live().edit(OTHER_KEYS)
    cluster.report_live(digest=cluster.status["permit"]["digest"], openPositions=1).settle()
    cluster.report_live(digest=cluster.status["permit"]["digest"], openPositions=1).settle()
    assert cluster.verdict("ConfigDrift") == ("True", "WaitingUntilFlat")
    assert cluster.condition("Reconciling")["message"] != "The spec has been carried out."


# 8. What an idle trader says of every spec


def test_edit_that_broke_a_live_bot_can_be_taken_back(make_live: Make) -> None:
    cluster = make_live().edit({"spec.exchange": {"id": "binance", "network": "Testnet"}})
    rejected = {"generation": 2, "accepted": False, "digest": "v1:old", "reason": "ExchangeChanged"}
    cluster.report_live(config=rejected).settle().report_live(config=rejected, limit="0").settle()
    assert "--network=Testnet" in cluster.arguments
    idle = {"generation": 2, "accepted": False, "reason": "StoreMismatch", "message": "the volume is of Sandbox"}
    cluster.make_available().report_live(epoch=0, state="Halted", limit="0", preflight=None, config=idle).settle()
    cluster.edit({"spec.exchange": {"id": "binance", "network": "Sandbox"}})
    for _ in range(3):
        cluster.wait(30).report_live(
            epoch=0, state="Halted", limit="0", preflight=None, config=idle | {"generation": 3}
        ).settle()
    assert "--network=Sandbox" in cluster.arguments


def test_pod_of_another_venue_that_waits_is_drift_and_no_fault_of_the_spec(make_live: Make) -> None:
    cluster = make_live().edit({"spec.exchange": {"id": "binance", "network": "Testnet"}})
    rejected = {"generation": 2, "accepted": False, "digest": "v1:old", "reason": "ExchangeChanged"}
    cluster.report_live(config=rejected, openPositions=1).settle()
    assert cluster.verdict("ConfigDrift")[0] == "True"
    assert cluster.verdict("Stalled") == ("False", "NotStalled")


def test_venue_that_does_not_answer_is_waited_for_and_no_stall(make_running: Make) -> None:
    cluster = make_running().edit({"spec.symbols": ["ETH/USDT"]})
    asking = {"generation": 2, "accepted": False, "digest": "v1:old", "reason": "WaitingForVenue", "message": "503"}
    cluster.report(config=asking).settle()
    assert cluster.verdict("Stalled")[0] == "False"
    assert cluster.verdict("Reconciling")[0] == "True"


# 9. The operator's clock


def test_clock_that_jumps_forward_lets_no_update_in_beside_a_ready_trader_with_positions(make_live: Make) -> None:
    cluster = make_live()
    cluster.report_live(digest=cluster.status["permit"]["digest"], openPositions=1).settle()
    cluster.platform = replace(cluster.platform, trader_image="registry.example/tradingbot-trader:2")
    cluster.settle()
    before = cluster.children[kinds.DEPLOYMENT]
    assert cluster.verdict("ConfigDrift") == ("True", "WaitingUntilFlat")
    cluster.wait(120).settle()  # the pod is Ready all the while
    assert cluster.children[kinds.DEPLOYMENT] == before
