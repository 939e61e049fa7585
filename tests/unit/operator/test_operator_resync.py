from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from support.virtual import run
from tradingbot_operator import kinds
from tradingbot_operator.errors import ApiError, Refused, Transient
from tradingbot_operator.health import Health
from tradingbot_operator.intake import Intake
from tradingbot_operator.kinds import Key, Kind
from tradingbot_operator.kube import Listing
from tradingbot_operator.lag import Lag
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.queue import Backoff, KeyedQueue, Schedule
from tradingbot_operator.resync import Resync
from tradingbot_operator.store import Store
from tradingbot_operator.watches import Watches

GRACE_SECONDS = 10.0
BOT = {"metadata": {"name": "btc", "namespace": "desk-a", "resourceVersion": "5"}}
A_LIST = len((*kinds.CHILDREN, kinds.BOT, kinds.HALT))
"""Requests of one."""


class Cluster:
    """Bots on an API server, and the watch of them. Everything else is empty."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.errors: list[ApiError] = []
        self.unknown: set[Kind] = set()
        self.forbidden: set[Kind] = set()
        self.version = 10
        self.bots: dict[str, dict[str, Any]] = {"btc": BOT}
        self.on_event: Callable[[dict[str, Any]], None] | None = None
        """None while the watch is dead."""
        self.delay_seconds = 0.0
        """How long an event is under way."""
        self.missed: list[dict[str, Any]] = []

    async def list(self, kind: Kind, namespace: str | None) -> Listing | None:
        self.asked.append((kind.name, namespace))
        if self.errors:
            raise self.errors.pop(0)
        if kind in self.forbidden:
            raise Refused(f"list {kind.plural}", "forbidden", status=403)
        if kind in self.unknown:
            return None
        return Listing(list(self.bots.values()) if kind == kinds.BOT else [], self.version)

    def change(self, name: str = "btc") -> None:
        self.version += 1
        metadata = {"name": name, "namespace": "desk-a", "resourceVersion": str(self.version)}
        self.bots[name] = {"metadata": metadata}
        if self.on_event is None:
            self.missed.append(self.bots[name])
        else:
            asyncio.get_running_loop().call_later(self.delay_seconds, self.on_event, self.bots[name])


class World:
    def __init__(self, *, namespaces: tuple[str, ...] = (), interval_seconds: float = 60.0) -> None:
        self.api = Cluster()
        self.clock = asyncio.get_running_loop().time
        self.store = Store()
        self.watches = Watches(namespaces, grace_seconds=GRACE_SECONDS)
        self.health = Health(self.watches, Lag(1.0, 30.0), limit_seconds=300, last_sign_at=0.0, is_leading=True)
        self.metrics = Metrics()
        self.queue = KeyedQueue(Schedule(Backoff(1, 1)), clock=self.clock, random=lambda: 0.0)
        self.intake = Intake(self.store, self.queue, self.health, self.metrics, clock=self.clock, now_ns=lambda: 0)
        self.cuts: list[float] = []
        self.is_revived_by_cut = True
        self.was_complete: list[bool] = []
        """At each question for the records."""
        self.resync = Resync(
            self.api,  # type: ignore[arg-type]  # it lists, and nothing more is asked of it
            self.store,
            self.intake,
            self.health,
            self.metrics,
            namespaces=namespaces,
            interval_seconds=interval_seconds,
            clock=self.clock,
            wall_clock=lambda: 1.0,
            random=lambda: 0.0,
            reopen_watches=self.cut,
            list_records=self.list_records,
        )

    async def list_records(self) -> None:
        self.was_complete.append(self.resync.is_complete.is_set())

    def open(self) -> None:
        """As kopf does once the first list is there; what was missed comes first."""
        for watch_id in self.watches.ids:
            self.watches.opened(watch_id)
        self.api.on_event = lambda bot: self.intake.see(kinds.BOT, bot, is_gone=False)
        for bot in self.api.missed:
            self.api.on_event(bot)
        self.api.missed.clear()

    def cut(self) -> int:
        self.cuts.append(self.clock())
        if self.is_revived_by_cut:
            self.open()
        return 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.resync.run())
        await self.resync.is_complete.wait()
        self.open()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def trouble(self) -> str:
        return self.health.why_dead(self.clock())

    def missed_total(self) -> float:
        found = re.search(r'watch_missed_total\{resource="tradingbots"\} (\S+)', self.metrics.render().decode())
        return float(found[1]) if found else 0.0


def virtually(test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        await test(World())

    run(scenario())


async def test_records_are_known_before_the_first_bot_is_looked_at() -> None:
    world = World()
    await world.resync.list_all()
    await world.resync.list_all()
    assert world.was_complete == [False, True]


async def test_list_brings_each_bot_into_the_queue() -> None:
    world = World()
    await world.resync.list_all()
    assert await world.queue.get() == Key("desk-a", "btc")
    assert world.resync.is_complete.is_set()
    assert world.health.is_listed
    assert world.health.last_sign_at > 0.0


async def test_every_kind_is_listed_leases_too() -> None:
    world = World()
    await world.resync.list_all()
    assert world.api.asked == [(kind.name, None) for kind in (*kinds.CHILDREN, kinds.BOT, kinds.HALT)]


async def test_kind_that_the_api_server_does_not_have_is_forgotten_until_it_has_it() -> None:
    world, key = World(), Key("desk-a", "btc")
    await world.resync.list_all()
    assert set(kinds.OPTIONAL) <= set(world.store.children(key))
    world.api.unknown = {kinds.POD_MONITOR}
    await world.resync.list_all()
    assert set(kinds.CHILDREN) - set(world.store.children(key)) == {kinds.POD_MONITOR}
    assert world.health.is_listed
    world.api.unknown = set()
    await world.resync.list_all()
    assert kinds.POD_MONITOR in world.store.children(key)


async def test_namespaced_installation_asks_for_nothing_else() -> None:
    world = World(namespaces=("a", "b"))
    await world.resync.list_all()
    assert {namespace for kind, namespace in world.api.asked if kind != "TradingHalt"} == {"a", "b"}
    assert world.api.asked[-1] == ("TradingHalt", None), "of no namespace"


def test_failed_list_is_no_sign_of_life_and_is_tried_again() -> None:
    async def test(world: World) -> None:
        world.api.errors = [Transient("list roles", "no answer"), Refused("list roles", "forbidden", status=403)]
        async with world.running():
            assert 'reason="Refused"} 1.0' in world.metrics.render().decode()
            assert 0.0 < world.clock() < 3.0

    virtually(test)


async def test_incomplete_list_changes_nothing() -> None:
    world = World()
    world.store.put(kinds.BOT, BOT)
    world.api.errors = [Transient("list", "no answer")]
    with pytest.raises(Transient):
        await world.resync.list_all()
    assert not world.resync.is_complete.is_set()
    assert not world.health.is_listed
    assert len(world.queue) == 0


def test_list_is_repeated_each_interval() -> None:
    async def test(world: World) -> None:
        async with world.running():
            await asyncio.sleep(150.0)
            assert world.api.asked.count((kinds.BOT.name, None)) == 3

    virtually(test)


def test_quiet_cluster_raises_no_alarm_in_an_hour() -> None:
    async def test(world: World) -> None:
        async with world.running():
            for _ in range(3600):
                await asyncio.sleep(1.0)
                assert world.trouble == ""
        assert world.cuts == []

    virtually(test)


def test_busy_cluster_with_slow_watches_raises_no_alarm_in_an_hour() -> None:
    """Each list comes while some events are still under way."""

    async def test(world: World) -> None:
        world.api.delay_seconds = GRACE_SECONDS - 0.5
        async with world.running():
            for second in range(3600):
                world.api.change(f"bot-{second % 7}")
                await asyncio.sleep(1.0)
                assert world.trouble == ""
        assert world.cuts == []

    virtually(test)


def test_dead_watch_is_found_told_and_opened_anew_within_two_intervals() -> None:
    async def test(world: World) -> None:
        world.is_revived_by_cut = False
        async with world.running():
            assert await world.queue.get() == Key("desk-a", "btc")
            world.queue.done(Key("desk-a", "btc"), again_in_seconds=None)
            await asyncio.sleep(90.0)
            world.api.on_event = None  # from now on it swallows everything
            world.api.change("eth")
            died_at = world.clock()
            await asyncio.sleep(31.0)
            assert world.store.bot(Key("desk-a", "eth")) is not None, "the list has shown it"
            assert world.trouble == "", "a suspicion is no proof"
            await asyncio.sleep(GRACE_SECONDS)
            assert "the watch of tradingbots is dead: it did not show desk-a/eth" in world.trouble
            assert world.missed_total() == 1.0
            world.is_revived_by_cut = True
            await asyncio.sleep(GRACE_SECONDS)  # it did not answer after the first cut
            assert len(world.cuts) == 2
            assert world.trouble == ""
            assert world.clock() - died_at < 120.0
            lists_before = len(world.api.asked)
            await asyncio.sleep(600.0)
            assert world.trouble == ""
            assert len(world.cuts) == 2
            assert len(world.api.asked) - lists_before <= 11 * A_LIST, "no storm of lists"

    virtually(test)


def test_watch_that_stays_dead_stays_told_so_that_the_process_is_ended() -> None:
    async def test(world: World) -> None:
        world.is_revived_by_cut = False
        async with world.running():
            world.api.on_event = None
            world.api.change()
            await asyncio.sleep(80.0)
            lists_before = len(world.api.asked)
            for _ in range(600):
                await asyncio.sleep(1.0)
                assert "is dead" in world.trouble
            assert len(world.api.asked) - lists_before <= 101 * A_LIST, "ten times as often as else, no storm"

    virtually(test)


def test_bot_that_fails_is_not_hammered_by_lists_and_news_of_it_is_tried_at_once() -> None:
    async def test(world: World) -> None:
        async with world.running():
            key = Key("desk-a", "btc")
            assert await world.queue.get() == key
            world.queue.failed(key, at_least_seconds=600.0)
            await asyncio.sleep(300.0)
            assert len(world.queue) == 0
            world.api.change()
            await asyncio.sleep(1.0)
            assert len(world.queue) == 1

    virtually(test)


def see(world: World, kind: Kind, version: int, *, is_gone: bool = False) -> int:
    labels = {"tradingbot.dev/bot": "btc", "app.kubernetes.io/managed-by": "tradingbot-operator"}
    name = "btc" if kind == kinds.BOT else "btc-trader"
    metadata = {"name": name, "namespace": "desk-a", "resourceVersion": str(version), "labels": labels}
    world.intake.see(kind, {"metadata": metadata}, is_gone=is_gone)
    return len(world.queue)


async def test_watch_event_of_a_child_queues_its_bot() -> None:
    world = World()
    assert see(world, kinds.SERVICE, 7) == 1
    assert await world.queue.get() == Key("desk-a", "btc")
    assert world.health.last_sign_at > 0.0


async def test_echo_of_what_is_known_queues_nothing() -> None:
    world = World()
    world.store.put(kinds.BOT, BOT)
    assert see(world, kinds.BOT, 5) == 0
    assert see(world, kinds.BOT, 6) == 1


async def test_deleted_child_queues_its_bot() -> None:
    world = World()
    see(world, kinds.SERVICE, 7)
    await world.queue.get()
    world.queue.done(Key("desk-a", "btc"), again_in_seconds=None)
    assert see(world, kinds.SERVICE, 9, is_gone=True) == 1


async def test_object_that_names_no_bot_queues_nothing() -> None:
    world = World()
    world.intake.see(
        kinds.SERVICE, {"metadata": {"name": "x", "namespace": "y", "resourceVersion": "1"}}, is_gone=False
    )
    assert len(world.queue) == 0


async def test_halts_that_may_not_be_listed_are_told_once_and_take_nothing_else_down() -> None:
    world = World()
    world.api.forbidden = {kinds.HALT}
    with structlog.testing.capture_logs() as logged:
        await world.resync.list_all()
        await world.resync.list_all()
    assert [line["log_level"] for line in logged] == ["error"]
    assert "tradinghalts" in logged[0]["hint"]
    assert world.health.is_listed
    assert not world.resync.sees_halts
    assert "tradingbot_operator_halts_seen 0.0" in world.metrics.render().decode()
    world.api.forbidden = set()
    await world.resync.list_all()
    assert world.resync.sees_halts
    assert "tradingbot_operator_halts_seen 1.0" in world.metrics.render().decode()
