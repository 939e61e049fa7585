"""PURE. The status of a pod as a kubelet writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .downward import HOST_IP
from .lifecycle import Shape
from .records import ContainerRecord, Exit, PodRecord, Running, Waiting
from .timestamps import to_rfc3339

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Observation:
    """What holds besides the records."""

    initialized: bool = False
    """Every init container has succeeded."""
    prepared: bool = False
    """The pod has its address and its volumes."""
    backing_off: frozenset[str] = frozenset()
    back_off_messages: Mapping[str, str] = field(default_factory=dict)
    started: frozenset[str] = frozenset()
    """Running containers whose startup probe has passed, or that have none."""
    ready: frozenset[str] = frozenset()
    """Running containers whose readiness probe passes, or that have none."""
    outcome: Literal["Succeeded", "Failed"] | None = None
    """Nothing will run any more."""
    reason: str = ""
    """Why the pod as a whole is refused or ended."""
    message: str = ""
    held_reason: str = ""
    """A refused pod that is kept Pending shows its reason where kubectl looks: at its containers."""


def build_status(pod: Json, record: PodRecord, seen: Observation, previous: Json, now_ns: int) -> Json:
    """`previous` is what the API server has: transition times are kept while a condition's status stays."""
    spec = pod["spec"]
    shape = Shape.of(spec)
    init = [_container_status(item, record, seen, shape, is_init=True) for item in spec.get("initContainers") or []]
    main = [_container_status(item, record, seen, shape, is_init=False) for item in spec["containers"]]
    phase = pod_phase(shape, record, seen)
    has_run = any(known.starts for known in record.containers.values())
    status: Json = {
        "phase": phase,
        "conditions": _conditions(pod, shape, seen, phase, main, previous, now_ns),
        # A pod that was refused before anything ran has no statuses: kubectl would show their reason, not the pod's.
        "containerStatuses": main if seen.outcome is None or has_run else [],
        "hostIP": HOST_IP,
        "hostIPs": [{"ip": HOST_IP}],
        "startTime": to_rfc3339(record.started_ns),
        "reason": seen.reason or None,
        "message": seen.message or None,
    }
    if generation := pod["metadata"].get("generation"):
        status["observedGeneration"] = generation
    if init:
        status["initContainerStatuses"] = init
    if record.ip:
        status |= {"podIP": record.ip, "podIPs": [{"ip": record.ip}]}
    return status


def pod_phase(shape: Shape, record: PodRecord, seen: Observation) -> str:
    if seen.outcome is not None:
        return seen.outcome
    states = [record.containers[name] for name in shape.main]
    never_ran = [one for one in states if isinstance(one.state, Waiting) and one.last_exit is None]
    if seen.held_reason or not seen.initialized or never_ran:
        return "Pending"
    return "Running"


def _container_status(container: Json, record: PodRecord, seen: Observation, shape: Shape, *, is_init: bool) -> Json:
    name = container["name"]
    known = record.containers[name]
    state, last = known.state, known.last_exit
    shown: Json
    container_id = ""
    if seen.held_reason:
        shown = _waiting(seen.held_reason, seen.message)
    elif isinstance(state, Running):
        shown = {"running": {"startedAt": to_rfc3339(state.started_ns)}}
        container_id = state.container_id
    elif isinstance(state, Exit) and (name in seen.backing_off or _must_run_again(known, shape, seen, is_init=is_init)):
        reason = "CrashLoopBackOff" if name in seen.backing_off else "PodInitializing"
        shown = _waiting(reason, seen.back_off_messages.get(name, ""))
        last, container_id = state, state.container_id
    elif isinstance(state, Exit):
        shown = {"terminated": _terminated(state)}
        container_id = state.container_id
    else:
        idle = "PodInitializing" if shape.init and not (is_init and name == shape.init[0]) else "ContainerCreating"
        reason = "PodInitializing" if is_init and not state.reason else (state.reason or idle)
        shown = _waiting(reason, state.message)
        container_id = last.container_id if last else ""
    succeeded_init = is_init and isinstance(state, Exit) and state.exit_code == 0
    return {
        "name": name,
        "image": container["image"],
        "imageID": known.image_id,
        "containerID": container_id,
        "restartCount": known.restart_count,
        "started": name in seen.started and "running" in shown,
        "ready": succeeded_init or (name in seen.ready and "running" in shown),
        "state": shown,
        "lastState": {"terminated": _terminated(last)} if last else {},
    }


def _must_run_again(known: ContainerRecord, shape: Shape, seen: Observation, *, is_init: bool) -> bool:
    """Main containers wait, whatever they did before, while the init containers run again after a lost node."""
    ended = known.state
    return (
        not is_init
        and not seen.initialized
        and isinstance(ended, Exit)
        and seen.outcome is None
        and shape.restarts(ended)
    )


def _waiting(reason: str, message: str) -> Json:
    return {"waiting": {"reason": reason} | ({"message": message} if message else {})}


def _terminated(ended: Exit) -> Json:
    shown: Json = {
        "exitCode": ended.exit_code,
        "reason": ended.reason,
        "startedAt": to_rfc3339(ended.started_ns),
        "finishedAt": to_rfc3339(ended.finished_ns),
        "containerID": ended.container_id,
    }
    if ended.signal is not None:
        shown["signal"] = ended.signal
    if ended.message:
        shown["message"] = ended.message
    return shown


def _conditions(
    pod: Json, shape: Shape, seen: Observation, phase: str, main: list[Json], previous: Json, now_ns: int
) -> list[Json]:
    over = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
    unready = [item["name"] for item in main if not item["ready"]]
    containers_ready = _verdict(not unready and over is None, over or "ContainersNotReady", _unready(unready, over))
    known = {item["type"]: item for item in previous.get("conditions") or []}
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or []]
    closed = [gate for gate in gates if known.get(gate, {}).get("status") != "True"]
    ready = containers_ready
    if closed and containers_ready[0] == "True":
        ready = ("False", "ReadinessGatesNotReady", f'the status of pod readiness gates {closed} is not "True"')
    wanted = {
        "PodReadyToStartContainers": _verdict(seen.prepared and over is None, "", ""),
        "Initialized": _initialized(shape, seen, phase),
        "Ready": ready,
        "ContainersReady": containers_ready,
        "PodScheduled": ("True", "", ""),
    }
    return [
        _condition(kind, *verdict, known.get(kind), pod["metadata"].get("generation"), now_ns)
        for kind, verdict in wanted.items()
    ]


def _unready(names: list[str], over: str | None) -> str:
    return f"containers with unready status: [{' '.join(names)}]" if names and over is None else ""


def _initialized(shape: Shape, seen: Observation, phase: str) -> tuple[str, str, str]:
    if seen.initialized or not shape.init or phase == "Succeeded":
        return ("True", "PodCompleted" if phase == "Succeeded" else "", "")
    return ("False", "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(shape.init)}]")


def _verdict(holds: bool, reason: str, message: str) -> tuple[str, str, str]:  # noqa: FBT001  the value, not an option
    return ("True", "", "") if holds else ("False", reason, message)


def _condition(
    kind: str, status: str, reason: str, message: str, before: Json | None, generation: int | None, now_ns: int
) -> Json:
    same = before is not None and before.get("status") == status
    # null, not absent: the patch merges conditions by type, and an absent reason would leave the old one in place.
    condition: Json = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": before["lastTransitionTime"] if same and before else to_rfc3339(now_ns),
        "reason": reason or None,
        "message": message or None,
    }
    if generation:
        condition["observedGeneration"] = generation
    return condition
