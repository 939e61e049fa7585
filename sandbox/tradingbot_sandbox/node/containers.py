"""SHELL. The containers of one pod: starting them, what is kept of them on disk, and what is left when they end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import structlog

from .container import Container
from .errors import StartProblem
from .exits import describe_exit, start_error
from .launch import prepare_launch
from .parts import Parts
from .pod_folder import PodFolder
from .probe_rules import Probe
from .records import ContainerRecord, PodRecord, Running, Waiting
from .timestamps import NS
from .volumes import Volumes

Json = dict[str, Any]
Tell = Callable[[Literal["Normal", "Warning"], str, str, str], None]
"""An event: type, reason, message, and the container's name."""
log = structlog.get_logger()
NO_GRACE_GIVEN_SECONDS = 30.0
"""The API's default of terminationGracePeriodSeconds."""


class Containers:
    def __init__(
        self,
        pod: Json,
        record: PodRecord,
        folder: PodFolder,
        volumes: Volumes,
        *,
        parts: Parts,
        tell: Tell,
        on_change: Callable[[], None],
    ) -> None:
        self.pod = pod
        self.record = record
        self.live: dict[str, Container] = {}
        self._folder = folder
        self._volumes = volumes
        self._parts = parts
        self._tell = tell
        self._on_change = on_change
        self._pull_failures: dict[str, int] = {}
        self._is_halting = False
        self._log = log.bind(pod=f"{record.namespace}/{record.name}")

    @property
    def grace_seconds(self) -> float:
        seconds = self.pod["spec"].get("terminationGracePeriodSeconds")
        return NO_GRACE_GIVEN_SECONDS if seconds is None else float(seconds)

    def started(self) -> frozenset[str]:
        return frozenset(name for name, container in self.live.items() if container.is_started)

    def ready(self) -> frozenset[str]:
        return frozenset(name for name, container in self.live.items() if container.is_ready)

    def save(self, record: PodRecord) -> None:
        self.record = record
        self._folder.save(record)

    def retry_now(self) -> None:
        """What a container waits for may have come: those that could not be configured are tried again at once."""
        for name, known in self.record.containers.items():
            if isinstance(known.state, Waiting) and known.state.reason and name not in self._pull_failures:
                self.record.containers[name] = replace(known, state=replace(known.state, retry_ns=0))

    def stop_all(self, grace_seconds: float) -> None:
        for container in self.live.values():
            container.stop(grace_seconds)

    def kill_all(self) -> None:
        for container in self.live.values():
            container.kill()

    async def halt(self, grace_seconds: float) -> None:
        """The node stops. However its containers end, their records stay those of running ones: the next node finds
        that they were lost, and runs them again."""
        self._is_halting = True
        ending = list(self.live.values())
        self.stop_all(min(grace_seconds, self.grace_seconds))
        await asyncio.gather(*(container.wait_ended() for container in ending))

    def stop_changed_images(self) -> None:
        for spec in self._specs():
            container = self.live.get(spec["name"])
            if container and container.image != spec["image"] and not container.is_stopping:
                message = f"Container {container.name} definition changed, will be restarted"
                self._tell("Normal", "Killing", message, container.name)
                container.stop(self.grace_seconds)

    def start(self, name: str) -> None:
        """Starts it, or leaves a record that says why not and when it is tried again."""
        parts, known, spec = self._parts, self.record.containers[name], self._spec(name)
        now = parts.clock.now_ns()
        container_id = f"process://{uuid.uuid4().hex}"
        try:
            launch = prepare_launch(
                spec,
                self.pod,
                pod_ip=self.record.ip,
                run=known.starts,
                folder=self._folder,
                volume_mounts=self._volumes.mounts(spec),
                images=parts.images,
                lookup=lambda kind, item: parts.references.lookup(kind, self.record.namespace, item),
                services=parts.services,
                extra=parts.settings.container_env,
            )
        except StartProblem as problem:
            self._put(self._cannot_start(known, spec, problem, now))
            return
        program = launch.command.argv[0]
        self._pull_failures.pop(name, None)
        self._tell("Normal", "Pulled", f'Image "{spec["image"]}" is the program {program}', name)
        ended, back_off = known.latest_exit, known.back_off
        if ended is not None:
            back_off = back_off.after_restart(ended.finished_ns, now, parts.settings.restart_backoff)
        try:
            container = self.live[name] = Container(
                spec,
                launch,
                pod_ip=self.record.ip,
                images=parts.images,
                prober=parts.prober,
                tell=lambda kind, reason, message: self._tell(kind, reason, message, name),
                on_change=self._on_change,
                on_exit=self._ended,
                stop_for_probe=self._stop_for_probe,
            )
        except OSError as error:
            message = f"cannot execute {program}: {error.strerror}"
            self._tell("Warning", "Failed", f"Error: {message}", name)
            failed = start_error(container_id, message, now)
            self._put(replace(known, state=failed, last_exit=ended, starts=known.starts + 1, back_off=back_off))
            return
        process = container.process
        running = Running(container_id, process.pid, process.start_ticks, parts.boot_id, now, spec["image"])
        self._put(known.running(running, f"process://{program}", back_off))
        self._tell("Normal", "Created", f"Created container: {name}", name)
        self._tell("Normal", "Started", f"Started container {name}", name)
        self._log.info("started", container=name, pid=process.pid, run=known.starts, ip=self.record.ip)
        self._folder.forget_old_logs(name, parts.settings.kept_container_logs)

    def _cannot_start(self, known: ContainerRecord, spec: Json, problem: StartProblem, now: int) -> ContainerRecord:
        name, reason = known.name, problem.reason
        pause_ns = int(self._parts.settings.start_retry_seconds * NS)
        said = problem.message
        if reason == "ErrImagePull":
            failures = self._pull_failures[name] = self._pull_failures.get(name, 0) + 1
            settings = self._parts.settings.restart_backoff
            pause_ns = min(settings.base_ns * 2 ** min(failures - 1, 16), settings.cap_ns)
            self._tell("Warning", "Failed", f'Failed to pull image "{spec["image"]}": {problem.message}', name)
            if failures > 1:
                reason = "ImagePullBackOff"
                self._tell("Normal", "BackOff", f'Back-off pulling image "{spec["image"]}"', name)
            said = reason
        self._tell("Warning", "Failed", f"Error: {said}", name)
        return known.waiting(reason, problem.message, now + pause_ns)

    def _stop_for_probe(self, container: Container, probe: Probe) -> None:
        message = f"Container {container.name} failed {probe.kind} probe, will be restarted"
        self._tell("Normal", "Killing", message, container.name)
        container.stop(self.grace_seconds if probe.grace_seconds is None else probe.grace_seconds)

    def _ended(self, container: Container) -> None:
        """Called where the process is reaped: nothing is awaited here."""
        known = self.record.containers[container.name]
        now = self._parts.clock.now_ns()
        del self.live[container.name]
        if isinstance(known.state, Running) and not self._is_halting:
            ended = describe_exit(
                known.state,
                container.process.exit_status,
                now,
                container=self._spec(container.name),
                termination_file=container.launch.termination_file,
                log_file=container.launch.log_file,
            )
            self._put(known.exited(ended))
            self._log.info("ended", container=container.name, exit_code=ended.exit_code)
        self._on_change()

    def _put(self, known: ContainerRecord) -> None:
        self.save(replace(self.record, containers=self.record.containers | {known.name: known}))

    def _specs(self) -> list[Json]:
        return [*(self.pod["spec"].get("initContainers") or []), *self.pod["spec"]["containers"]]

    def _spec(self, name: str) -> Json:
        return next(spec for spec in self._specs() if spec["name"] == name)
