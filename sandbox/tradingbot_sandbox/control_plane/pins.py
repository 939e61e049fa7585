"""PURE: what is built and from what: the pinned module sets that are shipped inside this package.

A module set is a folder `modules/FAMILY-MINOR` with a go.mod and a go.sum. Its version is read from the go.mod, so
that a pin is written once; another Kubernetes minor is another folder.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

KUBERNETES = "1.36"
"""The Kubernetes minor that is used unless another one is asked for."""
HELM = "4.3"


@dataclass(frozen=True, slots=True)
class Family:
    """What the module sets of one project have in common."""

    name: str
    module: str
    packages: dict[str, str]
    """Binary -> its main package, in the order in which they are built."""
    version_variables: tuple[str, ...]
    """Linker settings, with {version}, {major} and {minor}: the modules carry no version, the programs would lie."""


KUBERNETES_FAMILY = Family(
    name="kubernetes",
    module="k8s.io/kubernetes",
    packages={
        # etcd first: it is small, and shows soon that downloads and the compiler work.
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    },
    version_variables=(
        # Without these the server calls itself v0.0.0, and a chart's `kubeVersion` refuses it.
        "k8s.io/component-base/version.gitVersion=v{version}",
        "k8s.io/component-base/version.gitMajor={major}",
        "k8s.io/component-base/version.gitMinor={minor}",
        "k8s.io/component-base/version.gitTreeState=clean",
        "k8s.io/component-base/version.gitCommit=unknown",
        "k8s.io/component-base/version.buildDate=1970-01-01T00:00:00Z",
        # What the programs call themselves as clients: the audit log shows it as userAgent.
        "k8s.io/client-go/pkg/version.gitVersion=v{version}",
        "k8s.io/client-go/pkg/version.gitCommit=unknown",
    ),
)
HELM_FAMILY = Family(
    name="helm",
    module="helm.sh/helm/v4",
    packages={"helm": "helm.sh/helm/v4/cmd/helm"},
    version_variables=("helm.sh/helm/v4/internal/version.version=v{version}",),
)

BINARIES = (*KUBERNETES_FAMILY.packages, *HELM_FAMILY.packages)
"""The programs of the sandbox itself."""

HELM3_FAMILY = Family(
    name="helm3",
    module="helm.sh/helm/v3",
    packages={"helm3": "helm.sh/helm/v3/cmd/helm"},
    version_variables=(
        "helm.sh/helm/v3/internal/version.version=v{version}",
        "helm.sh/helm/v3/internal/version.gitTreeState=clean",
    ),
)
UNITTEST_FAMILY = Family(
    name="helm-unittest",
    module="github.com/helm-unittest/helm-unittest",
    packages={"helm-unittest": "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"},
    version_variables=("main.version={version}",),
)
KUBECONFORM_FAMILY = Family(
    name="kubeconform",
    module="github.com/yannh/kubeconform",
    packages={"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"},
    version_variables=("main.version=v{version}",),
)

CHART_TOOLS = ("helm", "helm3", "helm-unittest", "kubeconform")
"""What the chart is checked with, in these very versions: never the user's own."""


@dataclass(frozen=True, slots=True)
class ModuleSet:
    family: Family
    go_mod: bytes
    go_sum: bytes

    @property
    def version(self) -> str:
        """The version of the project, as `1.36.3`."""
        match = re.search(
            rf"^(?:require )?\s*{re.escape(self.family.module)} v(\S+)", self.go_mod.decode(), re.MULTILINE
        )
        if match is None:
            raise ValueError(f"the go.mod of {self.family.name} requires no {self.family.module}")
        return match[1]

    @property
    def go_version(self) -> tuple[int, ...]:
        """The oldest Go that may build it: the `go` line of its go.mod."""
        match = re.search(r"^go (\d+(?:\.\d+)*)$", self.go_mod.decode(), re.MULTILINE)
        if match is None:
            raise ValueError(f"the go.mod of {self.family.name} has no go line")
        return parse_version(match[1])

    @property
    def ldflags(self) -> str:
        major, minor, *_ = self.version.split(".")
        variables = (v.format(version=self.version, major=major, minor=minor) for v in self.family.version_variables)
        return " ".join(["-s", "-w", *(f"-X {variable}" for variable in variables)])

    def key(self, platform: str) -> str:
        """The name of its folder in the cache: whatever changes what is built changes the key."""
        digest = hashlib.sha256()
        for part in (self.go_mod, self.go_sum, self.ldflags.encode(), repr(self.family.packages).encode()):
            digest.update(hashlib.sha256(part).digest())
        return f"{self.family.name}-{self.version}-{platform}-{digest.hexdigest()[:12]}"


def parse_version(text: str) -> tuple[int, ...]:
    """The leading numbers: `v1.32.4-dispatcher` -> (1, 32, 4), `go1.26rc1` -> (1, 26); () when there are none."""
    match = re.match(r"\D*(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def kubernetes_set(minor: str = KUBERNETES) -> ModuleSet:
    return _module_set(KUBERNETES_FAMILY, minor)


def helm_set(minor: str = HELM) -> ModuleSet:
    return _module_set(HELM_FAMILY, minor)


def chart_tool_sets() -> dict[str, ModuleSet]:
    """Program -> what it is built from, of those that only the chart's checks need."""
    pinned = ((HELM3_FAMILY, "3.22"), (UNITTEST_FAMILY, "1.1"), (KUBECONFORM_FAMILY, "0.8"))
    return {name: _module_set(family, minor) for family, minor in pinned for name in family.packages}


def shipped_kubernetes_minors() -> tuple[str, ...]:
    """The Kubernetes minors that can be built, oldest first."""
    prefix = f"{KUBERNETES_FAMILY.name}-"
    minors = (folder.name.removeprefix(prefix) for folder in _modules().iterdir() if folder.name.startswith(prefix))
    return tuple(sorted(minors, key=parse_version))


def go_requirements() -> bytes:
    """The requirements file, with hashes, of the Go toolchain that pip installs where there is no Go."""
    return _modules().joinpath("go", "requirements.txt").read_bytes()


def _module_set(family: Family, minor: str) -> ModuleSet:
    folder = _modules().joinpath(f"{family.name}-{minor}")
    return ModuleSet(family, folder.joinpath("go.mod").read_bytes(), folder.joinpath("go.sum").read_bytes())


def _modules() -> Traversable:
    return files(__package__).joinpath("modules")
