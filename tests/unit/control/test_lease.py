"""The lease: one holder, proved by the monotonic clock."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tradingbot_trader.control.lease import DURATION_SECONDS, claim, may_take, read_lease, tenure_from

SECOND = 1_000_000_000


def lease(holder: str = "", renewed: str = "t0", transitions: int = 3) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "renewTime": renewed, "leaseTransitions": transitions} if holder else {}
    return {"metadata": {"resourceVersion": "7"}, "spec": spec}


def test_empty_lease_made_by_the_operator_may_be_taken() -> None:
    view = read_lease({"metadata": {"resourceVersion": "1"}}, previous=None, now_monotonic_ns=0)
    assert may_take(view, identity="me", now_monotonic_ns=0)


def test_ones_own_lease_is_taken_again_at_once() -> None:
    view = read_lease(lease("me"), previous=None, now_monotonic_ns=0)
    assert may_take(view, identity="me", now_monotonic_ns=0)
    assert claim(view, identity="me", now_rfc3339="t1")["leaseTransitions"] == 3


def test_silent_holder_is_waited_for_a_whole_duration_of_our_own_watching() -> None:
    first = read_lease(lease("other"), previous=None, now_monotonic_ns=100)
    later = read_lease(lease("other"), previous=first, now_monotonic_ns=50 * SECOND)
    assert not may_take(later, identity="me", now_monotonic_ns=100 + (DURATION_SECONDS * SECOND) - 1)
    assert may_take(later, identity="me", now_monotonic_ns=100 + DURATION_SECONDS * SECOND)
    assert claim(later, identity="me", now_rfc3339="t1")["leaseTransitions"] == 4


def test_holder_that_renews_is_never_overtaken() -> None:
    first = read_lease(lease("other", "t0"), previous=None, now_monotonic_ns=0)
    again = read_lease(lease("other", "t1"), previous=first, now_monotonic_ns=59 * SECOND)
    assert not may_take(again, identity="me", now_monotonic_ns=61 * SECOND)


@given(sent=st.integers(0, 10**15), later=st.integers(0, 10**12), margin=st.integers(0, 30))
def test_tenure_ends_one_duration_after_the_request_was_sent(sent: int, later: int, margin: int) -> None:
    tenure = tenure_from(sent, 1)
    assert tenure.covers(sent + later, margin_seconds=margin) == (later + margin * SECOND < DURATION_SECONDS * SECOND)
