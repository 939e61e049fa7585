"""PURE: what a supervised part is, and the values that tell how one is doing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tls:
    """What a client needs for an https address: whom to trust and, for a server that asks, who we are."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A GET that answers 2xx when the component is well."""

    url: str
    tls: Tls | None = None
    ready_node: bool = False
    """The answer is a Kubernetes Node, and its condition Ready must be True as well."""


@dataclass(frozen=True, slots=True)
class Component:
    """One process to supervise. Everything about it is decided before it starts."""

    name: str
    argv: tuple[str, ...]
    health: tuple[HealthCheck, ...]
    """All must pass. A component without a check is healthy while it runs."""
    address: str = ""
    """Where a person or another component reaches it."""
    after: tuple[str, ...] = ()
    """Components that must be healthy before this one is started."""
    stop_order: int = 0
    """The lowest are stopped first, those with the same number together."""
    stop_grace_seconds: float = 10.0
    """From SIGTERM to SIGKILL."""
    guarded: bool = False
    """It starts processes of its own, which must end with it."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """The whole environment, not an addition to ours."""


class State(StrEnum):
    WAITING = "waiting"  # for a component of `after`
    STARTING = "starting"  # runs, and no health check has passed yet
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"  # runs, and a health check fails that has passed before
    RESTARTING = "restarting"  # ended by itself; started again when the back-off is over
    STOPPED = "stopped"  # ended, and not to be started again


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    name: str
    state: State
    pid: int | None
    start_ticks: int | None
    """With the pid, which process this is: see ProcessId."""
    address: str
    since_ns: int
    """Since when it has been in this state."""
    restarts: int
    message: str
    """Why it is not healthy; empty when it is."""
    last_exit: str
    """How it ended before its last restart; empty when it never did."""


def restart_delay_seconds(consecutive_failures: int) -> float:
    """Back-off before the n-th restart in a row: 0.5 s, doubled each time, 30 s at most."""
    return min(30.0, 0.5 * 2.0 ** min(max(consecutive_failures - 1, 0), 10))


STEADY_SECONDS = 60.0
"""A component that was healthy for so long has recovered: its back-off begins anew."""


def describe_exit(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
