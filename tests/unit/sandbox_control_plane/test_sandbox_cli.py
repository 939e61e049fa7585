"""The command line: clear words and exit codes, without starting anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tradingbot_sandbox.cli import main
from tradingbot_sandbox.supervisor.state import StateFolder


def run(state: Path, *arguments: str, **environ: str) -> Result:
    command, *rest = arguments
    return CliRunner().invoke(main, [command, "--state", str(state), *rest], env={"KUBEBUILDER_ASSETS": "", **environ})


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_every_command_explains_itself() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for command in ("up", "down", "status", "logs", "env", "tools"):
        assert f"  {command} " in result.output
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0
    assert "supervise" not in result.output


def test_status_of_nothing_is_not_healthy(state: Path) -> None:
    result = run(state, "status")
    assert result.exit_code == 1
    assert "no sandbox was ever started" in result.output
    assert not state.exists()


def test_status_for_programs_is_json(state: Path) -> None:
    result = run(state, "status", "--json")
    assert result.exit_code == 1
    assert '"healthy": false' in result.output


def test_env_without_a_sandbox_says_how_to_start_one(state: Path) -> None:
    result = run(state, "env")
    assert result.exit_code == 1
    assert f"Start one: tradingbot-sandbox up --state {state}" in result.output
    assert "export" not in result.output


def test_hints_leave_out_the_state_that_the_environment_names(state: Path) -> None:
    result = run(state, "env", TRADINGBOT_SANDBOX_STATE=str(state))
    assert result.output.endswith("Start one: tradingbot-sandbox up\n")


def test_down_without_a_sandbox_is_no_failure(state: Path) -> None:
    result = run(state, "down", "--clean")
    assert result.exit_code == 0
    assert "There is no sandbox" in result.output


def test_down_never_touches_a_folder_that_is_not_ours(state: Path) -> None:
    state.mkdir()
    (state / "thesis.tex").write_text("years of work")
    result = run(state, "down", "--clean")
    assert result.exit_code == 1
    assert "not a sandbox's state folder" in result.output
    assert (state / "thesis.tex").exists()


def test_down_clean_removes_a_folder_that_is_ours(state: Path) -> None:
    StateFolder(state).create()
    (state / "etcd").mkdir()
    result = run(state, "down", "--clean")
    assert result.exit_code == 0
    assert not state.exists()


def test_up_refuses_a_folder_with_other_files(state: Path) -> None:
    state.mkdir()
    (state / "thesis.tex").write_text("years of work")
    result = run(state, "up")
    assert result.exit_code == 1
    assert "Give an empty one with --state" in result.output


def test_up_refuses_a_recording_that_is_not_there(state: Path) -> None:
    result = run(state, "up", "--market", "nothing.jsonl.gz")
    assert result.exit_code == 1
    assert "--market nothing.jsonl.gz: no such file" in result.output
    assert not state.exists()


def test_failure_is_one_line_without_a_stack_trace(state: Path) -> None:
    result = run(state, "up", KUBEBUILDER_ASSETS="/nowhere")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "Error: KUBEBUILDER_ASSETS=/nowhere is not a folder. Correct the variable or unset it."
    ]


def test_log_that_is_not_there_names_those_that_are(state: Path) -> None:
    folder = StateFolder(state)
    folder.create()
    (folder.logs / "etcd.log").write_text("one\ntwo\nthree\n")
    result = run(state, "logs", "kubelet")
    assert result.exit_code == 1
    assert "there is no log of kubelet. There are: etcd." in result.output


def test_logs_show_the_last_lines_of_each_component(state: Path) -> None:
    folder = StateFolder(state)
    folder.create()
    (folder.logs / "etcd.log").write_text("one\ntwo\nthree\n")
    (folder.logs / "node.log").write_text("started\n")
    assert run(state, "logs", "etcd", "--tail", "2").output == "two\nthree\n"
    assert run(state, "logs", "--tail", "1").output == "etcd | three\nnode | started\n"
