"""The operator's Deployment: what it is started with, and how tightly."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.chart import DIGEST, EVERYTHING, POD_IP, VENUE, settings_of
from tradingbot_api.spec import ExchangeId, Network
from tradingbot_operator.children.platform import Addresses, MonitorRules, NetworkRules
from tradingbot_operator.settings import Settings
from tradingbot_sandbox.node.spec_check import check_pod


def test_defaults_of_the_chart_are_those_of_the_operator(chart):
    ours, theirs = settings_of(chart.render()), Settings(_cli_parse_args=[])
    # What only an installation can know.
    differ = {"listen", "installation", "trader_image", "admission_policies", "lease_name", "lease_namespace"}
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
    assert platform.network == NetworkRules(
        metrics_from=(), api_server_cidrs=("10.0.0.1/32",), api_server_ports=(6443,)
    )
    assert platform.monitor == MonitorRules(is_enabled=False, labels={"release": "prometheus"})
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


def test_no_setting_is_given_twice(chart, refused):
    own = {argument.partition("=")[0] for argument in chart.render(EVERYTHING).container["args"]}
    for name in own:
        with pytest.raises(refused, match=f"extraArgs: {name} is set already"):
            chart.render(EVERYTHING | {"extraArgs": ["--liveness-intervals=9", f"{name}=x"]})


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


def test_new_operator_stands_by_before_an_old_one_ends(chart):
    (deployment,) = chart.render().of("Deployment")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert settings_of(chart.render()).election


def test_two_releases_of_a_namespace_have_two_leases(chart):
    names = {settings_of(chart.render({"fullnameOverride": name})).lease_name for name in ("a", "b")}
    assert names == {"a", "b"}


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_several_operators_are_spread_and_never_drained_at_once(chart, replicas):
    rendered = chart.render({"replicas": replicas})
    (deployment,) = rendered.of("Deployment")
    selector = deployment["spec"]["selector"]
    assert deployment["spec"]["replicas"] == replicas
    spread = rendered.pod["spec"].get("topologySpreadConstraints", [])
    budgets = rendered.of("PodDisruptionBudget")
    if replicas == 1:
        assert (spread, budgets) == ([], []), "a budget would block each drain"
        return
    assert [(each["whenUnsatisfiable"], each["labelSelector"]) for each in spread] == [("ScheduleAnyway", selector)]
    assert [each["spec"] for each in budgets] == [{"minAvailable": 1, "selector": selector}]


@pytest.mark.parametrize("replicas", [0, 4])
def test_no_operator_or_a_crowd_is_refused(chart, refused, replicas):
    with pytest.raises(refused, match="replicas"):
        chart.render({"replicas": replicas})


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
    for field in ("priorityClassName", "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints"):
        assert pod["spec"][field] == EVERYTHING[field]
