"""Who may do what: the operator as little as it needs, and never a Secret."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from support.chart import settings_of
from tradingbot_operator import kube
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.role import build_role
from tradingbot_operator.kinds import CHILDREN, EVENT, WATCHED

Grant = tuple[str, str, str]
"""API group, resource, verb."""

LEASES = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
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
    return [
        r
        for r in roles(rendered)
        if (r["kind"], r["metadata"].get("namespace"), r["metadata"]["name"]) in bound
        and not r["metadata"]["name"].endswith((":policies", ":election"))  # test_chart_policies.py; below
    ]


@BOTH
def test_no_role_names_a_secret_a_pod_or_a_wildcard(chart, values):
    """Of programs; those of people stand in PEOPLE, to the last verb."""
    for role in roles(chart.render(values)):
        if role["metadata"]["name"] in PEOPLE:
            continue
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
        if (cluster_wide or "cluster-wide installations alone" not in why) and "our own by name" not in why
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


@BOTH
def test_operator_holds_its_own_lease_and_no_other_of_its_namespace(chart, values):
    rendered = chart.render(values)
    (role,) = [r for r in rendered.of("Role", namespace=chart.namespace) if r["metadata"]["name"].endswith(":election")]
    name = settings_of(rendered).lease_name
    assert role["rules"] == [
        {**LEASES, "resourceNames": [name], "verbs": ["get", "update"]},
        {**LEASES, "verbs": ["create"]},
    ]
    (binding,) = [b for b in rendered.of("RoleBinding") if b["roleRef"]["name"] == role["metadata"]["name"]]
    assert binding["metadata"]["namespace"] == settings_of(rendered).lease_namespace == chart.namespace


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


OURS = {"golive", "promote", "rearm", "grant"}
"""Verbs of our own, which the admission policies ask for."""
PEOPLE = {
    "tradingbot-approver": {
        *product(["tradingbots", "tradingreviews"], ["get", "list", "watch"]),
        *product(["tradingapprovals"], ["get", "list", "watch", "create", "delete"]),
    },
    "tradingbot-promoter": {*product(["tradingbots"], ["get", "list", "watch", "golive", "promote"])},
    "tradingbot-on-duty": {
        *product(["tradingbots"], ["get", "list", "watch", "patch", "rearm"]),
        *product(["tradinghalts"], ["get", "list", "watch", "create", "delete"]),
        *product(["tradingapprovals", "tradingreviews"], ["get", "list", "watch"]),
        *product(["pods", "events"], ["get", "list", "watch"]),
        ("pods/log", "get"),
    },
}
"""Whoever signs does not ask, whoever asks does not sign, and whoever stops does neither."""


@BOTH
@pytest.mark.parametrize("name", list(PEOPLE))
def test_role_of_people_holds_just_what_its_task_takes(chart, values, name):
    (role,) = [r for r in chart.render(values).of("ClusterRole") if r["metadata"]["name"] == name]
    assert {(resource, verb) for _, resource, verb in grants(role)} == PEOPLE[name]


@BOTH
def test_no_verb_of_ours_comes_with_a_role_of_kubernetes(chart, values):
    """Whoever administers a namespace has no say in what is traded there."""
    for role in chart.render(values).of("ClusterRole"):
        if any("aggregate-to" in label for label in role["metadata"]["labels"]):
            assert not OURS & {verb for _, _, verb in grants(role)}, role["metadata"]["name"]
            assert "tradinghalts" not in {resource for _, resource, _ in grants(role)}


def test_nobody_is_bound_to_a_role_of_people(chart):
    rendered = chart.render()
    bound = {b["roleRef"]["name"] for b in [*rendered.of("ClusterRoleBinding"), *rendered.of("RoleBinding")]}
    assert not bound & PEOPLE.keys()


def test_roles_of_people_are_left_to_another_release_when_asked(chart):
    names = {r["metadata"]["name"] for r in chart.render({"rbac": {"people": False}}).of("ClusterRole")}
    assert not names & PEOPLE.keys()


def test_what_traders_and_people_need_stays_when_the_chart_goes(chart):
    """The bots stay as well: they must see halts, and somebody must be able to stop them."""
    rendered = chart.render()
    own = {b["metadata"]["name"] for b in rendered.of("ClusterRoleBinding") if binds_an_account(b)}
    assert own
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        for item in rendered.of(kind):
            is_kept = item["metadata"].get("annotations") == {"helm.sh/resource-policy": "keep"}
            assert is_kept == (item["metadata"]["name"] not in own), item["metadata"]["name"]


def binds_an_account(binding: dict[str, Any]) -> bool:
    return binding["subjects"][0]["kind"] == "ServiceAccount"


def test_two_releases_of_one_name_share_no_cluster_roles_but_those_of_people(chart):
    names = {r["metadata"]["name"] for r in chart.render().of("ClusterRole")} - PEOPLE.keys()
    assert all(name.startswith(f"{chart.namespace}:{chart.release}") for name in names)


def test_permissions_are_left_to_others_when_asked(chart):
    kinds = {item["kind"] for item in chart.render({"rbac": {"create": False}}).objects}
    assert not {kind for kind in kinds if "Role" in kind}
    names = {
        r["metadata"]["name"].rpartition(":")[2] for r in chart.render({"rbac": {"aggregate": False}}).of("ClusterRole")
    }
    assert not names & {"view", "edit"}


@pytest.mark.parametrize(
    ("account", "used"), [({"create": False, "name": "mine"}, "mine"), ({"name": "other"}, "other")]
)
def test_service_account_may_be_somebody_elses(chart, account, used):
    rendered = chart.render({"serviceAccount": account})
    assert rendered.pod["spec"]["serviceAccountName"] == used
    bindings = [b for b in rendered.of("ClusterRoleBinding") if binds_an_account(b)]
    assert {b["subjects"][0]["name"] for b in bindings} == {used}
    assert len(rendered.of("ServiceAccount")) == (account.get("create") is not False)
