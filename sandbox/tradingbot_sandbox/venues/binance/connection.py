"""One client's stream connection: its subscriptions, its queue, its pings. SHELL.

Frames wait in a queue of the connection's own, so a client that reads slowly delays no one. When its queue is full it
is disconnected and counted: it is never handed a stream with a hole in it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from aiohttp import ClientConnectionResetError, WSCloseCode, WSMsgType, web

from tradingbot_sandbox.market.clock import Clock
from tradingbot_sandbox.market.events import NS_PER_SECOND
from tradingbot_sandbox.venues.binance.commands import Command, CommandError, Method, parse_command
from tradingbot_sandbox.venues.binance.exchange import Exchange, Log
from tradingbot_sandbox.venues.binance.faults import BinanceFaults
from tradingbot_sandbox.venues.binance.streams import Frame
from tradingbot_sandbox.venues.binance.text import json_text, milliseconds
from tradingbot_sandbox.venues.faults_rules import Operation

_FRAMES_BEFORE_YIELD = 200
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What Binance allows a stream connection (its page "WebSocket Limits"), and how far a client may fall behind."""

    queue_frames: int = 200_000
    """A client that has so many frames waiting is disconnected. At 0.2 kB a frame that bounds its memory at 40 MB."""
    messages_per_second: int = 5
    """Commands, pings and pongs; more of them end the connection."""
    streams: int = 1024
    ping_seconds: float = 20.0
    pong_seconds: float = 60.0
    """Without a pong for so long, the connection is closed."""


class Wake(Protocol):
    """Tells the pump that there is something to do now."""

    def __call__(self) -> None: ...


class Connection:
    """A subscriber with a socket."""

    operation = Operation.MARKET_STREAM
    """What a fault script's rules know it by."""

    def __init__(
        self,
        number: int,
        socket: web.WebSocketResponse,
        request: web.Request,
        *,
        exchange: Exchange,
        clock: Clock,
        log: Log,
        limits: ConnectionLimits,
        faults: BinanceFaults,
        wake: Wake,
        is_combined: bool,
    ) -> None:
        self.number = number
        self.path = request.path_qs
        self.address = request.remote or "unknown"
        self.frames_sent = 0
        self._socket = socket
        self._transport = request.transport
        self._exchange = exchange
        self._clock = clock
        self._log = log
        self._limits = limits
        self._faults = faults
        self._wake = wake
        self._is_combined = is_combined
        self._names: dict[str, None] = {}
        self._queue: deque[bytes] = deque()
        self._has_work = asyncio.Event()
        self._heard_ns: deque[int] = deque(maxlen=limits.messages_per_second + 1)
        self._opened_ns = self._pong_ns = clock.now_ns()
        self._end: str | None = None

    @property
    def state(self) -> dict[str, object]:
        return {
            "client": self.number,
            "address": self.address,
            "path": self.path,
            "streams": list(self._names),
            "frames_sent": self.frames_sent,
            "frames_waiting": len(self._queue),
        }

    async def serve(self, streams: list[str]) -> None:
        """Stay until either side ends it."""
        self._log.info("client_connected", client=self.number, address=self.address, path=self.path)
        tasks = [asyncio.create_task(self._send_loop()), asyncio.create_task(self._ping_loop())]
        try:
            self._subscribe(streams)
            async for message in self._socket:
                if self._is_silent():
                    continue
                self._hear(message.type, message.data)
                if message.type is WSMsgType.PING:
                    await self._socket.pong(message.data)
                if self._end is not None:
                    break
        except ClientConnectionResetError:
            pass  # the client went away while it was being answered: the same end as a close
        finally:
            self._exchange.subscriptions.drop(self)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            reason = self._end or "closed by client"
            self._log.info("client_gone", client=self.number, reason=reason, **self._counts())

    def offer(self, stream: str, frame: Frame) -> None:
        self._enqueue(stream, frame.combined if self._is_combined else frame.raw)

    def _enqueue(self, stream: str, frame: bytes) -> None:
        if self._is_silent():
            return
        if len(self._queue) >= self._limits.queue_frames:
            self._disconnect_slow(stream)
            return
        self._queue.append(frame)
        self._has_work.set()

    async def close(self, code: WSCloseCode, reason: str) -> None:
        self._end = self._end or reason
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._socket.close(code=code, message=reason.encode())
        except (ConnectionError, TimeoutError):
            self._abort()  # it does not read: a goodbye cannot reach it

    def cut(self, reason: str) -> None:
        """End it without a goodbye."""
        self._end = reason
        self._abort()

    def _is_silent(self) -> bool:
        """Does a fault script keep everything from this connection, answers to pings included?"""
        now_ns = self._clock.now_ns()
        return self._faults.script.is_silent(self.operation, opened_ns=self._opened_ns, now_ns=now_ns)

    def _counts(self) -> dict[str, int]:
        return {"frames_sent": self.frames_sent, "frames_unsent": len(self._queue)}

    def _disconnect_slow(self, stream: str) -> None:
        self._end = "too slow: its queue was full"
        self._exchange.slow_clients += 1
        self._exchange.subscriptions.drop(self)
        self._log.warning("slow_client_disconnected", client=self.number, stream=stream, **self._counts())
        self._abort()  # a close frame would wait behind all that the client has not read

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _send_loop(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._queue:
                await self._socket.send_frame(self._queue.popleft(), WSMsgType.TEXT)
                self.frames_sent += 1
                if self.frames_sent % _FRAMES_BEFORE_YIELD == 0:
                    await asyncio.sleep(0)

    async def _ping_loop(self) -> None:
        while True:
            await asyncio.sleep(self._limits.ping_seconds)
            if self._is_silent():
                continue
            if self._clock.now_ns() - self._pong_ns > self._limits.pong_seconds * NS_PER_SECOND:
                self._end = "no pong"
                self._abort()
                return
            await self._socket.ping(str(milliseconds(self._clock.now_ns())).encode())

    def _hear(self, kind: WSMsgType, data: object) -> None:
        now_ns = self._clock.now_ns()
        self._heard_ns.append(now_ns)
        if len(self._heard_ns) > self._limits.messages_per_second and now_ns - self._heard_ns[0] < NS_PER_SECOND:
            self._end = "more messages a second than allowed"
        elif kind is WSMsgType.PONG:
            self._pong_ns = now_ns
        elif kind is WSMsgType.TEXT and isinstance(data, str):
            self._obey(data)

    def _obey(self, text: str) -> None:
        try:
            command = parse_command(text)
            answer: dict[str, object] = {"result": self._result(command), "id": command.id}
        except CommandError as error:
            self._log.warning("command_refused", client=self.number, answer=error.body)
            answer = error.body
            command = None
        self._queue.append(json_text(answer).encode())
        self._has_work.set()
        if command is not None and command.method is Method.SUBSCRIBE:
            self._subscribe(command.streams)

    def _result(self, command: Command) -> object:
        if command.method is Method.UNSUBSCRIBE:
            for name in command.streams:
                self._names.pop(name, None)
                self._exchange.subscriptions.remove(self, name)
            self._log.info("unsubscribed", client=self.number, streams=command.streams)
        elif command.method is Method.LIST:
            return list(self._names)
        elif command.method is Method.SET:
            self._is_combined = command.combined
        elif command.method is Method.GET:
            return self._is_combined
        return None

    def _subscribe(self, names: list[str] | tuple[str, ...]) -> None:
        """The answer goes out before: whatever a stream tells comes after it."""
        for name in names:
            if name not in self._names and len(self._names) >= self._limits.streams:
                self._end = "more streams than allowed"
                return
            self._names[name] = None
            if self._exchange.subscribe(self, name, self._clock.now_ns()) is None:
                self._log.warning("unknown_stream", client=self.number, stream=name)
        if names:
            self._log.info("subscribed", client=self.number, streams=list(names))
            self._wake()
