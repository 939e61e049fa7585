from __future__ import annotations

from tradingbot_operator.children.lease import build_lease
from tradingbot_operator.children.metadata import BotRef


def test_lease_has_no_spec_because_that_is_the_traders() -> None:
    lease = build_lease(BotRef("desk-a", "btc", "uid-1"))
    assert set(lease) == {"apiVersion", "kind", "metadata"}
    assert (lease["apiVersion"], lease["kind"]) == ("coordination.k8s.io/v1", "Lease")
