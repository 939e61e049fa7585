"""The chart's own suites pass, by helm-unittest; and what is packaged holds none of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.chart import CHART, chart_tool


def run_suites(chart: Path) -> tuple[int, str]:
    done = subprocess.run(
        [chart_tool("helm-unittest"), "--strict", "--color=false", str(chart)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "HOME": str(chart.parent)},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(CHART, tmp_path / CHART.name)


def test_suites_of_the_chart_pass(copy: Path):
    status, said = run_suites(copy)
    assert status == 0, said
    (passed,) = re.findall(r"^Tests: +(\d+) passed, \d+ total", said, re.MULTILINE)
    assert int(passed) == sum(
        len(re.findall(r"^  - it: ", p.read_text(), re.MULTILINE)) for p in CHART.glob("tests/*_test.yaml")
    )


@pytest.mark.parametrize(
    ("template", "line", "other"),
    [
        ("deployment.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
        ("_helpers.tpl", "{{- if .image.digest }}", "{{- if not .image.digest }}"),
        ("networkpolicy.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]"),
        ("rbac-people.yaml", "verbs: [get, list, watch, patch, rearm]", "verbs: [get, list, watch, patch]"),
        ("crds.yaml", "helm.sh/resource-policy: keep", "helm.sh/resource-policy: drop"),
    ],
)
def test_suites_notice_what_they_are_about(copy: Path, template, line, other):
    file = copy / "templates" / template
    text = file.read_text()
    assert line in text
    file.write_text(text.replace(line, other))
    status, said = run_suites(copy)
    assert status != 0
    assert " FAIL " in said


def test_package_holds_the_chart_and_not_its_suites(each_chart, tmp_path: Path):
    each_chart.run("package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Chart.yaml", "values.yaml", "values.schema.json", "templates/NOTES.txt"} <= names
    assert len([name for name in names if name.startswith("files/crds/")]) == 4
    assert not [name for name in names if name.startswith("tests/")]
