"""Drills by the clock: what the CronJob runs, and what its account may do."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import Any

import pytest

from support.chart import EVERYTHING
from support.plugin import Server, Time, Trader, build_bot
from tradingbot_api.duration import parse_duration_ns
from tradingbot_plugin.cli import run
from tradingbot_plugin.options import Invocation
from tradingbot_plugin.view import Ref
from tradingbot_sandbox.node.spec_check import check_pod

ON = {"drill": {"enabled": True}}
WATCHED = {"watch": {"namespaces": ["desk-a", "desk-b"]}, "drill": {"enabled": True, "namespaces": ["desk-b"]}}
BOTH = pytest.mark.parametrize("values", [ON, WATCHED], ids=["cluster-wide", "namespaced"])


def drills(rendered) -> list[dict[str, Any]]:
    return [item for item in rendered.objects if item["metadata"]["name"].endswith(("-drill", ":drill"))]


def grants(role: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {grant for rule in role["rules"] for grant in product(rule["apiGroups"], rule["resources"], rule["verbs"])}


def test_nothing_of_it_is_there_unless_asked(chart):
    assert drills(chart.render()) == []
    assert drills(chart.render({"drill": {"namespaces": ["desk-a"], "selector": "a=b"}})) == []


@BOTH
def test_account_stops_and_rearms_bots_and_does_nothing_else(chart, values):
    """No halt: whoever may make one can stop every bot of the cluster."""
    rendered = chart.render(values)
    account = rendered.drill_pod["spec"]["serviceAccountName"]
    bindings = [
        each
        for each in [*rendered.of("RoleBinding"), *rendered.of("ClusterRoleBinding")]
        if account in {subject["name"] for subject in each["subjects"]}
    ]
    assert {subject["namespace"] for each in bindings for subject in each["subjects"]} == {chart.namespace}
    namespaces = values["drill"].get("namespaces", [None])
    assert [each["metadata"].get("namespace") for each in bindings] == namespaces
    for binding, namespace in zip(bindings, namespaces, strict=True):
        kind = "Role" if namespace else "ClusterRole"
        assert binding["roleRef"]["kind"] == kind
        (role,) = [
            each
            for each in rendered.of(kind)
            if (each["metadata"]["name"], each["metadata"].get("namespace")) == (binding["roleRef"]["name"], namespace)
        ]
        assert grants(role) == {("tradingbot.dev", "tradingbots", verb) for verb in ("get", "list", "patch", "rearm")}


def test_permissions_are_left_to_others_when_asked(chart):
    kinds = {item["kind"] for item in drills(chart.render(ON | {"rbac": {"create": False}}))}
    assert kinds == {"CronJob", "ServiceAccount", "NetworkPolicy"}


def test_account_is_no_traders_and_not_the_operators(chart):
    """A policy keeps names that end with -trader for traders."""
    for values in (ON, ON | {"fullnameOverride": "a" * 63}, ON | {"fullnameOverride": "bots-trader"}):
        rendered = chart.render(values)
        account = rendered.drill_pod["spec"]["serviceAccountName"]
        assert not account.endswith("-trader")
        assert account != rendered.pod["spec"]["serviceAccountName"]
        (job,) = rendered.of("CronJob")
        assert len(job["metadata"]["name"]) <= 52
        assert account in {each["metadata"]["name"] for each in rendered.of("ServiceAccount")}


def test_drills_pod_is_none_of_the_operators(chart):
    """Its Service and its NetworkPolicy would take it in, a PodDisruptionBudget would count it."""
    rendered = chart.render(ON | {"replicas": 2})
    labels = rendered.drill_pod["metadata"]["labels"].items()
    (service,) = rendered.of("Service")
    (budget,) = rendered.of("PodDisruptionBudget")
    (deployment,) = rendered.of("Deployment")
    own = [policy for policy in rendered.of("NetworkPolicy") if not policy["metadata"]["name"].endswith("-drill")]
    selectors = [item["spec"]["selector"]["matchLabels"] for item in (budget, deployment)]
    selectors += [service["spec"]["selector"], *(policy["spec"]["podSelector"]["matchLabels"] for policy in own)]
    assert not [selector for selector in selectors if selector.items() <= labels]


@pytest.mark.parametrize("values", [ON, EVERYTHING], ids=["defaults", "everything"])
def test_pod_reaches_what_the_operator_reaches_and_nothing_reaches_it(chart, values):
    rendered = chart.render(values)
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in rendered.of("NetworkPolicy")}
    drill, operator = policies["prod-tradingbot-operator-drill"], policies["prod-tradingbot-operator"]
    assert drill["podSelector"]["matchLabels"].items() <= rendered.drill_pod["metadata"]["labels"].items()
    assert drill["egress"] == operator["egress"]
    assert drill["ingress"] == []
    assert drill["policyTypes"] == ["Ingress", "Egress"]


def test_policy_is_left_out_when_asked(chart):
    rendered = chart.render(ON | {"networkPolicy": {"enabled": False}})
    assert rendered.of("NetworkPolicy") == []


@pytest.mark.parametrize("values", [ON, EVERYTHING], ids=["defaults", "everything"])
def test_drill_that_is_told_to_end_has_the_time_for_the_bot_in_hand(chart, values):
    template = chart.render(values).drill_pod["spec"]
    (container,) = template["containers"]
    (timeout,) = [each.partition("=")[2] for each in container["args"] if each.startswith("--timeout=")]
    assert template["terminationGracePeriodSeconds"] >= 2 * parse_duration_ns(timeout) / 1e9 + 10


def test_every_value_reaches_the_job(chart):
    (job,) = chart.render(EVERYTHING).of("CronJob")
    drill = EVERYTHING["drill"]
    assert (job["spec"]["schedule"], job["spec"]["timeZone"]) == (drill["schedule"], drill["timeZone"])
    assert job["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == drill["deadlineSeconds"]
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == chart.render(EVERYTHING).container["image"]
    assert container["resources"]["limits"] == {"memory": "96Mi"}
    assert (pod["nodeSelector"], pod["tolerations"]) == (EVERYTHING["nodeSelector"], EVERYTHING["tolerations"])
    assert {
        "--selector=drill in (weekly,daily),!live", "--namespaces=desk-b", "--action=ReduceOnly", "--timeout=20s"
    } <= set(container["args"])  # fmt: skip


@pytest.mark.parametrize(
    ("drill", "taken"),
    [
        ({}, ["desk-a/paper", "desk-b/paper"]),
        ({"namespaces": ["desk-b"]}, ["desk-b/paper"]),
        ({"selector": "drill=yes"}, ["desk-a/paper"]),
        ({"selector": "drill=yes", "namespaces": ["desk-b"]}, []),
    ],
    ids=str,
)
def test_program_takes_these_arguments_and_drills_what_they_say(chart, capsys, drill, taken):
    """The pod's own command line, through the plugin, against an API server in memory."""
    bots = [Ref(namespace, name) for namespace in ("desk-a", "desk-b") for name in ("live", "paper")]
    server, clock = Server(*(build_bot(ref) for ref in bots)), Time()
    for ref in bots:
        if ref.name == "live":
            server.bots[ref]["spec"] |= {"mode": "Live", "exchange": {"id": "binance", "network": "Mainnet"}}
    server.bots[bots[1]]["metadata"]["labels"] = {"drill": "yes"}
    clock.meanwhile += [Trader(server, ref) for ref in bots]
    (container,) = chart.render({"drill": {"enabled": True} | drill}).drill_pod["spec"]["containers"]
    assert container["command"] == ["kubectl-tradingbot"]
    code = run([*container["args"], "-o", "json"], Invocation(lambda access: server, clock, no_question))  # noqa: ARG005
    out, _ = capsys.readouterr()
    passed = [f"{each['namespace']}/{each['name']}" for each in (json.loads(out) if out else []) if each.get("passed")]
    assert passed == taken
    assert code == (0 if taken else 1)
    assert not re.search("create_halt", " ".join(server.calls))


def no_question(question: str) -> bool:
    raise AssertionError(f"nobody is there to answer: {question}")


def test_process_node_runs_the_pod(chart):
    assert check_pod(chart.render(ON).drill_pod["spec"]).unsupported == ()
