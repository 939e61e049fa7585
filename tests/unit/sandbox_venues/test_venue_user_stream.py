"""The user data stream: a WebSocket API session without a socket, and what is told on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tradingbot_sandbox.market.events import NS_PER_MS
from tradingbot_sandbox.venues.binance.accounts import KeyPermissions
from tradingbot_sandbox.venues.binance.auth import sign
from tradingbot_sandbox.venues.binance.ws_api import ApiSession, sorted_payload


class Session:
    """A client of the WebSocket API that keeps what it hears."""

    def __init__(self, venue: Any) -> None:
        self.venue = venue
        self.heard: list[dict[str, Any]] = []
        self.side = ApiSession(venue.exchange, address="10.0.0.1", send=self.heard.append)

    def say(self, method: str, params: dict[str, object] | None = None, *, request_id: object = 1) -> dict[str, Any]:
        """Send one request; its answer."""
        text = json.dumps({"id": request_id, "method": method} | ({} if params is None else {"params": params}))
        return self.say_text(text)

    def say_text(self, text: str) -> dict[str, Any]:
        before = len(self.heard)
        self.side.hear(text, self.venue.now_ns)
        return self.heard[before]

    def subscribe(self, client: Any, **changes: object) -> dict[str, Any]:
        return self.say("userDataStream.subscribe.signature", signed(client, **changes))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [message for message in self.heard if "event" in message]


def signed(client: Any, **changes: object) -> dict[str, object]:
    params: dict[str, object] = {
        "apiKey": client.key.api_key,
        "timestamp": client.venue.now_ns // NS_PER_MS,
    } | changes
    text = sorted_payload({name: str(value) for name, value in params.items()})
    return {"signature": sign(client.key.api_secret, text)} | params


@pytest.fixture
def session(venue: Any) -> Session:
    return Session(venue)


def test_ping_and_time_are_answered_with_the_requests_id(venue: Any, session: Session) -> None:
    answer = session.say("ping", request_id="abc")
    assert (answer["id"], answer["status"], answer["result"]) == ("abc", 200, {})
    assert answer["rateLimits"][0]["count"] == 1
    assert session.say("v3/time")["result"] == {"serverTime": venue.now_ns // NS_PER_MS}
    assert "rateLimits" not in session.say("ping", {"returnRateLimits": False})


def test_subscription_hears_its_own_account_only(venue: Any, client: Any, session: Session) -> None:
    assert session.subscribe(client)["result"] == {"subscriptionId": 0}
    other = venue.client()
    assert session.subscribe(other, recvWindow=1000)["result"] == {"subscriptionId": 1}
    client.order("BUY", "LIMIT", newClientOrderId="mine")
    other.order("BUY", "LIMIT", newClientOrderId="theirs")
    told = [(m["subscriptionId"], m["event"]["e"], m["event"].get("c")) for m in session.events]
    assert told == [
        (0, "executionReport", "mine"),
        (0, "outboundAccountPosition", None),
        (1, "executionReport", "theirs"),
        (1, "outboundAccountPosition", None),
    ]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"apiKey": "short"}, 401, -2014),
        ({"apiKey": "0" * 64}, 401, -2015),
        ({"timestamp": 1}, 400, -1021),
        ({"recvWindow": 60_001}, 400, -1102),
        ({"symbol": "BTCUSDT"}, 400, -1104),
    ],
)
def test_subscription_that_is_not_properly_signed_is_refused(
    client: Any, session: Session, changes: dict[str, object], status: int, code: int
) -> None:
    answer = session.subscribe(client, **changes)
    assert (answer["id"], answer["status"], answer["error"]["code"]) == (1, status, code)
    client.order("BUY", "LIMIT")
    assert session.events == []


def test_wrong_signature_and_missing_right_are_refused(venue: Any, client: Any, session: Session) -> None:
    params = signed(client) | {"signature": "0" * 64}
    assert session.say("userDataStream.subscribe.signature", params)["error"]["code"] == -1022
    venue.exchange.accounts.set_permissions(client.key.api_key, KeyPermissions(enable_reading=False))
    assert session.subscribe(client)["error"]["code"] == -2015


def test_account_is_subscribed_once_a_session(client: Any, session: Session) -> None:
    session.subscribe(client)
    assert session.subscribe(client)["error"] == {
        "code": -2035,
        "msg": "User Data Stream subscription already active.",
    }
    assert session.say("session.subscriptions")["result"] == [{"subscriptionId": 0}]


def test_unsubscribed_stream_says_goodbye_and_is_silent(venue: Any, client: Any, session: Session) -> None:
    session.subscribe(client)
    assert session.say("userDataStream.unsubscribe", {"subscriptionId": 7})["error"]["code"] == -2036
    assert session.say("userDataStream.unsubscribe", {"subscriptionId": 0})["result"] == {}
    assert session.events == [
        {"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": venue.now_ns // NS_PER_MS}}
    ]
    client.order("BUY", "LIMIT")
    assert len(session.events) == 1
    assert session.subscribe(client)["result"] == {"subscriptionId": 1}
    assert session.say("userDataStream.unsubscribe")["result"] == {}
    assert session.say("session.subscriptions")["result"] == []


def test_closed_session_hears_nothing(venue: Any, client: Any, session: Session) -> None:
    session.subscribe(client)
    session.side.close()
    client.order("BUY", "LIMIT")
    assert session.events == []
    assert venue.exchange.user_streams.listeners(client.account.uid) == 1  # the client's own ear


@pytest.mark.parametrize("text", ["{", "[]", '{"id": 1}', '{"id": 1, "method": "ping", "params": []}x'])
def test_what_is_no_request_is_refused(session: Session, text: str) -> None:
    answer = session.say_text(text)
    assert (answer["status"], answer["error"]["code"]) == (400, -1135)


def test_method_that_there_is_not_is_refused(session: Session) -> None:
    answer = session.say("order.place", {"symbol": "BTCUSDT"})
    assert (answer["status"], answer["error"]["code"]) == (400, -1020)


def test_requests_cost_weight_and_are_refused_above_the_limit(make_venue: Callable[..., Any]) -> None:
    session = Session(make_venue(weight_limit=3))
    answers = [session.say("ping") for _ in range(4)]
    assert [answer["status"] for answer in answers] == [200, 200, 200, 429]
    assert answers[-1]["error"]["code"] == -1003


def test_events_of_a_market_order_come_as_documented(venue: Any, client: Any) -> None:
    client.order("BUY", "MARKET", quantity="1.5", newClientOrderId="a")
    assert client.kinds() == ["NEW NEW", "TRADE PARTIALLY_FILLED", "TRADE FILLED", "outboundAccountPosition"]
    now_ms = venue.now_ns // NS_PER_MS
    assert client.events[1] == {
        "e": "executionReport",
        "E": now_ms,
        "s": "BTCUSDT",
        "c": "a",
        "S": "BUY",
        "o": "MARKET",
        "f": "GTC",
        "q": "1.50000000",
        "p": "0.00000000",
        "P": "0.00000000",
        "F": "0.00000000",
        "g": -1,
        "C": "",
        "x": "TRADE",
        "X": "PARTIALLY_FILLED",
        "r": "NONE",
        "i": 1_000_001,
        "l": "1.00000000",
        "z": "1.00000000",
        "L": "101.00000000",
        "n": "0.00100000",
        "N": "BTC",
        "T": now_ms,
        "t": 501,
        "I": 2,
        "w": False,
        "m": False,
        "M": True,
        "O": now_ms,
        "Z": "101.00000000",
        "Y": "101.00000000",
        "Q": "0.00000000",
        "W": now_ms,
        "V": "EXPIRE_MAKER",
    }
    assert client.events[3] == {
        "e": "outboundAccountPosition",
        "E": now_ms,
        "u": now_ms,
        "B": [
            {"a": "BTC", "f": "11.49850000", "l": "0.00000000"},
            {"a": "USDT", "f": "9848.00000000", "l": "0.00000000"},
        ],
    }


def test_order_that_is_short_of_liquidity_expires_after_its_fills(make_venue: Callable[..., Any]) -> None:
    client = make_venue(asks="101:1").client()
    client.order("BUY", "MARKET", quantity="1.5")
    assert client.kinds() == [
        "NEW NEW",
        "TRADE PARTIALLY_FILLED",
        "EXPIRED EXPIRED",
        "outboundAccountPosition",
    ]
    assert client.events[2]["eR"] == "INSUFFICIENT_LIQUIDITY"


def test_maker_fill_is_told_with_the_order_still_on_the_book(venue: Any, client: Any) -> None:
    client.order("BUY", "LIMIT")
    venue.trade("99.9", "0.2")
    report = client.events[2]
    assert (report["x"], report["m"], report["w"], report["L"], report["l"]) == (
        "TRADE",
        True,
        True,
        "100.00000000",
        "0.20000000",
    )


def test_waiting_stop_is_not_on_the_book(client: Any) -> None:
    client.order("SELL", "STOP_LOSS", stopPrice="95")
    assert (client.events[0]["w"], "W" in client.events[0]) == (False, False)


def test_deposit_and_withdrawal_are_told(venue: Any, client: Any) -> None:
    venue.exchange.desk.transfer(client.account, "USDT", Decimal("-250.5"), venue.now_ns)
    update, position = client.events
    assert (update["e"], update["a"], update["d"]) == ("balanceUpdate", "USDT", "-250.50000000")
    assert position["B"] == [{"a": "USDT", "f": "9749.50000000", "l": "0.00000000"}]
