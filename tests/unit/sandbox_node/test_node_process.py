"""Processes of containers: their own session, nothing inherited, nothing left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tradingbot_sandbox.node.process import (
    OUTPUT_LIMIT,
    Command,
    ContainerProcess,
    kill_session,
    read_boot_id,
    read_start_ticks,
    run_to_end,
)

PATIENCE_SECONDS = 20.0
SLEEP = "import time; time.sleep(600)"
FAMILY = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(child.pid, flush=True)\n"
)


def python(code: str, folder: Path, **environment: str) -> Command:
    return Command([sys.executable, "-IS", "-c", code], environment, folder)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def start(command: Command, log: Path) -> ContainerProcess:
    with log.open("ab") as output:
        return ContainerProcess(command, output.fileno(), lambda _: None)


def read_line(log: Path) -> str:
    wait_until(lambda: "\n" in log.read_text())
    return log.read_text().splitlines()[0]


async def test_process_gets_its_environment_folder_and_three_files_and_no_more(tmp_path: Path) -> None:
    code = "import json, os; print(json.dumps([dict(os.environ), os.getcwd(), sorted(os.listdir('/proc/self/fd'))]))"
    process = await start(python(code, tmp_path, ONLY="this"), tmp_path / "log")
    await process.exited.wait()
    environment, folder, files = json.loads((tmp_path / "log").read_text())
    environment.pop("LC_CTYPE", None)  # Python's own, of an environment without a locale
    assert environment == {"ONLY": "this"}
    assert folder == str(tmp_path)
    assert files == ["0", "1", "2", "3"]  # the last one is the listing itself
    assert process.exit_status == 0


async def test_process_leads_a_session_of_its_own_with_default_signals(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = (
            "import os, signal; print(os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
        )
        process = await start(python(code, tmp_path), tmp_path / "log")
    finally:
        signal.signal(signal.SIGINT, before)
    await process.exited.wait()
    assert (tmp_path / "log").read_text() == "True False\n"


async def test_exit_status_and_signal_are_known(tmp_path: Path) -> None:
    process = await start(python("raise SystemExit(7)", tmp_path), tmp_path / "log")
    await process.exited.wait()
    assert process.exit_status == 7
    process = await start(python(SLEEP, tmp_path), tmp_path / "log")
    process.terminate()
    await process.exited.wait()
    assert process.exit_status == -signal.SIGTERM
    process.terminate()  # it has ended: nothing happens
    process.kill()


async def test_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await start(Command(["/no/such/program"], {}, tmp_path), tmp_path / "log")


@pytest.mark.parametrize("ending", ["raise SystemExit(0)", "time.sleep(600)"])
async def test_children_end_with_the_container(tmp_path: Path, ending: str) -> None:
    log = tmp_path / "log"
    process = await start(python(FAMILY + ending, tmp_path), log)
    child = int(read_line(log))
    if "sleep" in ending:
        process.kill()
    await process.exited.wait()
    wait_until(lambda: not is_alive(child))


async def test_new_privileges_can_be_denied(tmp_path: Path) -> None:
    command = python("print([line for line in open('/proc/self/status') if 'NoNewPrivs' in line])", tmp_path)
    denied = Command(command.argv, command.environment, command.folder, no_new_privileges=True)
    process = await start(denied, tmp_path / "log")
    await process.exited.wait()
    assert "NoNewPrivs:\\t1" in (tmp_path / "log").read_text()


def test_container_dies_with_a_killed_node(tmp_path: Path) -> None:
    script = tmp_path / "node.py"
    script.write_text(
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tradingbot_sandbox.node.process import Command, ContainerProcess\n"
        "async def main():\n"
        "    command = Command([sys.executable, '-IS', '-c', 'import time; time.sleep(600)'], {}, Path('/'))\n"
        "    with open(sys.argv[1], 'wb') as log: process = ContainerProcess(command, log.fileno(), lambda _: None)\n"
        "    print(process.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, script, tmp_path / "log"], stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        pid = int(node.stdout.readline())
        assert is_alive(pid)
        node.kill()
    wait_until(lambda: not is_alive(pid))


async def test_session_is_not_killed_for_a_later_process_of_the_same_number(tmp_path: Path) -> None:
    process = await start(python(SLEEP, tmp_path), tmp_path / "log")
    assert kill_session(process.pid, process.start_ticks + 1) == 0
    assert is_alive(process.pid)
    assert kill_session(process.pid, process.start_ticks) == 1
    await process.exited.wait()


async def test_command_is_killed_when_it_takes_too_long(tmp_path: Path) -> None:
    status, output = await run_to_end(python("print('x', flush=True);" + SLEEP, tmp_path), 0.3, tmp_path)
    assert status is None
    assert output in ("", "x\n")


async def test_command_answers_with_its_status_and_the_start_of_its_output(tmp_path: Path) -> None:
    code = "import sys; print('y' * 20000); sys.exit(4)"
    assert await run_to_end(python(code, tmp_path), PATIENCE_SECONDS, tmp_path) == (4, "y" * OUTPUT_LIMIT)


def test_processes_are_told_apart_by_boot_and_start() -> None:
    assert len(read_boot_id()) == 36
    assert (read_start_ticks(os.getpid()) or 0) > 0
    assert read_start_ticks(2**22 + 1) is None
