"""Signed requests: key, time, signature and permission are really checked."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from tradingbot_sandbox.market.events import NS_PER_MS
from tradingbot_sandbox.venues.binance.accounts import KeyPermissions
from tradingbot_sandbox.venues.binance.auth import sign

NO_KEY = (401, -2014, "API-key format invalid.")
REFUSED_KEY = (401, -2015, "Invalid API-key, IP, or permissions for action.")
BAD_SIGNATURE = (400, -1022, "Signature for this request is not valid.")
TOO_OLD = (400, -1021, "Timestamp for this request is outside of the recvWindow.")
TOO_EARLY = (400, -1021, "Timestamp for this request was 1000ms ahead of the server's time.")
OPEN = "/api/v3/openOrders"
ORDER = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.5&price=100"


def send(client: Any, method: str, path: str, *, query: str = "", body: str = "", key: str | None = "") -> Any:
    """Exactly these texts. `key`: empty for the client's own, None for no header at all."""
    headers = {} if key is None else {"x-mbx-apikey": key or client.key.api_key}
    answer = client.venue.api.answer(
        method, path, query=query, body=body, headers=headers, address="10.0.0.1", now_ns=client.venue.now_ns
    )
    if answer.http_status == 200:
        return 200
    return answer.http_status, answer.body["code"], answer.body["msg"]


def stamped(client: Any, text: str = "") -> str:
    return f"{text}{'&' if text else ''}timestamp={client.venue.now_ns // NS_PER_MS}"


def signed(client: Any, text: str) -> str:
    return f"{text}&signature={sign(client.key.api_secret, text)}"


def test_signature_is_over_the_text_as_it_was_sent(client: Any) -> None:
    # the order of the parameters and their escaping are the client's own
    text = stamped(client, "recvWindow=5000.5&symbol=BTC%55SDT")
    assert send(client, "GET", OPEN, query=signed(client, text)) == 200


def test_query_and_body_are_signed_as_one_text(client: Any) -> None:
    query, body = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC", stamped(client, "quantity=0.5&price=100")
    signature = sign(client.key.api_secret, query + body)
    assert send(client, "POST", "/api/v3/order", query=query, body=f"{body}&signature={signature}") == 200
    assert len(client.account.open_orders()) == 1


def test_query_counts_when_both_have_a_parameter(client: Any) -> None:
    query, body = f"{ORDER}&newClientOrderId=query", stamped(client, "newClientOrderId=body")
    signature = sign(client.key.api_secret, query + body)
    assert send(client, "POST", "/api/v3/order", query=query, body=f"{body}&signature={signature}") == 200
    assert client.account.orders[0].client_id == "query"


def test_signature_may_be_written_in_any_case_and_stand_anywhere(client: Any) -> None:
    text = stamped(client)
    signature = sign(client.key.api_secret, text)
    assert send(client, "GET", OPEN, query=f"{text}&signature={signature.upper()}") == 200
    assert send(client, "GET", OPEN, query=f"signature={signature}&{text}") == 200


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text, key: f"{text}&signature={sign(key.api_secret[:-1], text)}",
        lambda text, _key: f"{text}&signature={'0' * 64}",
        lambda text, _key: f"{text}&signature=%C3%A9",
        lambda text, key: f"{text}&signature={sign(key.api_secret, text)}&symbol=BTCUSDT",
        lambda text, key: (
            f"{text.replace('timestamp', 'symbol=BTCUSDT&timestamp')}&signature={sign(key.api_secret, text)}"
        ),
    ],
)
def test_text_that_was_not_signed_is_refused(client: Any, spoil: Callable[[str, Any], str]) -> None:
    assert send(client, "GET", OPEN, query=spoil(stamped(client), client.key)) == BAD_SIGNATURE


def test_unsigned_request_says_what_is_missing(client: Any) -> None:
    assert send(client, "GET", OPEN, query=stamped(client))[1:] == (
        -1102,
        "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.",
    )
    assert send(client, "GET", OPEN, query=signed(client, "symbol=BTCUSDT"))[1:] == (
        -1102,
        "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.",
    )


@pytest.mark.parametrize(
    ("behind_ms", "window", "expected"),
    [
        (0, None, 200),
        (5000, None, 200),
        (5001, None, TOO_OLD),
        (100, "100", 200),
        (101, "100", TOO_OLD),
        (59_000, "60000", 200),
        (-999, None, 200),
        (-1000, None, TOO_EARLY),
        (-5000, "60000", TOO_EARLY),
        (0, "60001", (400, -1102, "'recvWindow' contains unexpected value. Cannot be greater than 60000.")),
    ],
)
def test_request_is_taken_for_as_long_as_its_window_says(
    client: Any, behind_ms: int, window: str | None, expected: object
) -> None:
    text = f"timestamp={client.venue.now_ns // NS_PER_MS - behind_ms}"
    if window is not None:
        text += f"&recvWindow={window}"
    assert send(client, "GET", OPEN, query=signed(client, text)) == expected


def test_timestamp_may_be_in_microseconds(client: Any) -> None:
    now_us = client.venue.now_ns // 1000
    assert send(client, "GET", OPEN, query=signed(client, f"timestamp={now_us}")) == 200
    assert send(client, "GET", OPEN, query=signed(client, f"timestamp={now_us - 6_000_000}")) == TOO_OLD


@pytest.mark.parametrize("key", [None, "short", "x" * 63 + "!"])
def test_malformed_key_is_refused(client: Any, key: str | None) -> None:
    assert send(client, "GET", OPEN, query=signed(client, stamped(client)), key=key) == NO_KEY


def test_unknown_key_is_refused(client: Any) -> None:
    key = secrets.token_hex(32)
    assert send(client, "GET", OPEN, query=signed(client, stamped(client)), key=key) == REFUSED_KEY


def test_revoked_key_is_refused_and_another_one_of_the_account_is_not(client: Any) -> None:
    accounts = client.venue.exchange.accounts
    other = accounts.issue_key(client.account)
    accounts.revoke(client.key.api_key)
    assert client.refused("GET", "openOrders") == REFUSED_KEY
    client.key = other
    assert client.ask("GET", "openOrders") == []


@pytest.mark.parametrize(
    ("permissions", "may_read", "may_trade"),
    [
        (KeyPermissions(), True, True),
        (KeyPermissions(enable_spot_and_margin_trading=False), True, False),
        (KeyPermissions(enable_reading=False), False, True),
    ],
)
def test_key_does_what_it_may(
    venue: Any, valid_order: Callable[..., Any], permissions: KeyPermissions, *, may_read: bool, may_trade: bool
) -> None:
    client = venue.client(permissions=permissions)
    assert (client.send("GET", "account").http_status == 200) is may_read
    assert (client.send("POST", "order", **valid_order("BUY", "LIMIT")).http_status == 200) is may_trade
    assert (client.send("POST", "order/test", **valid_order("BUY", "LIMIT")).http_status == 200) is may_trade
    if not may_trade:
        assert client.refused("DELETE", "openOrders", symbol="BTCUSDT") == REFUSED_KEY


def test_changed_permissions_hold_from_the_next_request_on(venue: Any, client: Any) -> None:
    venue.exchange.accounts.set_permissions(client.key.api_key, KeyPermissions(enable_withdrawals=True))
    body = client.ask("GET", "/sapi/v1/account/apiRestrictions")
    assert body["enableWithdrawals"] is True
    venue.exchange.accounts.set_permissions(client.key.api_key, KeyPermissions(enable_reading=False))
    assert client.refused("GET", "openOrders") == REFUSED_KEY


def test_key_may_be_bound_to_addresses(venue: Any) -> None:
    client = venue.client()
    client.key = venue.exchange.accounts.issue_key(client.account, addresses=["10.0.0.7"])
    assert client.refused("GET", "openOrders") == REFUSED_KEY
    client.address = "10.0.0.7"
    assert client.ask("GET", "openOrders") == []
    assert client.ask("GET", "/sapi/v1/account/apiRestrictions")["ipRestrict"] is True


def test_restrictions_are_told_as_documented(venue: Any, client: Any) -> None:
    assert client.ask("GET", "/sapi/v1/account/apiRestrictions") == {
        "ipRestrict": False,
        "createTime": venue.now_ns // NS_PER_MS,
        "enableReading": True,
        "enableSpotAndMarginTrading": True,
        "enableWithdrawals": False,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enablePortfolioMarginTrading": False,
    }


def test_permissions_are_parsed_by_binances_names() -> None:
    assert KeyPermissions.parse({"enableFutures": True}).enable_futures
    for wrong in ({"enableEverything": True}, {"enableFutures": "yes"}):
        with pytest.raises(ValueError, match="expected true or false"):
            KeyPermissions.parse(wrong)


def test_secret_is_in_no_repr(client: Any) -> None:
    for thing in (client.key, client.account, client.venue.exchange.accounts):
        assert client.key.api_secret not in repr(thing)


def test_public_endpoint_needs_no_key(client: Any) -> None:
    assert send(client, "GET", "/api/v3/time", key=None) == 200
