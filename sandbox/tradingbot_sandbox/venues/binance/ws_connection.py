"""One client's connection to the WebSocket API: a stream connection that speaks another language. SHELL.

Flow: socket -> `ApiSession` -> the connection's queue -> socket. Pings, queue and slow clients: as for streams.
"""

from __future__ import annotations

from typing import Any

from tradingbot_sandbox.venues.binance.connection import Connection
from tradingbot_sandbox.venues.binance.text import json_text
from tradingbot_sandbox.venues.binance.ws_api import CONNECT_WEIGHT, ApiSession, Message
from tradingbot_sandbox.venues.faults_rules import Operation

MESSAGES_PER_SECOND = 300
"""Binance bounds this API by request weight alone; so many in a second are a client gone wild."""


class ApiConnection(Connection):
    """A session with a socket."""

    operation = Operation.USER_STREAM

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._session = ApiSession(self._exchange, address=self.address, send=self._send)
        self._exchange.meter.charge(self.address, CONNECT_WEIGHT, self._clock.now_ns())

    async def serve(self, streams: list[str]) -> None:
        try:
            await super().serve(streams)
        finally:
            self._session.close()

    @property
    def state(self) -> dict[str, object]:
        return super().state | {"subscriptions": list(self._session.subscriptions)}

    def _obey(self, text: str) -> None:
        self._session.hear(text, self._faults.venue_now_ns(self._clock.now_ns()))

    def _send(self, message: Message) -> None:
        if self._end is None:
            self._enqueue("user data", json_text(message).encode())
