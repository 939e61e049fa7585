"""What the trader leaves out of its report for an older CRD."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tradingbot_trader.report import find_unknown, leave_out

NAMES = st.sampled_from(["latch", "orders", "state", "new"])
REPORTS = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=12,
).filter(lambda value: isinstance(value, dict))


def test_paths_are_read_from_the_words_of_the_api_server() -> None:
    said = (
        "failed to create typed patch object (desk-a/btc; tradingbot.dev/v1alpha1, Kind=TradingBot): errors:\n"
        "  .status.trader.leftBehind: field not declared in schema\n"
        "  .status.trader.latch.orders[0].since: field not declared in schema\n"
    )
    assert find_unknown(said) == {"leftBehind", "latch.orders.since"}
    assert find_unknown("etcdserver: request timed out") == set()


@given(report=REPORTS, paths=st.sets(st.lists(NAMES, min_size=1, max_size=3).map(".".join), max_size=3))
def test_nothing_but_what_is_named_is_left_out(report: dict[str, Any], paths: set[str]) -> None:
    kept = leave_out(report, paths)
    assert leave_out(report, ()) == report
    assert leave_out(kept, paths) == kept
    assert kept.keys() == {name for name in report if name not in paths}


def test_path_through_a_list_means_each_item() -> None:
    report = {"latch": {"orders": [{"id": "a", "new": 1}, {"id": "b"}], "state": "Stopped"}}
    short = {"latch": {"orders": [{"id": "a"}, {"id": "b"}], "state": "Stopped"}}
    assert leave_out(report, {"latch.orders.new"}) == short
