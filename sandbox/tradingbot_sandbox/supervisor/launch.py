"""SHELL: stands between a supervisor and each of its processes, so that none of them outlives it.

Run by path, with the standard library alone, as `launch.py MODE PARENT_PID COMMAND...`:

- `exec` asks the kernel for SIGKILL when the parent dies, and becomes the command.
- `guard` stays as the parent of the command and adopts every orphan below it (child subreaper). When the command
  ends, or the parent dies, it kills what is left of the whole tree. It is for commands that start processes of
  their own (the process node and its pods): the parent-death signal alone reaches only direct children.

A program of its own, and not a `preexec_fn`: code between fork and exec can deadlock in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import NoReturn

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})


def main(arguments: list[str]) -> NoReturn:
    mode, parent, command = arguments[0], int(arguments[1]), arguments[2:]
    if mode == "exec":
        become(command, parent)
    if mode == "guard":
        guard(command, parent)
    sys.exit(f"launch.py: no mode named {mode}")


def become(command: list[str], parent: int) -> NoReturn:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above: no signal will come
        os._exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - a list of arguments, no shell
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
        os._exit(127)


def guard(command: list[str], parent: int) -> NoReturn:
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    me = os.getpid()
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        become(command, me)
    status = 0
    while True:
        if os.getppid() != parent:
            kill_descendants()
            os._exit(1)
        received = signal.sigwait(SIGNALS)
        if received != signal.SIGCHLD:
            if os.getppid() == parent:
                os.kill(child, received)
            continue
        ended = dict(reap())
        if child in ended:
            status = ended[child]
            break
    kill_descendants()
    end_like(status)


def end_like(status: int) -> NoReturn:
    """Ends as the command did, so that the supervisor sees its exit status or its signal."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def kill_descendants() -> None:
    """Kills children until there are none: those of a killed process become ours."""
    while children := children_of(os.getpid()):
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
        for _ in reap():
            pass


def reap() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, status))


def children_of(parent: int) -> list[int]:
    """The direct children of a process, by /proc/PID/stat (its `children` file needs a kernel option)."""
    children = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would cost this launcher half of its start-up time
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:  # it ended while we looked
                continue
            if int(fields[1]) == parent:
                children.append(int(name))
    return children


def prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        sys.exit(f"launch.py: prctl({option}) failed: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1:])
