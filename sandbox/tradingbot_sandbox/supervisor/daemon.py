"""SHELL: the supervisor of a sandbox: holds its state folder, keeps its components running, stops them when told.

Started by `tradingbot-sandbox up`, detached or in the foreground. It says how it is doing in `status.json`.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

from tradingbot_sandbox.control_plane.components import Layout
from tradingbot_sandbox.control_plane.control_plane import prepare, server_environ, start_on_free_ports
from tradingbot_sandbox.control_plane.ports import Ports
from tradingbot_sandbox.supervisor import launch
from tradingbot_sandbox.supervisor.component import State
from tradingbot_sandbox.supervisor.errors import SandboxError, StateInUse
from tradingbot_sandbox.supervisor.group import ComponentGroup, SystemClock
from tradingbot_sandbox.supervisor.health import HttpProber
from tradingbot_sandbox.supervisor.logs import log_files
from tradingbot_sandbox.supervisor.plan import Options, Surroundings, plan, ports_of
from tradingbot_sandbox.supervisor.process import ProcessId
from tradingbot_sandbox.supervisor.state import SandboxStatus, StateFolder

LEFTOVER_SECONDS = 10.0

LOG_BYTES = 20_000_000
"""A log that is longer than this when the sandbox starts begins anew."""

log = logging.getLogger(__name__)


class Supervisor:
    def __init__(
        self, state: StateFolder, options: Options, *, on_status: Callable[[SandboxStatus], None] = lambda _: None
    ) -> None:
        self._state = state
        self._options = options
        self._on_status = on_status
        self._clock = SystemClock()
        self._group: ComponentGroup | None = None
        self._status = SandboxStatus("starting", "", self._clock.now_ns(), ())

    def run(self) -> None:
        """Returns when it was told to stop and everything has stopped; raises when it could not start."""
        self._state.create()
        with self._state.lock() as ours:
            if not ours:
                raise StateInUse(f"another supervisor works on {self._state.root}. See `tradingbot-sandbox status`.")
            end_leftovers(self._state)
            if self._options.fresh:
                self._state.clear()
            identity = ProcessId.of(os.getpid())
            if identity is None:
                raise SandboxError("/proc is not mounted, and the sandbox cannot tell processes apart without it.")
            turn_over_logs(self._state)
            # Whoever sees our name in supervisor.json must find our status and our options beside it.
            self._publish("starting")
            self._state.write_config(self._options.to_json())
            self._state.write_supervisor(identity)
            launch.prctl(launch.PR_SET_CHILD_SUBREAPER, 1)
            with Signals() as signals, Ports(self._state.ports_file) as ports:
                self._run(signals, ports)

    def _run(self, signals: Signals, ports: Ports) -> None:
        try:
            try:
                start_on_free_ports(lambda: self._make(ports), ports, wait=lambda s: self._wait_starting(signals, s))
            except Told:
                return
            self._publish("ready")
            while not signals.stop:
                signals.wait(self._step(signals))
        except Exception as error:
            self._publish("failed", str(error))
            raise
        finally:
            self._stop()

    def _make(self, ports: Ports) -> tuple[Layout, ComponentGroup]:
        ports.take(ports_of(self._options))
        layout = prepare(self._state, ports)
        link_programs(self._state.bin, self._options)
        around = Surroundings(sys.executable, python_environ(), server_environ(os.environ))
        self._group = ComponentGroup(
            plan(layout, self._options, around),
            logs=self._state.logs,
            directory=self._state.root,
            prober=HttpProber(),
            clock=self._clock,
        )
        return layout, self._group

    def _wait_starting(self, signals: Signals, seconds: float) -> None:
        self._publish("starting")
        signals.wait(seconds)
        if signals.stop:
            raise Told

    def _step(self, signals: Signals) -> float:
        if self._group is None:
            return 0.0
        pause = self._group.step()
        if signals.take_child_ended():
            end_strangers(set(self._group.pids().values()))
        self._publish("ready" if self._group.is_healthy else "degraded")
        return pause

    def _stop(self) -> None:
        failed = self._status.phase == "failed"
        message = self._status.message
        if self._group is not None:
            if not failed:
                self._publish("stopping")
            self._group.stop(on_stopped=lambda _: self._publish("failed" if failed else "stopping", message))
            end_strangers(set())
        self._publish("failed" if failed else "stopped", message)

    def _publish(self, phase: str, message: str = "") -> None:
        components = self._group.statuses() if self._group is not None else ()
        new = replace(self._status, phase=phase, message=message, components=components)
        if phase != self._status.phase:
            new = replace(new, since_ns=self._clock.now_ns())
        elif new == self._status and self._group is not None:
            return
        before = {component.name: component.state for component in self._status.components}
        for component in new.components:
            if before.get(component.name) != component.state:
                reason = component.last_exit if component.state is State.STARTING else component.message
                log.info("%s: %s%s", component.name, component.state, f" ({reason})" if reason else "")
        if phase != self._status.phase:
            log.info("sandbox: %s%s", phase, f" ({message})" if message else "")
        self._status = new
        self._state.write_status(new)
        self._on_status(new)


class Told(Exception):  # noqa: N818 - not an error: somebody asked for the end
    """A signal came while the components were starting."""


class Signals:
    """SIGTERM and SIGINT as a flag, and a sleep that ends when one of them comes or a child ends."""

    def __init__(self) -> None:
        self.stop = False
        self._child_ended = False

    def take_child_ended(self) -> bool:
        """Whether a child has ended since this was last asked."""
        ended, self._child_ended = self._child_ended, False
        return ended

    def __enter__(self) -> Signals:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        handlers = {signal.SIGTERM: self._on_stop, signal.SIGINT: self._on_stop, signal.SIGCHLD: self._on_child}
        self._old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> None:
        ready, _, _ = select.select([self._read], [], [], seconds)
        if ready:
            os.read(self._read, 4096)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the form of a signal handler
        self.stop = True

    def _on_child(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as above
        self._child_ended = True


def end_leftovers(state: StateFolder) -> None:
    """Processes of an earlier supervisor. The kernel kills them with it; this is for the moment it takes."""
    leftovers = [process for process in state.processes().values() if process.is_alive()]
    for process in leftovers:
        process.send(signal.SIGKILL)
    for process in leftovers:
        if not process.wait_gone(LEFTOVER_SECONDS):
            raise SandboxError(f"process {process.pid} of an earlier run does not end; see `ps {process.pid}`.")


def turn_over_logs(state: StateFolder) -> None:
    """Puts long logs aside, one generation; only here, because the components write into their files by themselves."""
    for path in log_files(state).values():
        if path.stat().st_size > LOG_BYTES and path.stem != "supervisor":
            path.replace(path.with_name(f"{path.name}.1"))


def end_strangers(known: set[int]) -> None:
    """Ends orphans that became ours because their guard was killed; the orphans of those become ours in turn."""
    while strangers := [pid for pid in launch.children_of(os.getpid()) if pid not in known]:
        for pid in strangers:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue


def link_programs(folder: Path, options: Options) -> None:
    """kubectl and helm in one folder, for the user's PATH."""
    folder.mkdir(exist_ok=True)
    for name in ("kubectl", "helm"):
        part = folder / f".{name}"
        part.unlink(missing_ok=True)
        part.symlink_to(options.binaries[name])
        part.replace(folder / name)


def python_environ() -> dict[str, str]:
    """Ours, so that settings such as proxies and coverage reach the programs; their output is not held back."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def configure_log() -> None:
    """The supervisor's own log goes to standard error, which `up` made logs/supervisor.log."""
    formatter = logging.Formatter("%(asctime)sZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
