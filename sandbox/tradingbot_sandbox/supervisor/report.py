"""PURE: a sandbox's status as text for a person."""

from __future__ import annotations

from collections.abc import Callable

from tradingbot_sandbox.supervisor.client import LiveStatus
from tradingbot_sandbox.supervisor.component import ComponentStatus, State
from tradingbot_sandbox.supervisor.state import SandboxStatus


class Announcer:
    """Says each change of a component once: `ready`, `stopped`, and what goes wrong."""

    def __init__(self, say: Callable[[str], None], *, known: SandboxStatus | None = None) -> None:
        """Says nothing about what is `known` already."""
        self._say = say
        self._states = {c.name: c.state for c in known.components} if known is not None else {}
        self.on_ready: Callable[[], None] = lambda: None
        """Called once, when everything is ready for the first time."""
        self._is_ready = False

    def __call__(self, status: SandboxStatus) -> None:
        for component in sorted(status.components, key=lambda each: each.since_ns):  # as it happened
            before = self._states.get(component.name)
            self._states[component.name] = component.state
            if before == component.state or component.state in (State.WAITING, State.STARTING):
                continue
            if component.state is State.STOPPED and before in (None, State.WAITING, State.STARTING):
                continue  # it never was ready: the error that follows says more
            self._say(announcement(component))
        if status.phase == "ready" and not self._is_ready:
            self._is_ready = True
            self.on_ready()


def announcement(component: ComponentStatus) -> str:
    word = "ready" if component.state is State.HEALTHY else str(component.state)
    detail = component.address if component.state is State.HEALTHY else component.message
    return f"  {component.name:24} {word:10} {detail}".rstrip()


def status_table(live: LiveStatus, *, now_ns: int) -> str:
    rows = [("COMPONENT", "STATE", "PID", "SINCE", "RESTARTS", "ADDRESS")]
    notes = []
    for c in live.components:
        since = age(now_ns - c.since_ns)
        rows.append((c.name, c.state, str(c.pid or "-"), since, str(c.restarts), c.address or "-"))
        if c.message:
            notes.append(f"{c.name}: {c.message}")
        if c.last_exit and c.restarts:
            notes.append(f"{c.name}: restarted {c.restarts} times; the last time it {c.last_exit}")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    head = f"Sandbox: {live.phase}" + (f" (supervisor {live.supervisor_pid})" if live.running else "")
    if live.message:
        head += f": {live.message}"
    return "\n".join([head, *(table if live.components else []), *notes])


def age(duration_ns: int) -> str:
    """As kubectl writes it: 12s, 3m4s, 5h2m, 3d."""
    seconds = max(0, duration_ns // 1_000_000_000)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60}s"
    if seconds < 86400:
        return f"{seconds // 3600}h{seconds % 3600 // 60}m"
    return f"{seconds // 86400}d"
