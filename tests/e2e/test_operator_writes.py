"""The operator writes only when something has to change, counted in the API server's own audit log."""

from __future__ import annotations

from support.stack import SYSTEM, Stack, build_bot
from tradingbot_sandbox.control_plane.audit import AuditLog

OPERATOR = f"system:serviceaccount:{SYSTEM}:tradingbot-operator"


def test_restarted_operator_makes_no_write_and_leaves_no_mark(stack: Stack, desk: str) -> None:
    stack.apply(build_bot("btc", desk))
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready").get("status") == "True")
    log = AuditLog(stack.state / "audit" / "audit.log")
    log.mark()
    old = stack.pods(SYSTEM)[0]["metadata"]["name"]
    stack.kubectl("-n", SYSTEM, "delete", "pod", old, "--grace-period=0", "--force")

    def lists_of_the_new_one() -> bool:
        pods = [pod for pod in stack.pods(SYSTEM) if pod["metadata"]["name"] != old]
        is_ready = any(pod["status"]["containerStatuses"][0]["ready"] for pod in pods)
        lists = [e for e in log.events() if e.user == OPERATOR and (e.verb, e.resource) == ("list", "tradingbots")]
        return is_ready and len(lists) >= 4  # of kopf at its start, and of two resync intervals

    stack.wait("a new operator that has looked at every bot", lists_of_the_new_one)
    writes = [event for event in log.writes(user=OPERATOR) if event.namespace == desk]
    assert not writes, writes

    bot = stack.get("tb", "btc", desk)
    assert "finalizers" not in bot["metadata"]
    assert not [key for key in bot["metadata"].get("annotations", {}) if "kopf" in key or "zalando" in key]


def test_child_that_somebody_deleted_is_made_again(stack: Stack, desk: str) -> None:
    stack.apply(build_bot("btc", desk))
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready").get("status") == "True")
    old = stack.get("deployment", "btc-trader", desk)["metadata"]["uid"]
    stack.kubectl("-n", desk, "delete", "deployment", "btc-trader")
    stack.wait("a new one", lambda: stack.get("deployment", "btc-trader", desk)["metadata"]["uid"] != old)
