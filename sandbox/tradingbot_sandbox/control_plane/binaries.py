"""SHELL: finds the programs of the control plane: in KUBEBUILDER_ASSETS, on PATH, in the cache folder.

The search takes its surroundings as arguments (`Search`), so that a test is a folder of small scripts.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tradingbot_sandbox.control_plane.pins import (
    BINARIES,
    KUBERNETES,
    KUBERNETES_FAMILY,
    ModuleSet,
    chart_tool_sets,
    helm_set,
    kubernetes_set,
    parse_version,
    shipped_kubernetes_minors,
)
from tradingbot_sandbox.supervisor.errors import BinariesMissing, NotSupported, SandboxError
from tradingbot_sandbox.supervisor.state import MARKER

PROBE_SECONDS = 10.0

SERVERS = ("kube-apiserver", "kube-controller-manager")

KUBERNETES_VARIABLE = "TRADINGBOT_KUBERNETES"
"""Chooses the minor where nobody has said it: `TRADINGBOT_KUBERNETES=1.34`."""

HELM_MAJORS = (3, 4)
"""The chart must install with both."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """The five programs, as absolute paths."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path
    helm: Path

    @classmethod
    def of(cls, paths: Mapping[str, Path]) -> Binaries:
        return cls(**{name.replace("-", "_"): paths[name] for name in BINARIES})

    def as_mapping(self) -> dict[str, Path]:
        return {name: getattr(self, name.replace("-", "_")) for name in BINARIES}


@dataclass(frozen=True, slots=True)
class Found:
    path: Path
    source: str
    """`KUBEBUILDER_ASSETS`, `PATH` or `cache`."""


def ask_version(path: Path) -> str:
    """Runs a program's own version command; empty when it fails or says something else."""
    arguments = {
        "kubectl": ["version", "--client", "--output=json"],
        "helm": ["version", "--template={{.Version}}"],
    }.get(path.name, ["--version"])
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if path.name == "kubectl":
        try:
            return str(json.loads(done.stdout)["clientVersion"]["gitVersion"]).removeprefix("v")
        except (ValueError, KeyError, TypeError):
            return ""
    match = re.search(r"v?(\d+\.\d+\.\d+\S*)", done.stdout)
    return match[1] if match else ""


@dataclass(frozen=True, slots=True)
class Search:
    """Where to look, and how a program is asked for its version."""

    environ: Mapping[str, str]
    kubernetes: ModuleSet
    helm: ModuleSet
    version_of: Callable[[Path], str] = ask_version
    """The version that a program reports about itself, without the v; empty when it does not say."""

    @classmethod
    def here(cls, environ: Mapping[str, str] | None = None, *, kubernetes: str | None = None) -> Search:
        """`kubernetes` None: what TRADINGBOT_KUBERNETES says, else the newest."""
        given = os.environ if environ is None else environ
        return cls(given, kubernetes_set(kubernetes or chosen_kubernetes(given)), helm_set())

    @property
    def cache(self) -> Path:
        home = Path(self.environ.get("XDG_CACHE_HOME") or Path(self.environ.get("HOME", "~")).expanduser() / ".cache")
        return home / "tradingbot-sandbox"

    def modules_of(self, name: str) -> ModuleSet:
        """What a program is built from."""
        if name in BINARIES:
            return self.kubernetes if name in KUBERNETES_FAMILY.packages else self.helm
        return chart_tool_sets()[name]

    def cached(self, name: str) -> Path:
        """Where a built binary lies, whether it is there or not."""
        return self.cache / "bin" / self.modules_of(name).key(go_platform()) / name

    def find(self, name: str) -> Found | None:
        assets = self.environ.get("KUBEBUILDER_ASSETS")
        if assets:
            if not Path(assets).is_dir():
                raise SandboxError(f"KUBEBUILDER_ASSETS={assets} is not a folder. Correct the variable or unset it.")
            if is_program(path := Path(assets).absolute() / name):
                return Found(path, "KUBEBUILDER_ASSETS")
        if self.suits(name, on_path := shutil.which(name, path=self._path())):
            return Found(Path(str(on_path)).absolute(), "PATH")
        if is_program(path := self.cached(name)):
            return Found(path, "cache")
        return None

    def _path(self) -> str:
        """PATH without a sandbox's own folder, which `env` put there: its links would come to lead to themselves."""
        folders = self.environ.get("PATH", "").split(os.pathsep)
        return os.pathsep.join(folder for folder in folders if not (Path(folder).parent / MARKER).is_file())

    def suits(self, name: str, path: str | None) -> bool:
        """Only kubectl and helm are taken from PATH, and only in versions that are known to go with the server.

        kubectl is supported within one minor of the server (Kubernetes' version skew policy).
        """
        if path is None or name not in ("kubectl", "helm"):
            return False
        version = parse_version(self.version_of(Path(path)))
        if name == "helm":
            return version[:1] in {(major,) for major in HELM_MAJORS}
        ours = parse_version(self.kubernetes.version)
        return len(version) > 1 and version[0] == ours[0] and abs(version[1] - ours[1]) <= 1

    def find_all(self) -> dict[str, Found]:
        """All that can be found; what is not in the answer has to be built."""
        found = {name: place for name in BINARIES if (place := self.find(name)) is not None}
        self._refuse_mixed_servers(found)
        return found

    def binaries(self) -> Binaries:
        found = self.find_all()
        if missing := tuple(name for name in BINARIES if name not in found):
            raise BinariesMissing(missing)
        return Binaries.of({name: place.path for name, place in found.items()})

    def _refuse_mixed_servers(self, found: Mapping[str, Found]) -> None:
        """KUBEBUILDER_ASSETS often has an API server and no controller manager: ours must be of the same minor."""
        given = {name for name in SERVERS if name in found and found[name].source == "KUBEBUILDER_ASSETS"}
        if len(given) != 1:
            return
        name = given.pop()
        theirs = self.version_of(found[name].path)
        if parse_version(theirs)[:2] != parse_version(self.kubernetes.version)[:2]:
            other = next(server for server in SERVERS if server != name)
            raise SandboxError(
                f"KUBEBUILDER_ASSETS has {name} {theirs or 'of an unknown version'} and no {other}, and the one that "
                f"the sandbox builds is {self.kubernetes.version}. Put a {other} of the same minor there, or unset the "
                "variable."
            )


def chosen_kubernetes(environ: Mapping[str, str]) -> str:
    """The minor that TRADINGBOT_KUBERNETES names; unset or empty: the one that is used unless another is asked for."""
    minor = environ.get(KUBERNETES_VARIABLE) or KUBERNETES
    if minor not in (shipped := shipped_kubernetes_minors()):
        raise SandboxError(
            f"{KUBERNETES_VARIABLE}={minor}: no such minor can be built here. Say {' or '.join(shipped)}."
        )
    return minor


def find_binaries(environ: Mapping[str, str] | None = None, *, kubernetes: str | None = None) -> Binaries:
    """The five programs, without building any; raises BinariesMissing."""
    return Search.here(environ, kubernetes=kubernetes).binaries()


def is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def go_platform() -> str:
    """This machine in Go's words. A home folder may be shared by machines of several kinds."""
    machines = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}
    machine = platform.machine()
    if machine not in machines:
        raise NotSupported(f"the sandbox cannot build its control plane for {machine}; set KUBEBUILDER_ASSETS.")
    return f"linux-{machines[machine]}"
