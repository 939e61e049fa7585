"""SHELL. ccxt's class with our own ways out and in: requests by a Transport, frames to a tap. For the account adapter.

The class of the exchange is extended; its package is not imported here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from tradingbot_trader.clock import Clock
from tradingbot_trader.venues import binance_account as words
from tradingbot_trader.venues import binance_orders
from tradingbot_trader.venues.account import Answer
from tradingbot_trader.venues.account_stream import AccountTap
from tradingbot_trader.venues.ccxt_line import Handle, lined
from tradingbot_trader.venues.transport import HttpRequest

_log = structlog.get_logger(__name__)


def signed(
    exchange_class: type[Any], *, nonce: Callable[[], int], send: Callable[[HttpRequest], Awaitable[Any]]
) -> type[Any]:
    class Signed(lined(exchange_class)):  # type: ignore[misc]  # ccxt is loaded at run time, and has no types
        _tap: AccountTap | None = None
        _on_refusal: Callable[[Answer, AccountTap], None]
        _clock: Clock
        _heard_ns = 0

        def nonce(self) -> int:
            """The time that a request is signed with."""
            return nonce()

        async def fetch(
            self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: str | None = None
        ) -> Any:
            return await send(HttpRequest(method, url, headers or {}, body or ""))

        def set_last_request(self, request: object) -> None:
            """ccxt would keep the key and the signature on the object."""

        def intercept(self, handle: Handle) -> Handle:
            def take(frame: Any) -> None:
                """ccxt's receive loop ends without a word when a frame makes it raise."""
                self._heard_ns = self._clock.monotonic_ns()  # any frame, the answer to a ping too
                tap = self._tap
                if tap is None:
                    return
                try:
                    handle(frame)
                except Exception as error:  # noqa: BLE001  whatever it was, a report may have been lost with it
                    _log.warning("frame of the account cannot be read", error=type(error).__name__)
                    tap.lost(f"a frame could not be read: {type(error).__name__}")

            return take

        def handle_message(self, client: Any, message: Any) -> None:
            """Bare, or wrapped as {"subscriptionId", "event"}."""
            tap = self._tap
            if tap is None or not isinstance(message, dict):
                return
            event = message.get("event", message)
            if binance_orders.is_report(event):
                tap.report(event)
            elif event.get("e") == "eventStreamTerminated":
                tap.lost("the venue ended the stream")
            elif "e" not in event:
                refusal = words.parse_stream_refusal(message)
                if refusal is not None:
                    self._on_refusal(refusal, tap)
                else:
                    super().handle_message(client, message)

        def handle_user_data_stream_subscribe(self, client: Any, message: Any) -> None:
            super().handle_user_data_stream_subscribe(client, message)
            if self._tap is not None and "subscriptionId" in (message.get("result") or {}):
                self._tap.up()

    return Signed
