"""Who may do what: the operator as little as it needs, and never a Secret."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tradingbot_operator import kube
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.role import build_role
from tradingbot_operator.kinds import CHILDREN, EVENT, WATCHED

Grant = tuple[str, str, str]
"""API group, resource, verb."""

NAMESPACED = {"watch": {"namespaces": ["desk-a", "desk-b"]}}
BOTH = pytest.mark.parametrize("values", [{}, NAMESPACED], ids=["cluster-wide", "namespaced"])


def grants(role: dict[str, Any]) -> set[Grant]:
    return {grant for rule in role["rules"] for grant in product(rule["apiGroups"], rule["resources"], rule["verbs"])}


def roles(rendered) -> list[dict[str, Any]]:
    return [*rendered.of("Role"), *rendered.of("ClusterRole")]


def operator_roles(rendered) -> list[dict[str, Any]]:
    """What is bound to the operator's service account."""
    (account,) = rendered.of("ServiceAccount")
    bound = {
        (binding["roleRef"]["kind"], binding["metadata"].get("namespace"), binding["roleRef"]["name"])
        for binding in [*rendered.of("RoleBinding"), *rendered.of("ClusterRoleBinding")]
        for subject in binding["subjects"]
        if subject["kind"] == "ServiceAccount" and subject["name"] == account["metadata"]["name"]
    }
    return [r for r in roles(rendered) if (r["kind"], r["metadata"].get("namespace"), r["metadata"]["name"]) in bound]


@BOTH
def test_no_role_names_a_secret_a_pod_or_a_wildcard(chart, values):
    for role in roles(chart.render(values)):
        for group, resource, verb in grants(role):
            assert "*" not in (group, resource, verb), role["metadata"]["name"]
            assert resource.partition("/")[0] not in {"secrets", "pods"}, role["metadata"]["name"]
            assert verb not in {"escalate", "bind", "impersonate", "deletecollection"}, role["metadata"]["name"]


@BOTH
def test_operator_holds_whatever_it_grants_to_a_trader(chart, values):
    """Else the API server refuses the trader's Role (privilege escalation prevention)."""
    granted = grants(build_role(BotRef(namespace="desk-a", name="bot", uid="u")))
    assert granted
    for role in operator_roles(chart.render(values)):
        assert granted <= grants(role)


def documented(*, cluster_wide: bool) -> set[Grant]:
    """The table in the docstring of kube.py: group, resources, verbs, why."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:]] for line in kube.__doc__.splitlines() if line.startswith("|")
    ]
    return {
        (group.strip('"'), resource, verb)
        for group, resources, verbs, why in rows[2:]
        if cluster_wide or "cluster-wide installations alone" not in why
        for resource, verb in product(resources.split(", "), verbs.split())
    }


@BOTH
def test_operator_may_do_what_its_code_documents_and_nothing_else(chart, values):
    for role in operator_roles(chart.render(values)):
        assert grants(role) == documented(cluster_wide=not values)


@BOTH
def test_operator_can_read_and_apply_every_child(chart, values):
    for role in operator_roles(chart.render(values)):
        held = grants(role)
        assert {(kind.group, kind.plural, verb) for kind in CHILDREN for verb in ("list", "create", "patch")} <= held
        assert {(kind.group, kind.plural, verb) for kind in WATCHED for verb in ("list", "watch")} <= held
        assert (EVENT.group, EVENT.plural, "create") in held


def test_operator_of_some_namespaces_has_a_role_in_each_and_none_in_the_cluster(chart):
    bound = operator_roles(chart.render(NAMESPACED))
    assert {(role["kind"], role["metadata"]["namespace"]) for role in bound} == {("Role", "desk-a"), ("Role", "desk-b")}
    assert len({frozenset(grants(role)) for role in bound}) == 1


def test_both_scopes_grant_the_same_in_a_namespace(chart):
    (everywhere,) = operator_roles(chart.render())
    somewhere, _ = operator_roles(chart.render(NAMESPACED))
    assert grants(somewhere) < grants(everywhere)


@BOTH
def test_every_service_account_reads_the_halts_and_only_those(chart, values):
    """A trader counts a refusal as lost contact, and stops."""
    rendered = chart.render(values)
    (binding,) = [b for b in rendered.of("ClusterRoleBinding") if b["subjects"][0]["kind"] == "Group"]
    assert binding["subjects"] == [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:serviceaccounts"}
    ]
    (role,) = [r for r in rendered.of("ClusterRole") if r["metadata"]["name"] == binding["roleRef"]["name"]]
    assert grants(role) == {("tradingbot.dev", "tradinghalts", verb) for verb in ("get", "list", "watch")}


def test_nobody_may_approve_by_default_and_a_viewer_may_write_nothing(chart):
    aggregated = {r["metadata"]["name"].rpartition(":")[2]: r for r in chart.render().of("ClusterRole")}
    assert {verb for _, _, verb in grants(aggregated["view"])} == {"get", "list", "watch"}
    assert {resource for _, resource, _ in grants(aggregated["edit"])} == {"tradingbots"}
    labels = aggregated["edit"]["metadata"]["labels"]
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in labels


def test_two_releases_of_one_name_do_not_share_cluster_roles(chart):
    names = [r["metadata"]["name"] for r in chart.render().of("ClusterRole")]
    assert all(name.startswith(f"{chart.namespace}:{chart.release}") for name in names)


def test_permissions_are_left_to_others_when_asked(chart):
    kinds = {item["kind"] for item in chart.render({"rbac": {"create": False}}).objects}
    assert kinds == {"CustomResourceDefinition", "Deployment", "Service", "ServiceAccount"}
    names = {
        r["metadata"]["name"].rpartition(":")[2] for r in chart.render({"rbac": {"aggregate": False}}).of("ClusterRole")
    }
    assert not names & {"view", "edit"}


@pytest.mark.parametrize(
    ("account", "used"),
    [({"create": False}, "default"), ({"create": False, "name": "mine"}, "mine"), ({"name": "other"}, "other")],
)
def test_service_account_may_be_somebody_elses(chart, account, used):
    rendered = chart.render({"serviceAccount": account})
    assert rendered.pod["spec"]["serviceAccountName"] == used
    (binding,) = [b for b in rendered.of("ClusterRoleBinding") if b["subjects"][0]["kind"] == "ServiceAccount"]
    assert binding["subjects"][0]["name"] == used
    assert len(rendered.of("ServiceAccount")) == (account.get("create") is not False)
