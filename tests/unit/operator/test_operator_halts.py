# ruff: noqa: ARG002  fakes of a protocol
"""Halts, as the operator sees them: which bots they latch while no trader obeys, however short they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_operator import kinds
from tradingbot_operator.errors import Transient
from tradingbot_operator.health import Health
from tradingbot_operator.intake import Intake
from tradingbot_operator.kinds import Key
from tradingbot_operator.lag import Lag
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.plan.halts import read_halts
from tradingbot_operator.queue import Backoff, KeyedQueue, Schedule
from tradingbot_operator.reconciler import Reconciler
from tradingbot_operator.store import News, Store
from tradingbot_operator.watches import Watches
from tradingbot_trader.control import latch as traders

Raw = dict[str, Any]
Make = Callable[..., Any]
NOW_NS = 1_750_000_000 * 10**9
PAST, FUTURE = "2025-06-15T15:06:39Z", "2025-06-15T15:06:41Z"
ENGAGE = {"engaged": True, "action": "CancelOrders"}


def build_halt(name: str = "all", version: int = 100, **spec: Any) -> Raw:
    return {"metadata": {"name": name, "uid": f"h-{name}", "resourceVersion": str(version)}, "spec": spec}


def latch_of(cluster: Any) -> tuple[str, str, str]:
    latch = cluster.status["killSwitch"]
    return latch["state"], latch.get("source", ""), latch.get("action", "")


# What the latch is


def test_halt_latches_a_bot_for_which_no_trader_runs(make_cluster: Make) -> None:
    cluster = make_cluster(halts=[build_halt("night", action="Flatten", reason="maintenance")]).settle()
    assert latch_of(cluster) == ("Stopping", "TradingHalt/night", "Flatten")
    assert cluster.status["killSwitch"]["reason"] == "maintenance"
    assert cluster.verdict("Halted") == ("True", "Latched")
    assert "delete TradingHalt/night" in cluster.condition("Halted")["message"]


def test_latch_outlives_the_halt(make_cluster: Make) -> None:
    cluster = make_cluster(halts=[build_halt()]).settle()
    before = copy.deepcopy(cluster.status["killSwitch"])
    cluster.halts = []
    assert cluster.wait(3600).settle().status["killSwitch"] == before


def test_halt_that_is_gone_when_the_bot_is_looked_at_latches_it(make_cluster: Make) -> None:
    cluster = make_cluster(asked=[build_halt("short", expiresAt=PAST)]).settle()
    assert latch_of(cluster) == ("Stopping", "TradingHalt/short", "CancelOrders")


def test_running_trader_obeys_by_itself(make_running: Make) -> None:
    cluster = make_running()
    cluster.halts = [build_halt()]
    writes = cluster.writes
    assert latch_of(cluster.settle()) == ("Armed", "", "")
    assert cluster.writes == writes


@pytest.mark.parametrize(
    "spec",
    [
        {"namespaces": ["desk-b"]},
        {"bots": ["eth"]},
        {"selector": {"matchLabels": {"a": "b"}}},
        {"expiresAt": PAST},
        {"expiresAt": "2025-06-15T15:06:40Z"},
    ],
)
def test_halt_of_others_or_of_the_past_is_no_stop(make_cluster: Make, spec: Raw) -> None:
    plain = make_cluster().settle()
    cluster = make_cluster(halts=[build_halt(**spec)]).settle()
    assert cluster.status == plain.status


@pytest.mark.parametrize("spec", [{}, {"bots": ["btc"]}, {"expiresAt": FUTURE}, {"expiresAt": "2025-02-30T00:00:00Z"}])
def test_halt_that_matches_is_a_stop(make_cluster: Make, spec: Raw) -> None:
    assert latch_of(make_cluster(halts=[build_halt(**spec)]).settle())[0] == "Stopping"


def test_strictest_of_all_sources_counts(make_cluster: Make) -> None:
    halts = [build_halt("a", action="ReduceOnly"), build_halt("b", action="Flatten"), build_halt("c")]
    cluster = make_cluster({"spec.killSwitch": ENGAGE}, halts=halts).settle()
    assert latch_of(cluster) == ("Stopping", "TradingHalt/b", "Flatten")


def test_stricter_halt_that_comes_later_makes_the_latch_stricter_under_its_id(make_cluster: Make) -> None:
    cluster = make_cluster(halts=[build_halt("a")]).settle()
    latch_id = cluster.status["killSwitch"]["id"]
    cluster.halts.append(build_halt("b", action="Flatten"))
    assert latch_of(cluster.settle()) == ("Stopping", "TradingHalt/b", "Flatten")
    cluster.halts = [build_halt("a", action="ReduceOnly")]
    assert latch_of(cluster.settle()) == ("Stopping", "TradingHalt/b", "Flatten"), "never milder"
    assert cluster.status["killSwitch"]["id"] == latch_id


def test_latch_is_released_by_its_id_when_the_halt_is_off(make_cluster: Make) -> None:
    cluster = make_cluster(halts=[build_halt()]).settle()
    latch_id = cluster.status["killSwitch"]["id"]
    cluster.edit({"spec.killSwitch": {"rearm": latch_id}}).settle()
    assert cluster.status["killSwitch"]["id"] == latch_id, "the halt asks still"
    cluster.halts = []
    assert latch_of(cluster.settle()) == ("Armed", "", "")


def test_same_halt_never_brings_a_released_id_back(make_cluster: Make) -> None:
    cluster = make_cluster(halts=[build_halt()]).settle()
    first = cluster.status["killSwitch"]["id"]
    halts, cluster.halts = cluster.halts, []
    cluster.edit({"spec.killSwitch": {"rearm": first}}).settle()
    cluster.halts = halts  # the bot has its label again
    cluster.settle()
    cluster.halts = []
    assert latch_of(cluster.settle())[0] == "Stopping"
    assert cluster.status["killSwitch"]["id"] != first


def test_second_operator_mints_the_same_id(make_cluster: Make) -> None:
    ids = {make_cluster(halts=[build_halt()]).settle().status["killSwitch"]["id"] for _ in range(2)}
    others = {make_cluster(halts=[build_halt("b")]).settle().status["killSwitch"]["id"]}
    assert len(ids) == 1
    assert ids.isdisjoint(others)


# One rule in two programs

WORDS = st.sampled_from(["a", "b", "c"])
LABELS = st.dictionaries(WORDS, WORDS, max_size=2)
SPECS: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {},
    optional={
        "namespaces": st.none() | st.lists(WORDS, max_size=2),
        "bots": st.none() | st.lists(WORDS, max_size=2),
        "selector": st.sampled_from([None, 1, {}, {"matchLabels": 3}])
        | st.builds(lambda labels: {"matchLabels": labels}, LABELS),
        "action": st.sampled_from(["ReduceOnly", "CancelOrders", "Flatten", "Sell", "", 7, None]),
        "reason": st.sampled_from(["", "why", 3, None]),
        "expiresAt": st.sampled_from(
            [PAST, FUTURE, "2025-06-15T15:06:40Z", "2025-06-15T17:06:40+02:00", "2025-06-15T15:06:40", "soon", 5, None]
        ),
    },
)
NO_SPEC: st.SearchStrategy[Any] = st.sampled_from([None, 4, "x"])


@given(
    specs=st.lists(SPECS | NO_SPEC, max_size=4),
    namespace=WORDS,
    name=WORDS,
    labels=LABELS | st.none(),
    now_ns=st.sampled_from([NOW_NS, NOW_NS - 1, NOW_NS + 1]) | st.integers(NOW_NS - 2 * 10**9, NOW_NS + 2 * 10**9),
)
def test_operator_and_trader_read_a_halt_alike(
    specs: list[Any], namespace: str, name: str, labels: Raw | None, now_ns: int
) -> None:
    bot = {"metadata": {"namespace": namespace, "name": name, "labels": labels}}
    halts = [{"metadata": {"name": f"h{number}"}, "spec": spec} for number, spec in enumerate(specs)]
    ours = [(each.source, each.action, each.reason) for each in read_halts(bot, halts, now_ns)]
    theirs = [(each.source, each.action, each.reason) for each in traders.read_halts(bot, halts, now_ns)]
    assert ours == theirs


# How it comes in


class Inlet:
    """What is seen goes in, keys and halts come out."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS
        self.store = Store()
        self.queue = KeyedQueue(Schedule(Backoff(1, 1)), clock=lambda: 0.0, random=lambda: 0.0)
        self.watches = Watches((), grace_seconds=10.0)
        self.watches.expect(kinds.HALT)
        health = Health(self.watches, Lag(1.0, 30.0), limit_seconds=300, last_sign_at=0.0, is_leading=True)
        self.intake = Intake(self.store, self.queue, health, Metrics(), clock=lambda: 0.0, now_ns=lambda: self.now_ns)

    def add_bots(self, *names: str) -> None:
        for number, name in enumerate(names):
            metadata = {"name": name, "namespace": "desk-a", "resourceVersion": str(number + 1)}
            self.store.put(kinds.BOT, {"metadata": metadata})

    def see(self, halt: Raw, *, is_gone: bool = False) -> None:
        self.intake.see(kinds.HALT, halt, is_gone=is_gone)

    async def drain(self) -> list[str]:
        """All bots that are due are looked at: they have heard what asks, and are due no more."""
        looked_at = []
        while len(self.queue):
            key = await self.queue.get()
            assert key is not None
            self.store.heard(key, self.store.asked(key))
            self.queue.done(key, again_in_seconds=None)
            looked_at.append(key.name)
        return sorted(looked_at)

    def asked(self, name: str) -> list[str]:
        return [each["metadata"]["name"] for each in self.store.asked(Key("desk-a", name))]


@pytest.fixture
def inlet() -> Inlet:
    made = Inlet()
    made.add_bots("btc", "eth")
    return made


def test_halt_puts_the_bots_that_it_matches_into_the_queue(inlet: Inlet) -> None:
    inlet.see(build_halt(bots=["eth"]))
    assert (inlet.asked("btc"), inlet.asked("eth"), len(inlet.queue)) == ([], ["all"], 1)


def test_halt_that_comes_and_goes_before_the_bot_is_looked_at_is_remembered(inlet: Inlet) -> None:
    inlet.see(build_halt(bots=["btc"]))
    inlet.see(build_halt(version=101, bots=["btc"]), is_gone=True)
    assert (inlet.store.halts(), inlet.asked("btc")) == ((), ["all"])


def test_halt_of_which_only_the_end_is_seen_has_asked(inlet: Inlet) -> None:
    inlet.see(build_halt(), is_gone=True)
    assert inlet.asked("btc") == ["all"]


async def test_end_of_a_halt_that_was_heard_asks_nobody_again_and_has_the_bots_looked_at(inlet: Inlet) -> None:
    inlet.see(build_halt(bots=["btc"]))
    assert await inlet.drain() == ["btc"]
    inlet.see(build_halt(version=101, bots=["btc"]), is_gone=True)
    assert inlet.asked("btc") == []
    assert await inlet.drain() == ["btc"]
    inlet.see(build_halt(version=101, bots=["btc"]), is_gone=True)
    inlet.see(build_halt(bots=["btc"]))
    assert inlet.asked("btc") == [], "an old event is no news"


def test_halt_that_a_list_shows_gone_asks_nobody_again(inlet: Inlet) -> None:
    inlet.see(build_halt())
    for name in ("btc", "eth"):
        inlet.store.heard(Key("desk-a", name), inlet.store.asked(Key("desk-a", name)))
    news = inlet.store.replace(kinds.HALT, [], version=200, namespace=None)
    inlet.intake.see_list(kinds.HALT, news, namespace=None)
    inlet.see(build_halt(version=150), is_gone=True)
    assert inlet.asked("btc") == []


def test_halt_that_only_a_list_shows_asks(inlet: Inlet) -> None:
    news = inlet.store.replace(kinds.HALT, [build_halt(bots=["eth"])], version=200, namespace=None)
    inlet.intake.see_list(kinds.HALT, news, namespace=None)
    assert inlet.asked("eth") == ["all"]
    inlet.watches.opened(next(each for each in inlet.watches.ids if each.plural == "tradinghalts"))
    inlet.intake.see_list(kinds.HALT, [News(build_halt(version=201), 201)], namespace=None)
    assert [each.plural for each in inlet.watches.judge(11.0)] == ["tradinghalts"], "its watch is dead"


def test_expired_halt_asks_nobody(inlet: Inlet) -> None:
    inlet.see(build_halt(expiresAt=PAST))
    assert inlet.asked("btc") == []


async def test_halt_that_is_narrowed_has_those_looked_at_that_it_matched_before(inlet: Inlet) -> None:
    inlet.see(build_halt())
    assert await inlet.drain() == ["btc", "eth"]
    inlet.see(build_halt(version=101, bots=["btc"]))
    assert (inlet.asked("btc"), inlet.asked("eth")) == (["all"], [])
    assert await inlet.drain() == ["btc", "eth"]


def test_halt_that_asks_anew_while_the_bot_is_looked_at_is_heard_the_next_time(inlet: Inlet) -> None:
    key = Key("desk-a", "btc")
    inlet.see(build_halt())
    taken = inlet.store.asked(key)
    inlet.see(build_halt(version=101, action="Flatten"))
    inlet.store.heard(key, taken)
    assert [each["spec"].get("action") for each in inlet.store.asked(key)] == ["Flatten"]


class Api:
    """Takes every write, or refuses the status for a while."""

    def __init__(self) -> None:
        self.is_away = False
        self.version = 1000
        self.latch: Raw = {}

    async def get(self, kind: Any, namespace: str, name: str) -> None:
        return None

    async def apply(self, kind: Any, manifest: Raw, *, force: bool) -> Raw:
        self.version += 1
        return manifest | {"metadata": manifest["metadata"] | {"resourceVersion": str(self.version), "uid": "c"}}

    async def apply_status(self, key: Key, status: Raw, *, resource_version: str) -> Raw:
        if self.is_away:
            raise Transient("apply status", "no answer")
        self.latch = status["killSwitch"]
        self.version += 1
        metadata = {"name": "btc", "namespace": "desk-a", "uid": "u", "resourceVersion": str(self.version)}
        return {"metadata": metadata, "status": status}

    async def create_event(self, event: Raw) -> None:
        return


async def test_short_halt_is_kept_until_the_latch_is_written(make_bot: Make, make_cluster: Make) -> None:
    api, inlet = Api(), Inlet()
    inlet.store.put(kinds.BOT, make_bot({"metadata.uid": "u"}))
    reconciler = Reconciler(
        api,  # type: ignore[arg-type]  # a part of the protocol
        inlet.store,
        make_cluster().platform,
        None,  # type: ignore[arg-type]  # no live permit is asked for
        now_ns=lambda: NOW_NS,
        instance="o",
    )
    inlet.see(build_halt())
    inlet.see(build_halt(version=101), is_gone=True)
    api.is_away = True
    with pytest.raises(Transient):
        await reconciler.reconcile(Key("desk-a", "btc"))
    assert inlet.asked("btc") == ["all"]
    api.is_away = False
    await reconciler.reconcile(Key("desk-a", "btc"))
    assert (api.latch["source"], inlet.asked("btc")) == ("TradingHalt/all", [])
