"""Nothing outlives its parent: real processes, real kills. No control plane needed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tradingbot_sandbox.supervisor.process import Child, ProcessId, read_stat

DEADLINE_SECONDS = 20.0

GRANDPARENT = """
# Starts a child that starts a child of its own in another session, with nothing to tie the two together.
import subprocess, sys, time
from pathlib import Path
below = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
Path(sys.argv[1]).write_text(f"{below.pid}\\n")
time.sleep(600)
"""

PARENT = """
# Starts a Child from a thread that ends at once, and tells its pid.
import os, sys, threading, time
from pathlib import Path
from tradingbot_sandbox.supervisor.process import Child
folder, guarded, command = Path(sys.argv[1]), sys.argv[2] == "guarded", sys.argv[3:]
def start():
    child = Child(command, environ=dict(os.environ), directory=folder, log=folder / "log", guarded=guarded)
    (folder / "child.pid").write_text(f"{child.pid}\\n")
thread = threading.Thread(target=start)
thread.start()
thread.join()
(folder / "thread-ended").write_text("\\n")
time.sleep(600)
"""

SLEEP = (sys.executable, "-S", "-c", "import time; time.sleep(600)")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def read_pid(file: Path) -> ProcessId:
    wait_for(lambda: file.exists() and file.read_text().endswith("\n"))
    process = ProcessId.of(int(file.read_text()))
    assert process is not None
    return process


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "grandparent.py"
    file.write_text(textwrap.dedent(GRANDPARENT))
    return file


class Parent:
    """A process with one Child."""

    def __init__(self, folder: Path, *command: str, guarded: bool = False) -> None:
        mode = "guarded" if guarded else "alone"
        self.popen = subprocess.Popen([sys.executable, "-c", PARENT, folder, mode, *command])
        self.child = read_pid(folder / "child.pid")
        wait_for((folder / "thread-ended").exists)
        # The launcher has become the command: from here on only the kernel can end it.
        if not guarded:
            wait_for(lambda: b"launch.py" not in Path(f"/proc/{self.child.pid}/cmdline").read_bytes())

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


@pytest.fixture
def parents() -> Iterator[list[Parent]]:
    started: list[Parent] = []
    yield started
    for parent in started:
        parent.kill()


def test_child_outlives_the_thread_that_started_it(tmp_path: Path, parents: list[Parent]) -> None:
    parent = Parent(tmp_path, *SLEEP)
    parents.append(parent)
    wait_for(lambda: threads_of(parent.popen.pid) == 2)  # the main one and the spawner
    assert parent.child.is_alive()


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_child_dies_with_a_parent_that_is_killed(tmp_path: Path, parents: list[Parent]) -> None:
    parent = Parent(tmp_path, *SLEEP)
    parents.append(parent)
    parent.kill()
    assert parent.child.wait_gone(DEADLINE_SECONDS)


def test_guard_takes_grandchildren_along_when_its_parent_is_killed(
    tmp_path: Path, script: Path, parents: list[Parent]
) -> None:
    parent = Parent(tmp_path, sys.executable, str(script), str(tmp_path / "below.pid"), guarded=True)
    parents.append(parent)
    below = read_pid(tmp_path / "below.pid")
    parent.kill()
    assert below.wait_gone(DEADLINE_SECONDS)
    assert parent.child.wait_gone(DEADLINE_SECONDS)


def start_guarded(tmp_path: Path, *command: str) -> Child:
    return Child(command, environ=dict(os.environ), directory=tmp_path, log=tmp_path / "log", guarded=True)


def command_of(guard: Child) -> ProcessId:
    """The process that a guard guards."""
    found: list[int] = []

    def look() -> bool:
        pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
        found[:] = [pid for pid in pids if (stat := read_stat(pid)) and stat.parent == guard.pid]
        return bool(found)

    wait_for(look)
    process = ProcessId.of(found[0])
    assert process is not None
    return process


def test_guard_ends_the_orphans_of_a_command_that_was_killed(tmp_path: Path, script: Path) -> None:
    guard = start_guarded(tmp_path, sys.executable, str(script), str(tmp_path / "below.pid"))
    below = read_pid(tmp_path / "below.pid")
    command_of(guard).send(9)
    assert guard.wait(DEADLINE_SECONDS)
    assert guard.exit_status() == -9
    assert not below.is_alive()


def test_guard_passes_sigterm_on_and_ends_as_its_command_ends(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print('up', flush=True); time.sleep(600)"
    )
    guard = start_guarded(tmp_path, sys.executable, "-S", "-c", code)
    wait_for(lambda: "up" in (tmp_path / "log").read_text())
    guard.send(15)
    assert guard.wait(DEADLINE_SECONDS)
    assert guard.exit_status() == 7


def test_command_dies_with_a_guard_that_is_killed(tmp_path: Path) -> None:
    guard = start_guarded(tmp_path, *SLEEP)
    command = command_of(guard)
    guard.send(9)
    assert guard.wait(DEADLINE_SECONDS)
    assert command.wait_gone(DEADLINE_SECONDS)


STRANGER = """
# A supervisor whose guard is killed. What the guard would have ended is now its own.
import os, sys
from pathlib import Path
from tradingbot_sandbox.supervisor import launch
from tradingbot_sandbox.supervisor.daemon import end_strangers
from tradingbot_sandbox.supervisor.process import Child
folder, command = Path(sys.argv[1]), sys.argv[2:]
launch.prctl(launch.PR_SET_CHILD_SUBREAPER, 1)
child = Child(command, environ=dict(os.environ), directory=folder, log=folder / "log", guarded=True)
sys.stdin.readline()
child.send(9)
assert child.wait(20)
end_strangers(set())
assert launch.children_of(os.getpid()) == []
"""


def test_supervisor_ends_what_a_killed_guard_leaves(tmp_path: Path, script: Path) -> None:
    command = [sys.executable, str(script), str(tmp_path / "below.pid")]
    with subprocess.Popen([sys.executable, "-c", STRANGER, tmp_path, *command], stdin=subprocess.PIPE) as supervisor:
        below = read_pid(tmp_path / "below.pid")
        supervisor.communicate(b"\n", timeout=DEADLINE_SECONDS)
    assert supervisor.returncode == 0
    assert not below.is_alive()


def test_process_is_told_from_a_later_one_with_its_pid() -> None:
    child = subprocess.Popen(SLEEP)
    process = ProcessId.of(child.pid)
    assert process is not None
    assert process.is_alive()
    impostor = ProcessId(process.pid, process.start_ticks + 1, process.boot_id)
    assert not impostor.is_alive()
    assert not impostor.send(9)
    assert process.send(9)
    child.wait()
    assert not process.is_alive()
    assert not process.send(9)


def test_zombie_counts_as_dead() -> None:
    child = subprocess.Popen(SLEEP)
    process = ProcessId.of(child.pid)
    assert process is not None
    child.kill()
    assert process.wait_gone(DEADLINE_SECONDS)
    stat = read_stat(child.pid)
    assert stat is not None
    assert stat.state == "Z"
    child.wait()
