"""The chart as Helm renders it: what every test of this folder starts from."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tradingbot_sandbox.control_plane.binaries import Search

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "tradingbot-operator"
NEWEST_KUBERNETES = "1.36.3"
RELEASE, NAMESPACE = "prod", "trading-system"

NOTES_AS_OBJECT = """\
kind: Notes
text: |
  {{- include (print .Template.BasePath "/NOTES.txt") . | nindent 2 }}
"""

Object = dict[str, Any]


class HelmError(Exception):
    """What Helm said when it did not render."""


class Rendered:
    """The objects of one rendering."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = objects

    def of(self, kind: str, *, namespace: str | None = None) -> list[Object]:
        return [
            item
            for item in self.objects
            if item["kind"] == kind and (namespace is None or item["metadata"].get("namespace") == namespace)
        ]

    @property
    def pod(self) -> Object:
        """The pod template of the one Deployment."""
        (deployment,) = self.of("Deployment")
        template: Object = deployment["spec"]["template"]
        return template

    @property
    def container(self) -> Object:
        (container,) = self.pod["spec"]["containers"]
        one: Object = container
        return one


class Chart:
    """Runs Helm on the chart. No cluster is asked, and none that the caller has is known to it."""

    folder = CHART
    release, namespace = RELEASE, NAMESPACE

    def __init__(self, helm: Path, home: Path) -> None:
        self._helm = helm
        self._home = home
        self._render = cache(self._template)

    def render(self, values: Mapping[str, Any] | None = None, *, kubernetes: str = NEWEST_KUBERNETES) -> Rendered:
        """The objects, or HelmError with Helm's message. Equal calls are rendered once."""
        text = self._render(yaml.safe_dump(dict(values or {}), sort_keys=True), kubernetes)
        return Rendered([item for item in yaml.safe_load_all(text) if item])

    def render_notes(self, values: Mapping[str, Any] | None = None) -> str:
        """NOTES.txt: only `helm install` shows it, and Helm 3 wants a cluster for that: an object's text here."""
        copy = self._home / "with-notes"
        if not copy.exists():
            shutil.copytree(CHART, copy)
            (copy / "templates" / "notes.yaml").write_text(NOTES_AS_OBJECT)
        arguments = ("--show-only", "templates/notes.yaml", "--kube-version", NEWEST_KUBERNETES, "-f", "-")
        text = yaml.safe_dump(dict(values or {}))
        out = self._run("template", RELEASE, copy, "--namespace", NAMESPACE, *arguments, values=text)
        notes: str = yaml.safe_load(out)["text"]
        return notes

    def lint(self) -> str:
        return self._run("lint", "--strict", CHART, "--kube-version", NEWEST_KUBERNETES)

    def _template(self, values: str, kubernetes: str) -> str:
        arguments = ("--namespace", NAMESPACE, "--kube-version", kubernetes, "-f", "-")
        return self._run("template", RELEASE, CHART, *arguments, values=values)

    def _run(self, *arguments: str | Path, values: str = "") -> str:
        done = subprocess.run(
            [self._helm, *arguments],
            input=values,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "", "HOME": str(self._home), "KUBECONFIG": str(self._home / "none")},
        )
        if done.returncode:
            raise HelmError(done.stderr + done.stdout)
        return done.stdout


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """With the Helm that HELM names, else the one that the sandbox finds or has built."""
    named = os.environ.get("HELM")
    found = Search.here().find("helm")
    if named is None and found is None:
        pytest.fail("no Helm: `make tools` finds or builds one, or set HELM to the path of yours")
    return Chart(Path(named) if named else found.path, tmp_path_factory.mktemp("helm"))


@pytest.fixture
def refused() -> type[HelmError]:
    return HelmError
