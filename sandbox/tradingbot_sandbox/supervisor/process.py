"""SHELL: processes: who one is (a pid alone is reused), how a child is started so that it cannot outlive us."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from tradingbot_sandbox.supervisor import launch

LAUNCHER = Path(launch.__file__)


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart from a later one with the same pid: by its start time, and by the boot that counts it."""

    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has this pid now, or None. A zombie is dead: nothing of it runs."""
        stat = read_stat(pid)
        if stat is None or stat.state in "ZX":
            return None
        return cls(pid=pid, start_ticks=stat.start_ticks, boot_id=boot_id())

    def is_alive(self) -> bool:
        return ProcessId.of(self.pid) == self

    def send(self, number: int) -> bool:
        """Signals this process and no other. False: it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # From here on the pid cannot change hands under us: the handle names one process.
            if not self.is_alive():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def wait_gone(self, timeout_seconds: float) -> bool:
        """Waits until it has ended. For processes that are not our children; True when it is gone."""
        deadline = time.monotonic() + timeout_seconds
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


@dataclass(frozen=True, slots=True)
class Stat:
    state: str
    parent: int
    start_ticks: int


def read_stat(pid: int) -> Stat | None:
    """Fields 3, 4 and 22 of /proc/PID/stat (proc(5)); the name before them may contain blanks and parentheses."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return Stat(state=fields[0], parent=int(fields[1]), start_ticks=int(fields[19])) if len(fields) > 19 else None


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Child:
    """A process that we started. It is killed when we die, and with `guarded` so is everything that it started."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environ: Mapping[str, str],
        directory: Path,
        log: Path,
        guarded: bool = False,
    ) -> None:
        mode = "guard" if guarded else "exec"
        # -I and -S: the launcher needs no user setting and no site-packages; the command gets the environment as it is.
        command = [sys.executable, "-I", "-S", str(LAUNCHER), mode, str(os.getpid()), *argv]
        with log.open("ab") as output:
            self._popen = _SPAWNER.spawn(command, environ, directory, output.fileno())
        self.pid = self._popen.pid
        self.id = ProcessId.of(self.pid)

    def exit_status(self) -> int | None:
        """None while it runs; a negative number is the signal that ended it."""
        return self._popen.poll()

    def send(self, number: int) -> None:
        self._popen.send_signal(number)  # checks by itself that the child has not been reaped

    def wait(self, timeout_seconds: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout_seconds)
        return self._popen.returncode is not None


class _Spawner:
    """Forks every child from one thread that never ends.

    The parent-death signal is sent when the *thread* that forked ends, not the process (prctl(2)): a control plane
    that was started from a thread of a pool would die with that thread.
    """

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[
            tuple[Future[subprocess.Popen[bytes]], list[str], Mapping[str, str], Path, int]
        ] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def spawn(
        self, command: list[str], environ: Mapping[str, str], directory: Path, output: int
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name="spawner", daemon=True)
                self._thread.start()
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._requests.put((answer, command, environ, directory, output))
        return answer.result()

    def _serve(self) -> None:
        while True:
            answer, command, environ, directory, output = self._requests.get()
            try:
                popen = subprocess.Popen(
                    command,
                    env=environ,
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # Ctrl-C at the terminal is for the supervisor, which stops in order
                )
            except OSError as error:
                answer.set_exception(error)
            else:
                answer.set_result(popen)


_SPAWNER = _Spawner()
