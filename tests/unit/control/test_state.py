"""The trading state is the strictest that any cause asks for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tradingbot_api.conditions import TradingState
from tradingbot_trader.control.state import Cause, judge

ORDER = [TradingState.ACTIVE, TradingState.REDUCE_ONLY, TradingState.HALTED]


def test_no_cause_is_active() -> None:
    assert judge([]).state is TradingState.ACTIVE


def test_lost_lease_halts_whatever_else_is_so() -> None:
    assert judge([Cause.LATCHED, Cause.LEASE_LOST]).state is TradingState.HALTED


def test_every_cause_forbids_new_risk() -> None:
    assert all(judge([cause]).state is not TradingState.ACTIVE for cause in Cause)


@given(st.lists(st.sampled_from(Cause)), st.sampled_from(Cause))
def test_another_cause_never_loosens(causes: list[Cause], another: Cause) -> None:
    before, after = judge(causes), judge([*causes, another])
    assert ORDER.index(after.state) >= ORDER.index(before.state)
    assert another in after.causes
