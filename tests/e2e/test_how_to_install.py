"""Each command of docs/how-to/install-with-helm.md runs, in the order in which it is written, with either Helm."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from support.chart import ROOT, chart_tool
from support.stack import started

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(900)]

PAGE = ROOT / "docs" / "how-to" / "install-with-helm.md"


def commands() -> Iterator[str]:
    for block in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        yield from (line[2:] for line in block.replace("\\\n", " ").splitlines() if line.startswith("$ "))


@pytest.mark.parametrize("helm", ["helm3", "helm"], ids=["Helm 3", "Helm 4"])
def test_commands_of_the_page_run_in_their_order(helm, tmp_path):
    with started(tmp_path) as (stack, _):
        program = tmp_path / "bin" / "helm"
        program.parent.mkdir()
        program.symlink_to(chart_tool(helm))
        environment = stack.environment | {"PATH": f"{program.parent}:{stack.environment['PATH']}"}
        said: dict[str, str] = {}
        for command in commands():
            done = subprocess.run(
                ["/bin/bash", "-euc", command],
                cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
            said[command] = done.stdout
    answers = {command: answer.strip() for command, answer in said.items() if "can-i" in command}
    assert len(answers) == 3
    assert set(answers.values()) == {"yes"}
