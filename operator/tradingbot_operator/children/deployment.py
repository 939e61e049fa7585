"""PURE. The trader's Deployment.

The pod template depends on what needs a new pod alone: image, venue and its addresses, book and its keys, settings of
the platform. Limits, stage, symbols and strategy reach the trader through its own watch, and must not restart it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tradingbot_api.labels import child_labels, selector_labels
from tradingbot_api.spec import Exchange, ExchangeId, Mode, Network
from tradingbot_operator.children.metadata import BotRef, build_object
from tradingbot_operator.children.platform import Addresses, Platform
from tradingbot_operator.kinds import DEPLOYMENT
from tradingbot_operator.manifest import Manifest, mapping, sequence, text

CONTAINER = "trader"
HTTP_PORT = 8080
HTTP_PORT_NAME = "http"
STORE_PATH = "/var/lib/tradingbot"
SERVICE_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
KEYS_PATH = "/var/run/secrets/tradingbot/keys"
KEYS_VOLUME = "keys"
KEYS_MODE = 0o440
"""Readable through fsGroup alone."""
TMP_PATH = "/tmp"  # noqa: S108  a volume of its own, because the root file system is read-only
NONROOT_ID = 65532
TEMPLATE_HASH = "tradingbot.dev/template-hash"
"""Annotation of the Deployment and of its pods: the pod template that they were made with. Another one is known before
it is applied, and the trader tells the one that it runs under."""
GRACE_SECONDS = 60
"""Time to cancel resting entries and to close the store."""


@dataclass(frozen=True, slots=True)
class PodPlan:
    """What a trader's pod is made for. Nothing of it can change while the pod runs."""

    exchange: Exchange
    book: Mode = Mode.PAPER
    """Which book it trades. Only a live pod mounts keys."""
    keys_secret: str = ""
    """Secret with the exchange keys, in the bot's namespace; of a live pod."""

    @property
    def is_live(self) -> bool:
        return self.book is Mode.LIVE


def build_deployment(
    bot: BotRef, platform: Platform, *, pod: PodPlan, addresses: Addresses | None, suspended: bool
) -> Manifest:
    """`addresses` for test venues alone; Mainnet's stand in the trader's code."""
    labels, spec = child_labels(bot.name), _pod(bot, platform, pod, addresses)
    hashed = {TEMPLATE_HASH: _hash({"metadata": {"labels": labels}, "spec": spec})}
    template = {"metadata": {"labels": labels, "annotations": hashed}, "spec": spec}
    manifest = build_object(DEPLOYMENT, bot)
    manifest["metadata"]["annotations"] = dict(hashed)
    return manifest | {
        "spec": {
            "replicas": 0 if suspended else 1,
            # Never two traders by our doing; the lease sees to the rest.
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": selector_labels(bot.name)},
            "template": template,
        }
    }


def _hash(template: Manifest) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def template_hash(deployment: object) -> str:
    """Of the pod template that it was made with; empty when it does not say."""
    return text(deployment, "metadata", "annotations", TEMPLATE_HASH)


def describe_change(before: object, after: object) -> str:
    """What another pod would be made with, for a person: "image a:1 -> a:2, arguments"."""
    old, new = (_read_container(each) for each in (before, after))
    found = []
    if text(old, "image") != text(new, "image"):
        found.append(f"image {text(old, 'image')} -> {text(new, 'image')}")
    if sequence(old, "args") != sequence(new, "args"):
        found.append("arguments")
    if mapping(old, "resources") != mapping(new, "resources"):
        found.append("resources")
    return ", ".join(found) or "other parts of the pod"


def _read_container(deployment: object) -> Mapping[str, Any]:
    containers = sequence(mapping(deployment, "spec", "template", "spec"), "containers")
    return next((mapping(each) for each in containers if text(each, "name") == CONTAINER), {})


def _pod(bot: BotRef, platform: Platform, pod: PodPlan, addresses: Addresses | None) -> Manifest:
    return {
        "serviceAccountName": bot.child_name,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": NONROOT_ID,
            "runAsGroup": NONROOT_ID,
            "fsGroup": NONROOT_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(bot, platform, pod, addresses)],
        "volumes": [
            {"name": "store", "persistentVolumeClaim": {"claimName": bot.child_name}},
            {"name": "tmp", "emptyDir": {}},
            *([_keys_volume(pod)] if pod.is_live else []),
        ],
    }


def _container(bot: BotRef, platform: Platform, pod: PodPlan, addresses: Addresses | None) -> Manifest:
    resources = {
        key: dict(quantities)
        for key, quantities in (("requests", platform.trader_requests), ("limits", platform.trader_limits))
        if quantities
    }
    return {
        "name": CONTAINER,
        "image": platform.trader_image,
        "imagePullPolicy": platform.trader_image_pull_policy,
        "args": _arguments(bot, platform, pod, addresses),
        "env": [
            _from_pod("POD_IP", "status.podIP"),
            _from_pod("POD_NAME", "metadata.name"),
            _from_pod("POD_NAMESPACE", "metadata.namespace"),
            _from_pod("POD_TEMPLATE", f"metadata.annotations['{TEMPLATE_HASH}']"),
            {"name": "TZ", "value": "UTC"},
        ],
        "ports": [{"name": HTTP_PORT_NAME, "containerPort": HTTP_PORT, "protocol": "TCP"}],
        **({"resources": resources} if resources else {}),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "store", "mountPath": STORE_PATH},
            {"name": "tmp", "mountPath": TMP_PATH},
            # The whole directory, never subPath: only so does a rotated key reach the running pod.
            *([{"name": KEYS_VOLUME, "mountPath": KEYS_PATH, "readOnly": True}] if pod.is_live else []),
        ],
        # Opening a large store and recovering from it takes its time; then a minute of silence is a hang.
        "startupProbe": _probe("/healthz", period_seconds=1, failures=120),
        "livenessProbe": _probe("/healthz", period_seconds=10, failures=6),
        "readinessProbe": _probe("/readyz", period_seconds=2, failures=3),
    }


def _arguments(bot: BotRef, platform: Platform, pod: PodPlan, addresses: Addresses | None) -> list[str]:
    arguments = [
        "run",
        f"--namespace={bot.namespace}",
        f"--name={bot.name}",
        f"--exchange={pod.exchange.id.value}",
        f"--network={pod.exchange.network.value}",
        _LIVE if pod.is_live else _PAPER,
        f"--store={STORE_PATH}",
        f"--listen=$(POD_IP):{HTTP_PORT}",
        f"--service-account-dir={SERVICE_ACCOUNT_PATH}",
        f"--installation={platform.installation}",
    ]
    if addresses is not None:
        arguments += [f"--rest-url={addresses.rest}", f"--stream-url={addresses.stream}"]
    if pod.is_live:
        arguments.append(f"--keys-dir={KEYS_PATH}")
        if addresses is not None and addresses.account:
            arguments.append(f"--account-url={addresses.account}")
    return arguments


_PAPER = "--book=paper"
_LIVE = "--book=live"


def _keys_volume(pod: PodPlan) -> Manifest:
    # Optional: with its Secret missing the pod would hang in ContainerCreating, and nobody there would say why. So the
    # trader starts, reports what is missing, and takes the keys when they appear.
    source = {"secretName": pod.keys_secret, "defaultMode": KEYS_MODE, "optional": True}
    return {"name": KEYS_VOLUME, "secret": source}


def read_pod_plan(deployment: Mapping[str, Any]) -> PodPlan | None:
    """What the pod of that Deployment was made for; None when its arguments are not what we write."""
    spec = mapping(deployment, "spec", "template", "spec")
    arguments = [each for each in sequence(_read_container(deployment), "args") if isinstance(each, str)]
    values = {name: value for name, _, value in (each.partition("=") for each in arguments)}
    try:
        exchange = Exchange(id=ExchangeId(values["--exchange"]), network=Network(values["--network"]))
    except (KeyError, ValueError):
        return None
    if _LIVE not in arguments:
        return PodPlan(exchange)
    secrets = [text(each, "secret", "secretName") for each in sequence(spec, "volumes") if _is_keys(each)]
    return PodPlan(exchange, Mode.LIVE, "".join(secrets))


def _is_keys(volume: object) -> bool:
    return text(volume, "name") == KEYS_VOLUME


def _from_pod(name: str, path: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _probe(path: str, *, period_seconds: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": HTTP_PORT_NAME},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
