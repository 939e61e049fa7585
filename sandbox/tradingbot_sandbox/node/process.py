"""SHELL. One process of a container, in a session of its own, that cannot outlive the node.

No threads: the kernel sends the parent-death signal when the *thread* that forked ends (prctl(2)), and `preexec_fn` is
only safe in a process that has one.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None, use_errno=True)
_RESET_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
OUTPUT_LIMIT = 10 * 1024
"""Of a probe's or hook's output, as the kubelet keeps it."""


@dataclass(frozen=True, slots=True)
class Command:
    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    no_new_privileges: bool = False


class ContainerProcess:
    """A running process and what it leaves: `exited` is set once, after which `exit_status` holds."""

    def __init__(self, command: Command, output: int, on_exit: Callable[[ContainerProcess], None]) -> None:
        """OSError if the program cannot be started."""
        self._popen = _popen(command, output)
        self.pid = self._popen.pid
        self.start_ticks = read_start_ticks(self.pid) or 0
        self.exited = asyncio.Event()
        self.exit_status = 0
        """As subprocess has it: negative for a signal."""
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._handle = os.pidfd_open(self.pid)
        self._loop.add_reader(self._handle, self._reap)

    def terminate(self) -> None:
        """SIGTERM to the process itself, as a container runtime sends it."""
        if not self.exited.is_set():
            signal.pidfd_send_signal(self._handle, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to it and to everything of its session."""
        if not self.exited.is_set():
            kill_session(self.pid, self.start_ticks)

    def _reap(self) -> None:
        # A container ends with its first process. While that is a zombie, nothing else can get its number.
        kill_session(self.pid, self.start_ticks)
        status = self._popen.poll()
        if status is None:
            return
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        self.exit_status = status
        self.exited.set()
        self._on_exit(self)


async def run_to_end(command: Command, timeout_seconds: float, scratch: Path) -> tuple[int | None, str]:
    """Exit status and output of a probe's or hook's command; None, and it is killed, if it takes too long."""
    with tempfile.TemporaryFile(dir=scratch) as output:
        process = ContainerProcess(command, output.fileno(), lambda _: None)
        status: int | None = None
        try:
            async with asyncio.timeout(timeout_seconds):
                await process.exited.wait()
            status = process.exit_status
        except TimeoutError:
            pass
        finally:
            if not process.exited.is_set():
                process.kill()
                await asyncio.shield(process.exited.wait())
        output.seek(0)
        return status, output.read(OUTPUT_LIMIT).decode(errors="replace")


def _popen(command: Command, output: int) -> subprocess.Popen[bytes]:
    node_pid = os.getpid()

    def before_exec() -> None:
        for number in _RESET_SIGNALS:
            signal.signal(number, signal.SIG_DFL)  # an ignored signal would stay ignored
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != node_pid:  # the node died before the line above: no signal will come
            os._exit(1)
        if command.no_new_privileges:
            _prctl(PR_SET_NO_NEW_PRIVS, 1)

    return subprocess.Popen(
        list(command.argv),
        env=dict(command.environment),
        cwd=command.folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        close_fds=True,
        start_new_session=True,
        umask=0o022,
        preexec_fn=before_exec,  # noqa: PLW1509  the node has one thread
    )


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if _libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def kill_session(leader: int, start_ticks: int) -> int:
    """SIGKILL to every process of the session that `leader` began at `start_ticks`; how many there were.

    A session's number is not given to a new process while a member of it lives, so a member that is older than the
    leader would be proof of a mistake: it is left alone."""
    killed = 0
    for entry in os.listdir("/proc"):  # noqa: PTH208  names alone; called at every end of a container
        if not entry.isdecimal():
            continue
        stat = _read_stat(int(entry))
        if stat is None or stat.session != leader or stat.start_ticks < start_ticks or stat.state in "ZX":
            continue
        try:
            os.kill(int(entry), signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            continue
    return killed


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    session: int
    start_ticks: int


def _read_stat(pid: int) -> _Stat | None:
    """Fields 3, 6 and 22 of /proc/PID/stat (proc(5)); the name before them may hold blanks and parentheses."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return _Stat(fields[0].decode(), int(fields[3]), int(fields[19]))


def read_start_ticks(pid: int) -> int | None:
    stat = _read_stat(pid)
    return stat.start_ticks if stat else None


def read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
