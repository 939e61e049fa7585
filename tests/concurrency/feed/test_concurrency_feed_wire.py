"""A burst through the real ccxt, from a loopback venue: the loop goes on turning, and a stop is heard in the middle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from support.stream_venue import StreamVenue
from support.tape import BTC, Sink
from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.market.events import FeedState
from tradingbot_trader.market.feed import FeedSettings
from tradingbot_trader.venues.ccxt_port import build_market_data
from tradingbot_trader.venues.port import MarketDataPort
from tradingbot_trader.venues.turns import PER_TURN

DEADLINE_SECONDS = 60
BURST = 20_000


@contextlib.asynccontextmanager
async def streaming(venue: StreamVenue, sink: Sink) -> AsyncIterator[tuple[MarketDataPort, asyncio.Task[None]]]:
    port = build_market_data(
        ExchangeId.BINANCE,
        Network.SANDBOX,
        clock=SystemClock(),
        rest_url=f"http://{venue.address}/api/v3",
        stream_url=f"ws://{venue.address}/ws",
        settings=FeedSettings(first_backoff_seconds=0.1, max_backoff_seconds=0.2),
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        await port.load_instruments([BTC])
        task = asyncio.create_task(port.run([BTC], sink))
        try:
            await venue.subscribed()
            yield port, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await port.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Looked at in each turn of the loop, so that a test goes on in the very turn; `streaming` has the deadline."""
    while not is_so():  # noqa: ASYNC110  as said
        await asyncio.sleep(0)


async def test_burst_of_twenty_thousand_is_delivered_and_no_turn_of_the_loop_takes_more_than_its_share() -> None:
    sink = Sink()
    async with StreamVenue() as venue, streaming(venue, sink) as (port, _):
        venue.say_trades(1, BURST)
        between, before = [], 0
        while len(sink.ids()) < BURST:
            await asyncio.sleep(0)  # as a stop that waits to be heard
            between.append(port.counters.received - before)
            before = port.counters.received
        counters = port.counters
        assert (counters.received, counters.delivered, counters.dropped, counters.missing) == (BURST, BURST, 0, 0)
        assert sink.ids() == list(range(1, BURST + 1))
        assert max(between) <= 2 * PER_TURN


@pytest.mark.parametrize("at", [1, PER_TURN, 3_000])
async def test_stop_in_the_middle_of_a_burst_is_heard_and_what_waited_goes_nowhere(at: int) -> None:
    sink = Sink()
    before = asyncio.all_tasks()
    async with StreamVenue() as venue:
        async with streaming(venue, sink) as (port, task):
            venue.say_trades(1, BURST)
            await until(lambda: len(sink.ids()) >= at)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            ended = len(sink.ids())
            for _ in range(300):
                await asyncio.sleep(0)
        assert at <= ended < BURST / 2
        assert len(sink.ids()) == ended
        assert (port.counters.received, port.counters.dropped) == (ended, 0)
        assert sink.ids() == list(range(1, ended + 1))
        assert sink.changes() == [FeedState.CONNECTED, FeedState.LOST]
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not asyncio.all_tasks() <= before:  # noqa: ASYNC110  ccxt spaces its SUBSCRIBEs by tasks that end by themselves
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("at", [1, PER_TURN + 1, 2_500])
async def test_line_that_is_cut_in_the_middle_of_a_burst_declares_what_it_did_not_deliver(at: int) -> None:
    """The second line begins to say new trades while frames of the first one still wait."""
    sink = Sink()
    async with StreamVenue() as venue, streaming(venue, sink) as (port, _):
        venue.say_trades(1, 5_000)
        await until(lambda: len(sink.ids()) >= at)
        venue.cut()
        await venue.subscribed()
        venue.say_trades(5_001, 300)
        await until(lambda: sink.ids()[-1] == 5_300)
        counters, ids = port.counters, sink.ids()
        assert counters.received == counters.delivered + counters.dropped == len(ids)
        assert sorted(ids + sink.declared()) == list(range(1, 5_301))
        assert len(sink.gaps) <= 1
        assert counters.connections == 2
