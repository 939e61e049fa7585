"""The fault script on a simulated Binance without sockets: what the client is told, and what the venue's book says."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tradingbot_sandbox.venues import faults_rules as rules
from tradingbot_sandbox.venues.binance.account_control import trade_by_hand
from tradingbot_sandbox.venues.binance.faults import describe_market_event, describe_request, describe_user_event
from tradingbot_sandbox.venues.faults import Event, Request
from tradingbot_sandbox.venues.faults_rules import Effect, Operation, Rule, When

Make = Callable[..., Any]
Body = Callable[[Any], Any]
PLACE = When(operation=Operation.PLACE)


@pytest.mark.parametrize(
    ("method", "path", "query", "described"),
    [
        (
            "POST",
            "/api/v3/order",
            "symbol=BTCUSDT&newClientOrderId=ab%2D1",
            Request(operation=Operation.PLACE, path="/api/v3/order", symbol="BTCUSDT", client_id="ab-1"),
        ),
        (
            "DELETE",
            "/api/v3/order",
            "symbol=BTCUSDT&origClientOrderId=ab",
            Request(operation=Operation.CANCEL, path="/api/v3/order", symbol="BTCUSDT", client_id="ab"),
        ),
        ("GET", "/api/v3/openOrders", "", Request(operation=Operation.OPEN_ORDERS, path="/api/v3/openOrders")),
        ("GET", "/api/v3/time", "", Request(operation=Operation.MARKET_DATA, path="/api/v3/time")),
        (
            "GET",
            "/sapi/v1/account/apiRestrictions",
            "",
            Request(operation=Operation.KEY_PERMISSIONS, path="/sapi/v1/account/apiRestrictions"),
        ),
    ],
)
def test_request_is_described(method: str, path: str, query: str, described: Request) -> None:
    assert describe_request(method, path, query=query) == described
    assert describe_request(method, path, body=query) == described


def test_events_are_described() -> None:
    assert describe_market_event("btcusdt@depth@100ms") == Event(
        operation=Operation.MARKET_STREAM, stream="depth", symbol="BTCUSDT"
    )
    cancelled = {"e": "executionReport", "s": "BTCUSDT", "c": "cancel1", "C": "mine"}
    assert describe_user_event(cancelled).client_id == "mine"
    assert describe_user_event({"e": "executionReport", "s": "BTCUSDT", "c": "mine", "C": ""}).client_id == "mine"
    assert describe_user_event({"e": "outboundAccountPosition"}) == Event(
        operation=Operation.USER_STREAM, stream="outboundAccountPosition"
    )


@pytest.mark.parametrize(
    ("what", "status", "text", "accepted"),
    [
        (rules.ServerError(status=503), 503, "", 0),
        (rules.ServerError(status=503, text="Service Unavailable"), 503, "Service Unavailable", 0),
        (rules.ServerError(status=504, code=-1007, accepted=True), 504, '{"code":-1007,"msg":"Timeout waiting', 1),
        (rules.ServerError(status=500, code=-1006, accepted=True), 500, "Execution status unknown.", 1),
        (rules.ServerError(status=503, code=-1008), 503, "Server is currently overloaded", 0),
        (rules.ServerError(status=502, html=True), 502, "<h1>502</h1>", 0),
        (rules.RateLimited(), 429, '{"code":-1003,"msg":"Too many requests', 0),
        (rules.RateLimited(code=-1015), 429, "Too many new orders", 0),
        (rules.Banned(), 418, '{"code":-1003', 0),
        (rules.WafBlock(), 403, "<h1>403</h1>", 0),
        (rules.Reject(code=-2010, text="No such luck."), 400, '{"code":-2010,"msg":"No such luck."}', 0),
        (rules.Reject(status=401, code=-2015), 401, "Invalid API-key, IP, or permissions for action.", 0),
        (rules.EmptyAnswer(), 200, "", 1),
        (rules.GarbageAnswer(text="?", accepted=False), 200, "?", 0),
    ],
)
def test_answer_is_replaced(what: Effect, status: int, text: str, accepted: int, make_venue: Make) -> None:
    venue = make_venue(Rule(when=PLACE, what=what))
    _, answer = venue.place()
    assert answer.status == status
    assert text in answer.body.decode()
    assert bool(answer.body) is bool(text)
    assert venue.account.accepted["mine"] == accepted


def test_retry_after_is_sent_if_it_is_given(make_venue: Make) -> None:
    venue = make_venue(Rule(when=When(nth=1), what=rules.RateLimited(retry_after_seconds=7)))
    assert venue.ask("GET", "/api/v3/openOrders")[1].headers["Retry-After"] == "7"
    assert "Retry-After" not in make_venue(Rule(what=rules.Banned())).ask("GET", "/api/v3/time")[1].headers


def test_headers_of_an_accepted_request_are_told_with_a_replaced_answer(make_venue: Make) -> None:
    venue = make_venue(Rule(when=PLACE, what=rules.ServerError(status=504, code=-1007, accepted=True)))
    assert "x-mbx-used-weight-1m" in venue.place()[1].headers


@pytest.mark.parametrize(("what", "accepted"), [(rules.LoseRequest(), 0), (rules.LoseAnswer(), 1)])
def test_lost_is_not_answered(what: Effect, accepted: int, make_venue: Make) -> None:
    venue = make_venue(Rule(when=PLACE, what=what))
    assert venue.place()[1] is None
    assert venue.account.accepted["mine"] == accepted


@pytest.mark.parametrize(
    ("what", "left"), [(rules.TruncateAnswer(bytes=7), 7), (rules.TruncateAnswer(bytes=10**6), None)]
)
def test_answer_is_cut(what: Effect, left: int | None, make_venue: Make) -> None:
    whole = make_venue().ask("GET", "/api/v3/account")[1]
    cut = make_venue(Rule(what=what)).ask("GET", "/api/v3/account")[1]
    assert cut.promised_bytes is None
    assert len(cut.body) == (left or len(whole.body))
    assert whole.body.startswith(cut.body)


def test_half_an_answer_is_left_and_the_whole_promised_when_the_connection_dies(make_venue: Make) -> None:
    whole = make_venue().ask("GET", "/api/v3/account")[1]
    cut = make_venue(Rule(what=rules.TruncateAnswer(dies=True))).ask("GET", "/api/v3/account")[1]
    assert len(cut.body) == len(whole.body) // 2
    assert cut.promised_bytes == len(whole.body)


def test_taker_order_is_filled_in_part(make_venue: Make, body_of: Body) -> None:
    venue = make_venue(Rule(when=When(nth=1), what=rules.PartialFill(most_base=Decimal("0.25"))))
    first, second = body_of(venue.place("a")), body_of(venue.place("b"))
    assert (first["executedQty"], first["status"]) == ("0.25000000", "EXPIRED")
    assert (second["executedQty"], second["status"]) == ("1.00000000", "FILLED")


def test_only_the_order_of_the_request_is_filled_in_part(make_venue: Make, body_of: Body) -> None:
    venue = make_venue(Rule(what=rules.PartialFill(most_base=Decimal("0.25"))))
    body_of(venue.place())
    by_hand = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
    assert trade_by_hand(venue.exchange, venue.account, by_hand, venue.now_ns)["status"] == "FILLED"


def test_rest_of_a_partly_filled_limit_order_stays_open(make_venue: Make, body_of: Body) -> None:
    venue = make_venue(Rule(what=rules.PartialFill(most_base=Decimal("0.25"))))
    placed = body_of(venue.place(type="LIMIT", price="70000", timeInForce="GTC"))
    assert (placed["executedQty"], placed["status"]) == ("0.25000000", "PARTIALLY_FILLED")


def test_placed_order_is_unknown_to_queries_for_its_time(make_venue: Make, body_of: Body) -> None:
    venue = make_venue(Rule(when=When(client_id="mi"), what=rules.HideOrder(seconds=Decimal(5), trades=True)))
    placed = body_of(venue.place("mine"))
    body_of(venue.rest_order("mine-too"))
    body_of(venue.place("other"))

    def seen() -> tuple[object, object, list[str], list[str], int]:
        return (
            body_of(venue.ask("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="mine")).get("code"),
            body_of(venue.ask("GET", "/api/v3/order", symbol="BTCUSDT", orderId=placed["orderId"])).get("code"),
            [o["clientOrderId"] for o in body_of(venue.ask("GET", "/api/v3/openOrders", symbol="BTCUSDT"))],
            [o["clientOrderId"] for o in body_of(venue.ask("GET", "/api/v3/allOrders", symbol="BTCUSDT"))],
            len({t["orderId"] for t in body_of(venue.ask("GET", "/api/v3/myTrades", symbol="BTCUSDT"))}),
        )

    venue.run(4.9)
    assert seen() == (-2013, -2013, [], ["other"], 1)
    venue.run(0.1)
    assert seen() == (None, None, ["mine-too"], ["mine", "mine-too", "other"], 2)


def test_hidden_order_can_be_cancelled(make_venue: Make, body_of: Body) -> None:
    venue = make_venue(Rule(what=rules.HideOrder(seconds=Decimal(5))))
    venue.rest_order()
    cancelled = venue.ask("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="mine")
    assert body_of(cancelled)["status"] == "CANCELED"


def test_skewed_clock_is_told_and_judges_timestamps(make_venue: Make, body_of: Body) -> None:
    skew = Rule(when=When(from_seconds=Decimal(1)), what=rules.ClockSkew(milliseconds=7000))
    venue = make_venue(skew)
    venue.run(1)
    assert body_of(venue.ask("GET", "/api/v3/time"))["code"] == -1101  # it takes no parameters
    assert venue.faults.venue_now_ns(venue.now_ns) - venue.now_ns == 7 * 10**9
    assert body_of(venue.rest_order())["transactTime"] == venue.now_ns // 10**6 + 7000


def test_filters_change_at_their_moment(make_venue: Make, body_of: Body) -> None:
    change = rules.FilterChange(symbol="BTCUSDT", tick=Decimal(5), step=Decimal("0.5"), min_notional=Decimal(40_000))
    venue = make_venue(Rule(when=When(from_seconds=Decimal(1)), what=change))
    body_of(venue.place("before", quantity="0.4"))
    venue.run(1)
    assert body_of(venue.place("least", quantity="0.4"))["msg"] == "Filter failure: LOT_SIZE"
    assert body_of(venue.place("step", quantity="0.7"))["msg"] == "Filter failure: LOT_SIZE"
    limit = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.5"}
    assert body_of(venue.place("tick", **limit, price="59999"))["msg"] == "Filter failure: PRICE_FILTER"
    assert body_of(venue.place("notional", **limit, price="60000"))["msg"] == "Filter failure: NOTIONAL"
    assert body_of(venue.place("after"))["status"] == "FILLED"


def test_key_is_revoked_at_its_moment(make_venue: Make, body_of: Body) -> None:
    venue = make_venue(Rule(when=When(from_seconds=Decimal(1)), what=rules.RevokeKey()))
    other = venue.exchange.accounts.issue_key(venue.account)
    assert "balances" in body_of(venue.ask("GET", "/api/v3/account"))
    venue.run(1)
    assert body_of(venue.ask("GET", "/api/v3/account"))["code"] == -2015
    assert venue.exchange.accounts.find_key(other.api_key) is None


def test_only_named_keys_are_revoked(make_venue: Make, body_of: Body) -> None:
    venue = make_venue()
    other = venue.exchange.accounts.issue_key(venue.account)
    venue.script.add(Rule(what=rules.RevokeKey(key=other.api_key[:8])), venue.now_ns)
    venue.run(0)
    assert venue.exchange.accounts.find_key(other.api_key) is None
    assert "balances" in body_of(venue.ask("GET", "/api/v3/account"))


def test_permissions_change_at_their_moment(make_venue: Make, body_of: Body) -> None:
    change = rules.ChangePermissions(trading=False, withdrawals=True, addresses="127.0.0.1,10.0.0.1")
    venue = make_venue(Rule(when=When(from_seconds=Decimal(1)), what=change))
    before = body_of(venue.ask("GET", "/sapi/v1/account/apiRestrictions"))
    venue.run(1)
    after = body_of(venue.ask("GET", "/sapi/v1/account/apiRestrictions"))
    changed = {name: value for name, value in after.items() if before[name] != value}
    assert changed == {"enableSpotAndMarginTrading": False, "enableWithdrawals": True, "ipRestrict": True}
    assert body_of(venue.place())["code"] == -2015


def test_user_events_are_doubled_delayed_and_dropped(make_venue: Make) -> None:
    venue = make_venue(
        Rule(when=When(client_id="twice", stream="executionReport"), what=rules.DuplicateEvent()),
        Rule(when=When(client_id="late", stream="executionReport"), what=rules.DelayEvent(seconds=Decimal(2))),
        Rule(when=When(client_id="never", stream="executionReport"), what=rules.DropEvents()),
    )
    heard: list[dict[str, Any]] = []
    venue.exchange.user_streams.subscribe(venue.account.uid, heard.append)

    def reports() -> list[str]:
        told = [event["c"] for event in heard if event["e"] == "executionReport"]
        heard.clear()
        return told

    for client_id in ("twice", "late", "never", "plain"):
        venue.rest_order(client_id)
    assert reports() == ["twice", "twice", "plain"]
    venue.run(2)
    assert reports() == ["late"]


def test_trades_are_missing_on_the_stream_and_there_on_rest(make_venue: Make) -> None:
    venue = make_venue(Rule(when=When(stream="trade", nth=3), what=rules.DropEvents(events=4)))
    heard: list[int] = []

    class Listener:
        def offer(self, stream: str, frame: Any) -> None:
            assert stream == "btcusdt@trade"
            heard.append(frame)

    venue.exchange.subscribe(Listener(), "btcusdt@trade", venue.now_ns)
    venue.exchange.burst("BTC/USDT", trades=10, now_ns=venue.now_ns)
    assert len(heard) == 6
    assert venue.exchange.subscriptions.published["btcusdt@trade"] == 6
    assert len(venue.exchange.world.boards["BTC/USDT"].trades) == 10


def test_disconnect_is_left_to_the_server(make_venue: Make) -> None:
    rule = Rule(when=When(operation=Operation.USER_STREAM, from_seconds=Decimal(1)), what=rules.Disconnect())
    venue = make_venue(rule)
    assert venue.run(0.5) == []
    assert venue.run(0.5) == [rule]
    assert venue.run(1) == []
