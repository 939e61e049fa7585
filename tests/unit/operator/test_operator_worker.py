from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from tradingbot_operator.errors import Conflict, Transient
from tradingbot_operator.kinds import Key
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.queue import Backoff, KeyedQueue, Schedule
from tradingbot_operator.worker import work

A, B = Key("ns", "a"), Key("ns", "b")
Reconcile = Callable[[Key], Awaitable[float | None]]


async def run(reconcile: Reconcile, *keys: Key, until: asyncio.Event, workers: int = 1) -> Metrics:
    loop = asyncio.get_running_loop()
    queue = KeyedQueue(Schedule(Backoff(0.001, 0.01)), clock=loop.time, random=lambda: 0.5)
    metrics = Metrics()
    for key in keys:
        queue.add(key)
    tasks = [asyncio.create_task(work(queue, reconcile, metrics, clock=loop.time)) for _ in range(workers)]
    await asyncio.wait_for(until.wait(), 10)
    queue.close()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    return metrics


async def test_failure_of_one_key_loses_neither_it_nor_the_others() -> None:
    seen: list[Key] = []
    enough = asyncio.Event()
    errors = [Transient("patch", "later"), Conflict("patch", "old"), RuntimeError("a defect"), ValueError("another")]

    async def reconcile(key: Key) -> None:
        seen.append(key)
        if key == A and errors:
            raise errors.pop(0)
        if seen.count(A) == 5 and B in seen:
            enough.set()

    metrics = await run(reconcile, A, B, until=enough)
    assert seen.count(A) == 5
    assert seen.count(B) == 1
    text = metrics.render().decode()
    assert 'reconcile_errors_total{reason="Transient"} 1.0' in text
    assert 'reconcile_errors_total{reason="Conflict"} 1.0' in text
    assert 'reconcile_errors_total{reason="Defect"} 2.0' in text
    assert "reconcile_seconds_count 6.0" in text


async def test_key_comes_again_when_its_reconciliation_asked_for_it() -> None:
    seen: list[Key] = []
    enough = asyncio.Event()

    async def reconcile(key: Key) -> float | None:
        seen.append(key)
        if len(seen) == 3:
            enough.set()
            return None
        return 0.001

    await run(reconcile, A, until=enough)
    assert seen == [A, A, A]


async def test_every_line_about_a_bot_carries_its_name_and_no_other() -> None:
    """Whoever logs, and however the bots take turns."""
    lines = structlog.get_logger("somebody")
    enough, left = asyncio.Event(), {A, B}

    async def reconcile(key: Key) -> None:
        lines.info("begun", expected=str(key))
        await asyncio.sleep(0)
        lines.info("told by a task of its own", expected=str(key))
        left.discard(key)
        if not left:
            enough.set()
        if key == A:
            raise Transient("patch roles", "later")

    with structlog.testing.capture_logs(processors=(structlog.contextvars.merge_contextvars,)) as logged:
        await run(reconcile, A, B, until=enough, workers=2)
    assert len([line for line in logged if "expected" in line]) >= 4
    assert [line for line in logged if line["bot"] != line.get("expected", "ns/a")] == []
    assert "reconciliation failed" in {line["event"] for line in logged}


async def test_key_that_fails_delays_no_other() -> None:
    """One worker, one key that fails at once each time, and many that do not."""
    others = [Key("ns", f"bot-{number}") for number in range(50)]
    seen: list[Key] = []
    enough = asyncio.Event()

    async def reconcile(key: Key) -> None:
        seen.append(key)
        if key == A:
            raise Transient("patch roles", "later", retry_after_seconds=3600.0)
        if set(others) <= set(seen):
            enough.set()

    await run(reconcile, A, *others, until=enough)
    assert seen == [A, *others]


async def test_no_more_keys_at_once_than_workers() -> None:
    running = most = 0
    left = {Key("ns", f"bot-{number}") for number in range(20)}
    enough = asyncio.Event()

    async def reconcile(key: Key) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running -= 1
        left.discard(key)
        if not left:
            enough.set()

    await run(reconcile, *left, until=enough, workers=3)
    assert most == 3


async def test_bots_with_nothing_to_do_leave_the_loop_to_others_between_them() -> None:
    """After a re-list of thousands: plans without a request suspend nowhere, and the Lease would not be renewed."""
    keys = [Key("ns", f"b{number}") for number in range(200)]
    done, turns = asyncio.Event(), 0
    left = set(keys)

    async def reconcile(key: Key) -> None:
        left.discard(key)
        if not left:
            done.set()

    async def renew() -> None:
        nonlocal turns
        while left:
            turns += 1
            await asyncio.sleep(0)

    renewing = asyncio.create_task(renew())
    await run(reconcile, *keys, until=done, workers=4)
    await renewing
    assert turns >= len(keys) / 4
