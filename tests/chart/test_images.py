"""The images: each gets what its program imports and nothing that another one needs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "operator": (ROOT / "operator" / "tradingbot_operator", ROOT / "operator" / "tradingbot_plugin"),
    "trader": (ROOT / "trader" / "tradingbot_trader",),
    "sandbox": (ROOT / "sandbox" / "tradingbot_sandbox",),
}
"""The packages of each image."""
SCRIPTS = {
    "operator": {"tradingbot-operator", "kubectl-tradingbot"},
    "trader": {"tradingbot-trader"},
    "sandbox": {"tradingbot-sandbox"},
}
API = ROOT / "crds" / "tradingbot_api"
GENERATOR = API / "crd.py"
"""Writes the CRDs on a developer's machine; no program imports it."""
OWN = {API.name, *(folder.name for folders in PROGRAMS.values() for folder in folders)}
each_program = pytest.mark.parametrize("program", PROGRAMS)


def normal(name: str) -> str:
    """As PyPI compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lock(name: str) -> dict[str, str]:
    """Distribution -> what follows its name in the lock: version, marker, hashes."""
    entries = re.split(r"^(?=[a-zA-Z0-9])", (ROOT / "requirements" / f"{name}.txt").read_text(), flags=re.MULTILINE)
    parts = (entry.partition("==") for entry in entries if "==" in entry)
    return {normal(distribution): rest for distribution, _, rest in parts}


def version(entry: str) -> str:
    return re.split(r"[\s;\\]", entry, maxsplit=1)[0]


def extra(name: str) -> set[str]:
    """What pyproject.toml lists for a program, the dependencies of all included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"][name]]
    return {normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in listed}


def imported(folder: Path) -> set[str]:
    """Top-level modules that are imported anywhere in the package, its own and Python's left out."""
    found: set[str] = set()
    for path in set(folder.rglob("*.py")) - {GENERATOR}:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found - sys.stdlib_module_names


@each_program
def test_program_imports_only_what_its_extra_names(program):
    """What comes along with another package today may be gone with its next version."""
    distributions = packages_distributions()
    needed = {
        normal(distributions[module][0])
        for folder in (API, *PROGRAMS[program])
        for module in imported(folder)
        if module not in OWN
    }
    assert needed <= extra(program)


@each_program
def test_lock_has_all_that_the_extra_names_with_hashes_and_no_address(program):
    entries = lock(program)
    assert extra(program) <= entries.keys()
    assert all("--hash=sha256:" in entry for entry in entries.values())
    assert "://" not in (ROOT / "requirements" / f"{program}.txt").read_text()


@pytest.mark.parametrize("name", [*PROGRAMS, "build"])
def test_image_runs_the_versions_that_the_tests_run(name):
    tested = lock("dev")
    assert {d: version(entry) for d, entry in lock(name).items()} == {d: version(tested[d]) for d in lock(name)}


def test_operator_gets_no_exchange_client_and_trader_no_operator_framework():
    assert "ccxt" not in lock("operator")
    assert "kopf" not in lock("trader")
    assert not {"ccxt", "kopf"} & lock("sandbox").keys()


@each_program
def test_stage_copies_its_own_package_and_ends_as_nobody(program):
    dockerfile = (ROOT / "Dockerfile").read_text()
    builder = re.search(rf"AS {program}-builder\n(.*?)\n\n", dockerfile, re.DOTALL)[1]
    assert {name for name in OWN if name in builder} == {API.name, *(folder.name for folder in PROGRAMS[program])}
    final = re.search(rf"^FROM runtime AS {program}\n(.*?)(?=^FROM|\Z)", dockerfile, re.DOTALL | re.MULTILINE)[1]
    assert f'ENTRYPOINT ["tradingbot-{program}"]' in final
    assert "USER" not in final
    assert "\nUSER 65532:65532\n" in dockerfile


@each_program
def test_image_keeps_the_console_scripts_of_its_packages_and_no_other(program, tmp_path):
    """The wheel brings those of all programs. The step that sorts them out, on a folder of its own."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name in (*known, "python"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).touch(mode=0o755)
    given = re.search(rf"install-program package (tradingbot-{program}\b.*)", (ROOT / "Dockerfile").read_text())[
        1
    ].split()
    step = re.search(
        r"\n    shift\n.*?(?=\n    compile)", (ROOT / "scripts" / "install-program").read_text(), re.DOTALL
    )[0]
    subprocess.run(["/bin/sh", "-euc", f"venv={tmp_path}\n{step}", "sh", "package", *given], check=True)
    assert {path.name for path in (tmp_path / "bin").iterdir()} == SCRIPTS[program] | {"python"}


def test_docker_sees_what_the_dockerfile_copies():
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    assert {name for line in copied for name in line.split()} <= sent
