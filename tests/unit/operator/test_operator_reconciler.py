from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tradingbot_operator import kinds
from tradingbot_operator.children.platform import Platform
from tradingbot_operator.errors import ApiError, Conflict, Refused, Transient, classify
from tradingbot_operator.kinds import Key, Kind
from tradingbot_operator.kube import Listing
from tradingbot_operator.plan.guard import GuardReport
from tradingbot_operator.reconciler import Reconciler
from tradingbot_operator.store import Store

Raw = dict[str, Any]
Make = Callable[..., Any]
KEY = Key("desk-a", "btc")
NOW_NS = 1_750_000_000_000_000_000


class FakeApi:
    """An API server in memory; `fail` says which requests it answers with an error."""

    def __init__(self, store_as: Make) -> None:
        self.objects: dict[tuple[Kind, str, str], Raw] = {}
        self.calls: list[tuple[str, str]] = []
        self.events: list[Raw] = []
        self.warning = ""
        self.fail: dict[tuple[str, str], ApiError] = {}
        self._store_as = store_as
        self._version = 100

    def put(self, kind: Kind, manifest: Raw) -> Raw:
        self._version += 1
        stored = copy.deepcopy(manifest)
        stored["metadata"]["resourceVersion"] = str(self._version)
        self.objects[kind, stored["metadata"]["namespace"], stored["metadata"]["name"]] = stored
        return copy.deepcopy(stored)

    def _note(self, verb: str, kind: Kind) -> None:
        self.calls.append((verb, kind.name))
        if error := self.fail.get((verb, kind.name)):
            raise error

    async def list(self, kind: Kind, namespace: str | None) -> Listing:
        self._note("list", kind)
        found = [item for (of, where, _), item in self.objects.items() if of == kind and namespace in (None, where)]
        return Listing(copy.deepcopy(found), self._version)

    async def get(self, kind: Kind, namespace: str, name: str) -> Raw | None:
        self._note("get", kind)
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def apply(self, kind: Kind, manifest: Raw, *, force: bool) -> Raw:
        self._note("apply", kind)
        before = self.objects.get((kind, manifest["metadata"]["namespace"], manifest["metadata"]["name"]))
        assert force == (before is not None), "forced exactly when the object was seen"
        return self.put(kind, self._store_as(kind, manifest, before))

    async def apply_status(self, key: Key, status: Raw, *, resource_version: str) -> Raw:
        self._note("status", kinds.BOT)
        bot = self.objects.get((kinds.BOT, key.namespace, key.name))
        if bot is None:
            raise Refused("patch tradingbots/status", "not found", status=404)
        if bot["metadata"]["resourceVersion"] != resource_version:
            raise Conflict("patch tradingbots/status", "modified", status=409)
        return self.put(kinds.BOT, bot | {"status": bot.get("status", {}) | status})

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        self._note("delete", kind)
        assert self.objects.pop((kind, namespace, name))["metadata"]["uid"] == uid

    async def apply_finalizers(self, key: Key, finalizers: Sequence[str], *, uid: str) -> Raw:
        self._note("finalizers", kinds.BOT)
        bot = self.objects[kinds.BOT, key.namespace, key.name]
        assert bot["metadata"]["uid"] == uid
        return self.put(kinds.BOT, bot | {"metadata": bot["metadata"] | {"finalizers": [*finalizers]}})

    async def find_warning(self, namespace: str, kind: Kind, name: str) -> str:  # noqa: ARG002
        self._note("get", kinds.EVENT)
        return self.warning

    async def create_event(self, event: Raw) -> None:
        self._note("event", kinds.EVENT)
        self.events.append(event)

    def made(self) -> list[str]:
        return [kind for verb, kind in self.calls if verb == "apply"]

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] not in {"get", "list"}]


class FakeGuard:
    def __init__(self) -> None:
        self.report = GuardReport(())
        self.asked = 0

    async def check(self, bot: Raw) -> GuardReport:
        assert bot["metadata"]["name"] == "btc"
        self.asked += 1
        return self.report


class World:
    def __init__(self, api: FakeApi, platform: Platform, bot: Raw) -> None:
        self.api = api
        self.store = Store()
        self.guard = FakeGuard()
        self.reconciler = Reconciler(
            api, self.store, platform, self.guard, now_ns=lambda: NOW_NS, instance="operator-1"
        )
        self.store.put(kinds.BOT, api.put(kinds.BOT, bot))

    async def reconcile(self) -> float | None:
        return await self.reconciler.reconcile(KEY)

    @property
    def status(self) -> Raw:
        found: Raw = self.api.objects[kinds.BOT, "desk-a", "btc"].get("status", {})
        return found

    def stalled(self) -> Raw:
        found: Raw = next(item for item in self.status["conditions"] if item["type"] == "Stalled")
        return found


@pytest.fixture
def world(make_bot: Make, store_as: Make, platform: Platform) -> World:
    return World(FakeApi(store_as), platform, make_bot())


async def test_bot_that_nobody_knows_is_nothing_to_do(world: World) -> None:
    assert await world.reconciler.reconcile(Key("desk-a", "none")) is None
    assert world.api.calls == []


async def test_new_bot_is_carried_out_and_then_at_rest(world: World) -> None:
    await world.reconcile()
    assert world.api.made() == [kind.name for kind in kinds.BUILT_IN]
    assert world.status["permit"]["stage"] == "micro"
    assert [event["reason"] for event in world.api.events] == ["Permitted"]
    world.api.calls.clear()
    await world.reconcile()
    assert world.api.calls == []


async def test_operator_that_lost_its_memory_writes_nothing(world: World, platform: Platform) -> None:
    await world.reconcile()
    fresh = Store()
    for (kind, _, _), manifest in world.api.objects.items():
        fresh.put(kind, manifest)
    world.api.calls.clear()
    await Reconciler(
        world.api, fresh, platform, world.guard, now_ns=lambda: NOW_NS * 2, instance="operator-2"
    ).reconcile(KEY)
    assert world.api.calls == []


async def test_object_without_our_labels_is_found_before_it_would_be_overwritten(world: World) -> None:
    theirs = {"metadata": {"name": "btc-trader", "namespace": "desk-a", "uid": "theirs"}, "spec": {"ports": [1]}}
    before = world.api.put(kinds.SERVICE, theirs)
    await world.reconcile()
    assert world.api.objects[kinds.SERVICE, "desk-a", "btc-trader"] == before
    assert "Deployment" not in world.api.made()
    assert world.stalled()["reason"] == "OwnershipConflict"


async def test_child_that_lost_its_labels_gets_them_back(world: World) -> None:
    await world.reconcile()
    bare = copy.deepcopy(world.api.objects[kinds.LEASE, "desk-a", "btc-trader"])
    bare["metadata"].pop("labels")
    world.api.put(kinds.LEASE, bare)
    world.store.replace(kinds.LEASE, [], version=10_000, namespace=None)
    await world.reconcile()
    assert world.api.objects[kinds.LEASE, "desk-a", "btc-trader"]["metadata"]["labels"]["tradingbot.dev/bot"] == "btc"


async def test_refusal_is_said_and_the_deployment_is_not_started(world: World) -> None:
    world.api.fail["apply", "Lease"] = Refused("patch leases desk-a/btc-trader", "cannot create resource", status=403)
    await world.reconcile()
    assert "Service" in world.api.made()
    assert "Deployment" not in world.api.made()
    assert (world.stalled()["status"], world.stalled()["reason"]) == ("True", "ApplyRefused")
    assert "cannot create resource" in world.stalled()["message"]
    assert "ApplyRefused" in [event["reason"] for event in world.api.events]
    world.api.calls.clear()
    await world.reconcile()
    assert ("status", "TradingBot") not in world.api.calls
    world.api.fail.clear()
    await world.reconcile()
    assert world.stalled()["status"] == "False"


async def test_refusal_because_another_object_took_the_name_is_a_conflict(world: World) -> None:
    await world.reconcile()
    other = {"metadata": {"name": "btc-trader", "namespace": "desk-a", "uid": "theirs"}}
    child = copy.deepcopy(world.store.children(KEY)[kinds.SERVICE])
    assert child is not None
    child["spec"]["ports"] = []
    child["metadata"]["resourceVersion"] = "5000"
    world.store.put(kinds.SERVICE, child)
    world.api.put(kinds.SERVICE, other)
    world.api.fail["apply", "Service"] = Refused("patch services", "metadata.uid: field is immutable", status=422)
    with pytest.raises(Conflict):
        await world.reconcile()
    world.api.fail.clear()
    await world.reconcile()
    assert world.stalled()["reason"] == "OwnershipConflict"


async def test_transient_error_ends_the_attempt_and_is_raised(world: World) -> None:
    world.api.fail["apply", "Role"] = Transient("patch roles", "try later", status=429, retry_after_seconds=3)
    with pytest.raises(Transient):
        await world.reconcile()
    assert world.status == {}
    world.api.fail.clear()
    await world.reconcile()
    assert world.status["permit"]


async def test_conflict_about_a_child_makes_us_look_again(world: World) -> None:
    await world.reconcile()
    gone = copy.deepcopy(world.store.children(KEY)[kinds.LEASE])
    assert gone is not None
    gone["metadata"]["labels"] = {}
    gone["metadata"]["resourceVersion"] = "5000"
    world.store.put(kinds.LEASE, gone)
    del world.api.objects[kinds.LEASE, "desk-a", "btc-trader"]
    world.api.fail["apply", "Lease"] = Conflict("patch leases", "uid mismatch", status=409)
    with pytest.raises(Conflict):
        await world.reconcile()
    assert world.store.children(KEY)[kinds.LEASE] is None
    world.api.fail.clear()
    await world.reconcile()
    assert (kinds.LEASE, "desk-a", "btc-trader") in world.api.objects


async def test_status_is_written_only_about_the_bot_that_was_seen(world: World, make_bot: Make) -> None:
    world.api.put(kinds.BOT, make_bot({"metadata.generation": 2, "spec.capital": make_bot()["spec"]["capital"]}))
    with pytest.raises(Conflict):
        await world.reconcile()
    assert world.status == {}
    await world.reconcile()
    assert world.status["observedGeneration"] == 2


async def test_bot_that_was_deleted_meanwhile_is_forgotten(world: World) -> None:
    del world.api.objects[kinds.BOT, "desk-a", "btc"]
    assert await world.reconcile() is None
    assert world.store.bot(KEY) is None
    assert world.api.events == []


async def test_bot_that_went_between_conflict_and_look_is_forgotten(world: World) -> None:
    world.api.fail["status", "TradingBot"] = Conflict("patch tradingbots/status", "modified", status=409)
    del world.api.objects[kinds.BOT, "desk-a", "btc"]
    with pytest.raises(Conflict):
        await world.reconcile()
    assert world.store.bot(KEY) is None


async def test_status_that_may_not_be_written_is_an_error(world: World) -> None:
    world.api.fail["status", "TradingBot"] = Refused("patch tradingbots/status", "forbidden", status=403)
    with pytest.raises(Refused):
        await world.reconcile()


async def test_event_that_cannot_be_told_stops_nothing(world: World) -> None:
    world.api.fail["event", "Event"] = Refused("create events", "forbidden", status=403)
    await world.reconcile()
    assert world.status["permit"]


async def test_binding_is_deleted_before_it_is_made_anew(world: World) -> None:
    await world.reconcile()
    binding = copy.deepcopy(world.api.objects[kinds.ROLE_BINDING, "desk-a", "btc-trader"])
    binding["roleRef"]["name"] = "cluster-admin"
    world.store.put(kinds.ROLE_BINDING, world.api.put(kinds.ROLE_BINDING, binding))
    world.api.calls.clear()
    assert await world.reconcile() == 1.0
    assert world.api.writes() == [("delete", "RoleBinding")]
    world.store.replace(kinds.ROLE_BINDING, [], version=10_000, namespace=None)
    await world.reconcile()
    assert world.api.objects[kinds.ROLE_BINDING, "desk-a", "btc-trader"]["roleRef"]["name"] == "btc-trader"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((code, Transient) for code in (0, 401, 408, 429, 500, 503)),
        *((code, Refused) for code in (400, 403, 404, 422)),
        (409, Conflict),
    ],
)
def test_status_code_decides_what_the_operator_does_next(status: int, kind: type[ApiError]) -> None:
    error = classify("patch roles a/b", "no", status=status, retry_after_seconds=2.0)
    assert type(error) is kind
    assert str(error) == "patch roles a/b: no"
    if isinstance(error, Transient):
        assert error.retry_after_seconds == 2.0


LIVE = {"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}}


async def go_live(world: World, make_report: Make) -> None:
    """As far as the moment in which a live permit is due."""
    await world.reconcile()
    deployment = world.api.objects[kinds.DEPLOYMENT, "desk-a", "btc-trader"]
    deployment["status"] = {
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "conditions": [],
    }  # fmt: skip
    world.store.put(kinds.DEPLOYMENT, world.api.put(kinds.DEPLOYMENT, deployment))
    passed = {"passed": True, "at": "2025-06-15T15:06:40Z"}
    account = {"fingerprint": "0123456789ab"}
    template = deployment["metadata"]["annotations"]["tradingbot.dev/template-hash"]
    report = make_report(mode="Live", state="ReduceOnly", preflight=passed, account=account, template=template)
    bot = world.api.objects[kinds.BOT, "desk-a", "btc"]
    bot["status"]["trader"] = report
    world.store.put(kinds.BOT, world.api.put(kinds.BOT, bot))


@pytest.fixture
def live_world(make_bot: Make, store_as: Make, platform: Platform) -> World:
    return World(FakeApi(store_as), platform, make_bot(LIVE))


async def test_finalizer_is_written_before_the_live_pod_and_taken_away_after_everything(live_world: World) -> None:
    await live_world.reconcile()
    calls = live_world.api.writes()
    assert calls.index(("finalizers", "TradingBot")) < calls.index(("apply", "Deployment"))
    bot = live_world.api.objects[kinds.BOT, "desk-a", "btc"]
    bot["metadata"]["deletionTimestamp"] = "2025-06-15T15:06:40Z"
    live_world.store.put(kinds.BOT, live_world.api.put(kinds.BOT, bot))
    live_world.api.calls.clear()
    await live_world.reconcile()
    assert live_world.api.writes()[-1] == ("finalizers", "TradingBot")
    assert live_world.api.objects[kinds.BOT, "desk-a", "btc"]["metadata"]["finalizers"] == []


async def test_no_live_pod_without_its_finalizer(live_world: World) -> None:
    live_world.api.fail["finalizers", "TradingBot"] = Refused("patch tradingbots", "a policy says no", status=403)
    await live_world.reconcile()
    assert "Deployment" not in live_world.api.made()
    assert "a policy says no" in live_world.stalled()["message"]


async def test_live_permit_is_given_after_the_guard_has_looked_and_each_time_anew(
    live_world: World, make_report: Make
) -> None:
    await go_live(live_world, make_report)
    live_world.guard.report = GuardReport(("The policy `status` is not there.",))
    assert await live_world.reconcile() == 10.0
    assert "permit" not in live_world.status
    eligible = next(item for item in live_world.status["conditions"] if item["type"] == "LiveEligible")
    assert (eligible["status"], eligible["reason"]) == ("False", "PoliciesNotInForce")
    assert "`status` is not there" in eligible["message"]
    live_world.guard.report = GuardReport(())
    await live_world.reconcile()
    assert live_world.status["permit"]["mode"] == "Live"
    asked = live_world.guard.asked
    await live_world.reconcile()
    assert live_world.guard.asked == asked, "a permit that is held is asked for no more"


async def test_account_belongs_to_one_live_bot(live_world: World, make_report: Make, make_bot: Make) -> None:
    await go_live(live_world, make_report)
    other = make_bot(LIVE | {"metadata.name": "eth", "metadata.uid": "22222222-2222-3333-4444-555555555555"})
    account = {"fingerprint": "0123456789ab"}
    other["status"] = {"trader": make_report(mode="Live", uid=other["metadata"]["uid"], account=account)}
    other["status"]["permit"] = {
        "uid": other["metadata"]["uid"], "mode": "Live", "stage": "micro", "limit": "50", "digest": "v1:x",
        "specGeneration": 1, "issuedAt": "2025-06-15T15:06:40Z",
    }  # fmt: skip
    live_world.store.put(kinds.BOT, live_world.api.put(kinds.BOT, other))
    await live_world.reconcile()
    eligible = next(item for item in live_world.status["conditions"] if item["type"] == "LiveEligible")
    assert (eligible["status"], eligible["reason"]) == ("False", "AccountInUse")
    assert "desk-a/eth" in eligible["message"]
    assert "permit" not in live_world.status
