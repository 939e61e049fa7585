from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from tradingbot_api.spec import Mode, Timeframe, TradingBotSpec

RawSpec = Callable[..., dict[str, Any]]


def test_defaults_are_those_of_the_design(raw_spec: RawSpec) -> None:
    spec = TradingBotSpec.model_validate(raw_spec())
    assert spec.mode is Mode.PAPER
    assert spec.kill_switch.control_plane_timeout == 30_000_000_000
    assert spec.capital.approvals.required == 1
    assert spec.storage.size == "1Gi"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbols": ["BTC/EUR"]}, "not quoted in capital.currency"),
        ({"symbols": ["BTC/USDT", "BTC/USDT"]}, "each may be listed once"),
        ({"capital.stage": "huge"}, "is not one of capital.stages"),
        ({"capital.stages.1.name": "micro"}, "each name may be used once"),
        ({"capital.stages.1.limit": "50"}, "smallest limit to the largest"),
        ({"mode": "Live"}, "needs credentials"),
        ({"credentials": {"maxAge": "1h"}}, "exactly one of"),
        ({"exchange.id": "ftx"}, "binance"),
        ({"risk.maxPositionPercent": "101"}, "at most 100"),
        ({"storage": {"size": "1G"}}, "pattern"),
    ],
)
def test_model_says_what_is_wrong(raw_spec: RawSpec, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TradingBotSpec.model_validate(raw_spec(changes))


def test_unknown_field_is_dropped_as_the_api_server_does(raw_spec: RawSpec) -> None:
    assert TradingBotSpec.model_validate(raw_spec({"fromTheFuture": 1})) == TradingBotSpec.model_validate(raw_spec())


def test_stage_is_found_by_its_name(raw_spec: RawSpec) -> None:
    capital = TradingBotSpec.model_validate(raw_spec()).capital
    assert capital.find_stage("small").limit == Decimal(100)
    with pytest.raises(KeyError):
        capital.find_stage("none")


@pytest.mark.parametrize(("frame", "seconds"), [("1s", 1), ("15m", 900), ("4h", 14400), ("1d", 86400)])
def test_timeframe_knows_its_length(frame: str, seconds: int) -> None:
    assert Timeframe(frame).duration_ns == seconds * 1_000_000_000
