from __future__ import annotations

from decimal import Decimal
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from tradingbot_trader.strategy.base import (
    ENTRY_POINT_GROUP,
    InvalidParameters,
    Target,
    UnknownStrategy,
    load_strategy,
)
from tradingbot_trader.strategy.sma_cross import SmaCross


def entry_point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=ENTRY_POINT_GROUP)


SMA = entry_point("sma-cross", "tradingbot_trader.strategy.sma_cross:SmaCross")


def parse(**raw: Any) -> Any:
    return SmaCross().parse_parameters({"fast": 10, "slow": 30} | raw)


def test_installed_strategy_is_found_by_its_name() -> None:
    assert isinstance(load_strategy("sma-cross"), SmaCross)


def test_unknown_strategy_lists_those_that_there_are() -> None:
    with pytest.raises(UnknownStrategy, match="no strategy is called moon; installed: other, sma-cross"):
        load_strategy("moon", [SMA, entry_point("other", "a:b")])


def test_strategy_whose_code_is_missing_is_unknown_and_says_why() -> None:
    with pytest.raises(UnknownStrategy, match="cannot be loaded: ModuleNotFoundError"):
        load_strategy("other", [entry_point("other", "no_such_module_at_all:Thing")])


def test_entry_point_to_something_else_is_no_strategy() -> None:
    with pytest.raises(UnknownStrategy, match="is no strategy: decimal:Decimal"):
        load_strategy("other", [entry_point("other", "decimal:Decimal")])


def test_unknown_parameter_is_named_with_its_neighbour_and_all_that_are_known() -> None:
    with pytest.raises(InvalidParameters) as caught:
        parse(fsat=5)
    text = str(caught.value)
    assert text.startswith("sma-cross: unknown parameter fsat, did you mean fast?")
    assert "(it takes entryExpiresAfterCandles, entryOffsetPercent, fast, rsiOverbought, rsiPeriod, slow)" in text


def test_parameters_go_by_their_names_in_the_spec_alone() -> None:
    with pytest.raises(InvalidParameters, match="unknown parameter rsi_period, did you mean rsiPeriod"):
        parse(rsi_period=5)


def test_missing_parameter_is_named() -> None:
    with pytest.raises(InvalidParameters, match="parameter slow is missing"):
        SmaCross().parse_parameters({"fast": 10})


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InvalidParameters) as caught:
        parse(fast="ten", rsiOverbought=0.5, moon=1)
    assert [word in str(caught.value) for word in ("parameter fast", "parameter rsiOverbought", "moon")] == [True] * 3


def test_numbers_may_be_quoted_or_not() -> None:
    assert parse(fast="10", slow=30, rsiOverbought="70.5") == parse(fast=10, slow="30", rsiOverbought=Decimal("70.50"))


def test_floats_are_refused_with_what_to_write_instead() -> None:
    with pytest.raises(InvalidParameters, match=r'parameter rsiOverbought: 70\.5 has to be quoted, like "70\.5"'):
        parse(rsiOverbought=70.5)


@pytest.mark.parametrize("value", [True, 1.0, "1.5", "-1", "", None, [], "\uff19", "1" * 10])
def test_only_whole_numbers_are_whole(value: object) -> None:
    with pytest.raises(InvalidParameters, match="is not a whole number like 30"):
        parse(fast=value)


@pytest.mark.parametrize("value", [True, "x", "NaN", "Infinity", "", None, [], "1" * 26])
def test_only_finite_numbers_are_numbers(value: object) -> None:
    with pytest.raises(InvalidParameters, match="is not a number like"):
        parse(rsiOverbought=value)


def test_parameters_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse().fast = 11


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"allocation": Decimal("1.01")}, "allocation"),
        ({"allocation": Decimal("-0.01")}, "allocation"),
        ({"allocation": Decimal(1), "limit_offset_percent": Decimal(100)}, "limit offset"),
        ({"allocation": Decimal(1), "expires_after_candles": 0}, "cannot expire"),
    ],
)
def test_target_that_makes_no_sense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Target(**wrong)
