"""SHELL. Takes keys from the queue and has them reconciled. No failure of a key ends it, and none loses a key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from structlog.contextvars import bound_contextvars

from tradingbot_operator.errors import Conflict, OperatorError, Transient
from tradingbot_operator.kinds import Key
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.queue import KeyedQueue

log = structlog.get_logger(__name__)


async def work(
    queue: KeyedQueue,
    reconcile: Callable[[Key], Awaitable[float | None]],
    metrics: Metrics,
    *,
    clock: Callable[[], float],
) -> None:
    """Until the queue is closed. Each line that is logged meanwhile, by whomever, carries the bot's name."""
    while (key := await queue.get()) is not None:
        started_at = clock()
        with bound_contextvars(bot=str(key)):
            await _reconcile(key, queue, reconcile, metrics)
        metrics.reconciled(clock() - started_at)
        # A bot with nothing to do suspends nowhere: thousands in a row, after a re-list, would starve the Lease.
        await asyncio.sleep(0)


async def _reconcile(
    key: Key, queue: KeyedQueue, reconcile: Callable[[Key], Awaitable[float | None]], metrics: Metrics
) -> None:
    try:
        again_in_seconds = await reconcile(key)
    except OperatorError as error:
        metrics.failed(error.reason)
        wish_seconds = error.retry_after_seconds if isinstance(error, Transient) else 0.0
        delay_seconds = queue.failed(key, at_least_seconds=wish_seconds)
        # A conflict is how it should be: somebody was faster, and we look again.
        tell = log.debug if isinstance(error, Conflict) else log.warning
        tell("reconciliation failed", error=str(error), retry_in_seconds=round(delay_seconds, 3))
    except Exception:
        metrics.failed("Defect")
        delay_seconds = queue.failed(key)
        log.exception("reconciliation failed", retry_in_seconds=round(delay_seconds, 3))
    else:
        queue.done(key, again_in_seconds=again_in_seconds)
