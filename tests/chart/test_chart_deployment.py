"""The operator's Deployment: what it is started with, and how tightly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_operator.children.platform import Addresses
from tradingbot_operator.settings import Settings
from tradingbot_sandbox.node.spec_check import check_pod

VENUE = {"restUrl": "http://127.0.0.9:8080/api/v3", "streamUrl": "ws://127.0.0.9:8080/ws"}
DIGEST = "sha256:" + "ab" * 32
POD_IP = "127.8.0.2"
EVERYTHING = {
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
    },
    "podLabels": {"team": "desk", "app.kubernetes.io/name": "not-for-you-to-set"},
    "podAnnotations": {"note": "x"},
    "imagePullSecrets": ["pull"],
    "priorityClassName": "high",
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}


def settings_of(rendered) -> Settings:
    """What the operator makes of the arguments, after the kubelet has filled in the pod's address."""
    arguments = [argument.replace("$(POD_IP)", POD_IP) for argument in rendered.container["args"]]
    return Settings(_cli_parse_args=arguments)


def test_defaults_of_the_chart_are_those_of_the_operator(chart):
    ours, theirs = settings_of(chart.render()), Settings(_cli_parse_args=[])
    # What only an installation can know.
    differ = {"listen", "installation", "trader_image"}
    assert ours.model_dump(exclude=differ) == theirs.model_dump(exclude=differ)


def test_every_value_reaches_its_setting(chart):
    settings = settings_of(chart.render(EVERYTHING))

    assert settings.namespaces == ("desk-a", "desk-b")
    assert settings.resync_interval_seconds == 2.5
    assert settings.workers == 7
    assert settings.log_level == "debug"
    assert settings.liveness_intervals == 9
    assert settings.listen == f"{POD_IP}:8080"
    assert settings.service_account_dir == Path("/var/run/secrets/kubernetes.io/serviceaccount")
    platform = settings.platform
    assert platform.installation == "tokyo"
    assert platform.trader_image == "registry:5000/desk/tradingbot-trader:7"
    assert platform.trader_image_pull_policy == "Never"
    assert platform.trader_requests == {"cpu": "1", "memory": "64Mi"}
    assert platform.trader_limits == {"memory": "128Mi"}
    assert (platform.storage_class, platform.storage_access_mode) == ("fast", "ReadWriteOncePod")
    assert platform.addresses == {
        (ExchangeId.BINANCE, Network.SANDBOX): Addresses(
            rest="http://127.0.0.9:8080/api/v3",
            stream="ws://127.0.0.9:8080/ws",
            account="ws://127.0.0.9:8080/ws-api/v3",
        ),
        (ExchangeId.BINANCE, Network.TESTNET): Addresses(rest="https://t/x/api/v3", stream="wss://t/x/ws"),
    }


@pytest.mark.parametrize("exchange", list(ExchangeId))
def test_every_exchange_of_the_api_may_have_a_test_venue(chart, exchange):
    settings = settings_of(chart.render({"exchanges": {exchange.value: {"sandbox": VENUE}}}))
    assert list(settings.platform.addresses) == [(exchange, Network.SANDBOX)]


def test_installation_is_named_after_namespace_and_release(chart):
    assert settings_of(chart.render()).installation == f"{chart.namespace}.{chart.release}"


def test_each_setting_is_given_once(chart):
    names = [argument.partition("=")[0] for argument in chart.render(EVERYTHING).container["args"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("part", ["operator", "trader"])
@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({"repository": "r/x"}, "r/x:0.1.0"),
        ({"repository": "r/x", "tag": "2"}, "r/x:2"),
        ({"repository": "r/x", "tag": "2", "digest": DIGEST}, f"r/x@{DIGEST}"),
    ],
    ids=["version of the chart", "tag", "digest wins"],
)
def test_image_is_named_by_tag_or_digest(chart, part, image, reference):
    rendered = chart.render({"image": image} if part == "operator" else {"trader": {"image": image}})
    named = rendered.container["image"] if part == "operator" else settings_of(rendered).trader_image
    assert named == reference


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_pod_meets_the_restricted_profile(chart, values):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards: what `restricted` asks for."""
    pod, container = chart.render(values).pod["spec"], chart.render(values).container
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"} & pod.keys()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,  # more than restricted asks for
        "capabilities": {"drop": ["ALL"]},
    }


def test_process_node_honours_every_field_of_the_pod(chart):
    """`make demo` installs this very chart."""
    pod = chart.render({"exchanges": {"binance": {"sandbox": VENUE}}}).pod
    assert check_pod(pod["spec"]).unsupported == ()


def test_pod_is_given_more_time_to_end_than_the_operator_takes(chart):
    rendered = chart.render()
    assert rendered.pod["spec"]["terminationGracePeriodSeconds"] > settings_of(rendered).graceful_exit_seconds


def test_two_operators_never_run_side_by_side(chart):
    (deployment,) = chart.render().of("Deployment")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_selector_and_service_find_the_pod_whatever_labels_are_added(chart):
    rendered = chart.render(EVERYTHING)
    labels = rendered.pod["metadata"]["labels"]
    (deployment,) = rendered.of("Deployment")
    (service,) = rendered.of("Service")
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    assert labels["team"] == "desk"
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in {one["name"] for one in rendered.container["ports"]}


def test_what_belongs_to_the_pod_is_passed_on(chart):
    pod = chart.render(EVERYTHING).pod
    assert pod["metadata"]["annotations"] == {"note": "x"}
    assert pod["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    for field in ("priorityClassName", "nodeSelector", "tolerations", "affinity"):
        assert pod["spec"][field] == EVERYTHING[field]
