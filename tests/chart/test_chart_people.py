"""The roles of people as the API server's own authorizer reads them: who may stop, sign, ask and re-arm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tradingbot_sandbox.control_plane.control_plane import ControlPlane

APPLY = "application/apply-patch+yaml"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
BOTS, HALTS, APPROVALS = "tradingbots", "tradinghalts", "tradingapprovals"
DEADLINE_SECONDS = 30.0

ROLES = ("view", "edit", "admin", "tradingbot-approver", "tradingbot-promoter", "tradingbot-on-duty", "cluster-admin")
"""Each is bound to a group of that name: in one namespace, but for the last two."""
MAY = {
    ("get", BOTS): {*ROLES},
    ("patch", BOTS): {"edit", "admin", "tradingbot-on-duty", "cluster-admin"},
    ("delete", BOTS): {"edit", "admin", "cluster-admin"},
    ("golive", BOTS): {"tradingbot-promoter", "cluster-admin"},
    ("promote", BOTS): {"tradingbot-promoter", "cluster-admin"},
    ("rearm", BOTS): {"tradingbot-on-duty", "cluster-admin"},
    ("grant", BOTS): {"cluster-admin"},
    ("patch", f"{BOTS}/status"): {"cluster-admin"},
    ("create", APPROVALS): {"tradingbot-approver", "cluster-admin"},
    ("delete", APPROVALS): {"tradingbot-approver", "cluster-admin"},
    ("patch", APPROVALS): {"cluster-admin"},
    ("create", HALTS): {"tradingbot-on-duty", "cluster-admin"},
    ("delete", HALTS): {"tradingbot-on-duty", "cluster-admin"},
    ("create", "tradingreviews"): {"cluster-admin"},
    ("get", "pods/log"): {"view", "edit", "admin", "tradingbot-on-duty", "cluster-admin"},
    ("create", "pods/exec"): {"edit", "admin", "cluster-admin"},
    ("get", "secrets"): {"edit", "admin", "cluster-admin"},
}
"""Verb and resource -> who may. pods/exec and secrets are Kubernetes' own words about edit and admin."""

Ask = Callable[[str, str, str], bool]


@pytest.fixture(scope="module")
def ask(control_plane: ControlPlane, chart) -> Iterator[Ask]:
    """Whether a group may do something in a namespace where it has its role."""
    admin, made = control_plane.admin, []
    namespace = "people"
    admin.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    for role in chart.render().of("ClusterRole"):
        path = f"{RBAC}/clusterroles/{role['metadata']['name']}"
        answer = admin.request("PATCH", f"{path}?fieldManager=chart&force=true", role, content_type=APPLY)
        assert answer.is_success, answer.body
        made.append(path)
    for role in ROLES:
        everywhere = role in ("tradingbot-on-duty", "cluster-admin")
        where = f"{RBAC}/clusterrolebindings" if everywhere else f"{RBAC}/namespaces/{namespace}/rolebindings"
        binding = {
            "metadata": {"name": f"group-{role}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": f"group-{role}"}],
        }
        assert admin.create(where, binding).is_success
        made.append(f"{where}/group-{role}")

    def may(group: str, verb: str, resource: str) -> bool:
        name, _, subresource = resource.partition("/")
        attributes = {
            "namespace": "" if name == HALTS else namespace,
            "group": "" if name in ("pods", "secrets") else "tradingbot.dev",
            "resource": name,
            "subresource": subresource,
            "verb": verb,
        }
        review = {"spec": {"user": "somebody", "groups": [f"group-{group}"], "resourceAttributes": attributes}}
        answer = admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        assert answer.is_success, answer.body
        return bool(answer.body["status"]["allowed"])

    deadline = time.monotonic() + DEADLINE_SECONDS
    # The roles of Kubernetes are put together again a moment after ours are there.
    while not all(may(group, "get", BOTS) for group in ROLES):
        assert time.monotonic() < deadline, "the roles are not aggregated"
        time.sleep(0.05)
    yield may
    for path in [*made, f"/api/v1/namespaces/{namespace}"]:
        admin.delete(path)


@pytest.mark.parametrize(("verb", "resource"), list(MAY), ids=lambda part: str(part).replace("/", "-"))
def test_may_be_done_by_these_and_nobody_else(ask: Ask, verb, resource):
    assert {role for role in ROLES if ask(role, verb, resource)} == MAY[verb, resource]
