"""A TradingHalt that comes and goes while no trader runs, and an operator that may not see any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.control_plane
HALTS = "/apis/tradingbot.dev/v1alpha1/tradinghalts"


def halt_for_a_moment(desk: Any, name: str, **spec: Any) -> None:
    body = {"apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingHalt", "metadata": {"name": name}}
    answer = desk.admin.create(HALTS, body | {"spec": {"namespaces": [desk.namespace]} | spec})
    assert answer.is_success, answer.body
    answer = desk.admin.delete(f"{HALTS}/{name}")
    assert answer.is_success, answer.body


@pytest.mark.parametrize("scope", ["cluster-wide", "namespaced"])
def test_halt_that_comes_and_goes_latches_the_bots_that_it_matched(desk: Any, start_operator: Any, scope: str) -> None:
    # No re-list within the test: what is seen, the watch has shown.
    where = [f"--namespaces={desk.namespace}"] if scope == "namespaced" else []
    operator = start_operator("--resync-interval-seconds=600", *where).until_ready()
    for name in ("btc", "eth"):
        desk.create_bot({"metadata.name": name})
        desk.until_current(name)
    halt_for_a_moment(desk, desk.namespace, bots=["btc"], action="Flatten", reason="incident")
    desk.until_verdict("Halted", "True", "Latched")
    latch = desk.status()["killSwitch"]
    assert (latch["source"], latch["action"], latch["reason"]) == (
        f"TradingHalt/{desk.namespace}",
        "Flatten",
        "incident",
    )
    assert desk.status("eth")["killSwitch"] == {"state": "Armed"}
    desk.patch({"killSwitch": {"rearm": latch["id"]}})
    desk.until_verdict("Halted", "False", "NotHalted")
    assert operator.stop() == 0


def test_operator_that_may_not_see_halts_goes_on_and_says_so(
    desk: Any, start_operator: Any, make_account: Any, tmp_path: Path
) -> None:
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    for each in desk.admin.get(bindings).body["items"]:
        if each["metadata"]["name"].endswith(":halts"):  # a chart that was installed here gives it to every account
            desk.admin.delete(f"{bindings}/{each['metadata']['name']}")
    given = make_account(
        "no-halts", folder=tmp_path / "account", without="tradinghalts", verbs=("list", "watch"), only_in=desk.namespace
    )
    operator = start_operator(f"--namespaces={desk.namespace}", given=given).until_ready()
    desk.create_bot()
    desk.until_current()
    halt_for_a_moment(desk, desk.namespace)
    operator.until_resynced()
    assert operator.process.poll() is None
    assert operator.metric("tradingbot_operator_halts_seen") == 0.0
    assert operator.log.count("halts not seen") == 1
    assert operator.metric("tradingbot_operator_policies_in_force") == 0.0, "none are installed"
    assert "admission policies are not in force" in operator.log
