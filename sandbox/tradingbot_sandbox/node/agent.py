"""SHELL. The node as a whole: what an earlier run left behind, the watches, a worker for each pod, the orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import ssl
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import structlog

from .addresses import Addresses
from .binder import Binder
from .certificate import build_server_context
from .claims import Claims
from .clock import Clock
from .errors import ApiError, ApiUnreachable, NodeUnusable
from .events import Events
from .images import Images
from .kube import Api, core_path
from .log_server import LogServer, LogSource
from .parts import Parts
from .placement import claim_names
from .pod_folder import find_pod_folders, forget_retired
from .prober import Prober
from .process import kill_session, read_boot_id, read_start_ticks
from .records import Running, Waiting
from .references import References
from .reflector import Change, Reflector
from .registration import Registration
from .settings import Settings
from .tokens import Tokens
from .worker import Worker

Json = dict[str, Any]
log = structlog.get_logger()
EVENTS_FLUSH_SECONDS = 2.0
CONNECT_SECONDS = 60.0
"""How long the API server may take to appear."""


async def run_node(settings: Settings, clock: Clock, bin_folder: Path) -> None:
    """Until SIGTERM, SIGINT, or the end of the parent; NodeUnusable if it cannot start."""
    os.umask(0o077)
    try:
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NodeUnusable(f"cannot use the state folder {settings.state}: {error.strerror}") from error
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with _only_one(settings.state), _parent(settings.parent_pid) as parent:
        if parent is not None:
            loop.add_reader(parent, _die_with_parent, settings.state)
        recover(settings.state / "pods")
        scratch = settings.state / "client"
        shutil.rmtree(scratch, ignore_errors=True)  # keys that a killed node left
        scratch.mkdir(mode=0o700)
        api = await Api.connect(settings.kubeconfig, scratch)
        try:
            await Agent(settings, api, clock, bin_folder).run(stop)
        finally:
            await api.close()


def recover(pods: Path) -> None:
    """Ends what an earlier run of the node left running. That it is lost is written down by its pod's worker."""
    boot_id = read_boot_id()
    for folder in find_pod_folders(pods):
        record = folder.load()
        if record is None:
            continue
        for known in record.containers.values():
            state = known.state
            if not isinstance(state, Running) or state.boot_id != boot_id:
                continue
            # Its session may live on without it; another process may have its number by now.
            ticks = read_start_ticks(state.pid)
            if ticks is None or ticks == state.start_ticks:
                killed = kill_session(state.pid, state.start_ticks)
                log.info("orphans_killed", pod=f"{record.namespace}/{record.name}", pid=state.pid, count=killed)


class Agent:
    def __init__(self, settings: Settings, api: Api, clock: Clock, bin_folder: Path) -> None:
        self._settings = settings
        self._api = api
        self._workers: dict[str, Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] | None = None
        events = Events(api, clock, settings.name)
        claims = Claims(api, events, settings.name, settings.state / "volumes", self._look_again)
        host, port = api.address
        self._parts = Parts(
            settings=settings,
            api=api,
            clock=clock,
            events=events,
            images=Images(bin_folder, settings.programs),
            addresses=Addresses(),
            references=References(api, self._spawn),
            tokens=Tokens(api, clock, settings.token_renewal_fraction),
            claims=claims,
            prober=Prober(),
            services={
                "KUBERNETES_SERVICE_HOST": host,
                "KUBERNETES_SERVICE_PORT": str(port),
                "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
            },
            boot_id=read_boot_id(),
        )
        claims.when_released(lambda volume: _ignore(self._spawn(claims.clean_up(volume))))
        self._pods = Reflector(api, core_path("pods"), self._on_pod, field_selector=f"spec.nodeName={settings.name}")
        self._binder = Binder(api, events, claims, node=self._node, claims_in_use=self._claims_in_use)
        self._registration: Registration | None = None

    async def run(self, stop: asyncio.Event) -> None:
        self._failure = asyncio.get_running_loop().create_future()
        server = self._log_server()
        logs_port = await server.start() if server else None
        self._spawn(self._begin(logs_port))
        stopping = asyncio.create_task(stop.wait())
        try:
            ends: list[asyncio.Future[Any]] = [stopping, self._failure]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await self._halt()
        finally:
            stopping.cancel()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._parts.prober.close()
            if server:
                await server.stop()
        if self._failure.done():
            self._failure.result()
        self._failure.cancel()

    async def _begin(self, logs_port: int | None) -> None:
        await self._wait_for_api()
        await self._parts.claims.ensure_storage_class()
        registration = self._registration = Registration(
            self._api, self._parts.clock, self._settings, logs_port, self._look_again
        )
        reflectors = (self._pods, self._binder.pods, registration.reflector, *self._parts.claims.reflectors)
        for work in (registration.keep(), registration.keep_lease(), self._parts.events.run(), self._binder.run()):
            self._spawn(work)
        for reflector in reflectors:
            self._spawn(reflector.run())
        self._spawn(self._tidy())
        self._spawn(self._trim_logs())

    async def _halt(self) -> None:
        workers = list(self._workers.values())
        log.info("stopping", pods=len(workers))
        grace = self._settings.shutdown_grace_seconds
        await asyncio.gather(*(worker.halt(grace) for worker in workers))
        await self._parts.events.flush(EVENTS_FLUSH_SECONDS)

    def _log_server(self) -> LogServer | None:
        if self._settings.client_ca is None:
            log.warning("logs_not_served", why="no client CA was given (--client-ca)")
            return None
        try:
            now = self._parts.clock.now_ns()
            context = build_server_context(
                self._settings.state / "serving", self._settings.name, self._settings.client_ca, now
            )
        except (OSError, ssl.SSLError) as error:
            raise NodeUnusable(f"cannot use the client CA {self._settings.client_ca}: {error}") from error
        return LogServer(self._api, self._settings.name, self._find_log, context)

    async def _wait_for_api(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                while True:
                    try:
                        await self._api.get("/version")
                        return
                    except (ApiError, ApiUnreachable) as error:
                        log.info("waiting_for_api_server", error=str(error))
                        await asyncio.sleep(0.5)
        except TimeoutError as error:
            raise NodeUnusable(f"the API server did not answer within {CONNECT_SECONDS:g} s") from error

    async def _tidy(self) -> None:
        """Pods that were deleted while the node was down leave their folders behind."""
        await self._pods.synced.wait()
        here = {worker.folder.path for worker in self._workers.values()}
        for folder in find_pod_folders(self._parts.pods_folder):
            if folder.path not in here:
                folder.retire()
        forget_retired(self._parts.pods_folder, self._settings.kept_pod_logs)

    async def _trim_logs(self) -> None:
        while True:
            await asyncio.sleep(self._settings.log_check_seconds)
            for worker in self._workers.values():
                for name in worker.containers.live:
                    run = worker.containers.record.containers[name].starts - 1
                    try:
                        worker.folder.trim_log(name, run, self._settings.log_limit_bytes)
                    except OSError as error:
                        log.warning("log_not_trimmed", pod=worker.name, container=name, error=str(error))

    def _on_pod(self, change: Change, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if change == "gone":
            if worker:
                worker.gone()
        elif worker:
            worker.update(pod)
        else:
            worker = self._workers[uid] = Worker(pod, self._parts)
            self._spawn(self._work(worker))

    async def _work(self, worker: Worker) -> None:
        await worker.run()
        del self._workers[worker.uid]
        forget_retired(self._parts.pods_folder, self._settings.kept_pod_logs)
        self._look_again()

    def _node(self) -> Json | None:
        return self._registration.node() if self._registration else None

    def _look_again(self) -> None:
        self._binder.look_again()

    def _claims_in_use(self) -> set[tuple[str, str]]:
        working = [worker for worker in self._workers.values() if not worker.is_ended]
        return {(worker.namespace, name) for worker in working for name in claim_names(worker.pod["spec"])}

    def _find_log(self, namespace: str, pod: str, container: str, previous: bool) -> LogSource | None:  # noqa: FBT001
        named = [one for one in self._workers.values() if (one.namespace, one.name) == (namespace, pod)]
        worker = named[-1] if named else None
        known = worker.containers.record.containers.get(container) if worker else None
        if worker is None or known is None:
            return None
        run = known.starts - (2 if previous else 1)
        path = worker.folder.log(container, run)
        if run < 0 or not path.exists():
            if previous:
                why = f'previous terminated container "{container}" in pod "{pod}" not found'
            else:
                reason = known.state.reason if isinstance(known.state, Waiting) else ""
                why = f'container "{container}" in pod "{pod}" is waiting to start: {reason or "ContainerCreating"}'
            return LogSource(None, why)
        live = worker.containers.live
        running = live.get(container)
        return LogSource(path, is_open=lambda: not previous and running is not None and live.get(container) is running)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, NodeUnusable):
            log.error("task_failed", exc_info=error)
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)


@contextlib.contextmanager
def _only_one(state: Path) -> Iterator[None]:
    """Two nodes in one folder would start everything twice. The lock goes with the process that holds it."""
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NodeUnusable(f"another process node works in {state}") from error
        yield


@contextlib.contextmanager
def _parent(pid: int | None) -> Iterator[int | None]:
    """A handle that can be read when the process has ended. By process, not by the parent-death signal, which is sent
    when the thread that started us ends."""
    if pid is None:
        yield None
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise NodeUnusable(f"the parent, process {pid}, is gone") from error
    try:
        yield handle
    finally:
        os.close(handle)


def _die_with_parent(state: Path) -> None:
    """Nobody is left who would wait for an orderly end, and nothing may go on."""
    for folder in find_pod_folders(state / "pods"):
        record = folder.load()
        for known in record.containers.values() if record else ():
            if isinstance(known.state, Running):
                kill_session(known.state.pid, known.state.start_ticks)
    log.warning("parent_gone")
    sys.stderr.flush()
    os._exit(1)


def _ignore(_task: asyncio.Task[None]) -> None:
    """The agent holds the task itself."""
