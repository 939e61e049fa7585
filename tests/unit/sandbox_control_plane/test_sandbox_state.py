"""The state folder: whose it is, who works on it, and what is left after a sudden death."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tradingbot_sandbox.supervisor.component import ComponentStatus, State
from tradingbot_sandbox.supervisor.errors import StateRefused
from tradingbot_sandbox.supervisor.process import ProcessId
from tradingbot_sandbox.supervisor.state import SandboxStatus, StateFolder, write_atomic


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


def own_id() -> ProcessId:
    identity = ProcessId.of(os.getpid())
    assert identity is not None
    return identity


def component(**changes: object) -> ComponentStatus:
    status = ComponentStatus("etcd", State.HEALTHY, 42, 4242, "https://127.0.0.1:1", 1_000, 0, "", "")
    return replace(status, **changes)  # type: ignore[arg-type]  # a test's shorthand


def test_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StateRefused, match="holds files"):
        StateFolder(tmp_path).create()
    with pytest.raises(StateRefused, match="was not removed"):
        StateFolder(tmp_path).remove()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    StateFolder(tmp_path).create()
    assert StateFolder(tmp_path).is_ours


def test_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateRefused, match="is not a folder"):
        StateFolder(tmp_path / "state").create()


def test_nobody_else_may_look_into_it(state: StateFolder) -> None:
    assert state.root.stat().st_mode & 0o077 == 0


def test_removal_takes_everything_but_what_links_point_to(state: StateFolder, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    (state.root / "link").symlink_to(precious)
    (state.root / "etcd" / "member").mkdir(parents=True)
    state.remove()
    assert not state.root.exists()
    assert (precious / "file").exists()


def test_clearing_keeps_the_folder_usable(state: StateFolder) -> None:
    (state.root / "etcd").mkdir()
    state.kubeconfig.write_text("x")
    state.clear()
    assert state.is_ours
    assert state.logs.is_dir()
    assert not state.kubeconfig.exists()


def test_only_one_supervisor_gets_the_folder(state: StateFolder) -> None:
    with state.lock() as first, state.lock() as second:
        assert (first, second) == (True, False)
    with state.lock() as third:
        assert third


def test_lock_of_a_dead_process_is_free(state: StateFolder) -> None:
    code = (
        "import os, sys, pathlib; from tradingbot_sandbox.supervisor.state import StateFolder\n"
        "with StateFolder(pathlib.Path(sys.argv[1])).lock() as ours:\n"
        "    os.kill(os.getpid(), 9) if ours else None\n"
    )
    done = subprocess.run([sys.executable, "-c", code, state.root], check=False)
    assert done.returncode == -9
    with state.lock() as ours:
        assert ours


def test_supervisor_is_told_by_pid_and_start_time(state: StateFolder) -> None:
    assert state.supervisor() is None
    state.write_supervisor(own_id())
    assert state.supervisor() == own_id()


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "another boot"}, {"pid": 2**22 + 1}])
def test_pid_of_another_process_is_not_taken_for_the_supervisor(state: StateFolder, change: dict[str, object]) -> None:
    state.write_supervisor(replace(own_id(), **change))  # type: ignore[arg-type]  # a row of the table above
    assert state.supervisor() is None


def test_status_is_read_as_it_was_written(state: StateFolder) -> None:
    assert state.status() is None
    status = SandboxStatus("degraded", "why", 5, (component(state=State.RESTARTING, restarts=2, last_exit="x"),))
    state.write_status(status)
    assert state.status() == status


def test_processes_of_the_last_supervisor_are_known(state: StateFolder) -> None:
    me = own_id()
    state.write_supervisor(me)
    running = component(name="node", pid=me.pid, start_ticks=me.start_ticks)
    state.write_status(SandboxStatus("ready", "", 0, (running, component(pid=None, start_ticks=None))))
    assert state.processes() == {"node": me}


def test_file_is_replaced_as_a_whole_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    write_atomic(file, json.dumps({"a": 1}))
    file.chmod(0o644)
    write_atomic(file, b"{}")
    assert file.read_text() == "{}"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
