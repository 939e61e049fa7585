from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tradingbot_operator import kinds
from tradingbot_operator.errors import ApiError, Refused, Transient
from tradingbot_operator.health import Health
from tradingbot_operator.intake import Intake
from tradingbot_operator.kinds import Key, Kind
from tradingbot_operator.kube import Listing
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.queue import Backoff, KeyedQueue, Schedule
from tradingbot_operator.resync import Resync
from tradingbot_operator.store import Store

BOT = {"metadata": {"name": "btc", "namespace": "desk-a", "resourceVersion": "5"}}


class Lists:
    """The part of the API that a re-list uses."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.errors: list[ApiError] = []
        self.bots: list[dict[str, Any]] = [BOT]
        self.thrice = asyncio.Event()

    async def list(self, kind: Kind, namespace: str | None) -> Listing:
        self.asked.append((kind.name, namespace))
        if self.asked.count((kinds.BOT.name, None)) == 3:
            self.thrice.set()
        if self.errors:
            raise self.errors.pop(0)
        return Listing(self.bots if kind == kinds.BOT else [], 10)


class World:
    def __init__(self, *, namespaces: tuple[str, ...] = (), interval_seconds: float = 0.001) -> None:
        self.api = Lists()
        self.now = 100.0
        self.store = Store()
        self.health = Health(limit_seconds=60, last_sign_at=0.0)
        self.metrics = Metrics()
        self.queue = KeyedQueue(Schedule(Backoff(1, 1)), clock=lambda: self.now, random=lambda: 0.0)
        self.intake = Intake(self.store, self.queue, self.health, self.metrics, clock=lambda: self.now)
        self.resync = Resync(
            self.api,  # type: ignore[arg-type]  # it lists, and nothing more is asked of it
            self.store,
            self.intake,
            self.health,
            self.metrics,
            namespaces=namespaces,
            interval_seconds=interval_seconds,
            clock=lambda: self.now,
            wall_clock=lambda: 1.0,
            random=lambda: 0.0,
        )


async def test_list_brings_each_bot_into_the_queue() -> None:
    world = World()
    await world.resync.list_all()
    assert await world.queue.get() == Key("desk-a", "btc")
    assert world.resync.is_complete.is_set()
    assert world.health.is_listed
    assert world.health.last_sign_at == 100.0


async def test_every_kind_is_listed_leases_too() -> None:
    world = World()
    await world.resync.list_all()
    assert world.api.asked == [(kind.name, None) for kind in (*kinds.CHILDREN, kinds.BOT)]


async def test_namespaced_installation_asks_for_nothing_else() -> None:
    world = World(namespaces=("a", "b"))
    await world.resync.list_all()
    assert {namespace for _, namespace in world.api.asked} == {"a", "b"}


async def test_failed_list_is_no_sign_of_life_and_is_tried_again() -> None:
    world = World()
    world.api.errors = [Transient("list roles", "no answer"), Refused("list roles", "forbidden", status=403)]
    task = asyncio.create_task(world.resync.run())
    await asyncio.wait_for(world.resync.is_complete.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 'reason="Refused"} 1.0' in world.metrics.render().decode()


async def test_incomplete_list_changes_nothing() -> None:
    world = World()
    world.store.put(kinds.BOT, BOT)
    world.api.errors = [Transient("list", "no answer")]
    with pytest.raises(Transient):
        await world.resync.list_all()
    assert not world.resync.is_complete.is_set()
    assert not world.health.is_listed
    assert len(world.queue) == 0


async def test_list_is_repeated() -> None:
    world = World()
    task = asyncio.create_task(world.resync.run())
    await asyncio.wait_for(world.api.thrice.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


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
    assert world.health.last_sign_at == 100.0


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
