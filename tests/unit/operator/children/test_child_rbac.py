"""ServiceAccount, Role, RoleBinding: what the trader may do, and nothing else."""

from __future__ import annotations

from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.role import build_role
from tradingbot_operator.children.role_binding import build_role_binding
from tradingbot_operator.children.service_account import build_service_account

BOT = BotRef("desk-a", "btc", "uid-1")


def test_role_names_each_object_that_the_trader_may_touch() -> None:
    role = build_role(BOT)
    assert (role["apiVersion"], role["kind"]) == ("rbac.authorization.k8s.io/v1", "Role")
    assert role["rules"] == [
        {
            "apiGroups": ["tradingbot.dev"],
            "resources": ["tradingbots"],
            "resourceNames": ["btc"],
            "verbs": ["get", "list", "watch"],
        },
        {
            "apiGroups": ["tradingbot.dev"],
            "resources": ["tradingbots/status"],
            "resourceNames": ["btc"],
            "verbs": ["get", "patch"],
        },
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["btc-trader"],
            "verbs": ["get", "update"],
        },
    ]


def test_binding_gives_the_role_to_the_account_alone() -> None:
    binding = build_role_binding(BOT)
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "btc-trader"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "btc-trader", "namespace": "desk-a"}]


def test_account_gives_its_token_to_no_pod_that_merely_names_it() -> None:
    assert build_service_account(BOT)["automountServiceAccountToken"] is False


def test_every_one_goes_with_its_bot() -> None:
    for build in (build_role, build_role_binding, build_service_account):
        (owner,) = build(BOT)["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == ("uid-1", True)
