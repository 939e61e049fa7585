from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tradingbot_api.spec import Exchange, ExchangeId, Mode, Network
from tradingbot_operator.children.deployment import PodPlan, build_deployment, read_pod_plan
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.platform import Addresses, Platform
from tradingbot_sandbox.node.spec_check import check_pod

BOT = BotRef("desk-a", "btc", "11111111-2222-3333-4444-555555555555")
EXCHANGE = Exchange(id=ExchangeId.BINANCE, network=Network.SANDBOX)
PAPER = PodPlan(EXCHANGE)
LIVE = PodPlan(EXCHANGE, Mode.LIVE, "my-keys")
ADDRESSES = Addresses("http://venue:8080", "ws://venue:8080/ws", "ws://venue:8080/ws-api/v3")
KEYS = "/var/run/secrets/tradingbot/keys"
Build = Callable[..., dict[str, Any]]


@pytest.fixture
def build(platform: Platform) -> Build:
    def deployment(**changes: Any) -> dict[str, Any]:
        given: dict[str, Any] = {"pod": PAPER, "addresses": ADDRESSES, "suspended": False}
        settings = changes.pop("settings", {})
        return build_deployment(BOT, replace(platform, **settings), **(given | changes))

    return deployment


def test_deployment_reads_as_a_whole(build: Build) -> None:
    template_hash = build()["metadata"]["annotations"]["tradingbot.dev/template-hash"]
    labels = {
        "app.kubernetes.io/name": "tradingbot-trader",
        "app.kubernetes.io/instance": "btc",
        "app.kubernetes.io/managed-by": "tradingbot-operator",
        "app.kubernetes.io/part-of": "tradingbot",
        "tradingbot.dev/bot": "btc",
    }
    assert build() == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "btc-trader",
            "namespace": "desk-a",
            "labels": labels,
            "annotations": {"tradingbot.dev/template-hash": template_hash},
            "ownerReferences": [
                {
                    "apiVersion": "tradingbot.dev/v1alpha1",
                    "kind": "TradingBot",
                    "name": "btc",
                    "uid": BOT.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 2,
            "selector": {
                "matchLabels": {"app.kubernetes.io/name": "tradingbot-trader", "app.kubernetes.io/instance": "btc"}
            },
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"tradingbot.dev/template-hash": template_hash},
                },
                "spec": {
                    "serviceAccountName": "btc-trader",
                    "automountServiceAccountToken": True,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 60,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "trader",
                            "image": "registry.example/tradingbot-trader:1.2.3",
                            "imagePullPolicy": "IfNotPresent",
                            "args": [
                                "run",
                                "--namespace=desk-a",
                                "--name=btc",
                                "--exchange=binance",
                                "--network=Sandbox",
                                "--book=paper",
                                "--store=/var/lib/tradingbot",
                                "--listen=$(POD_IP):8080",
                                "--service-account-dir=/var/run/secrets/kubernetes.io/serviceaccount",
                                "--installation=prod-1",
                                "--rest-url=http://venue:8080",
                                "--stream-url=ws://venue:8080/ws",
                            ],
                            "env": [
                                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                                {
                                    "name": "POD_NAMESPACE",
                                    "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
                                },
                                {
                                    "name": "POD_TEMPLATE",
                                    "valueFrom": {
                                        "fieldRef": {
                                            "fieldPath": "metadata.annotations['tradingbot.dev/template-hash']"
                                        }
                                    },
                                },
                                {"name": "TZ", "value": "UTC"},
                            ],
                            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                            "resources": {
                                "requests": {"cpu": "50m", "memory": "192Mi"},
                                "limits": {"memory": "512Mi"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "volumeMounts": [
                                {"name": "store", "mountPath": "/var/lib/tradingbot"},
                                {"name": "tmp", "mountPath": "/tmp"},
                            ],
                            "startupProbe": {
                                "httpGet": {"path": "/healthz", "port": "http"},
                                "periodSeconds": 1,
                                "timeoutSeconds": 5,
                                "failureThreshold": 120,
                            },
                            "livenessProbe": {
                                "httpGet": {"path": "/healthz", "port": "http"},
                                "periodSeconds": 10,
                                "timeoutSeconds": 5,
                                "failureThreshold": 6,
                            },
                            "readinessProbe": {
                                "httpGet": {"path": "/readyz", "port": "http"},
                                "periodSeconds": 2,
                                "timeoutSeconds": 5,
                                "failureThreshold": 3,
                            },
                        }
                    ],
                    "volumes": [
                        {"name": "store", "persistentVolumeClaim": {"claimName": "btc-trader"}},
                        {"name": "tmp", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def test_suspended_bot_has_no_pod_and_the_same_template(build: Build) -> None:
    suspended, running = build(suspended=True), build()
    assert suspended["spec"]["replicas"] == 0
    assert suspended["spec"]["template"] == running["spec"]["template"]


def test_mainnet_gets_no_address(build: Build) -> None:
    mainnet = build(pod=PodPlan(Exchange(id=ExchangeId.BINANCE)), addresses=None)
    arguments = mainnet["spec"]["template"]["spec"]["containers"][0]["args"]
    assert not [argument for argument in arguments if "url" in argument]


def test_paper_pod_names_no_secret(build: Build) -> None:
    assert "secret" not in str(build()["spec"]["template"]["spec"]).lower().replace("/var/run/secrets", "")


def pod_of(deployment: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


def test_live_pod_differs_from_a_paper_pod_in_book_keys_and_account_stream_alone(build: Build) -> None:
    paper, live = pod_of(build()), pod_of(build(pod=LIVE))
    (trader,), (paper_trader,) = live["containers"], paper["containers"]
    assert live["volumes"] == [
        *paper["volumes"],
        {"name": "keys", "secret": {"secretName": "my-keys", "defaultMode": 0o440, "optional": True}},
    ]
    assert trader["volumeMounts"] == [
        *paper_trader["volumeMounts"],
        {"name": "keys", "mountPath": KEYS, "readOnly": True},
    ]
    account = "--account-url=ws://venue:8080/ws-api/v3"
    assert set(trader["args"]) ^ set(paper_trader["args"]) == {
        "--book=paper", "--book=live", f"--keys-dir={KEYS}", account
    }  # fmt: skip
    rest = ("volumes", "containers")
    assert {key: live[key] for key in live if key not in rest} == {key: paper[key] for key in paper if key not in rest}
    assert trader | {"args": [], "volumeMounts": []} == paper_trader | {"args": [], "volumeMounts": []}


def test_keys_are_in_no_variable_and_no_argument_of_a_live_pod(build: Build) -> None:
    (container,) = pod_of(build(pod=LIVE))["containers"]
    assert container["env"] == pod_of(build())["containers"][0]["env"]
    assert "envFrom" not in container
    assert not [argument for argument in container["args"] if "my-keys" in argument]


def test_account_address_that_is_not_set_is_left_out(build: Build) -> None:
    for addresses in (None, Addresses("http://venue:8080", "ws://venue:8080/ws")):
        (container,) = pod_of(build(pod=LIVE, addresses=addresses))["containers"]
        assert not [argument for argument in container["args"] if argument.startswith("--account-url")]


def test_process_node_honours_every_field_of_a_live_pod(build: Build) -> None:
    assert check_pod(pod_of(build(pod=LIVE))).unsupported == ()


def test_another_secret_is_another_pod(build: Build) -> None:
    other = build(pod=replace(LIVE, keys_secret="other-keys"))
    assert other["spec"]["template"] != build(pod=LIVE)["spec"]["template"]


@pytest.mark.parametrize("pod", [PAPER, LIVE, PodPlan(Exchange(id=ExchangeId.KRAKEN), Mode.LIVE, "k")])
def test_what_a_pod_was_made_for_is_read_back(build: Build, pod: PodPlan) -> None:
    assert read_pod_plan(build(pod=pod)) == pod


@pytest.mark.parametrize(
    "arguments", [[], ["run"], ["--exchange=ftx", "--network=Sandbox"], ["--exchange=binance"], [5, None], "run"]
)
def test_pod_that_is_not_as_we_write_it_is_unknown(build: Build, arguments: Any) -> None:
    deployment = build()
    pod_of(deployment)["containers"][0]["args"] = arguments
    assert read_pod_plan(deployment) is None
    assert read_pod_plan({}) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"pod": PodPlan(Exchange(id=ExchangeId.KRAKEN, network=Network.SANDBOX))},
        {"pod": PodPlan(Exchange(id=ExchangeId.BINANCE, network=Network.TESTNET))},
        {"pod": LIVE},
        {"addresses": Addresses("http://other:8080", "ws://venue:8080/ws")},
        {"settings": {"trader_image": "other:2"}},
        {"settings": {"trader_limits": {}}},
        {"settings": {"installation": "prod-2"}},
    ],
)
def test_what_needs_a_new_pod_changes_the_template(build: Build, changes: dict[str, Any]) -> None:
    assert build(**changes)["spec"]["template"] != build()["spec"]["template"]


def test_resources_that_are_not_set_are_left_out(build: Build) -> None:
    container = build(settings={"trader_limits": {}, "trader_requests": {}})["spec"]["template"]["spec"]["containers"][
        0
    ]
    assert "resources" not in container


def test_nothing_that_was_passed_in_is_changed(build: Build, platform: Platform) -> None:
    before = copy.deepcopy(platform)
    built = build()
    built["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "9"
    assert platform == before
