"""SHELL: what the command line does with a supervisor from outside: start it detached, wait for it, ask it, stop it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tradingbot_sandbox.control_plane.components import Layout
from tradingbot_sandbox.supervisor.component import Component, ComponentStatus, State, describe_exit
from tradingbot_sandbox.supervisor.daemon import end_leftovers
from tradingbot_sandbox.supervisor.errors import SandboxError
from tradingbot_sandbox.supervisor.group import KILL_SECONDS, Prober, read_from
from tradingbot_sandbox.supervisor.plan import Options, Surroundings, plan
from tradingbot_sandbox.supervisor.process import ProcessId
from tradingbot_sandbox.supervisor.state import SandboxStatus, StateFolder

LOCKED_EXIT = 75
"""How a supervisor ends that finds another one at work (EX_TEMPFAIL)."""

POLL_SECONDS = 0.03
UP_SECONDS = 300.0
"""For the whole start; each component has a shorter limit of its own."""


def start_detached(state: StateFolder, options: Options) -> subprocess.Popen[bytes]:
    """Starts a supervisor in a session of its own: it outlives this process and its terminal."""
    command = [sys.executable, "-P", "-m", "tradingbot_sandbox", "supervise"]
    command += ["--state", str(state.root), "--options", json.dumps(options.to_json())]
    with (state.logs / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=state.root, start_new_session=True
        )


def wait_ready(
    state: StateFolder, *, process: subprocess.Popen[bytes] | None, on_status: Callable[[SandboxStatus], None]
) -> SandboxStatus:
    """Waits until the sandbox is ready. Without a process of ours, another supervisor is starting it."""
    log = state.logs / "supervisor.log"
    log_offset = log.stat().st_size if log.exists() else 0
    deadline = time.monotonic() + UP_SECONDS
    seen: SandboxStatus | None = None
    while True:
        ended = process.poll() if process is not None else None
        running = state.supervisor()
        if ended == LOCKED_EXIT:
            process = None  # somebody else was faster: wait for theirs
        elif ended is not None or (process is None and running is None):
            status = state.status()
            if status is not None and status.phase == "failed":
                raise SandboxError(status.message)
            last = read_from(log, log_offset).strip().splitlines()[-1:]
            how = describe_exit(ended) if ended is not None else "ended"
            raise SandboxError(f"the supervisor {how} ({' '.join(last)}). Run `up` again. The whole log: {log}")
        # Until the new supervisor has written its name, the status is that of an earlier one.
        if running is not None and (process is None or running.pid == process.pid):
            status = state.status()
            if status is not None and status != seen:
                seen = status
                on_status(status)
            if status is not None and status.phase in ("ready", "degraded"):
                return status
        if time.monotonic() > deadline:
            raise SandboxError(f"not ready after {UP_SECONDS:g} s. See `tradingbot-sandbox status` and {log}")
        time.sleep(POLL_SECONDS)


def stop(state: StateFolder, *, on_status: Callable[[SandboxStatus], None]) -> bool:
    """Stops a running sandbox, and makes sure that nothing of it is left. False: there was none."""
    supervisor = state.supervisor()
    if supervisor is not None:
        supervisor.send(signal.SIGTERM)
        deadline = time.monotonic() + stop_seconds(state)
        seen: SandboxStatus | None = None
        while supervisor.is_alive():
            status = state.status()
            if status is not None and status != seen:
                seen = status
                on_status(status)
            if time.monotonic() > deadline:
                supervisor.send(signal.SIGKILL)
                supervisor.wait_gone(KILL_SECONDS)
                break
            time.sleep(POLL_SECONDS)
        last = state.status()
        if last is not None:
            on_status(last)
    end_leftovers(state)
    return supervisor is not None


def stop_seconds(state: StateFolder) -> float:
    """How long the components may take together, by their own grace periods."""
    waves: dict[int, float] = {}
    for component in components_of(state):
        waves[component.stop_order] = max(waves.get(component.stop_order, 0.0), component.stop_grace_seconds)
    return sum(grace + KILL_SECONDS for grace in waves.values()) + KILL_SECONDS


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """How a sandbox is now, as it looks from outside; the supervisor is believed only about what it alone knows."""

    running: bool
    supervisor_pid: int | None
    phase: str
    message: str
    components: tuple[ComponentStatus, ...]

    @property
    def is_healthy(self) -> bool:
        return self.running and bool(self.components) and all(c.state is State.HEALTHY for c in self.components)


def live_status(state: StateFolder, prober: Prober) -> LiveStatus:
    recorded, supervisor = state.status(), state.supervisor()
    if recorded is None:
        return LiveStatus(False, None, "stopped", "no sandbox was ever started on this state folder", ())
    if supervisor is None:
        phase, message = recorded.phase, recorded.message
        if phase not in ("stopped", "failed"):
            phase, message = "stopped", "the supervisor was killed; `tradingbot-sandbox up` starts it again"
        gone = tuple(
            replace(c, state=State.STOPPED, pid=None, start_ticks=None, message="") for c in recorded.components
        )
        return LiveStatus(False, None, phase, message, gone)
    planned = {component.name: component for component in components_of(state)}
    processes = state.processes()
    components = tuple(look_at(c, processes.get(c.name), planned.get(c.name), prober) for c in recorded.components)
    return LiveStatus(True, supervisor.pid, recorded.phase, recorded.message, components)


def look_at(
    recorded: ComponentStatus, process: ProcessId | None, planned: Component | None, prober: Prober
) -> ComponentStatus:
    """Asks a component itself. What the supervisor says of one that does not run is more than we can see."""
    if recorded.state not in (State.HEALTHY, State.UNHEALTHY):
        return recorded
    if process is None or not process.is_alive():
        return replace(recorded, state=State.STOPPED, message="its process is gone")
    for check in planned.health if planned is not None else ():
        if complaint := prober.complaint(check):
            return replace(recorded, state=State.UNHEALTHY, message=complaint)
    return replace(recorded, state=State.HEALTHY, message="")


def options_of(state: StateFolder) -> Options | None:
    """With what the sandbox was last started."""
    config = state.config()
    return None if config is None else Options.from_json(config)


def components_of(state: StateFolder) -> tuple[Component, ...]:
    """The components as the supervisor planned them: the same function of the same files."""
    options, ports = options_of(state), state.ports()
    if options is None or not ports:
        return ()
    try:
        return plan(Layout(state.root, ports), options, Surroundings(sys.executable, os.environ, os.environ))
    except KeyError:  # the supervisor has not chosen all ports yet
        return ()
