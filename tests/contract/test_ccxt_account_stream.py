"""The account's stream through the real ccxt.pro, against a venue that says what a test tells it to say."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from tests.unit.venues import binance_answers as answers

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.market.feed import FeedSettings
from tradingbot_trader.orders.order import OrderState
from tradingbot_trader.venues.account import Answer, ExecutionReport
from tradingbot_trader.venues.account_stream import AccountTap, Connect
from tradingbot_trader.venues.binance_account import Symbols
from tradingbot_trader.venues.ccxt_account import AccountHooks, Accounts, CcxtAccount

DEADLINE_SECONDS = 20
QUICK = FeedSettings(silence_seconds=20.0, first_backoff_seconds=0.05, max_backoff_seconds=0.2)
IMPATIENT = FeedSettings(silence_seconds=1.0, first_backoff_seconds=0.05, max_backoff_seconds=0.2)
REFUSED = {"status": 401, "error": {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}}


class Changes:
    """Something that a test waits for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def told(self) -> None:
        self._event.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not is_so():
                self._event.clear()
                await self._event.wait()


class Venue(Changes):
    """The WebSocket API of a venue, as far as a user stream needs it."""

    def __init__(self) -> None:
        super().__init__()
        self.api_key, self.api_secret = secrets.token_hex(32), secrets.token_hex(32)
        self.asked: list[dict[str, Any]] = []
        self.lines: list[web.WebSocketResponse] = []
        self.refusal: dict[str, Any] | None = None
        self.confirms = True
        self.pongs = True
        self.greeting: list[dict[str, Any]] = []
        self.retry_after: str | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/ws-api/v3", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await self._site.start()
        self.stream_url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}/ws"

    async def stop(self) -> None:
        for line in self.lines:
            await line.close()
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.retry_after is not None:
            headers = {"Retry-After": self.retry_after}
            self.retry_after = None
            return web.Response(status=429, headers=headers)
        line = web.WebSocketResponse(autoping=False)
        await line.prepare(request)
        self.lines.append(line)
        self.told()
        async for frame in line:
            if frame.type is WSMsgType.PING and self.pongs:
                await line.pong(frame.data)
            elif frame.type is WSMsgType.TEXT:
                await self._answer(line, json.loads(frame.data))
        return line

    async def _answer(self, line: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        self.asked.append(asked)
        if self.refusal is not None:
            await line.send_json({"id": asked["id"], **self.refusal})
        elif self.confirms:
            await line.send_json({"id": asked["id"], "status": 200, "result": {"subscriptionId": 0}})
            for message in self.greeting:
                await line.send_json(message)
        self.told()

    async def say(self, *messages: object) -> None:
        for message in messages:
            await self.lines[-1].send_str(message if isinstance(message, str) else json.dumps(message))

    def cut(self) -> None:
        transport = self.lines[-1]._req.transport if self.lines[-1]._req else None
        assert transport is not None
        transport.abort()


class Sink(Changes):
    def __init__(self) -> None:
        super().__init__()
        self.reports: list[ExecutionReport] = []
        self.stream: list[tuple[bool, str]] = []
        self.events: list[str] = []
        self.answers: list[Answer] = []
        self.error: Exception | None = None

    def on_report(self, report: ExecutionReport) -> None:
        if self.error is not None:
            raise self.error
        self.reports.append(report)
        self.events.append("report")
        self.told()

    def on_stream(self, *, is_up: bool, reason: str) -> None:
        self.stream.append((is_up, reason))
        self.events.append("up" if is_up else "down")
        self.told()

    def on_answer(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.told()

    @property
    def is_up(self) -> bool:
        return bool(self.stream) and self.stream[-1][0]


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    made = Venue()
    await made.start()
    yield made
    await made.stop()


def build(
    venue: Venue, sink: Sink, *, settings: FeedSettings = QUICK, connect: Connect | None = None, ahead_ns: int = 0
) -> CcxtAccount:
    return Accounts(
        ExchangeId.BINANCE,
        Network.SANDBOX,
        clock=SystemClock(),
        symbol_of=Symbols(["BTC/USDT"]),
        rest_url="http://127.0.0.1:9/api/v3",
        stream_url=venue.stream_url,
        hooks=AccountHooks(on_answer=sink.on_answer, venue_ahead_ns=lambda: ahead_ns),
        settings=settings,
        random=lambda: 0.5,
        connect=connect,
    ).build(api_key=venue.api_key, api_secret=venue.api_secret)


@contextlib.asynccontextmanager
async def streaming(account: CcxtAccount, sink: Sink) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(account.run_stream(sink))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await account.close()


async def test_subscription_is_signed_with_the_venues_time_and_kept_fresh(venue: Venue) -> None:
    sink, clock, hour_ns = Sink(), SystemClock(), 3_600 * 10**9
    async with streaming(build(venue, sink, ahead_ns=hour_ns), sink):
        await sink.until(lambda: sink.is_up)
    (asked,) = venue.asked
    assert asked["method"] == "userDataStream.subscribe.signature"
    params = dict(asked["params"])
    signature = params.pop("signature")
    signed = "&".join(f"{name}={params[name]}" for name in sorted(params))
    assert signature == hmac.new(venue.api_secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
    assert (params["apiKey"], params["recvWindow"]) == (venue.api_key, 3000)
    assert abs(params["timestamp"] - (clock.now_ns() + hour_ns) // 10**6) < DEADLINE_SECONDS * 1000


@pytest.mark.parametrize("is_wrapped", [True, False])
async def test_every_report_comes_once_and_in_order(venue: Venue, *, is_wrapped: bool) -> None:
    sink = Sink()
    messages = [answers.traded_report(t=number, i=number) for number in range(1, 3_001)]
    async with streaming(build(venue, sink), sink):
        await sink.until(lambda: sink.is_up)
        await venue.say(*({"subscriptionId": 0, "event": each} if is_wrapped else each for each in messages))
        await sink.until(lambda: len(sink.reports) == 3_000)
    assert [report.order.trades[0].trade_id for report in sink.reports] == [str(n) for n in range(1, 3_001)]
    assert sink.events == ["up", *["report"] * 3_000, "down"]


async def test_reports_in_the_same_breath_as_the_confirmation_come_after_it(venue: Venue) -> None:
    sink = Sink()
    venue.greeting = [{"subscriptionId": 0, "event": answers.report()}] * 3
    async with streaming(build(venue, sink), sink):
        await sink.until(lambda: len(sink.reports) == 3)
    assert sink.events[:2] == ["up", "report"]


async def test_other_messages_are_passed_over(venue: Venue) -> None:
    sink = Sink()
    async with streaming(build(venue, sink), sink):
        await sink.until(lambda: sink.is_up)
        position = {"e": "outboundAccountPosition", "E": 1, "u": 1, "B": [{"a": "BTC", "f": "1", "l": "0"}]}
        await venue.say({"subscriptionId": 0, "event": position}, {"e": "balanceUpdate", "a": "X", "d": "1"}, "plain")
        await venue.say({"e": "listStatus"}, [1, 2], {"subscriptionId": 0, "event": answers.report(X="CANCELED")})
        await sink.until(lambda: bool(sink.reports))
    assert sink.reports[0].order.state is OrderState.CANCELLED
    assert sink.events == ["up", "report", "down"]


async def test_stream_that_is_cut_is_said_to_be_down_and_comes_back(venue: Venue) -> None:
    sink = Sink()
    async with streaming(build(venue, sink), sink):
        await sink.until(lambda: sink.is_up)
        venue.cut()
        await sink.until(lambda: len(sink.stream) == 3)
        await venue.say({"subscriptionId": 0, "event": answers.report()})
        await sink.until(lambda: bool(sink.reports))
    assert sink.events == ["up", "down", "up", "report", "down"]
    assert len(venue.asked) == 2, "subscribed anew, on a connection of its own"


async def test_stream_that_the_venue_ends_is_taken_up_again(venue: Venue) -> None:
    sink = Sink()
    async with streaming(build(venue, sink), sink):
        await sink.until(lambda: sink.is_up)
        await venue.say({"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": 1}})
        await sink.until(lambda: len(sink.stream) == 3)
    assert sink.stream[1] == (False, "the venue ended the stream")


async def test_report_that_cannot_be_read_is_as_good_as_lost(venue: Venue) -> None:
    sink = Sink()
    async with streaming(build(venue, sink), sink):
        await sink.until(lambda: sink.is_up)
        await venue.say({"subscriptionId": 0, "event": answers.report(X="UNHEARD_OF")})
        await sink.until(lambda: len(sink.stream) == 3)
    assert "UNHEARD_OF" in sink.stream[1][1]
    assert sink.is_up is False, "and recovery has been told twice that reports were missed"


async def test_dead_key_is_told_by_the_stream_too(venue: Venue) -> None:
    sink, venue.refusal = Sink(), REFUSED
    async with streaming(build(venue, sink), sink):
        await sink.until(lambda: len(sink.answers) >= 2)
        venue.refusal = None
        await sink.until(lambda: sink.is_up)
    assert sink.answers[0] == Answer(True, 401, "-2015", REFUSED["error"]["msg"])  # type: ignore[index]
    assert sink.events == ["down", "up", "down"]
    assert "-2015" in sink.stream[0][1]


async def test_quiet_account_is_not_a_silent_line(venue: Venue) -> None:
    sink = Sink()
    async with streaming(build(venue, sink, settings=IMPATIENT), sink):
        await sink.until(lambda: sink.is_up)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IMPATIENT.silence_seconds * 2.5):
                await sink.until(lambda: not sink.is_up)
        assert sink.events == ["up"]
        venue.pongs = False
        await sink.until(lambda: not sink.is_up)
        assert "nothing was heard" in sink.stream[-1][1]
        venue.pongs = True
        await sink.until(lambda: sink.is_up)


async def test_subscription_that_is_never_confirmed_is_given_up(venue: Venue) -> None:
    sink, venue.confirms = Sink(), False
    async with streaming(build(venue, sink, settings=IMPATIENT), sink):
        await sink.until(lambda: bool(sink.stream))
        assert sink.stream == [(False, "the venue did not confirm the subscription within 1 s")]
        venue.confirms = True
        await sink.until(lambda: sink.is_up)


async def test_venue_that_is_away_is_tried_until_it_is_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    venue, sink = Venue(), Sink()
    venue.stream_url = f"ws://127.0.0.1:{port}/ws"
    account = build(venue, sink)
    async with streaming(account, sink):
        await sink.until(lambda: bool(sink.stream))
        assert not sink.is_up
        for secret in (venue.api_key, venue.api_secret):
            assert secret not in str(sink.stream)


async def test_patience_that_the_venue_asks_for_is_kept(venue: Venue) -> None:
    sink, venue.retry_after = Sink(), "1"
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with streaming(build(venue, sink), sink):
        await sink.until(lambda: sink.is_up)
    assert loop.time() - began >= 1


async def test_sink_that_fails_ends_the_stream_with_its_error(venue: Venue) -> None:
    sink = Sink()
    async with streaming(build(venue, sink), sink) as task:
        await sink.until(lambda: sink.is_up)
        sink.error = RuntimeError("a bug in recovery")
        await venue.say({"subscriptionId": 0, "event": answers.report()})
        await asyncio.wait([task], timeout=DEADLINE_SECONDS)
        with pytest.raises(RuntimeError, match="a bug in recovery"):
            task.result()


async def test_client_that_was_closed_connects_no_more(venue: Venue) -> None:
    sink = Sink()
    account = build(venue, sink)
    async with streaming(account, sink):
        await sink.until(lambda: sink.is_up)
        await account.close()
        await sink.until(lambda: not sink.is_up)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUICK.max_backoff_seconds * 3):
                await sink.until(lambda: sink.is_up)
    assert len(venue.asked) == 1


async def test_stream_can_come_from_a_function(venue: Venue) -> None:
    """The seam of a simulation: the venue's messages, without a network."""
    sink, taps = Sink(), []

    async def connect(tap: AccountTap) -> None:
        taps.append(tap)
        tap.up()
        tap.report(answers.report())
        await asyncio.Event().wait()

    async with streaming(build(venue, sink, connect=connect), sink):
        await sink.until(lambda: bool(sink.reports))
        taps[0].lost("cut by the script")
        await sink.until(lambda: len(sink.reports) == 2)
    assert sink.stream[1] == (False, "cut by the script")
    assert venue.asked == []


async def test_report_that_comes_before_the_confirmation_says_that_the_stream_is_up(venue: Venue) -> None:
    sink = Sink()

    async def connect(tap: AccountTap) -> None:
        tap.report(answers.report())
        tap.up()
        await asyncio.Event().wait()

    async with streaming(build(venue, sink, connect=connect), sink):
        await sink.until(lambda: bool(sink.reports))
    assert sink.events == ["up", "report", "down"]
