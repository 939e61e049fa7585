"""What the supervisor does beside running components: old processes, long logs, links."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tradingbot_sandbox.control_plane.pins import BINARIES
from tradingbot_sandbox.supervisor.component import ComponentStatus, State
from tradingbot_sandbox.supervisor.daemon import LOG_BYTES, end_leftovers, link_programs, turn_over_logs
from tradingbot_sandbox.supervisor.plan import Options
from tradingbot_sandbox.supervisor.process import ProcessId
from tradingbot_sandbox.supervisor.state import SandboxStatus, StateFolder


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


def test_process_of_an_earlier_run_is_ended_and_one_that_only_has_its_pid_is_not(state: StateFolder) -> None:
    command = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
    with subprocess.Popen(command) as leftover, subprocess.Popen(command) as innocent:
        ours, theirs = ProcessId.of(leftover.pid), ProcessId.of(innocent.pid)
        assert ours is not None
        assert theirs is not None
        state.write_supervisor(ours)
        recorded = [(ours.pid, ours.start_ticks), (theirs.pid, theirs.start_ticks - 1)]
        components = tuple(
            ComponentStatus(f"c{pid}", State.HEALTHY, pid, ticks, "", 0, 0, "", "") for pid, ticks in recorded
        )
        state.write_status(SandboxStatus("ready", "", 0, components))
        end_leftovers(state)
        assert leftover.wait() == -9
        assert theirs.is_alive()
        innocent.kill()


def test_long_logs_are_put_aside_and_short_ones_go_on(state: StateFolder) -> None:
    (state.logs / "long.log").write_bytes(b"x" * (LOG_BYTES + 1))
    (state.logs / "short.log").write_text("x")
    turn_over_logs(state)
    assert sorted(path.name for path in state.logs.iterdir()) == ["long.log.1", "short.log"]


def test_links_are_replaced_even_when_they_lead_to_themselves(state: StateFolder, tmp_path: Path) -> None:
    state.bin.mkdir()
    (state.bin / "kubectl").symlink_to(state.bin / "kubectl")
    (tmp_path / "kubectl").write_text("")
    link_programs(state.bin, Options({name: str(tmp_path / name) for name in BINARIES}))
    assert (state.bin / "kubectl").resolve() == tmp_path / "kubectl"
