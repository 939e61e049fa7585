"""The grant: the stricter of permit and spec."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tradingbot_api.spec import TradingBotSpec
from tradingbot_trader.control.permit import grant, read_permit
from tradingbot_trader.orders.order import BookName

PERMIT = {
    "uid": "u1",
    "mode": "Paper",
    "stage": "small",
    "limit": "100",
    "digest": "v1:x",
    "specGeneration": 1,
    "issuedAt": "2026-01-01T00:00:00Z",
}


def spec(stage: str = "small", *, small: str = "100") -> TradingBotSpec:
    return TradingBotSpec.model_validate(
        {
            "exchange": {"id": "binance"},
            "symbols": ["BTC/USDT"],
            "strategy": {"name": "sma-cross"},
            "capital": {
                "currency": "USDT",
                "stage": stage,
                "stages": [{"name": "micro", "limit": "50"}, {"name": "small", "limit": small}],
            },
            "risk": {"maxOrderNotional": "20"},
        }
    )


def read(**changes: Any) -> Any:
    return read_permit({"status": {"permit": PERMIT | changes}}, uid="u1")


def test_permit_of_another_uid_is_none() -> None:
    assert read(uid="u0") is None


@pytest.mark.parametrize("status", [None, {}, {"permit": None}, {"permit": {"uid": "u1"}}, {"permit": "yes"}])
def test_unreadable_permit_is_none_and_grants_nothing(status: object) -> None:
    permit = read_permit({"status": status}, uid="u1")
    assert permit is None
    assert grant(permit, spec(), book=BookName.PAPER).limit_quote == 0


def test_lower_stage_applies_at_once_and_a_higher_one_waits() -> None:
    assert grant(read(), spec("micro"), book=BookName.PAPER).limit_quote == Decimal(50)
    waiting = read(stage="micro", limit="50")
    assert grant(waiting, spec("small"), book=BookName.PAPER).limit_quote == Decimal(50)


def test_tightened_limit_of_the_same_stage_applies_at_once() -> None:
    assert grant(read(), spec(small="70"), book=BookName.PAPER).limit_quote == Decimal(70)


def test_permit_for_the_other_book_grants_nothing() -> None:
    result = grant(read(), spec(), book=BookName.LIVE)
    assert result.limit_quote == 0
    assert "this pod trades Live" in result.missing
