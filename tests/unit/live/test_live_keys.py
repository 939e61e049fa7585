"""The key ring and the venue's patience: a check is a request like any other."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import pytest

from support.account import BANNED, THROTTLED, FakeAccount
from support.virtual import VirtualClock, run
from tradingbot_api.spec import Network
from tradingbot_trader.control.credentials import KeyRing
from tradingbot_trader.control.keys import KeyReason
from tradingbot_trader.venues.account import Answer
from tradingbot_trader.venues.binance_account import is_key_refused


def build_ring(folder: Path, clock: VirtualClock, account: FakeAccount, **changes: Any) -> KeyRing:
    (folder / "apiKey").write_text(secrets.token_hex(32))
    (folder / "apiSecret").write_text(secrets.token_hex(32))
    values: dict[str, Any] = {"network": Network.SANDBOX, "clock": clock, "is_key_refused": is_key_refused}
    return KeyRing(folder, build=lambda **_pair: account, **values | changes)


async def look_for(ring: KeyRing, clock: VirtualClock, seconds: float) -> None:
    running = asyncio.ensure_future(ring.run(lambda: None))
    await clock.sleep(seconds)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_key_of_another_account_is_refused_whatever_else_it_may(tmp_path: Path) -> None:
    async def test() -> None:
        clock = VirtualClock()
        ring = build_ring(tmp_path, clock, FakeAccount(clock, account_id="8"), account_id="7")
        await look_for(ring, clock, 1)
        assert ring.report().reason == KeyReason.OTHER_ACCOUNT
        assert (ring.account, ring.account_id) == (None, "")

    run(test())


def test_pair_is_checked_with_the_account_and_its_permissions(tmp_path: Path) -> None:
    async def test() -> None:
        clock = VirtualClock()
        account = FakeAccount(clock)
        ring = build_ring(tmp_path, clock, account, account_id="7")
        await look_for(ring, clock, 1)
        assert (ring.problem, ring.account_id, account.count("account")) == ("", "7", 1)

    run(test())


@pytest.mark.parametrize(("answer", "seconds"), [(THROTTLED, 30), (BANNED, 120)], ids=["429", "418"])
def test_check_waits_as_long_as_the_venue_asks(tmp_path: Path, answer: Answer, seconds: int) -> None:
    """A pod that starts while the address is banned: the ban is for all bots behind it."""

    async def test() -> None:
        clock = VirtualClock()
        account = FakeAccount(clock)
        account.always("account", answer)
        ring = build_ring(tmp_path, clock, account)
        await look_for(ring, clock, seconds - 1)
        assert account.count("account") == 1

    run(test())
