"""Binance's WebSocket API as far as the user data stream needs it: one session's requests and subscriptions. PURE.

Flow: socket (or a simulation, without one) -> `hear` -> `send`; trading desk -> user streams -> `send`. Answers and
events are those of its page "WebSocket API": `ping`, `time`, `userDataStream.subscribe.signature`,
`userDataStream.unsubscribe`, `session.subscriptions`. Orders go over REST here; every other method is refused, with a
code that is [unverified]. A revoked key refuses new subscriptions and ends no old one [unverified].
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tradingbot_sandbox.venues.binance import errors, reports
from tradingbot_sandbox.venues.binance.auth import Right, authenticate
from tradingbot_sandbox.venues.binance.errors import ApiError
from tradingbot_sandbox.venues.binance.exchange import Exchange
from tradingbot_sandbox.venues.binance.query import Query
from tradingbot_sandbox.venues.binance.text import milliseconds
from tradingbot_sandbox.venues.binance.user_streams import Event, Sink

Message = dict[str, object]

_WEIGHTS = {
    "ping": 1,
    "time": 1,
    "userDataStream.subscribe.signature": 2,
    "userDataStream.unsubscribe": 2,
    "session.subscriptions": 2,
}
CONNECT_WEIGHT = 2
"""What a new connection costs."""


@dataclass(slots=True)
class _Subscription:
    uid: int
    sink: Sink


@dataclass(frozen=True, slots=True)
class _Request:
    id: object
    method: str
    params: dict[str, str] = field(default_factory=dict)
    shows_limits: bool = True


class ApiSession:
    """One connection's side of the API."""

    def __init__(self, exchange: Exchange, *, address: str, send: Callable[[Message], None]) -> None:
        self._exchange = exchange
        self._address = address
        self._send = send
        self._subscriptions: dict[int, _Subscription] = {}
        self._next_id = 0

    @property
    def subscriptions(self) -> tuple[int, ...]:
        return tuple(self._subscriptions)

    def hear(self, text: str, now_ns: int) -> None:
        """Take one message of the client and answer it. What a subscription tells comes after its answer."""
        request = _Request(None, "")
        ended: list[int] = []
        try:
            request = _read(text)
            refusal = self._exchange.meter.charge(self._address, _WEIGHTS.get(request.method, 1), now_ns)
            if refusal is not None:
                raise refusal
            answer: Message = {"id": request.id, "status": 200, "result": self._result(request, ended, now_ns)}
        except ApiError as error:
            answer = {"id": request.id, "status": error.http_status, "error": error.body}
        if request.shows_limits:
            answer["rateLimits"] = [self._weight_limit(now_ns)]
        self._send(answer)
        for number in ended:
            self._send({"subscriptionId": number, "event": reports.stream_terminated(now_ns)})

    def close(self) -> None:
        """The connection is gone: nobody hears any more."""
        for number in list(self._subscriptions):
            self._end(number)

    def _result(self, request: _Request, ended: list[int], now_ns: int) -> object:
        query = Query(list(request.params.items()), self._exchange.symbols)
        if request.method == "ping":
            return {}
        if request.method == "time":
            return {"serverTime": milliseconds(now_ns)}
        if request.method == "userDataStream.subscribe.signature":
            return {"subscriptionId": self._subscribe(request.params, query, now_ns)}
        if request.method == "userDataStream.unsubscribe":
            number = query.integer("subscriptionId")
            if number is not None and number not in self._subscriptions:
                raise errors.subscription_inactive()
            ended += [number] if number is not None else self._subscriptions
            for one in ended:
                self._end(one)
            return {}
        if request.method == "session.subscriptions":
            return [{"subscriptionId": number} for number in self._subscriptions]
        raise errors.unsupported_operation()

    def _subscribe(self, params: Mapping[str, str], query: Query, now_ns: int) -> int:
        key = authenticate(
            self._exchange.accounts,
            query,
            api_key=query.text("apiKey"),
            payload=sorted_payload(params),
            right=Right.READ,
            address=self._address,
            now_ns=now_ns,
        )
        query.check_all_read()
        uid = key.account.uid
        if any(subscription.uid == uid for subscription in self._subscriptions.values()):
            raise errors.subscription_active()
        number = self._next_id
        self._next_id += 1

        def tell(event: Event) -> None:
            self._send({"subscriptionId": number, "event": event})

        self._subscriptions[number] = _Subscription(uid, tell)
        self._exchange.user_streams.subscribe(uid, tell)
        return number

    def _end(self, number: int) -> None:
        subscription = self._subscriptions.pop(number)
        self._exchange.user_streams.unsubscribe(subscription.uid, subscription.sink)

    def _weight_limit(self, now_ns: int) -> Message:
        return {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": self._exchange.meter.limit,
            "count": self._exchange.meter.used(self._address, now_ns),
        }


def sorted_payload(params: Mapping[str, str]) -> str:
    """What is signed: all parameters but the signature, by name, as `name=value` joined with `&`."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")


def _read(text: str) -> _Request:
    try:
        data = json.loads(text, parse_float=str)
    except ValueError:
        raise errors.invalid_json() from None
    if not isinstance(data, dict) or not isinstance(data.get("method"), str):
        raise errors.invalid_json()
    given = data.get("params") or {}
    if not isinstance(given, dict):
        raise errors.invalid_json()
    params = {name: _as_text(value) for name, value in given.items()}
    shows_limits = params.pop("returnRateLimits", "true") == "true"
    return _Request(data.get("id"), data["method"].removeprefix("v3/"), params, shows_limits)


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)
