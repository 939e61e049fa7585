"""SHELL. Composition root: settings -> log -> clients -> store and queue -> election -> workers and re-list -> kopf.

Until it leads, a process looks at the Lease and answers probes, nothing else. It never becomes a standby again: when
the Lease is lost the process ends, and what it knew with it.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable
from importlib.metadata import version
from typing import Any

import structlog
from pydantic import ValidationError
from pydantic_settings import CliApp

from tradingbot_operator import handlers, kinds
from tradingbot_operator.drills import DrillRecorder
from tradingbot_operator.election import ElectedKubeApi, ElectionRules, Elector, LeaseLost
from tradingbot_operator.errors import NotConfigured
from tradingbot_operator.guard import Guard, check_at_start
from tradingbot_operator.health import Health
from tradingbot_operator.intake import Intake
from tradingbot_operator.kube import AioKubeApi, Connect, kubeconfig_connection, service_account_connection
from tradingbot_operator.lag import Lag, measure
from tradingbot_operator.log import configure_logging
from tradingbot_operator.metrics import Metrics, mode_and_phase
from tradingbot_operator.queue import Backoff, KeyedQueue, Schedule
from tradingbot_operator.reconciler import Reconciler
from tradingbot_operator.resync import Resync
from tradingbot_operator.server import HttpServer
from tradingbot_operator.settings import Settings
from tradingbot_operator.store import Store
from tradingbot_operator.watch_connections import WatchConnections
from tradingbot_operator.watches import Watches
from tradingbot_operator.worker import work

log = structlog.get_logger("tradingbot_operator")

EXIT_MISCONFIGURED = 2
EXIT_LEASE_LOST = 3
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
    except LeaseLost as error:
        log.error("lease lost", error=str(error))
        sys.exit(EXIT_LEASE_LOST)


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; any other end is an error."""
    asyncio.get_running_loop().set_exception_handler(_tell_of_task)
    connect = await _connection(settings)
    clock = time.monotonic
    metrics, store = Metrics(), Store()
    watches = Watches(settings.namespaces, grace_seconds=settings.watch_grace_seconds)
    connections = WatchConnections(watches)
    lag = Lag(settings.loop_lag_limit_seconds, settings.loop_lag_bound_seconds)
    limit_seconds = settings.liveness_intervals * settings.resync_interval_seconds
    health = Health(watches, lag, limit_seconds, last_sign_at=clock())
    backoff = Backoff(settings.backoff_base_seconds, settings.backoff_max_seconds)
    queue = KeyedQueue(Schedule(backoff), clock=clock, random=random.random)
    intake = Intake(store, queue, health, metrics, clock=clock, now_ns=time.time_ns)
    release = version("tradingbot-operator")
    api = AioKubeApi(
        connect,
        request_timeout_seconds=settings.request_timeout_seconds,
        user_agent=f"tradingbot-operator/{release}",
        count=metrics.requested,
    )
    instance = os.environ.get("POD_NAME") or os.uname().nodename
    elector = _elector(settings, api, health, instance=instance) if settings.election else None
    may_write = elector.holds if elector is not None else lambda: True
    elected = ElectedKubeApi(api, may_write)
    guard = Guard(
        elected,
        settings.admission_policies,
        told=lambda report: metrics.policies_checked(are_in_force=report.is_in_force),
    )
    reconciler = Reconciler(elected, store, settings.platform, guard, now_ns=time.time_ns, instance=instance)
    drills = DrillRecorder(elected, store, namespaces=settings.namespaces, now_ns=time.time_ns)
    metrics.follow(
        queue_depth=lambda: len(queue),
        queue_oldest_seconds=queue.oldest_seconds,
        bots=lambda: Counter(mode_and_phase(bot) for bot in store.bots()),
        leads=may_write,
        drill_ages=drills.ages_seconds,
    )
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
        reopen_watches=connections.cut,
        list_records=drills.list_records,
    )
    server = HttpServer(health, metrics, clock=clock)
    await server.start(settings.listen_host, settings.listen_port)
    log.info("started", version=release, listen=settings.listen, namespaces=list(settings.namespaces) or "all")
    # All tasks are made before kopf starts: at its end it cancels each task that it did not find when it began.
    stop = _stop_on_signal()
    measuring = asyncio.create_task(measure(lag, metrics.lagged, clock=clock), name="lag")
    election = asyncio.create_task(_elect(elector), name="election")
    tasks: list[asyncio.Task[None]] = []
    checking: asyncio.Task[None] | None = None
    try:
        if elector is not None:
            await _first_of(elector.has_won.wait(), stop.wait(), election)
        if not stop.is_set():
            health.lead(clock())
            listing = asyncio.create_task(resync.run(), name="resync")
            reconcile = drills.around(reconciler.reconcile)
            workers = [
                asyncio.create_task(work(queue, reconcile, metrics, clock=clock), name=f"worker {number}")
                for number in range(settings.workers)
            ]
            tasks = [listing, *workers]
            checking = asyncio.create_task(
                check_at_start(guard, interval_seconds=settings.resync_interval_seconds), name="guard"
            )
            # No watch, and so no key, before everything was listed: what is missing until then may only be unseen.
            await _first_of(resync.is_complete.wait(), stop.wait(), election, listing)
            if not stop.is_set():
                if resync.sees_halts:
                    watches.expect(kinds.HALT)
                watching = handlers.watch(settings, intake, connect, connections, sees_halts=resync.sees_halts)
                await _first_of(watching, election, *tasks)
    finally:
        _stop_on_signal()  # kopf had taken the signals
        grace_seconds = 0.0 if election.done() else settings.graceful_exit_seconds
        log.info("ending", grace_seconds=grace_seconds)
        queue.close()
        await _end(tasks, grace_seconds=grace_seconds)
        await _cancel(measuring, election, *([checking] if checking is not None else []))
        if elector is not None:
            await elector.release()  # after the last write
        await server.stop()
        await api.close()
    log.info("ended")


def _elector(settings: Settings, api: AioKubeApi, health: Health, *, instance: str) -> Elector:
    return Elector(
        api,
        ElectionRules(
            settings.lease_duration_seconds, settings.lease_renew_deadline_seconds, settings.lease_retry_seconds
        ),
        namespace=settings.lease_namespace or _own_namespace(settings),
        name=settings.lease_name,
        identity=f"{instance}_{secrets.token_hex(4)}",
        clock=time.monotonic,
        now_ns=time.time_ns,
        random=random.random,
        saw_lease=lambda: health.saw_lease(time.monotonic()),
    )


def _own_namespace(settings: Settings) -> str:
    path = settings.service_account_dir / "namespace"
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotConfigured(f"no namespace for the Lease: pass --lease-namespace ({error})") from error


async def _elect(elector: Elector | None) -> None:
    if elector is None:
        await asyncio.Event().wait()
    else:
        await elector.run()


def _tell_of_task(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A watch of kopf's that is cut while it reads does not close as Python would like: at the end that is no news."""
    if context.get("asyncgen") is not None:
        log.debug("a generator did not close", error=repr(context.get("exception")))
    else:
        loop.default_exception_handler(context)


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


async def _end(tasks: list[asyncio.Task[None]], *, grace_seconds: float) -> None:
    """Lets workers finish what they have begun; the re-list, which comes first, has begun nothing."""
    if not tasks:
        return
    listing, *workers = tasks
    listing.cancel()
    waiting = [worker for worker in workers if not worker.done()]
    if waiting:
        _, late = await asyncio.wait(waiting, timeout=grace_seconds)
        for worker in late:
            log.warning("cut off", task=worker.get_name())
        await _cancel(*late)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    main()
