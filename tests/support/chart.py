"""The chart as Helm renders it, and values that set everything: builders for the tests of the chart."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tradingbot_operator.settings import Settings
from tradingbot_sandbox.control_plane.binaries import Search, is_program

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "tradingbot-operator"
NEWEST_KUBERNETES = "1.36.3"
RELEASE, NAMESPACE = "prod", "trading-system"
POD_IP = "127.8.0.2"

VENUE = {"restUrl": "http://127.0.0.9:8080/api/v3", "streamUrl": "ws://127.0.0.9:8080/ws"}
DIGEST = "sha256:" + "ab" * 32
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example/desk/tradingbot-operator", "digest": DIGEST},
    "installation": "tokyo",
    "watch": {"namespaces": ["desk-a", "desk-b"]},
    "resyncIntervalSeconds": 2.5,
    "workers": 7,
    "logLevel": "debug",
    "extraArgs": ["--liveness-intervals=9"],
    "exchanges": {
        "binance": {
            "sandbox": VENUE | {"accountUrl": "ws://127.0.0.9:8080/ws-api/v3"},
            "testnet": {"restUrl": "https://t/x/api/v3", "streamUrl": "wss://t/x/ws"},
        }
    },
    "trader": {
        "image": {"repository": "registry:5000/desk/tradingbot-trader", "tag": "7", "pullPolicy": "Never"},
        "resources": {"requests": {"cpu": 1, "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "storage": {"className": "fast", "accessMode": "ReadWriteOncePod"},
        "networkPolicy": {"metricsFrom": [], "apiServer": {"cidrs": ["10.0.0.1/32"], "ports": [6443]}},
        "podMonitor": {"enabled": False, "labels": {"release": "prometheus"}},
    },
    "podLabels": {"team": "desk", "app.kubernetes.io/name": "not-for-you-to-set"},
    "podAnnotations": {"note": "x"},
    "imagePullSecrets": ["pull"],
    "priorityClassName": "high",
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"team": "desk"}},
        }
    ],
    "drill": {
        "enabled": True,
        "schedule": "5,35 6-22/4 1,15 jan-dec MON-FRI",
        "timeZone": "America/Argentina/Buenos_Aires",
        "namespaces": ["desk-b"],
        "selector": "drill in (weekly,daily),!live",
        "action": "ReduceOnly",
        "timeoutSeconds": 20,
        "deadlineSeconds": 600,
        "resources": {"limits": {"memory": "96Mi"}},
    },
    "networkPolicy": {
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "apiServer": {"cidrs": ["10.0.0.1/32", "fd00::1/128"], "ports": [6443]},
    },
}
"""Not the PodMonitor: its CRD is not ours."""

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
    def drill_pod(self) -> Object:
        """The pod template of the CronJob."""
        (job,) = self.of("CronJob")
        template: Object = job["spec"]["jobTemplate"]["spec"]["template"]
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
        out = self.run("template", RELEASE, copy, "--namespace", NAMESPACE, *arguments, values=text)
        notes: str = yaml.safe_load(out)["text"]
        return notes

    def lint(self, values: Mapping[str, Any] | None = None) -> str:
        text = yaml.safe_dump(dict(values or {}))
        return self.run("lint", "--strict", CHART, "--kube-version", NEWEST_KUBERNETES, "-f", "-", values=text)

    def run(self, *arguments: str | Path, values: str = "") -> str:
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

    def _template(self, values: str, kubernetes: str) -> str:
        arguments = ("--namespace", NAMESPACE, "--kube-version", kubernetes, "-f", "-")
        return self.run("template", RELEASE, CHART, *arguments, values=values)


def settings_of(rendered: Rendered) -> Settings:
    """What the operator makes of the arguments, after the kubelet has filled in the pod's address."""
    arguments = [argument.replace("$(POD_IP)", POD_IP) for argument in rendered.container["args"]]
    return Settings(_cli_parse_args=arguments)


def chart_tool(name: str) -> Path:
    """One of the pinned programs that check the chart."""
    path = Search.here().cached(name)
    if not is_program(path):
        pytest.fail(f"no {name} in the cache: `make tools` builds it", pytrace=False)
    return path
