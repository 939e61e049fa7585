"""A real Kubernetes node with our three images in it: from TRADINGBOT_CLUSTER_TOOLS, or from pytest-kubernetes.

TRADINGBOT_CLUSTER_TOOLS names a folder with the commands `up`, `down`, `docker` and `image DIR TAG [docker build
options]`, as `make image` takes it; the cluster's own folder is TRADINGBOT_CLUSTER, its kubeconfig is in there. Options
of pytest-kubernetes win: `--k8s-provider kind` makes a cluster, `--k8s-provider external --k8s-kubeconfig FILE` takes
one that has the images (tag `network`) and that nobody else uses.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("operator", "trader", "sandbox")
TAG = "network"
TOOLS, FOLDER = "TRADINGBOT_CLUSTER_TOOLS", "TRADINGBOT_CLUSTER"
BUILD_SECONDS = 1200.0
HELP = f"""\
No cluster. NetworkPolicies need a node that enforces them; docs/how-to/test-the-network.md. Either
  {TOOLS}=FOLDER make e2e-network      with the commands up, down, docker and image in that folder, or
  make e2e-network PYTEST='--k8s-provider kind --k8s-version VERSION'"""


@contextlib.contextmanager
def opened_cluster(config: pytest.Config, k8s_manager: Callable[..., Any], folder: Path) -> Iterator[Path]:
    """A kubeconfig. The cluster is gone afterwards, unless KEEP is set or somebody else made it."""
    asked = [config.getoption(f"k8s_{name}") for name in ("provider", "kubeconfig", "kubeconfig_override")]
    tools = os.environ.get(TOOLS, "")
    if any(asked):
        with _of_provider(config, k8s_manager, folder) as kubeconfig:
            yield kubeconfig
    elif tools:
        with _of_tools(Path(tools).resolve(), folder) as kubeconfig:
            yield kubeconfig
    else:
        pytest.fail(HELP, pytrace=False)  # no skip: it was asked for


def is_kept() -> bool:
    return bool(os.environ.get("KEEP"))


@contextlib.contextmanager
def _of_provider(config: pytest.Config, k8s_manager: Callable[..., Any], folder: Path) -> Iterator[Path]:
    given = config.getoption("k8s_kubeconfig_override") or config.getoption("k8s_kubeconfig")
    # A copy: pytest-kubernetes deletes the file at its end.
    copy = Path(shutil.copy(given, folder / "kubeconfig")) if given else None
    manager = k8s_manager()(config.getoption("k8s_cluster_name"), config.getoption("k8s_provider_config"), copy)
    try:
        if copy is None:
            manager.create(timeout=120)
            for program in PROGRAMS:
                image = f"tradingbot-{program}:{TAG}"
                _run(["docker", "build", "--tag", image, *_build_options(program), str(ROOT)], folder / "build.log")
                manager.load_image(image)
        yield Path(manager.kubeconfig)
    finally:
        if not is_kept():
            manager.delete()


@contextlib.contextmanager
def _of_tools(tools: Path, folder: Path) -> Iterator[Path]:
    missing = [name for name in ("up", "down", "docker", "image") if not os.access(tools / name, os.X_OK)]
    if missing:
        pytest.fail(f"{TOOLS}={tools} has no {', '.join(missing)}", pytrace=False)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cluster = Path(os.environ.get(FOLDER) or cache / "tradingbot-cluster")
    was_up = _is_alive(cluster / "run" / "node.pid")
    if was_up and not is_kept():
        pytest.fail(f"the cluster is up already: {tools}/down ends it, KEEP=1 takes it as it is", pytrace=False)
    had_engine = _is_alive(cluster / "run" / "docker.pid")
    signal.signal(signal.SIGTERM, _end_in_order)
    try:
        if not was_up:
            _run([str(tools / "up")], folder / "up.log")
        for program in PROGRAMS:
            command = [str(tools / "image"), str(ROOT), f"tradingbot-{program}:{TAG}", *_build_options(program)]
            _run(command, folder / "image.log")
        if not had_engine:
            _run([str(tools / "docker"), "stop"], folder / "docker.log")
        yield Path(shutil.copy(cluster / "kubeconfig", folder / "kubeconfig"))
    finally:
        if not is_kept():
            if not had_engine:
                _run([str(tools / "docker"), "stop"], folder / "docker.log", check=False)
            _run([str(tools / "down")], folder / "down.log", check=False)


def _end_in_order(*_: object) -> None:
    """A terminated run still takes its cluster down."""
    pytest.exit("terminated", returncode=128 + signal.SIGTERM)


def _is_alive(file: Path) -> bool:
    try:
        os.kill(int(file.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def _build_options(program: str) -> list[str]:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    base = os.environ.get("PYTHON_IMAGE")
    arguments = [f"VERSION={version}", *([f"PYTHON_IMAGE={base}"] if base else [])]
    return ["--target", program, *(word for each in arguments for word in ("--build-arg", each))]


def _run(command: list[str], log: Path, *, check: bool = True) -> None:
    """Into a file and not a pipe: what the command leaves running would keep a pipe open."""
    with log.open("ab") as out:
        done = subprocess.run(
            command, env=os.environ | {"DOCKER_BUILDKIT": "1"}, timeout=BUILD_SECONDS, check=False,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
    if check and done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{tail}", pytrace=False)
