"""Whose request is it, and may its key do this? Checks key, time and signature as Binance does. PURE.

Flow: REST or WebSocket API -> `authenticate` -> `ApiKey`. Binance documents each check (its page "Request security");
in which order it makes them is [unverified]: key, time, signature, permission here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from decimal import Decimal
from enum import StrEnum

from tradingbot_sandbox.market.events import NS_PER_MS
from tradingbot_sandbox.venues.binance import errors
from tradingbot_sandbox.venues.binance.accounts import Accounts, ApiKey
from tradingbot_sandbox.venues.binance.query import Query

DEFAULT_WINDOW_MS = Decimal(5000)
LONGEST_WINDOW_MS = Decimal(60_000)
_AHEAD_MS = 1000
_KEY = re.compile(r"[A-Za-z0-9]{64}")
_MICROSECONDS_FROM = 10**14
"""A timestamp of so many digits is in microseconds, which Binance takes as well."""


class Right(StrEnum):
    """What an endpoint asks of a key."""

    READ = "USER_DATA"
    TRADE = "TRADE"


def authenticate(
    accounts: Accounts, query: Query, *, api_key: str | None, payload: str, right: Right, address: str, now_ns: int
) -> ApiKey:
    """The key in whose name the request is made. Raises ApiError.

    `payload` is the exact text that was signed; `query` holds `timestamp`, `recvWindow` and `signature`, which are
    read here.
    """
    if api_key is None or not _KEY.fullmatch(api_key):
        raise errors.malformed_key()
    timestamp, window_ms, signature = query.integer("timestamp"), query.decimal("recvWindow"), query.text("signature")
    if timestamp is None:
        raise errors.mandatory_parameter("timestamp")
    if signature is None:
        raise errors.mandatory_parameter("signature")
    key = accounts.find_key(api_key)
    if key is None:
        raise errors.rejected_key()
    _check_time(timestamp, DEFAULT_WINDOW_MS if window_ms is None else window_ms, now_ns)
    if not hmac.compare_digest(sign(key.api_secret, payload).encode(), signature.lower().encode()):
        raise errors.invalid_signature()
    if not _may(key, right) or (key.addresses and address not in key.addresses):
        raise errors.rejected_key()
    return key


def sign(api_secret: str, payload: str) -> str:
    """HMAC-SHA256 in lower-case hex. Binance takes it in any case."""
    return hmac.new(api_secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def signed_payload(query_text: str, body_text: str) -> str:
    """What a REST client has signed: the query and the body as they were sent, without the signature itself."""
    return _without_signature(query_text) + _without_signature(body_text)


def _without_signature(text: str) -> str:
    return "&".join(pair for pair in text.split("&") if not pair.startswith("signature="))


def _check_time(timestamp: int, window_ms: Decimal, now_ns: int) -> None:
    if window_ms > LONGEST_WINDOW_MS:
        raise errors.too_large("recvWindow", str(LONGEST_WINDOW_MS))
    sent_ns = timestamp * (1000 if timestamp >= _MICROSECONDS_FROM else NS_PER_MS)
    # Binance's clock ticks in milliseconds here: the same millisecond is neither ahead nor behind
    behind_ms = Decimal(now_ns // NS_PER_MS * NS_PER_MS - sent_ns) / NS_PER_MS
    if behind_ms <= -_AHEAD_MS:
        raise errors.too_far_ahead()
    if behind_ms > window_ms:
        raise errors.too_old()


def _may(key: ApiKey, right: Right) -> bool:
    granted = key.permissions
    return granted.enable_spot_and_margin_trading if right is Right.TRADE else granted.enable_reading
