"""PURE. What the node knows of a pod's containers, and its JSON form, by which it survives a restart of the node."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from .backoff import NO_BACK_OFF, BackOff
from .timestamps import from_rfc3339

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Waiting:
    reason: str = ""
    """Empty: nothing has been tried yet."""
    message: str = ""
    retry_ns: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    container_id: str
    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat: with the boot, it tells this process from a later one that got its number."""
    boot_id: str
    started_ns: int
    image: str


@dataclass(frozen=True, slots=True)
class Exit:
    container_id: str
    exit_code: int
    reason: str
    started_ns: int
    finished_ns: int
    signal: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    name: str
    state: Waiting | Running | Exit = Waiting()
    last_exit: Exit | None = None
    """How the run before the present state ended; for an ended container it is the run before that one."""
    starts: int = 0
    """Processes started so far; the number of the log file is one less."""
    back_off: BackOff = NO_BACK_OFF
    image_id: str = ""

    @property
    def restart_count(self) -> int:
        return max(self.starts - 1, 0)

    @property
    def latest_exit(self) -> Exit | None:
        return self.state if isinstance(self.state, Exit) else self.last_exit

    def waiting(self, reason: str, message: str, retry_ns: int) -> ContainerRecord:
        return replace(self, state=Waiting(reason, message, retry_ns), last_exit=self.latest_exit)

    def running(self, running: Running, image_id: str, back_off: BackOff) -> ContainerRecord:
        return replace(
            self,
            state=running,
            last_exit=self.latest_exit,
            starts=self.starts + 1,
            image_id=image_id,
            back_off=back_off,
        )

    def exited(self, ended: Exit) -> ContainerRecord:
        return replace(self, state=ended)


@dataclass(frozen=True, slots=True)
class PodRecord:
    uid: str
    namespace: str
    name: str
    ip: str = ""
    started_ns: int = 0
    told_not_enforced: bool = False
    containers: dict[str, ContainerRecord] = field(default_factory=dict)
    """Init containers too: the API keeps their names apart from the others'."""


def to_json(record: PodRecord) -> Json:
    return {
        "uid": record.uid,
        "namespace": record.namespace,
        "name": record.name,
        "ip": record.ip,
        "startedNs": record.started_ns,
        "toldNotEnforced": record.told_not_enforced,
        "containers": [_container_to_json(container) for container in record.containers.values()],
    }


def from_json(data: Json) -> PodRecord:
    containers = [_container_from_json(item) for item in data["containers"]]
    return PodRecord(
        uid=data["uid"],
        namespace=data["namespace"],
        name=data["name"],
        ip=data["ip"],
        started_ns=data["startedNs"],
        told_not_enforced=data["toldNotEnforced"],
        containers={container.name: container for container in containers},
    )


def _container_to_json(record: ContainerRecord) -> Json:
    kind = {Waiting: "waiting", Running: "running", Exit: "exit"}[type(record.state)]
    return {
        "name": record.name,
        kind: _fields(record.state),
        "lastExit": None if record.last_exit is None else _fields(record.last_exit),
        "starts": record.starts,
        "backOff": _fields(record.back_off),
        "imageId": record.image_id,
    }


def _container_from_json(data: Json) -> ContainerRecord:
    state: Waiting | Running | Exit
    if "running" in data:
        state = Running(**data["running"])
    elif "exit" in data:
        state = Exit(**data["exit"])
    else:
        state = Waiting(**data["waiting"])
    return ContainerRecord(
        name=data["name"],
        state=state,
        last_exit=Exit(**data["lastExit"]) if data["lastExit"] else None,
        starts=data["starts"],
        back_off=BackOff(**data["backOff"]),
        image_id=data["imageId"],
    )


def _fields(value: Waiting | Running | Exit | BackOff) -> Json:
    return {name: getattr(value, name) for name in value.__slots__}


def record_from_status(name: str, status: Json) -> ContainerRecord:
    """From what the API server was told before this node's folder was lost."""
    starts = status.get("restartCount", 0) + 1
    last = _exit_from_status((status.get("lastState") or {}).get("terminated"))
    state = status.get("state") or {}
    if running := state.get("running"):
        started_ns = from_rfc3339(running["startedAt"])
        # Nobody knows its process: the folder was the only place that did.
        state_before = Running(status.get("containerID", ""), 0, 0, "", started_ns, status["image"])
        return ContainerRecord(name, state_before, last, starts)
    if ended := _exit_from_status(state.get("terminated")):
        return ContainerRecord(name, ended, last, starts)
    return ContainerRecord(name, Waiting(), last, starts if last else 0)


def _exit_from_status(terminated: Json | None) -> Exit | None:
    if not terminated:
        return None
    return Exit(
        container_id=terminated.get("containerID", ""),
        exit_code=terminated["exitCode"],
        reason=terminated.get("reason", ""),
        started_ns=from_rfc3339(terminated["startedAt"]) if terminated.get("startedAt") else 0,
        finished_ns=from_rfc3339(terminated["finishedAt"]) if terminated.get("finishedAt") else 0,
        signal=terminated.get("signal"),
        message=terminated.get("message", ""),
    )
