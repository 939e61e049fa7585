"""PURE. What a probe asks, and what its answers add up to: the kubelet's thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["startup", "liveness", "readiness"]
KINDS: tuple[Kind, ...] = ("startup", "liveness", "readiness")


@dataclass(frozen=True, slots=True)
class HttpGet:
    scheme: str
    host: str | None
    """None: the pod's own address."""
    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TcpSocket:
    host: str | None
    port: int


@dataclass(frozen=True, slots=True)
class Exec:
    command: tuple[str, ...]


Action = HttpGet | TcpSocket | Exec


@dataclass(frozen=True, slots=True)
class Probe:
    kind: Kind
    action: Action
    initial_delay_seconds: float = 0.0
    period_seconds: float = 10.0
    timeout_seconds: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3
    grace_seconds: int | None = None
    """How long the container gets to end when this probe stops it; None: the pod's own grace period."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is believed after the answers so far. `passed` is None until a threshold was reached for the first time."""

    passed: bool | None = None
    last: bool | None = None
    streak: int = 0

    def observe(self, answer: bool, probe: Probe) -> Verdict:  # noqa: FBT001  the answer is the value, not an option
        streak = self.streak + 1 if answer == self.last else 1
        needed = probe.success_threshold if answer else probe.failure_threshold
        return Verdict(answer if streak >= needed else self.passed, answer, streak)


def resolve_port(port: int | str, ports: Sequence[Json]) -> int:
    """A number as it is, a name by the container's ports; KeyError if no port has that name."""
    if isinstance(port, int):
        return port
    for entry in ports:
        if entry.get("name") == port:
            return int(entry["containerPort"])
    if port.isdecimal():
        return int(port)
    raise KeyError(port)


def parse_action(handler: Json, ports: Sequence[Json]) -> Action:
    """Of a probe or a hook: exactly one of these three, which `spec_check` has seen to."""
    if http := handler.get("httpGet"):
        headers = tuple((header["name"], header.get("value", "")) for header in http.get("httpHeaders") or [])
        path = http.get("path") or "/"
        return HttpGet(
            scheme=(http.get("scheme") or "HTTP").lower(),
            host=http.get("host") or None,
            port=resolve_port(http["port"], ports),
            path=path if path.startswith("/") else f"/{path}",
            headers=headers,
        )
    if tcp := handler.get("tcpSocket"):
        return TcpSocket(tcp.get("host") or None, resolve_port(tcp["port"], ports))
    return Exec(tuple(handler["exec"]["command"]))


def parse_probes(container: Json) -> tuple[Probe, ...]:
    ports = container.get("ports") or []
    found: list[Probe] = []
    for kind in KINDS:
        raw = container.get(f"{kind}Probe")
        if not raw:
            continue
        found.append(
            Probe(
                kind=kind,
                action=parse_action(raw, ports),
                initial_delay_seconds=raw.get("initialDelaySeconds") or 0,
                period_seconds=raw.get("periodSeconds") or 10,
                timeout_seconds=raw.get("timeoutSeconds") or 1,
                success_threshold=raw.get("successThreshold") or 1,
                failure_threshold=raw.get("failureThreshold") or 3,
                grace_seconds=raw.get("terminationGracePeriodSeconds"),
            )
        )
    return tuple(found)
