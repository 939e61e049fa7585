"""PURE. The trader's Deployment.

The pod template depends on what needs a new pod alone: image, venue and its addresses, book, settings of the platform.
Limits, stage, symbols and strategy reach the trader through its own watch, and must not restart it.
"""

from __future__ import annotations

from tradingbot_api.labels import child_labels, selector_labels
from tradingbot_api.spec import Exchange
from tradingbot_operator.children.metadata import BotRef, build_object
from tradingbot_operator.children.platform import Addresses, Platform
from tradingbot_operator.kinds import DEPLOYMENT
from tradingbot_operator.manifest import Manifest

CONTAINER = "trader"
HTTP_PORT = 8080
HTTP_PORT_NAME = "http"
STORE_PATH = "/var/lib/tradingbot"
SERVICE_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TMP_PATH = "/tmp"  # noqa: S108  a volume of its own, because the root file system is read-only
NONROOT_ID = 65532
GRACE_SECONDS = 60
"""Time to cancel resting entries and to close the store."""


def build_deployment(
    bot: BotRef, platform: Platform, *, exchange: Exchange, addresses: Addresses | None, suspended: bool
) -> Manifest:
    """`addresses` for test venues alone; Mainnet's stand in the trader's code."""
    return build_object(DEPLOYMENT, bot) | {
        "spec": {
            "replicas": 0 if suspended else 1,
            # Never two traders by our doing; the lease sees to the rest.
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": selector_labels(bot.name)},
            "template": {
                "metadata": {"labels": child_labels(bot.name)},
                "spec": _pod(bot, platform, exchange, addresses),
            },
        }
    }


def _pod(bot: BotRef, platform: Platform, exchange: Exchange, addresses: Addresses | None) -> Manifest:
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
        "containers": [_container(bot, platform, exchange, addresses)],
        "volumes": [
            {"name": "store", "persistentVolumeClaim": {"claimName": bot.child_name}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _container(bot: BotRef, platform: Platform, exchange: Exchange, addresses: Addresses | None) -> Manifest:
    resources = {
        key: dict(quantities)
        for key, quantities in (("requests", platform.trader_requests), ("limits", platform.trader_limits))
        if quantities
    }
    return {
        "name": CONTAINER,
        "image": platform.trader_image,
        "imagePullPolicy": platform.trader_image_pull_policy,
        "args": _arguments(bot, platform, exchange, addresses),
        "env": [
            _from_pod("POD_IP", "status.podIP"),
            _from_pod("POD_NAME", "metadata.name"),
            _from_pod("POD_NAMESPACE", "metadata.namespace"),
            {"name": "TZ", "value": "UTC"},
        ],
        "ports": [{"name": HTTP_PORT_NAME, "containerPort": HTTP_PORT, "protocol": "TCP"}],
        **({"resources": resources} if resources else {}),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "store", "mountPath": STORE_PATH}, {"name": "tmp", "mountPath": TMP_PATH}],
        # Opening a large store and recovering from it takes its time; then a minute of silence is a hang.
        "startupProbe": _probe("/healthz", period_seconds=1, failures=120),
        "livenessProbe": _probe("/healthz", period_seconds=10, failures=6),
        "readinessProbe": _probe("/readyz", period_seconds=2, failures=3),
    }


def _arguments(bot: BotRef, platform: Platform, exchange: Exchange, addresses: Addresses | None) -> list[str]:
    arguments = [
        "run",
        f"--namespace={bot.namespace}",
        f"--name={bot.name}",
        f"--exchange={exchange.id.value}",
        f"--network={exchange.network.value}",
        "--book=paper",
        f"--store={STORE_PATH}",
        f"--listen=$(POD_IP):{HTTP_PORT}",
        f"--service-account-dir={SERVICE_ACCOUNT_PATH}",
        f"--installation={platform.installation}",
    ]
    if addresses is not None:
        arguments += [f"--rest-url={addresses.rest}", f"--stream-url={addresses.stream}"]
    return arguments


def _from_pod(name: str, path: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _probe(path: str, *, period_seconds: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": HTTP_PORT_NAME},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
