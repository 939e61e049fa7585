"""The simulator's own endpoints for accounts and keys."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tradingbot_sandbox.venues.binance.account_control import answer_control


@pytest.fixture
def control(venue: Any) -> Any:
    def ask(method: str, path: str, given: object = None, *, status: int = 200) -> Any:
        body = "" if given is None else json.dumps(given)
        answer = answer_control(venue.exchange, method, f"/sandbox/{path}", body, venue.now_ns)
        assert answer.http_status == status, answer.body
        return answer.body

    return ask


def test_account_is_opened_and_its_truth_is_told(control: Any) -> None:
    opened = control("POST", "accounts", {"balances": {"USDT": "1000", "BTC": "0.5"}})
    uid = opened["uid"]
    control("POST", f"accounts/{uid}/orders", {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"})
    control("POST", f"accounts/{uid}/transfers", {"asset": "USDT", "amount": "-100"})
    truth = control("GET", f"accounts/{uid}")
    assert truth["balances"]["USDT"] == {"free": "799.00000000", "locked": "0.00000000"}
    assert [t["amount"] for t in truth["transfers"]] == ["1000.00000000", "0.50000000", "-100.00000000"]
    assert [o["status"] for o in truth["orders"]] == ["FILLED"]
    assert [t["qty"] for t in truth["trades"]] == ["1.00000000"]
    (client_id,) = truth["acceptedByClientId"]
    assert client_id.startswith("web_")
    assert len(client_id) <= 36
    assert control("GET", "accounts") == {"accounts": [truth]}


def test_key_is_issued_changed_and_revoked(venue: Any, control: Any) -> None:
    uid = control("POST", "accounts", {})["uid"]
    key = control("POST", f"accounts/{uid}/keys", {"permissions": {"enableFutures": True}})
    known = venue.exchange.accounts.find_key(key["apiKey"])
    assert known.api_secret == key["apiSecret"]
    assert known.permissions.enable_futures
    changed = control("POST", "keys/permissions", {"apiKey": key["apiKey"], "permissions": {"enableReading": False}})
    assert (changed["enableReading"], changed["enableFutures"]) == (False, False)
    control("POST", "keys/revoke", {"apiKey": key["apiKey"]})
    assert venue.exchange.accounts.find_key(key["apiKey"]) is None


@pytest.mark.parametrize(
    ("method", "path", "given", "status"),
    [
        ("GET", "accounts/1", None, 404),
        ("DELETE", "accounts", None, 404),
        ("POST", "accounts", {"balances": {"USDT": 5}}, 400),
        ("POST", "accounts", {"balances": {"USDT": "-5"}}, 400),
        ("POST", "accounts", {"balances": {"USDT": "five"}}, 400),
        ("POST", "accounts", [], 400),
        ("POST", "keys/revoke", {}, 404),
        ("POST", "keys/revoke", {"apiKey": "nobody's"}, 404),
    ],
)
def test_request_that_makes_no_sense_is_refused(
    control: Any, method: str, path: str, given: object, status: int
) -> None:
    control(method, path, given, status=status)


def test_order_by_hand_is_refused_as_any_other(client: Any, control: Any) -> None:
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.000001"}
    body = control("POST", f"accounts/{client.account.uid}/orders", order, status=400)
    assert body == {"code": -1013, "msg": "Filter failure: LOT_SIZE"}


def test_requests_are_told(control: Any, client: Any) -> None:
    client.ask("GET", "openOrders")
    assert control("GET", "requests") == {"GET /api/v3/openOrders": 1}
