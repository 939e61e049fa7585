from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import intent
from tests.unit.venues import binance_answers as answers

from tradingbot_api.spec import Network
from tradingbot_trader.orders.order import OrderType, Purpose, TimeInForce
from tradingbot_trader.venues import binance
from tradingbot_trader.venues.account import AccountView, Answer, Balance, KeyPermissions
from tradingbot_trader.venues.binance_account import (
    OPTIONS,
    addresses,
    is_key_refused,
    is_missing_endpoint,
    order_params,
    orders_params,
    parse_account,
    parse_json,
    parse_permissions,
    parse_refusal,
    parse_stream_refusal,
    place_params,
    trades_params,
)

COMMON = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "quantity": "0.1",
    "newClientOrderId": "a" * 32,
    "newOrderRespType": "FULL",
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"type": "LIMIT", "timeInForce": "GTC", "price": "100"}),
        ({"time_in_force": TimeInForce.IOC}, {"type": "LIMIT", "timeInForce": "IOC", "price": "100"}),
        ({"time_in_force": TimeInForce.POST_ONLY}, {"type": "LIMIT_MAKER", "price": "100"}),
        ({"type": OrderType.MARKET}, {"type": "MARKET"}),
        ({"type": OrderType.MARKET, "purpose": Purpose.EXIT}, {"type": "MARKET", "side": "SELL"}),
        (
            {"type": OrderType.STOP_LOSS, "purpose": Purpose.PROTECT, "stop_price": Decimal("98.5000")},
            {
                "type": "STOP_LOSS_LIMIT",
                "timeInForce": "GTC",
                "price": "100",
                "stopPrice": "98.5",
                "side": "SELL",
            },
        ),
    ],
)
def test_each_kind_of_order_has_its_parameters_and_no_others(changes: dict[str, Any], expected: dict[str, str]) -> None:
    assert place_params(intent(**changes)) == COMMON | expected


@pytest.mark.parametrize("changes", [{}, {"stop_price": Decimal(9), "time_in_force": TimeInForce.POST_ONLY}])
def test_stop_loss_that_the_venue_does_not_have_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="stop-loss"):
        place_params(intent(type=OrderType.STOP_LOSS, **changes))


@given(units=st.integers(1, 10**15), decimals=st.integers(0, 12))
def test_quantities_and_prices_leave_as_plain_decimals(units: int, decimals: int) -> None:
    value = Decimal(units).scaleb(-decimals)
    params = place_params(intent(quantity_base=value, price=value))
    for text in (params["quantity"], params["price"]):
        assert Decimal(text) == value
        assert not set(text) - set("0123456789.")


def test_one_order_is_named_by_whichever_id_there_is() -> None:
    assert order_params("BTC/USDT", client_order_id="mine") == {"symbol": "BTCUSDT", "origClientOrderId": "mine"}
    assert order_params("BTC/USDT", venue_order_id="28") == {"symbol": "BTCUSDT", "orderId": "28"}


def test_pages_begin_at_the_id_that_is_asked_for() -> None:
    assert orders_params("BTC/USDT", "28") == {"symbol": "BTCUSDT", "orderId": "28", "limit": "1000"}
    assert orders_params("BTC/USDT", "0")["orderId"] == "1", "0 could be read as no id, which means the newest"
    assert trades_params("BTC/USDT", "0") == {"symbol": "BTCUSDT", "fromId": "0", "limit": "1000"}


def test_account_is_named_by_its_own_id_and_shows_what_it_holds() -> None:
    assert parse_account(answers.account()) == AccountView(
        account_id="354937868",
        can_trade=True,
        balances={
            "BTC": Balance("BTC", Decimal("0.5"), Decimal("0.25")),
            "USDT": Balance("USDT", Decimal(1000), Decimal(0)),
        },
    )


@pytest.mark.parametrize("wrong", [{"uid": None}, {"canTrade": "yes"}, {"balances": {}}, {"balances": [{}]}])
def test_account_that_cannot_be_read_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        parse_account(answers.account(**wrong))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, KeyPermissions(True, False, False, False)),
        ({"enableSpotAndMarginTrading": False}, KeyPermissions(False, False, False, False)),
        ({"enableWithdrawals": True}, KeyPermissions(True, True, False, False)),
        ({"enableInternalTransfer": True}, KeyPermissions(True, False, True, False)),
        ({"permitsUniversalTransfer": True}, KeyPermissions(True, False, True, False)),
        ({"permitsUniversalTransfer": None}, KeyPermissions(True, False, False, False)),
        ({"enableWithdrawals": None}, KeyPermissions(True, None, False, False)),
        ({"enableInternalTransfer": None, "permitsUniversalTransfer": True}, KeyPermissions(True, False, None, False)),
        ({"ipRestrict": True}, KeyPermissions(True, False, False, True)),
    ],
)
def test_permissions_of_a_key(changes: dict[str, Any], expected: KeyPermissions) -> None:
    assert parse_permissions(answers.permissions(**changes)) == expected


@pytest.mark.parametrize(
    ("status", "headers", "text", "expected"),
    [
        (
            400,
            {},
            '{"code":-2010,"msg":"Account has insufficient balance for requested action."}',
            Answer(True, 400, "-2010", "Account has insufficient balance for requested action."),
        ),
        (
            429,
            {"retry-after": "17"},
            '{"code":-1003,"msg":"Too much request weight used"}',
            Answer(True, 429, "-1003", "Too much request weight used", 17.0),
        ),
        (418, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, "{}", Answer(True, 418, "", "{}")),
        (403, {}, "<html>\n <p>WAF</p>\n</html>", Answer(True, 403, "", "<html> <p>WAF</p> </html>")),
        (503, {}, "", Answer(True, 503, "", "")),
        (502, {}, "[1]", Answer(True, 502, "", "[1]")),
        (400, {}, '{"code":null,"msg":"?"}', Answer(True, 400, "", '{"code":null,"msg":"?"}')),
        (400, {}, '{"code":-1}', Answer(True, 400, "-1", "")),
    ],
)
def test_refusal_is_told_with_code_words_and_patience(
    status: int, headers: dict[str, str], text: str, expected: Answer
) -> None:
    assert parse_refusal(status, headers, text) == expected


@given(text=st.text(max_size=60) | st.builds(json.dumps, st.dictionaries(st.sampled_from(["code", "msg"]), st.text())))
def test_any_page_is_a_refusal(text: str) -> None:
    assert parse_refusal(500, {}, text).http_status == 500


def test_refusal_on_the_stream_is_told_from_a_success() -> None:
    assert parse_stream_refusal({"id": "1", "status": 200, "result": {"subscriptionId": 0}}) is None
    refused = {"id": "1", "status": 401, "error": {"code": -2015, "msg": "Invalid API-key"}}
    assert parse_stream_refusal(refused) == Answer(True, 401, "-2015", "Invalid API-key")
    assert parse_stream_refusal({"id": "1", "status": "x", "error": None}) == Answer(
        True, 0, "", "the reply has no reason"
    )


def test_floats_are_never_made() -> None:
    assert parse_json('{"a":0.1}') == {"a": Decimal("0.1")}
    with pytest.raises(ValueError, match="NaN"):
        parse_json('{"a":NaN}')


@pytest.mark.parametrize(
    ("status", "code", "is_refused"),
    [
        (401, "-2015", True),
        (401, "", True),
        (400, "-2014", True),
        (400, "-1022", True),
        (400, "-1021", False),
        (400, "-2010", False),
        (0, "", False),
        (500, "", False),
    ],
)
def test_key_that_the_venue_does_not_take_is_told_from_other_refusals(
    status: int, code: str, *, is_refused: bool
) -> None:
    assert is_key_refused(Answer(True, status, code)) is is_refused


@pytest.mark.parametrize(("status", "is_missing"), [(404, True), (400, False), (401, False), (500, False)])
def test_missing_endpoint_is_told_from_a_refusal(status: int, *, is_missing: bool) -> None:
    assert is_missing_endpoint(Answer(True, status)) is is_missing


def test_everything_with_keys_goes_to_hosts_of_one_network() -> None:
    assert addresses(*binance.ADDRESSES[Network.MAINNET]) == {
        "private": "https://api.binance.com/api/v3",
        "sapi": "https://api.binance.com/sapi/v1",
        "ws": {"ws-api": {"spot": "wss://ws-api.binance.com:443/ws-api/v3"}},
    }
    testnet = addresses(*binance.ADDRESSES[Network.TESTNET])
    assert testnet["ws"]["ws-api"]["spot"] == "wss://ws-api.testnet.binance.vision/ws-api/v3"
    assert addresses("http://h:1/api/v3", "ws://h:1/ws") == {
        "private": "http://h:1/api/v3",
        "sapi": "http://h:1/sapi/v1",
        "ws": {"ws-api": {"spot": "ws://h:1/ws-api/v3"}},
    }


def test_freshness_bound_is_within_what_the_lease_counts_with() -> None:
    assert 0 < OPTIONS["recvWindow"] <= 3_000
    assert OPTIONS["maxRetriesOnFailure"] == 0
