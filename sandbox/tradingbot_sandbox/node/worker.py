"""SHELL. One pod from its arrival to its removal: what is wanted, what is there, the next step, the status."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Literal

import structlog

from .containers import Containers
from .errors import ApiError, ApiUnreachable, Conflict, NotFound, StartProblem
from .kube import STRATEGIC_PATCH, core_path
from .lifecycle import Plan, Shape, lose, plan_pod
from .parts import Parts
from .payload import referenced_objects
from .pod_folder import PodFolder
from .records import ContainerRecord, PodRecord, record_from_status
from .spec_check import check_pod
from .status import Observation, build_status
from .timestamps import NS
from .volumes import Volumes

Json = dict[str, Any]
log = structlog.get_logger()
RETRY_SECONDS = 1.0
"""After an answer of the API server that was not expected, or none."""
ENDED = ("Succeeded", "Failed")
REFUSED = "UnsupportedField"


class Worker:
    def __init__(self, pod: Json, parts: Parts) -> None:
        metadata = pod["metadata"]
        self.pod = pod
        self.uid: str = metadata["uid"]
        self.namespace: str = metadata["namespace"]
        self.name: str = metadata["name"]
        self.folder = PodFolder.of(parts.pods_folder, self.namespace, self.name, self.uid)
        self.is_ended = (pod.get("status") or {}).get("phase") in ENDED
        """Nothing of it runs or will run; the object is still there."""
        self._parts = parts
        self._log = log.bind(pod=f"{self.namespace}/{self.name}")
        self._shape = Shape.of(pod["spec"])
        self._findings = check_pod(pod["spec"])
        self._volumes = Volumes(
            self.folder, tokens=parts.tokens, references=parts.references, claims=parts.claims, clock=parts.clock
        )
        self._wake = asyncio.Event()
        self.containers = Containers(
            pod,
            lose(self.folder.load() or self._new_record(), self._shape, parts.clock.now_ns()),
            self.folder,
            self._volumes,
            parts=parts,
            tell=self._tell,
            on_change=self._wake.set,
        )
        self._is_gone = False
        self._is_halting = False
        self._is_told = False
        self._has_address = False
        self._has_sent_delete = False
        self._seen = Observation()
        self._written: Json | None = None

    def update(self, pod: Json) -> None:
        self.pod = self.containers.pod = pod
        self._wake.set()

    def gone(self) -> None:
        """The object is gone: nothing of the pod may run any more."""
        self._is_gone = True
        self.containers.kill_all()
        self._wake.set()

    def look_again(self) -> None:
        """Something that the pod refers to has changed."""
        self.containers.retry_now()
        self._wake.set()

    async def halt(self, grace_seconds: float) -> None:
        """The node stops; the pod stays, and runs on when the node is back."""
        self._is_halting = True
        await self.containers.halt(grace_seconds)

    async def run(self) -> None:
        try:
            while True:
                self._wake.clear()
                pause = await self._sync_or_log()
                if self._is_gone and not self.containers.live:
                    break
                await self._sleep(pause)
        finally:
            self.containers.kill_all()
        self._release()
        self.folder.retire()
        self._log.info("pod_removed")

    async def _sync_or_log(self) -> float | None:
        try:
            return await self._sync()
        except (NotFound, Conflict) as error:
            # Another object has this name now, or none: the watch is about to say so.
            self._log.info("pod_not_found", error=str(error))
        except (ApiError, ApiUnreachable, OSError) as error:
            self._log.warning("sync_failed", error=str(error))
        except Exception:  # noqa: BLE001  one pod's defect must not take the other pods of the node with it
            self._log.exception("sync_broken")
        return RETRY_SECONDS

    async def _sync(self) -> float | None:
        """Seconds until it should be looked at again; None: only when something happens."""
        if self._is_gone or self._is_halting:
            return None
        if self.pod["metadata"].get("deletionTimestamp"):
            await self._finish()
            return None
        if self.is_ended:
            self._release()
            return None
        if self._findings.unsupported:
            await self._refuse()
            return None
        self._say_not_enforced()
        try:
            await self._prepare()
        except StartProblem as problem:
            return await self._wait_for(problem)
        self.containers.stop_changed_images()
        if self._is_too_late():
            return await self._stop_too_late()
        for name in self._plan().starts:
            self.containers.start(name)
        plan = self._plan()
        self._observe(plan)
        await self._write_status()
        if plan.outcome is not None:
            self.is_ended = True
            return 0
        return self._pause(plan)

    def _plan(self) -> Plan:
        now = self._parts.clock.now_ns()
        return plan_pod(self._shape, self.containers.record.containers, now, self._parts.settings.restart_backoff)

    async def _finish(self) -> None:
        """The pod is being deleted: end its containers, then let the object go."""
        live = self.containers.live
        for container in live.values():
            if not container.is_stopping:
                self._tell("Normal", "Killing", f"Stopping container {container.name}", container.name)
        self.containers.stop_all(self.pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        self._seen = replace(self._seen, ready=self.containers.ready(), backing_off=frozenset())
        if live:
            await self._write_status()
            return
        if self._has_sent_delete:
            return
        exits = [known.latest_exit for known in self.containers.record.containers.values()]
        if not self.is_ended and any(exits):
            failed = any(ended is not None and ended.exit_code != 0 for ended in exits)
            self._seen = replace(self._seen, outcome="Failed" if failed else "Succeeded")
            await self._write_status()
        self._release()
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        await self._parts.api.delete(core_path("pods", self.namespace, self.name), body)
        self._has_sent_delete = True

    async def _refuse(self) -> None:
        message = self._findings.refusal()
        if not self._is_told:
            self._tell("Warning", REFUSED, message)
            self._is_told = True
        # A workload controller replaces a Failed pod at once and without a back-off: hundreds would follow.
        owners = self.pod["metadata"].get("ownerReferences") or []
        is_replaced = self._shape.restart_policy == "Always" and any(owner.get("controller") for owner in owners)
        if is_replaced:
            self._seen = Observation(held_reason=REFUSED, message=message)
        else:
            self._seen = Observation(outcome="Failed", reason=REFUSED, message=message)
        await self._write_status()
        self.is_ended = not is_replaced

    def _say_not_enforced(self) -> None:
        record = self.containers.record
        if self._findings.not_enforced and not record.told_not_enforced:
            self._tell("Normal", "NotEnforced", self._findings.notice())
            self.containers.save(replace(record, told_not_enforced=True))
        if self.pod["spec"].get("ephemeralContainers") and not self._is_told:
            self._is_told = True
            self._tell("Warning", REFUSED, "the process node does not honour: spec.ephemeralContainers")

    async def _prepare(self) -> None:
        if not self._has_address:
            address = self._parts.addresses.take(self.uid)
            self.containers.save(replace(self.containers.record, ip=address))
            self._has_address = True
        keys = [(kind, self.namespace, name) for kind, name in referenced_objects(self.pod["spec"])]
        self._parts.references.hold(self.uid, keys, self.look_again)
        await self._parts.references.ready(self.uid)
        await self._volumes.sync(self.pod, self.containers.record.ip)

    async def _wait_for(self, problem: StartProblem) -> float:
        """Containers that run go on with what they have; the others wait."""
        self._tell("Warning", problem.reason, problem.message)
        started, ready = self.containers.started(), self.containers.ready()
        self._seen = replace(self._seen, prepared=bool(self.containers.live), started=started, ready=ready)
        await self._write_status()
        return self._parts.settings.start_retry_seconds

    def _is_too_late(self) -> bool:
        deadline = self._deadline_ns()
        return deadline is not None and self._parts.clock.now_ns() >= deadline

    def _deadline_ns(self) -> int | None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        return None if seconds is None else self.containers.record.started_ns + int(seconds) * NS

    async def _stop_too_late(self) -> float | None:
        self.containers.stop_all(self.containers.grace_seconds)
        if self.containers.live:
            return None
        message = "Pod was active on the node longer than the specified deadline"
        self._tell("Normal", "DeadlineExceeded", message)
        self._seen = Observation(initialized=True, outcome="Failed", reason="DeadlineExceeded", message=message)
        await self._write_status()
        self.is_ended = True
        return 0

    def _observe(self, plan: Plan) -> None:
        messages: dict[str, str] = {}
        for name in plan.backing_off:
            seconds = self.containers.record.containers[name].back_off.delay_ns / NS
            container = f"failed container={name} pod={self.name}_{self.namespace}({self.uid})"
            messages[name] = f"back-off {seconds:g}s restarting {container}"
            if name not in self._seen.backing_off:
                self._tell("Warning", "BackOff", f"Back-off restarting {container}", name)
        self._seen = Observation(
            initialized=plan.initialized,
            prepared=True,
            backing_off=frozenset(messages),
            back_off_messages=messages,
            started=self.containers.started(),
            ready=self.containers.ready(),
            outcome=plan.outcome,
        )

    async def _write_status(self) -> None:
        previous = self._written or self.pod.get("status") or {}
        now = self._parts.clock.now_ns()
        status = build_status(self.pod, self.containers.record, self._seen, previous, now)
        if self._is_written(status):
            return
        path = core_path("pods", self.namespace, self.name, "status")
        await self._parts.api.patch(path, {"metadata": {"uid": self.uid}, "status": status}, STRATEGIC_PATCH)
        self._written = status
        self._log.info("status", phase=status["phase"], ready=sorted(self._seen.ready))

    def _is_written(self, status: Json) -> bool:
        """Whether it is the last one that was written, and what the API server shows: the controller of nodes takes
        `Ready` from the pods of a node that was silent for too long, and gives it to none of them again."""
        return (self._written is None or status == self._written) and _shows(self.pod.get("status") or {}, status)

    def _pause(self, plan: Plan) -> float | None:
        times = (plan.wake_ns, self._parts.tokens.renew_ns(self.uid), self._deadline_ns())
        due = min((time for time in times if time is not None), default=None)
        return None if due is None else max((due - self._parts.clock.now_ns()) / NS, 0)

    def _new_record(self) -> PodRecord:
        """Of a pod that this node's folder knows nothing of: it is new, or the folder was lost."""
        status, now = self.pod.get("status") or {}, self._parts.clock.now_ns()
        statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
        known = {item["name"]: record_from_status(item["name"], item) for item in statuses}
        names = (*self._shape.init, *self._shape.main)
        containers = {name: known.get(name) or ContainerRecord(name) for name in names}
        return PodRecord(self.uid, self.namespace, self.name, started_ns=now, containers=containers)

    def _release(self) -> None:
        """Nothing of the pod runs or will run: its secrets leave the disk, its address is free."""
        self._parts.references.release(self.uid)
        self._parts.tokens.forget(self.uid)
        self._parts.addresses.give_back(self.uid)
        self.folder.remove_volumes()

    def _tell(self, kind: Literal["Normal", "Warning"], reason: str, message: str, container: str = "") -> None:
        self._parts.events.tell(self.pod, kind, reason, message, container=container)

    async def _sleep(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return


def _shows(known: Json, status: Json) -> bool:
    """Whether all of `status` is in `known`, which may have conditions of others besides."""
    conditions = {item["type"]: _without_nulls(item) for item in known.get("conditions") or []}
    return all(
        all(conditions.get(item["type"]) == _without_nulls(item) for item in value)
        if key == "conditions"
        else _without_nulls(known.get(key)) == _without_nulls(value)
        for key, value in status.items()
    )


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
