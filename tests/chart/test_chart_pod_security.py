"""The API server's own admission takes the chart's pod and the traders' pods where `restricted` is enforced."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from support.chart import EVERYTHING, settings_of
from tradingbot_api.spec import Exchange, ExchangeId, Mode, Network
from tradingbot_operator.children.deployment import PodPlan, build_deployment
from tradingbot_operator.children.metadata import BotRef
from tradingbot_sandbox.control_plane.api import Answer
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

DRILLS = {"drill": {"enabled": True}}
LEVEL = "pod-security.kubernetes.io/enforce"


class Restricted:
    """A namespace that enforces the profile."""

    def __init__(self, control_plane: ControlPlane, name: str) -> None:
        self._admin, self._name = control_plane.admin, name
        answer = self._admin.merge(f"/api/v1/namespaces/{name}", {"metadata": {"labels": {LEVEL: "restricted"}}})
        assert answer.is_success, answer.body
        priority = {"metadata": {"name": "high"}, "value": 1000}
        assert self._admin.create("/apis/scheduling.k8s.io/v1/priorityclasses", priority).status in {201, 409}

    def try_pod(self, template: dict[str, Any]) -> Answer:
        """As the workload controllers would create it, without keeping it."""
        account = template["spec"]["serviceAccountName"]
        accounts = f"/api/v1/namespaces/{self._name}/serviceaccounts"
        assert self._admin.create(accounts, {"metadata": {"name": account}}).status in {201, 409}
        pod = {"metadata": {"name": "try", "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
        return self._admin.create(f"/api/v1/namespaces/{self._name}/pods?dryRun=All&fieldValidation=Strict", pod)


@pytest.fixture
def restricted(control_plane: ControlPlane, namespace: str) -> Iterator[Restricted]:
    yield Restricted(control_plane, namespace)
    control_plane.admin.delete("/apis/scheduling.k8s.io/v1/priorityclasses/high")


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_operators_pod_is_admitted(restricted: Restricted, chart, values):
    answer = restricted.try_pod(chart.render(values).pod)
    assert answer.status == 201, answer.body


@pytest.mark.parametrize("values", [DRILLS, EVERYTHING], ids=["defaults", "everything"])
def test_drills_pod_is_admitted(restricted: Restricted, chart, values):
    answer = restricted.try_pod(chart.render(values).drill_pod)
    assert answer.status == 201, answer.body


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
@pytest.mark.parametrize("book", list(Mode))
def test_traders_pod_is_admitted(restricted: Restricted, chart, values, book):
    answer = restricted.try_pod(trader_pod(chart, values, book))
    assert answer.status == 201, answer.body


@pytest.mark.parametrize(
    "loosen",
    [
        lambda pod: pod["spec"]["securityContext"].pop("seccompProfile"),
        lambda pod: pod["spec"]["securityContext"].update(runAsNonRoot=False),
        lambda pod: pod["spec"]["containers"][0]["securityContext"].pop("capabilities"),
        lambda pod: pod["spec"]["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
        lambda pod: pod["spec"].update(hostNetwork=True),
    ],
    ids=["seccomp", "root", "capabilities", "escalation", "host network"],
)
def test_pod_that_is_any_looser_would_be_refused(restricted: Restricted, chart, loosen):
    pods = (chart.render().pod, chart.render(DRILLS).drill_pod, trader_pod(chart, {}, Mode.LIVE))
    for pod in map(deepcopy, pods):
        loosen(pod)
        answer = restricted.try_pod(pod)
        assert answer.status == 403
        assert "violates PodSecurity" in answer.body["message"]


def trader_pod(chart, values: dict[str, Any], book: Mode) -> dict[str, Any]:
    """As the operator that this chart starts would make it."""
    platform = settings_of(chart.render(values)).platform
    exchange = Exchange(id=ExchangeId.BINANCE, network=Network.SANDBOX)
    plan = PodPlan(exchange=exchange, book=book, keys_secret="keys" if book is Mode.LIVE else "")
    bot = BotRef(namespace="desk-a", name="btc", uid="u")
    addresses = platform.addresses.get((exchange.id, exchange.network))
    deployment = build_deployment(bot, platform, pod=plan, addresses=addresses, suspended=False)
    template: dict[str, Any] = deployment["spec"]["template"]
    return template
