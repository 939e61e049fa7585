"""Keys of a whole trader and the venue's patience: checks stand in the queue of everything else that asks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.bench import BTC, Bench
from support.virtual import run
from tradingbot_trader.control.state import Cause
from tradingbot_trader.venues.transport import HttpReply

PATIENCE = HttpReply(429, {"Retry-After": "30"}, '{"code":-1003,"msg":"Too many requests."}')


async def be_asked_for_patience(bench: Bench) -> None:
    bench.wire.holds_answers = {"query"}
    asked = asyncio.ensure_future(bench.execution.gateway.ask(lambda account: account.account()))
    await bench.until("on the wire", lambda: [c for c in bench.wire.pending("query") if c.is_answered])
    bench.wire.pending("query")[0].answer(PATIENCE)
    await asyncio.gather(asked, return_exceptions=True)
    bench.wire.let_go()


def test_rotated_key_is_checked_after_the_silence_that_the_venue_asked_for(tmp_path: Path) -> None:
    """The ban is for the address, and each request makes it longer."""

    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            await be_asked_for_patience(bench)
            old, before = bench.execution.news().credentials.fingerprint, len(bench.wire.calls)
            bench.rotate_key()
            await bench.clock.sleep(29)
            assert len(bench.wire.calls) == before
            await bench.until("the new key", lambda: bench.execution.news().credentials.fingerprint != old, seconds=10)

    run(story())


@pytest.mark.parametrize(
    "text", ["This action is disabled on this account.", "This account may not place or cancel orders."]
)
def test_account_that_may_not_place_orders_halts_as_a_dead_key_does(tmp_path: Path, text: str) -> None:
    """Only an order is told so: every question is still answered."""

    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            bench.wire.holds_answers = {"order"}
            assert bench.enter(BTC) is not None
            call = await bench.held_order()
            call.answer(HttpReply(400, {}, f'{{"code":-2010,"msg":"{text}"}}'))
            await bench.until("halted", lambda: Cause.CREDENTIALS_REJECTED in bench.trading.verdict.causes, seconds=1)

    run(story())
