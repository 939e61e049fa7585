"""The fault script on Binance: which request is what, and its faults in Binance's own words. PURE, but for its log.

Flow: request -> `describe_request` -> script -> `Fate` -> `carry_out` -> `finish` -> what goes over the wire;
publisher and trading desk -> their outlets here -> listeners; pump -> `advance`. The server does this with sockets
(faults_http), a simulation in one process without. Requests see the skewed clock; streams tell the true time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from urllib.parse import parse_qsl

from tradingbot_sandbox.venues import faults_rules as rules
from tradingbot_sandbox.venues.binance import errors
from tradingbot_sandbox.venues.binance.exchange import Exchange, Log
from tradingbot_sandbox.venues.binance.rest import Answer
from tradingbot_sandbox.venues.binance.text import json_text
from tradingbot_sandbox.venues.faults import Canned, Event, Fate, FaultScript, Request
from tradingbot_sandbox.venues.faults_rules import Effect, Operation, Rule
from tradingbot_sandbox.venues.faults_streams import StreamWay
from tradingbot_sandbox.venues.matching import Order

_OPERATIONS = {
    ("POST", "/api/v3/order"): Operation.PLACE,
    ("POST", "/api/v3/order/test"): Operation.TEST_ORDER,
    ("DELETE", "/api/v3/order"): Operation.CANCEL,
    ("DELETE", "/api/v3/openOrders"): Operation.CANCEL_ALL,
    ("GET", "/api/v3/order"): Operation.QUERY,
    ("GET", "/api/v3/openOrders"): Operation.OPEN_ORDERS,
    ("GET", "/api/v3/allOrders"): Operation.ALL_ORDERS,
    ("GET", "/api/v3/myTrades"): Operation.TRADES,
    ("GET", "/api/v3/account"): Operation.ACCOUNT,
    ("GET", "/api/v3/rateLimit/order"): Operation.ACCOUNT,
    ("GET", "/sapi/v1/account/apiRestrictions"): Operation.KEY_PERMISSIONS,
}
_CLIENT_IDS = ("newClientOrderId", "origClientOrderId")

# its page "Error codes", 10xx
_TEXTS = {
    -1000: "An unknown error occurred while processing the request.",
    -1001: "Internal error; unable to process your request. Please try again.",
    -1003: "Too many requests; current limit is 6000 requests per 1 MINUTE. "
    "Please use WebSocket Streams for live updates to avoid polling the API.",
    -1006: "An unexpected response was received from the message bus. Execution status unknown.",
    -1007: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    -1008: "Server is currently overloaded with other requests. Please try again in a few minutes.",
    -1013: "Filter failure: LOT_SIZE",
    -1015: "Too many new orders; current limit is 100 orders per 10 SECOND.",
    -1016: "This service is no longer available.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -1022: "Signature for this request is not valid.",
    -1121: "Invalid symbol.",
    -2010: "Account has insufficient balance for requested action.",
    -2011: "Unknown order sent.",
    -2013: "Order does not exist.",
    -2014: "API-key format invalid.",
    -2015: "Invalid API-key, IP, or permissions for action.",
}
_LIMIT_STATUS = (429, 418)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    """One HTTP answer as it goes over the wire."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    promised_bytes: int | None = None
    """More than the body has: the connection dies in it."""


@dataclass(frozen=True, slots=True)
class _Told:
    """An event on its way, and how it reaches those who listen."""

    event: Event
    deliver: Callable[[], None]


def describe_request(method: str, path: str, *, query: str = "", body: str = "") -> Request:
    """What a rule can tell it by. `query` and `body` are the texts as they were sent."""
    values = dict(parse_qsl(f"{query}&{body}"))
    client_id = next((values[name] for name in _CLIENT_IDS if name in values), "")
    other = Operation.ACCOUNT if path.startswith("/sapi/") else Operation.MARKET_DATA
    operation = _OPERATIONS.get((method, path), other)
    return Request(operation=operation, path=path, symbol=values.get("symbol", ""), client_id=client_id)


def describe_market_event(stream: str) -> Event:
    """`btcusdt@depth@100ms` -> symbol BTCUSDT, stream depth."""
    joined, _, rest = stream.partition("@")
    return Event(operation=Operation.MARKET_STREAM, stream=rest.partition("@")[0], symbol=joined.upper())


def describe_user_event(event: Mapping[str, object]) -> Event:
    """`C` is the client id of an order that is cancelled, `c` is then the cancel's own."""
    client_id, symbol = event.get("C") or event.get("c") or "", event.get("s") or ""
    stream = str(event.get("e", ""))
    return Event(operation=Operation.USER_STREAM, stream=stream, symbol=str(symbol), client_id=str(client_id))


class BinanceFaults:
    """One venue's script, and what it needs to know to play it."""

    def __init__(self, exchange: Exchange, script: FaultScript, *, log: Log) -> None:
        self.script = script
        self._exchange = exchange
        self._log = log
        self._way: StreamWay[_Told] = StreamWay(script, lambda told: told.event)
        self._hidden_ids: dict[object, str] = {}
        self._most_taken_base: Decimal | None = None
        self._now_ns = script.started_ns
        exchange.subscriptions.outlet = self._on_market_event
        exchange.user_streams.outlet = self._on_user_event
        exchange.desk.matching.taker_cap = self._taker_cap

    def venue_now_ns(self, now_ns: int) -> int:
        """What the venue's own clock says."""
        return now_ns + self.script.clock_skew_ns(now_ns)

    def on_request(self, request: Request, now_ns: int) -> Fate:
        fate = self.script.on_request(request, now_ns)
        if fate.rules:
            self._log.info("fault", rules=list(fate.rules), operation=request.operation, client_id=request.client_id)
        return fate

    def carry_out(self, fate: Fate, call: Callable[[int], Answer], now_ns: int) -> Answer:
        """Let the venue do what is asked of it, with what the fate puts in its way. `call` gets the venue's time."""
        self._now_ns, self._most_taken_base = now_ns, fate.most_taken_base
        try:
            answer = call(self.venue_now_ns(now_ns))
        finally:
            self._most_taken_base = None
        self._note_hidden(answer, now_ns)
        return answer

    def finish(self, request: Request, fate: Fate, answer: Answer | None, now_ns: int) -> RawAnswer:
        """What the client is told. `answer`: the venue's own; None: it was not asked."""
        if answer is not None:
            answer = self._with_hidden(request, answer, now_ns)
        if fate.answer is not None:
            raw = _render(fate.answer, {} if answer is None else answer.headers)
        elif answer is None:
            raise ValueError("a request that was not delivered is answered by its fate, or not at all")
        else:
            body = answer.text.encode()
            raw = RawAnswer(
                status=answer.http_status, body=body, content_type=answer.content_type, headers=answer.headers
            )
        return _cut(raw, fate) if fate.is_cut else raw

    def advance(self, now_ns: int) -> list[Rule]:
        """Do what is due. Those of its rules that only a server can carry out: Disconnect."""
        self._now_ns = now_ns
        for told in self._way.take(now_ns):
            told.deliver()
        left = []
        for rule in self.script.take_due(now_ns):
            self._log.info("fault_due", effect=rule.what.name)
            if not self._apply(rule.what):
                left.append(rule)
        return left

    def next_due_ns(self) -> int | None:
        times = (self.script.next_due_ns(), self._way.next_due_ns())
        return min((at for at in times if at is not None), default=None)

    def _on_market_event(self, stream: str, deliver: Callable[[], None]) -> None:
        if self.script.is_hearing_events(Operation.MARKET_STREAM):
            self._pass_on(_Told(describe_market_event(stream), deliver))
        else:
            deliver()

    def _on_user_event(self, event: Mapping[str, object], deliver: Callable[[], None]) -> None:
        if self.script.is_hearing_events(Operation.USER_STREAM):
            self._pass_on(_Told(describe_user_event(event), deliver))
        else:
            deliver()

    def _pass_on(self, told: _Told) -> None:
        self._way.put(told, self._now_ns)
        for due in self._way.take(self._now_ns):
            due.deliver()

    def _taker_cap(self, _order: Order, could_take_base: Decimal) -> Decimal:
        most = self._most_taken_base
        return could_take_base if most is None else min(most, could_take_base)

    def _apply(self, what: Effect) -> bool:
        match what:
            case rules.FilterChange():
                self._change_filters(what)
            case rules.RevokeKey(key=prefix):
                for key in self._exchange.accounts.keys:
                    if key.api_key.startswith(prefix):
                        self._exchange.accounts.revoke(key.api_key)
            case rules.ChangePermissions():
                self._change_permissions(what)
            case _:
                return False
        return True

    def _change_filters(self, what: rules.FilterChange) -> None:
        symbol = self._exchange.symbols.get(what.symbol)
        if symbol is None:
            self._log.warning("fault_without_object", effect=what.name, symbol=what.symbol)
            return
        old = self._exchange.rules[symbol]
        tick, step = what.tick or old.tick, what.step or old.step
        least = old.least_notional if what.min_notional is None else what.min_notional
        self._exchange.rules[symbol] = replace(
            old, tick=tick, lowest_price=tick, step=step, least_quantity=step, least_notional=least
        )

    def _change_permissions(self, what: rules.ChangePermissions) -> None:
        changes: Mapping[str, bool | None] = {
            "enable_reading": what.reading,
            "enable_spot_and_margin_trading": what.trading,
            "enable_withdrawals": what.withdrawals,
            "enable_internal_transfer": what.internal_transfer,
            "enable_futures": what.futures,
        }
        for key in self._exchange.accounts.keys:
            if key.api_key.startswith(what.key):
                given = {name: value for name, value in changes.items() if value is not None}
                self._exchange.accounts.set_permissions(key.api_key, replace(key.permissions, **given))
                if what.addresses is not None:
                    key.addresses = frozenset(filter(None, what.addresses.split(",")))

    def _note_hidden(self, answer: Answer, now_ns: int) -> None:
        """Whether its answer arrives or not: lists of trades know an order by its number alone."""
        body = answer.body
        if answer.http_status == 200 and isinstance(body, dict) and "orderId" in body:
            client_id = str(body.get("clientOrderId"))
            if self.script.is_hidden(client_id, now_ns):
                self._hidden_ids[body["orderId"]] = client_id

    def _with_hidden(self, request: Request, answer: Answer, now_ns: int) -> Answer:
        """Binance answers queries from memory first: an order may be unknown to them after it was placed."""
        body, operation = answer.body, request.operation
        if answer.http_status != 200:
            return answer
        if operation is Operation.QUERY and isinstance(body, dict):
            if self.script.is_hidden(str(body.get("clientOrderId")), now_ns):
                unknown = errors.no_such_order()
                return Answer(unknown.http_status, unknown.body, answer.headers)
        elif operation in (Operation.OPEN_ORDERS, Operation.ALL_ORDERS) and isinstance(body, list):
            shown = [row for row in body if not self.script.is_hidden(str(row.get("clientOrderId")), now_ns)]
            return replace(answer, body=shown)
        elif operation is Operation.TRADES and isinstance(body, list):
            hidden = self._hidden_ids
            shown = [
                row
                for row in body
                if not self.script.is_hidden(hidden.get(row.get("orderId"), ""), now_ns, trades=True)
            ]
            return replace(answer, body=shown)
        return answer


def _render(canned: Canned, headers: Mapping[str, str]) -> RawAnswer:
    told = dict(headers)
    if canned.retry_after_seconds is not None:
        told["Retry-After"] = str(canned.retry_after_seconds)
    if canned.body is not None:
        body = canned.body.encode()
        return RawAnswer(status=canned.status, body=body, content_type=canned.content_type, headers=told)
    code = canned.code if canned.code is not None else -1003 if canned.status in _LIMIT_STATUS else -1000
    text = canned.text or _TEXTS.get(code, "Unknown error.")
    return RawAnswer(status=canned.status, body=json_text({"code": code, "msg": text}).encode(), headers=told)


def _cut(raw: RawAnswer, fate: Fate) -> RawAnswer:
    left = len(raw.body) // 2 if fate.cut_bytes is None else min(fate.cut_bytes, len(raw.body))
    promised = len(raw.body) if fate.dies_in_body else None
    return replace(raw, body=raw.body[:left], promised_bytes=promised)
