"""SHELL. Composition root: settings -> log -> clients -> store and queue -> workers and re-list -> kopf.

One replica: there is no election yet, and two operators would do everything twice (harmless, but not quiet).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable
from importlib.metadata import version

import structlog
from pydantic import ValidationError
from pydantic_settings import CliApp

from tradingbot_operator import handlers
from tradingbot_operator.errors import NotConfigured
from tradingbot_operator.health import Health
from tradingbot_operator.intake import Intake
from tradingbot_operator.kube import AioKubeApi, Connect, kubeconfig_connection, service_account_connection
from tradingbot_operator.log import configure_logging
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.queue import Backoff, KeyedQueue, Schedule
from tradingbot_operator.reconciler import Reconciler
from tradingbot_operator.resync import Resync
from tradingbot_operator.server import HttpServer
from tradingbot_operator.settings import Settings
from tradingbot_operator.store import Store
from tradingbot_operator.worker import work

log = structlog.get_logger("tradingbot_operator")

EXIT_MISCONFIGURED = 2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    try:
        settings = CliApp.run(Settings)
    except ValidationError as error:
        problems = "\n".join(f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        sys.stderr.write(f"tradingbot-operator: these settings are wrong:\n{problems}\n")
        sys.exit(EXIT_MISCONFIGURED)
    configure_logging(settings.log_level)
    try:
        asyncio.run(run(settings))
    except NotConfigured as error:
        log.error("not configured", error=str(error))
        sys.exit(EXIT_MISCONFIGURED)


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; any other end is an error."""
    connect = await _connection(settings)
    clock = time.monotonic
    metrics, store = Metrics(), Store()
    health = Health(settings.liveness_intervals * settings.resync_interval_seconds, last_sign_at=clock())
    backoff = Backoff(settings.backoff_base_seconds, settings.backoff_max_seconds)
    queue = KeyedQueue(Schedule(backoff), clock=clock, random=random.random)
    intake = Intake(store, queue, health, metrics, clock=clock)
    metrics.follow(queue_depth=lambda: len(queue), bots=lambda: len(store.bot_keys()))
    release = version("tradingbot-operator")
    api = AioKubeApi(
        connect,
        request_timeout_seconds=settings.request_timeout_seconds,
        user_agent=f"tradingbot-operator/{release}",
        count=metrics.requested,
    )
    instance = os.environ.get("POD_NAME") or os.uname().nodename
    reconciler = Reconciler(api, store, settings.platform, now_ns=time.time_ns, instance=instance)
    resync = Resync(
        api,
        store,
        intake,
        health,
        metrics,
        namespaces=settings.namespaces,
        interval_seconds=settings.resync_interval_seconds,
        clock=clock,
        wall_clock=time.time,
        random=random.random,
    )
    server = HttpServer(health, metrics, clock=clock)
    await server.start(settings.listen_host, settings.listen_port)
    log.info("started", version=release, listen=settings.listen, namespaces=list(settings.namespaces) or "all")
    # All tasks are made before kopf starts: at its end it cancels each task that it did not find when it began.
    stop = _stop_on_signal()
    listing = asyncio.create_task(resync.run(), name="resync")
    workers = [
        asyncio.create_task(work(queue, reconciler.reconcile, metrics, clock=clock), name=f"worker {number}")
        for number in range(settings.workers)
    ]
    try:
        # No watch, and so no key, before everything was listed: what is missing until then may only be unseen.
        await _first_of(resync.is_complete.wait(), stop.wait(), listing)
        if not stop.is_set():
            watching = handlers.watch(settings, intake, connect, health)
            await _first_of(watching, listing, *workers)
    finally:
        _stop_on_signal()  # kopf had taken the signals
        log.info("ending", grace_seconds=settings.graceful_exit_seconds)
        queue.close()
        await _end(listing, workers, grace_seconds=settings.graceful_exit_seconds)
        await server.stop()
        await api.close()
    log.info("ended")


async def _connection(settings: Settings) -> Connect:
    if settings.kubeconfig is not None:
        return await kubeconfig_connection(settings.kubeconfig)
    return service_account_connection(settings.service_account_dir)


def _stop_on_signal() -> asyncio.Event:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


async def _first_of(*awaitables: Awaitable[object]) -> None:
    """Until one of them ends; raises what it raised. Those that were made here are cancelled, tasks go on."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    made_here = [task for task, given in zip(tasks, awaitables, strict=True) if task is not given]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in made_here:
            task.cancel()
        await asyncio.wait(made_here)
    for task in ended:
        task.result()


async def _end(listing: asyncio.Task[None], workers: list[asyncio.Task[None]], *, grace_seconds: float) -> None:
    """Lets workers finish what they have begun."""
    listing.cancel()
    waiting = [worker for worker in workers if not worker.done()]
    if waiting:
        _, late = await asyncio.wait(waiting, timeout=grace_seconds)
        for worker in late:
            log.warning("cut off", task=worker.get_name())
            worker.cancel()


if __name__ == "__main__":
    main()
