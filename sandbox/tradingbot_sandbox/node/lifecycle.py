"""PURE. What comes next for a pod's containers: which start, which wait and until when, and when all is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .backoff import BackOffSettings
from .records import ContainerRecord, Exit, PodRecord, Running, Waiting

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """The part of a pod's spec that this depends on."""

    restart_policy: Literal["Always", "OnFailure", "Never"]
    init: tuple[str, ...]
    main: tuple[str, ...]

    @staticmethod
    def of(spec: Json) -> Shape:
        return Shape(
            restart_policy=spec.get("restartPolicy", "Always"),
            init=tuple(container["name"] for container in spec.get("initContainers") or []),
            main=tuple(container["name"] for container in spec["containers"]),
        )

    def restarts(self, ended: Exit) -> bool:
        if self.restart_policy == "OnFailure":
            return ended.exit_code != 0
        return self.restart_policy == "Always"


@dataclass(frozen=True, slots=True)
class Plan:
    starts: tuple[str, ...] = ()
    backing_off: Mapping[str, int] = field(default_factory=dict)
    """Containers in CrashLoopBackOff, with the time of their next start."""
    wake_ns: int | None = None
    """When to plan again if nothing happens before."""
    initialized: bool = False
    outcome: Literal["Succeeded", "Failed"] | None = None
    """Set when nothing will run any more."""


def lose(record: PodRecord, shape: Shape, now_ns: int) -> PodRecord:
    """What is left of a pod when the node takes it up again: all its processes died with the node before.

    As after a reboot of a machine: what ran is lost, and the init containers run again before it does."""
    containers = dict(record.containers)
    for name, known in record.containers.items():
        if isinstance(known.state, Running):
            # 255 and Unknown: what containerd reports of a container that was running when the machine went down.
            ended = Exit(known.state.container_id, 255, "Unknown", known.state.started_ns, now_ns)
            containers[name] = known.exited(ended)
    if containers != record.containers and shape.restart_policy != "Never":
        for name in shape.init:
            if isinstance(containers[name].state, Exit):
                containers[name] = containers[name].waiting("", "", 0)
    return replace(record, containers=containers)


def plan_pod(shape: Shape, records: Mapping[str, ContainerRecord], now_ns: int, settings: BackOffSettings) -> Plan:
    for name in shape.init:
        record = records[name]
        if isinstance(record.state, Exit) and record.state.exit_code == 0:
            continue
        if isinstance(record.state, Exit) and shape.restart_policy == "Never":
            return Plan(outcome="Failed")
        # A failed init container is tried again even under OnFailure and Always, and nothing after it starts.
        return _start_or_wait((record,), now_ns, settings)
    waiting: list[ContainerRecord] = []
    for name in shape.main:
        record = records[name]
        if isinstance(record.state, Waiting) or (isinstance(record.state, Exit) and shape.restarts(record.state)):
            waiting.append(record)
    states = [records[name].state for name in shape.main]
    ended = [state for state in states if isinstance(state, Exit)]
    if not waiting and len(ended) == len(states):
        failed = any(state.exit_code != 0 for state in ended)
        return Plan(initialized=True, outcome="Failed" if failed else "Succeeded")
    return _start_or_wait(tuple(waiting), now_ns, settings, initialized=True)


def _start_or_wait(
    records: tuple[ContainerRecord, ...], now_ns: int, settings: BackOffSettings, *, initialized: bool = False
) -> Plan:
    starts: list[str] = []
    backing_off: dict[str, int] = {}
    wakes: list[int] = []
    for record in records:
        if isinstance(record.state, Running):
            continue
        if isinstance(record.state, Exit):
            due_ns = record.back_off.allowed_ns(record.state.finished_ns, settings)
        else:
            due_ns = record.state.retry_ns
        if due_ns <= now_ns:
            starts.append(record.name)
            continue
        wakes.append(due_ns)
        if isinstance(record.state, Exit):
            backing_off[record.name] = due_ns
    return Plan(tuple(starts), backing_off, min(wakes, default=None), initialized)
