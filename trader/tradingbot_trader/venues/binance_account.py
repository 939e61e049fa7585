"""PURE. Binance's words about an account: the parameters of each request, refusals, balances and permissions.

Decimals leave and come as strings; nothing here passes through a float. Sources: "Trading endpoints" and "Account
endpoints" of Binance's spot API documentation, "Get API Key Permission" of its wallet API.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from tradingbot_api.decimal import format_decimal
from tradingbot_trader.orders.order import Intent, OrderType, TimeInForce
from tradingbot_trader.venues import binance
from tradingbot_trader.venues import binance_fields as read
from tradingbot_trader.venues.account import AccountView, Answer, Balance, KeyPermissions

RECV_WINDOW_MS = 3_000
"""The freshness bound: how old a request may be when Binance sees it. The lease has to outlive it."""
PAGE = 1_000
"""Orders or trades in one answer, at most."""
_FIRST_ORDER_ID = "1"
"""`orderId=0` could be read as "not given", and that means the newest orders [unverified]. Ids begin at 1."""

OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "defaultType": "spot",
        "fetchCurrencies": False,
        "maxRetriesOnFailure": 0,  # with 3, the same POST goes out four times after a timeout
        "recvWindow": RECV_WINDOW_MS,
        "timeDifference": 0,
    }
)
"""ccxt's own switches."""

Params = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Method:
    """A request by the name that ccxt gives it."""

    name: str
    what: str
    """For messages."""


PLACE = Method("privatePostOrder", "a new order")
CANCEL = Method("privateDeleteOrder", "a cancel")
FIND = Method("privateGetOrder", "the question about an order")
OPEN_ORDERS = Method("privateGetOpenOrders", "openOrders")
ORDERS = Method("privateGetAllOrders", "allOrders")
TRADES = Method("privateGetMyTrades", "myTrades")
ACCOUNT = Method("privateGetAccount", "account")
PERMISSIONS = Method("sapiGetAccountApiRestrictions", "apiRestrictions")


class Symbols:
    """From Binance's names of markets to ours. A market that nobody named keeps Binance's name: others may trade it."""

    def __init__(self, symbols: Collection[str] = ()) -> None:
        self._ours: dict[str, str] = {}
        self.add(symbols)

    def add(self, symbols: Collection[str]) -> None:
        self._ours |= {binance.venue_symbol(symbol): symbol for symbol in symbols}

    def __call__(self, venue_symbol: str) -> str:
        return self._ours.get(venue_symbol, venue_symbol)


def addresses(rest_url: str, stream_url: str, account_url: str | None = None) -> dict[str, Any]:
    """All that ccxt may reach with keys. Wallet API and, unless it is named, user stream stand beside the two."""
    stream = account_url or _USER_STREAMS.get(stream_url) or stream_url.removesuffix("/ws") + "/ws-api/v3"
    return {
        "private": rest_url,
        "sapi": rest_url.removesuffix("/api/v3") + "/sapi/v1",
        "ws": {"ws-api": {"spot": stream}},
    }


_USER_STREAMS: Mapping[str, str] = MappingProxyType(
    {
        "wss://stream.binance.com:9443/ws": "wss://ws-api.binance.com:443/ws-api/v3",
        "wss://stream.testnet.binance.vision/ws": "wss://ws-api.testnet.binance.vision/ws-api/v3",
    }
)
"""Of the networks whose addresses are fixed: there they have a host of their own."""


def place_params(intent: Intent) -> Params:
    """FULL, because other types than MARKET and LIMIT answer with a bare acknowledgement otherwise."""
    params = {
        "symbol": binance.venue_symbol(intent.symbol),
        "side": intent.side.value.upper(),
        "quantity": format_decimal(intent.quantity_base),
        "newClientOrderId": intent.client_order_id,
        "newOrderRespType": "FULL",
    }
    if intent.type is OrderType.MARKET:
        return params | {"type": "MARKET"}
    params["price"] = format_decimal(intent.price)
    is_post_only = intent.time_in_force is TimeInForce.POST_ONLY
    if intent.type is OrderType.STOP_LOSS:
        if intent.stop_price is None or is_post_only:
            raise ValueError("a stop-loss has a stop price, and takes from the book when it wakes")
        stop = {"type": "STOP_LOSS_LIMIT", "stopPrice": format_decimal(intent.stop_price)}
        return params | stop | {"timeInForce": intent.time_in_force.value}
    if is_post_only:
        return params | {"type": "LIMIT_MAKER"}
    return params | {"type": "LIMIT", "timeInForce": intent.time_in_force.value}


def order_params(symbol: str, *, client_order_id: str = "", venue_order_id: str = "") -> Params:
    """Names one order, by whichever id is given."""
    name = {"origClientOrderId": client_order_id} if client_order_id else {"orderId": venue_order_id}
    return {"symbol": binance.venue_symbol(symbol)} | name


def orders_params(symbol: str, venue_order_id: str) -> Params:
    first = _FIRST_ORDER_ID if venue_order_id == "0" else venue_order_id
    return {"symbol": binance.venue_symbol(symbol), "orderId": first, "limit": str(PAGE)}


def trades_params(symbol: str, trade_id: str) -> Params:
    return {"symbol": binance.venue_symbol(symbol), "fromId": trade_id, "limit": str(PAGE)}


def open_orders_params(symbol: str | None) -> Params:
    return {} if symbol is None else {"symbol": binance.venue_symbol(symbol)}


def order_trades_params(symbol: str, venue_order_id: str, trade_id: str) -> Params:
    name = binance.venue_symbol(symbol)
    return {"symbol": name, "orderId": venue_order_id, "fromId": trade_id, "limit": str(PAGE)}


def account_params() -> Params:
    return {"omitZeroBalances": "true"}


def parse_json(text: str) -> Any:
    """No float: what Binance writes as a bare decimal becomes a Decimal. Raises ValueError."""
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)


def parse_refusal(status: int, headers: Mapping[str, str], text: str) -> Answer:
    """Of anything but a 2xx. `headers` by their names in lower case. The text is not scrubbed yet."""
    code, words = "", " ".join(text.split())
    # A page of a proxy or a firewall has neither: its status is all that there is to go by.
    with contextlib.suppress(AttributeError, LookupError, TypeError, ValueError):
        code, words = _code_and_words(parse_json(text))
    return Answer(
        is_sent=True,
        http_status=status,
        code=code,
        text=words,
        retry_after_seconds=_seconds(headers.get("retry-after", "")),
    )


def parse_stream_refusal(message: Mapping[str, Any]) -> Answer | None:
    """From a reply on the stream's own connection; None when it is a success."""
    error, status = message.get("error"), message.get("status", 200)
    if error is None and status == 200:
        return None
    try:
        code, words = _code_and_words(error)
    except (AttributeError, LookupError, TypeError, ValueError):
        code, words = "", "the reply has no reason"
    return Answer(is_sent=True, http_status=status if isinstance(status, int) else 0, code=code, text=words)


def is_key_refused(answer: Answer) -> bool:
    """The venue does not take this key (or its signature), whatever is asked with it."""
    return answer.http_status == 401 or answer.code in _KEY_REFUSED


_KEY_REFUSED = frozenset(
    {
        "-1022",  # INVALID_SIGNATURE: a secret that is not of this key
        "-2008",  # BAD_API_ID [unverified]: in ccxt's table, and no more in the documentation
        "-2014",  # BAD_API_KEY_FMT
        "-2015",  # REJECTED_MBX_KEY: invalid key, IP, or permissions
    }
)


def is_missing_endpoint(answer: Answer) -> bool:
    """As on Binance's testnet, which has no wallet API [unverified: the status; -5000 is "Path ... is invalid"]."""
    return answer.http_status == 404 or answer.code == "-5000"


def parse_account(raw: Mapping[str, Any]) -> AccountView:
    balances = [
        Balance(read.text(each["asset"]), free=read.amount(each["free"]), locked=read.amount(each["locked"]))
        for each in read.rows(raw["balances"])
    ]
    return AccountView(
        account_id=read.number_id(raw["uid"]),
        can_trade=read.flag(raw["canTrade"]),
        balances={balance.asset: balance for balance in balances if balance.total},
    )


def parse_permissions(raw: Mapping[str, Any]) -> KeyPermissions:
    """A permission that the answer leaves out is one that cannot be read."""
    internal, universal = (read.optional_flag(raw.get(name)) for name in _TRANSFERS)
    return KeyPermissions(
        can_trade=read.flag(raw["enableSpotAndMarginTrading"]),
        can_withdraw=read.optional_flag(raw.get("enableWithdrawals")),
        # The second came later than the first, and is off where it is not told of.
        can_transfer=None if internal is None else internal or bool(universal),
        is_ip_restricted=read.optional_flag(raw.get("ipRestrict")),
    )


_TRANSFERS = ("enableInternalTransfer", "permitsUniversalTransfer")


def _code_and_words(raw: Any) -> tuple[str, str]:
    code = raw["code"]
    if not isinstance(code, int | str):
        raise TypeError("the code is neither a number nor a text")
    return str(code), str(raw.get("msg", ""))


def _seconds(text: str) -> float | None:
    """A Retry-After that is a date is none: Binance sends seconds."""
    return float(text) if text.isascii() and text.isdecimal() else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")
