"""Halts that kill makes are for one bot alone, and which bots a halt matches is what the trader says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.plugin import BTC, NOW, build_bot
from tradingbot_api.objects import TradingHaltSpec
from tradingbot_api.spec import StopAction
from tradingbot_plugin import halts
from tradingbot_plugin.errors import Refused
from tradingbot_plugin.view import Ref, read_bot
from tradingbot_trader.control.latch import read_halts

LABELS = st.text("abc-", min_size=1, max_size=5)
NAMES = st.sampled_from(["desk", "desk-a", "btc", "a"])
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "namespaces": st.lists(NAMES, max_size=2) | st.none(),
        "bots": st.lists(NAMES, max_size=2) | st.none(),
        "selector": st.fixed_dictionaries(
            {}, optional={"matchLabels": st.dictionaries(NAMES, NAMES, max_size=2) | st.none()}
        )
        | st.none(),
        "expiresAt": st.sampled_from(
            ["2026-01-02T03:04:05Z", "2026-01-02T04:04:06+01:00", "2026-01-02T03:04:04.5Z", "2026-02-30T00:00:00Z", ""]
        ),
        "action": st.sampled_from(StopAction),
    },
)


@given(SPECS, st.dictionaries(NAMES, NAMES, max_size=2))
def test_a_halt_matches_where_the_trader_says_so(spec: dict[str, Any], labels: dict[str, str]) -> None:
    bot = build_bot()
    bot["metadata"]["labels"] = labels
    halt = {"metadata": {"name": "h"}, "spec": spec}
    is_stopped = bool(read_halts(bot, [halt], int(NOW.timestamp()) * 1_000_000_000))
    assert halts.matches(halt, read_bot(bot), NOW) is is_stopped


@given(st.tuples(LABELS, LABELS), st.tuples(LABELS, LABELS))
def test_no_two_bots_share_the_name_of_a_halt(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (halts.halt_name(Ref(*one)) == halts.halt_name(Ref(*other))) is (one == other)


@pytest.mark.parametrize("action", StopAction)
def test_halt_of_a_kill_is_one_that_the_api_takes_and_for_that_bot_alone(action: StopAction) -> None:
    halt = halts.build_kill_halt(BTC, action, "x" * 5000)
    TradingHaltSpec.model_validate(halt["spec"])
    assert halt["metadata"] == {
        "name": "kill-desk.btc",
        "labels": {"tradingbot.dev/made-by": "kubectl-tradingbot"},
    }
    assert halts.is_made_by_kill(halt, BTC)
    assert halts.matches(halt, read_bot(build_bot()), NOW)
    assert not halts.matches(halt, read_bot(build_bot(Ref("desk", "eth"))), NOW)
    assert not halts.matches(halt, read_bot(build_bot(Ref("other", "btc"))), NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {}}},
        {"metadata": {"labels": {"tradingbot.dev/made-by": "somebody"}}},
        {"spec": {"namespaces": ["desk"], "bots": []}},
        {"spec": {"namespaces": [], "bots": ["btc"]}},
        {"spec": {"namespaces": ["desk"], "bots": ["btc", "eth"]}},
        {"spec": {"namespaces": ["desk"], "bots": ["btc"], "selector": {"matchLabels": {"a": "b"}}}},
        {"spec": None},
    ],
    ids=str,
)
def test_any_other_halt_is_somebodys(change: dict[str, Any]) -> None:
    assert not halts.is_made_by_kill(halts.build_kill_halt(BTC, StopAction.FLATTEN, "") | change, BTC)


@pytest.mark.parametrize(
    ("spec", "does"),
    [
        ({}, True),
        ({"action": "Flatten"}, True),
        ({"action": "ReduceOnly"}, False),
        ({"action": "?"}, False),
        ({"expiresAt": "2099-01-01T00:00:00Z"}, False),
    ],
)
def test_halt_that_is_there_does_when_it_is_as_strict_and_lasts(spec: dict[str, Any], does: bool) -> None:  # noqa: FBT001  a table
    halt = halts.build_kill_halt(BTC, StopAction.CANCEL_ORDERS, "")
    halt["spec"] |= spec
    assert halts.does_the_same(halt, BTC, StopAction.CANCEL_ORDERS) is does
    halt["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not halts.does_the_same(halt, BTC, StopAction.CANCEL_ORDERS)


@pytest.mark.parametrize("text", ["venue in (a)", "a!=b", "a", "=b", "a=b=c", "a==b"])
def test_selector_that_a_halt_cannot_carry_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="key=value"):
        halts.parse_labels(text)


def test_labels_are_parsed() -> None:
    assert halts.parse_labels("a=b, tradingbot.dev/desk=x,e=") == {"a": "b", "tradingbot.dev/desk": "x", "e": ""}
    assert halts.parse_labels("") == {}
