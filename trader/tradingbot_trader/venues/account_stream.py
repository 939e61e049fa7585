"""SHELL. Keeps an account's stream up: reconnects, and says when reports were missed. Connection -> here -> sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from tradingbot_trader.clock import Clock
from tradingbot_trader.market.feed import FeedSettings, StreamLost
from tradingbot_trader.venues.account import AccountSink, ExecutionReport

_log = structlog.get_logger(__name__)
_NS = 1_000_000_000


class Connect(Protocol):
    """Subscribes and feeds the tap; watches for silence itself. Ends by StreamLost or by being cancelled."""

    async def __call__(self, tap: AccountTap) -> None: ...


class AccountTap:
    """One connection's way to the sink. Its methods neither block nor raise."""

    def __init__(
        self,
        sink: AccountSink,
        parse: Callable[[Mapping[str, Any]], ExecutionReport],
        failure: asyncio.Future[None],
        came_up: Callable[[], None],
    ) -> None:
        self._sink, self._parse, self._failure, self._came_up = sink, parse, failure, came_up
        self._is_open = True
        self.is_up = False

    def close(self) -> None:
        """What a connection that was given up still reads is not received: after the next one, recovery looks."""
        self._is_open = False

    def up(self) -> None:
        """The venue said that it will tell from now on."""
        if self._is_open and not self.is_up:
            self.is_up = True
            try:
                self._came_up()
            except Exception as error:  # noqa: BLE001  a sink that fails must not go unnoticed, whatever it raised
                self._fail(error)

    def report(self, message: Mapping[str, Any]) -> None:
        """One message about one order, as the venue wrote it."""
        if not self._is_open:
            return
        self.up()
        try:
            report = self._parse(message)
        except Exception as error:  # noqa: BLE001  it may have been a fill: as good as one that was lost on the way
            self.lost(f"a report could not be read: {error!r}"[:300])
            return
        try:
            self._sink.on_report(report)
        except Exception as error:  # noqa: BLE001  as above
            self._fail(error)

    def lost(self, reason: str, *, retry_after_seconds: float = 0.0) -> None:
        """This connection is good for nothing any more."""
        self._fail(StreamLost(reason, retry_after_seconds=retry_after_seconds))

    def _fail(self, error: Exception) -> None:
        self._is_open = False
        if not self._failure.done():
            self._failure.set_exception(error)


class AccountStream:
    def __init__(
        self,
        connect: Connect,
        parse: Callable[[Mapping[str, Any]], ExecutionReport],
        *,
        clock: Clock,
        random: Callable[[], float],
        settings: FeedSettings,
    ) -> None:
        self._connect, self._parse = connect, parse
        self._clock, self._random, self._settings = clock, random, settings
        self._is_up: bool | None = None

    async def run(self, sink: AccountSink) -> None:
        """Until cancelled. Raises what the sink raised, if it did."""
        failures = 0
        try:
            while True:
                began_ns = self._clock.monotonic_ns()
                lost = await self._until_lost(sink)
                # One that lives for a moment, again and again, is no better than one that never comes up.
                lived = self._clock.monotonic_ns() - began_ns >= self._settings.max_backoff_seconds * _NS
                failures = 1 if lived else failures + 1
                delay_seconds = max(self._backoff_seconds(failures), lost.retry_after_seconds)
                _log.warning("account stream lost", reason=str(lost), retry_in_seconds=delay_seconds)
                self._tell(sink, is_up=False, reason=str(lost))
                await self._clock.sleep(delay_seconds)
        finally:
            self._tell(sink, is_up=False, reason="the stream was stopped")
            self._is_up = None

    async def _until_lost(self, sink: AccountSink) -> StreamLost:
        failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tap = AccountTap(sink, self._parse, failure, lambda: self._tell(sink, is_up=True, reason=""))
        connection = asyncio.ensure_future(self._connect(tap))
        try:
            # In this order: the failure says what the end of the connection only follows from.
            await asyncio.wait({failure, connection}, return_when=asyncio.FIRST_COMPLETED)
            ended = failure if failure.done() else connection
            if ended.cancelled():  # ccxt cancels its futures when a connection dies; nobody has cancelled us
                return StreamLost("the connection was dropped")
            ended.result()
        except StreamLost as lost:
            return lost
        finally:
            tap.close()
            connection.cancel()
            failure.cancel()
            await asyncio.gather(connection, failure, return_exceptions=True)
        return StreamLost("the connection ended without a reason")

    def _backoff_seconds(self, failures: int) -> float:
        """Between half and the whole of a step that doubles: a fleet that lost one venue does not come back as one."""
        settings = self._settings
        step = min(settings.max_backoff_seconds, settings.first_backoff_seconds * 2.0 ** min(failures - 1, 30))
        return step * (0.5 + self._random() / 2)

    def _tell(self, sink: AccountSink, *, is_up: bool, reason: str) -> None:
        """Once a change; the first attempt that fails is one, because nobody has heard of this stream before."""
        if self._is_up is not is_up:
            self._is_up = is_up
            sink.on_stream(is_up=is_up, reason=reason)
