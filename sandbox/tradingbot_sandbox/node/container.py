"""SHELL. One running container: its process, what its probes say, and its orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import structlog

from .images import Images
from .mounts import Mount, rewrite_argument, rewrite_value
from .probe_rules import Action, Exec, Kind, Probe, Verdict, parse_action, parse_probes
from .prober import Prober
from .process import Command, ContainerProcess

Json = dict[str, Any]
log = structlog.get_logger()
LEAST_GRACE_SECONDS = 2.0
"""What is left for SIGTERM when the preStop hook has used up the grace period; the kubelet's number."""

Tell = Callable[[Literal["Normal", "Warning"], str, str], None]
"""An event about this container: type, reason, message."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How the container's process is started, and how commands are run beside it."""

    command: Command
    mounts: Sequence[Mount]
    scratch: Path
    log_file: Path
    termination_file: Path

    def beside(self, words: Sequence[str], images: Images) -> Command:
        """A probe's or hook's command: same environment and folder, and no `$(VAR)` in it, as in Kubernetes."""
        program = images.find_command(rewrite_value(words[0], self.mounts))
        argv = [program, *(rewrite_argument(word, self.mounts) for word in words[1:])]
        return Command(argv, self.command.environment, self.command.folder, self.command.no_new_privileges)


class Container:
    def __init__(
        self,
        spec: Json,
        launch: Launch,
        *,
        pod_ip: str,
        images: Images,
        prober: Prober,
        tell: Tell,
        on_change: Callable[[], None],
        on_exit: Callable[[Container], None],
        stop_for_probe: Callable[[Container, Probe], None],
    ) -> None:
        """Starts the process: OSError if it cannot be."""
        self.name: str = spec["name"]
        self.image: str = spec["image"]
        self.launch = launch
        self._spec = spec
        self._pod_ip = pod_ip
        self._images = images
        self._prober = prober
        self._tell = tell
        self._on_change = on_change
        self._on_exit = on_exit
        self._stop_for_probe = stop_for_probe
        self._probes = parse_probes(spec)
        self._verdicts: dict[Kind, Verdict] = {probe.kind: Verdict() for probe in self._probes}
        self._has_started = asyncio.Event()
        if "startup" not in self._verdicts:
            self._has_started.set()
        self._stopping: asyncio.Task[None] | None = None
        self._deadline = 0.0
        self._deadline_moved = asyncio.Event()
        with launch.log_file.open("ab") as output:
            self.process = ContainerProcess(launch.command, output.fileno(), self._ended)
        self._tasks = [_spawn(self._run_probe(probe)) for probe in self._probes]

    @property
    def is_started(self) -> bool:
        return self._has_started.is_set()

    @property
    def is_ready(self) -> bool:
        readiness = self._verdicts.get("readiness")
        return self.is_started and (readiness is None or readiness.passed is True)

    @property
    def is_stopping(self) -> bool:
        return self._stopping is not None

    def stop(self, grace_seconds: float) -> None:
        """preStop, SIGTERM, and SIGKILL when the grace period is over. Called again, it can only shorten that."""
        deadline = asyncio.get_running_loop().time() + grace_seconds
        if self._stopping is None:
            self._deadline = deadline
            self._stopping = _spawn(self._stop())
        elif deadline < self._deadline:
            self._deadline = deadline
            self._deadline_moved.set()

    def kill(self) -> None:
        self.process.kill()

    async def wait_ended(self) -> None:
        await self.process.exited.wait()

    def _ended(self, _process: ContainerProcess) -> None:
        for task in self._tasks:
            task.cancel()
        self._on_exit(self)

    async def _stop(self) -> None:
        loop = asyncio.get_running_loop()
        hook = (self._spec.get("lifecycle") or {}).get("preStop")
        if hook and self._deadline > loop.time():
            await self._run_until_deadline(_spawn(self._pre_stop(hook)))
            self._deadline = max(self._deadline, loop.time() + LEAST_GRACE_SECONDS)
        if self._deadline > loop.time():
            self.process.terminate()
            await self._run_until_deadline(asyncio.create_task(self.wait_ended()))
        if not self.process.exited.is_set():
            log.info("killed", container=self.name, pid=self.process.pid)
            self.process.kill()
            await self.wait_ended()

    async def _run_until_deadline(self, task: asyncio.Task[None]) -> None:
        """Waits for the task, but not beyond the deadline, which may move meanwhile; then it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while not task.done() and (left := self._deadline - loop.time()) > 0:
                self._deadline_moved.clear()
                moved = asyncio.create_task(self._deadline_moved.wait())
                await asyncio.wait({task, moved}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                moved.cancel()
        finally:
            task.cancel()

    async def _pre_stop(self, hook: Json) -> None:
        if sleep := hook.get("sleep"):
            await asyncio.sleep(sleep["seconds"])
            return
        action = parse_action(hook, self._spec.get("ports") or [])
        # The deadline ends the hook; an hour only bounds the call.
        passed, output = await self._ask(action, 3600.0)
        if not passed:
            self._tell("Warning", "FailedPreStopHook", f"PreStopHook failed: {output}")

    async def _run_probe(self, probe: Probe) -> None:
        await asyncio.sleep(probe.initial_delay_seconds)
        if probe.kind != "startup":
            await self._has_started.wait()
        while True:
            passed, output = await self._ask(probe.action, probe.timeout_seconds)
            if self.is_stopping and probe.kind != "readiness":
                return
            before = self._verdicts[probe.kind]
            verdict = self._verdicts[probe.kind] = before.observe(passed, probe)
            if not passed:
                self._tell("Warning", "Unhealthy", f"{probe.kind.capitalize()} probe failed: {output}")
            if probe.kind == "startup" and verdict.passed:
                self._has_started.set()
            if verdict.passed != before.passed:
                log.info("probe_verdict", container=self.name, probe=probe.kind, passed=verdict.passed)
                self._on_change()
            if probe.kind == "startup" and verdict.passed:
                return
            if probe.kind != "readiness" and verdict.passed is False:
                self._stop_for_probe(self, probe)
                return
            await asyncio.sleep(probe.period_seconds)

    async def _ask(self, action: Action, timeout_seconds: float) -> tuple[bool, str]:
        words = action.command if isinstance(action, Exec) else ("",)
        command = self.launch.beside(words, self._images)
        return await self._prober.ask(action, timeout_seconds, self._pod_ip, command, self.launch.scratch)


def _spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    task.add_done_callback(_log_failure)
    return task


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("container_task_failed", exc_info=error)
