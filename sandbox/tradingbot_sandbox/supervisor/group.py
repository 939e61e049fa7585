"""SHELL: keeps a list of components running: starts them in order, watches, restarts, stops in order.

Driven from outside by `step()`: a supervisor calls it for ever, a test's fixture until everything is healthy.
One thread, no callbacks: what a step did is read from `statuses()`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tradingbot_sandbox.supervisor.component import (
    STEADY_SECONDS,
    Component,
    ComponentStatus,
    HealthCheck,
    State,
    describe_exit,
    restart_delay_seconds,
)
from tradingbot_sandbox.supervisor.errors import AddressInUse, ComponentFailed
from tradingbot_sandbox.supervisor.process import Child

STARTING_PROBE_SECONDS = 0.05
UNHEALTHY_PROBE_SECONDS = 0.5
STEADY_PROBE_SECONDS = 2.0
STOP_POLL_SECONDS = 0.02
KILL_SECONDS = 5.0
"""How long a process may take to disappear after SIGKILL (the kernel frees its memory)."""


class Prober(Protocol):
    def complaint(self, check: HealthCheck) -> str: ...


class Clock(Protocol):
    def monotonic_seconds(self) -> float: ...
    def now_ns(self) -> int: ...


class SystemClock:
    def monotonic_seconds(self) -> float:
        return time.monotonic()

    def now_ns(self) -> int:
        return time.time_ns()


@dataclass(slots=True)
class _Slot:
    """What a group remembers of one component."""

    component: Component
    log: Path
    since_ns: int
    state: State = State.WAITING
    child: Child | None = None
    log_offset: int = 0
    message: str = ""
    last_exit: str = ""
    restarts: int = 0
    failures_in_a_row: int = 0
    has_been_healthy: bool = False
    healthy_since: float = 0.0
    next_probe: float = 0.0
    restart_at: float = 0.0
    held: bool = False
    """Killed on purpose, and to stay down until it is resumed."""


class ComponentGroup:
    def __init__(
        self, components: Sequence[Component], *, logs: Path, directory: Path, prober: Prober, clock: Clock
    ) -> None:
        self._logs = logs
        self._directory = directory
        self._prober = prober
        self._clock = clock
        self._slots = {c.name: _Slot(c, logs / f"{c.name}.log", clock.now_ns()) for c in components}

    def step(self) -> float:
        """Does what is due, and answers in how many seconds to call again (sooner when a child ends)."""
        now = self._clock.monotonic_seconds()
        for slot in self._slots.values():
            self._observe_exit(slot, now)
            self._start_when_due(slot, now)
            self._probe_when_due(slot, now)
        return max(0.0, min((self._due(slot) for slot in self._slots.values()), default=1.0) - now)

    def wait_healthy(self, *, timeout_seconds: float, wait: Callable[[float], None] = time.sleep) -> None:
        """Steps until every component is healthy. One that ends before that is a failure, not a restart."""
        deadline = self._clock.monotonic_seconds() + timeout_seconds
        while True:
            pause = self.step()
            if self.is_healthy:
                return
            if self._clock.monotonic_seconds() > deadline:
                late = next(slot for slot in self._slots.values() if slot.state is not State.HEALTHY)
                raise self._failure(late, f"is not healthy after {timeout_seconds:g} s ({late.message or late.state})")
            wait(min(pause, STARTING_PROBE_SECONDS))

    @property
    def is_healthy(self) -> bool:
        return all(slot.state is State.HEALTHY for slot in self._slots.values())

    def statuses(self) -> tuple[ComponentStatus, ...]:
        return tuple(
            ComponentStatus(
                name=name,
                state=slot.state,
                pid=slot.child.pid if slot.child else None,
                start_ticks=slot.child.id.start_ticks if slot.child and slot.child.id else None,
                address=slot.component.address,
                since_ns=slot.since_ns,
                restarts=slot.restarts,
                message=slot.message,
                last_exit=slot.last_exit,
            )
            for name, slot in self._slots.items()
        )

    def stop(self, *, on_stopped: Callable[[str], None] = lambda _: None) -> None:
        """Stops all, lowest `stop_order` first; each gets SIGTERM, its grace period, then SIGKILL."""
        for order in sorted({slot.component.stop_order for slot in self._slots.values()}):
            wave = [slot for slot in self._slots.values() if slot.component.stop_order == order]
            begun = self._clock.monotonic_seconds()
            for slot in wave:
                if slot.child is not None:
                    slot.child.send(signal.SIGTERM)
            for slot in wave:
                if slot.child is not None:
                    left = begun + slot.component.stop_grace_seconds - self._clock.monotonic_seconds()
                    if not slot.child.wait(max(0.0, left)):
                        slot.child.send(signal.SIGKILL)
                        slot.child.wait(KILL_SECONDS)
                    slot.child = None
                self._enter(slot, State.STOPPED)
                on_stopped(slot.component.name)

    def kill(self, name: str) -> None:
        """SIGKILLs one component, which then stays down: for tests of what the others do without it."""
        slot = self._slots[name]
        slot.held = True
        if slot.child is not None:
            slot.child.send(signal.SIGKILL)
            slot.child.wait(KILL_SECONDS)
            slot.child = None
        self._enter(slot, State.STOPPED, "killed on request")

    def resume(self, name: str) -> None:
        """Lets a killed component start again at the next step."""
        slot = self._slots[name]
        slot.held = False
        if slot.state is State.STOPPED:
            self._enter(slot, State.WAITING)

    def pids(self) -> dict[str, int]:
        return {name: slot.child.pid for name, slot in self._slots.items() if slot.child is not None}

    def _observe_exit(self, slot: _Slot, now: float) -> None:
        if slot.child is None or (status := slot.child.exit_status()) is None:
            return
        slot.child = None
        what = describe_exit(status)
        if not slot.has_been_healthy:
            self._enter(slot, State.STOPPED, what)
            raise self._failure(slot, f"{what} before it was ready")
        if slot.state is State.HEALTHY and now - slot.healthy_since > STEADY_SECONDS:
            slot.failures_in_a_row = 0
        slot.last_exit = what
        slot.failures_in_a_row += 1
        slot.restart_at = now + restart_delay_seconds(slot.failures_in_a_row)
        self._enter(slot, State.RESTARTING, what)

    def _start_when_due(self, slot: _Slot, now: float) -> None:
        if slot.child is not None or slot.held or slot.state not in (State.WAITING, State.RESTARTING):
            return
        if slot.state is State.RESTARTING and now < slot.restart_at:
            return
        if slot.state is State.WAITING and any(not self._slots[name].has_been_healthy for name in slot.component.after):
            return
        slot.log_offset = slot.log.stat().st_size if slot.log.exists() else 0
        slot.restarts += slot.state is State.RESTARTING
        slot.child = Child(
            slot.component.argv,
            environ=slot.component.environ,
            directory=self._directory,
            log=slot.log,
            guarded=slot.component.guarded,
        )
        slot.next_probe = now
        self._enter(slot, State.STARTING)

    def _probe_when_due(self, slot: _Slot, now: float) -> None:
        if slot.child is None or now < slot.next_probe:
            return
        complaint = ""
        for check in slot.component.health:
            if complaint := self._prober.complaint(check):
                break
        if complaint:
            if slot.state in (State.HEALTHY, State.UNHEALTHY):
                self._enter(slot, State.UNHEALTHY, complaint)
                slot.next_probe = now + UNHEALTHY_PROBE_SECONDS
            else:
                slot.message = complaint
                slot.next_probe = now + STARTING_PROBE_SECONDS
            return
        slot.next_probe = now + STEADY_PROBE_SECONDS
        if slot.state is not State.HEALTHY:
            slot.has_been_healthy = True
            slot.healthy_since = now
            self._enter(slot, State.HEALTHY)

    def _due(self, slot: _Slot) -> float:
        if slot.child is not None:
            return slot.next_probe
        if slot.state is State.RESTARTING:
            return slot.restart_at
        return self._clock.monotonic_seconds() + STEADY_PROBE_SECONDS

    def _enter(self, slot: _Slot, state: State, message: str = "") -> None:
        if slot.state is not state:
            slot.since_ns = self._clock.now_ns()
        slot.state = state
        slot.message = message

    def _failure(self, slot: _Slot, what: str) -> ComponentFailed:
        lines = read_from(slot.log, slot.log_offset).strip().splitlines()
        # Go says "bind: address already in use", Python "address already in use" in the middle of an OSError.
        taken = any("address already in use" in line.lower() for line in lines)
        kind = AddressInUse if taken else ComponentFailed
        return kind(slot.component.name, what, last_line=lines[-1].strip()[:300] if lines else "", log=slot.log)


def read_from(path: Path, offset: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")
    except OSError:
        return ""
