"""From the wish for an order until its answer is in the books, against the bare request. SHELL.

Ours: sizing, risk check, durable intent, gateway, durable "sent" where the bytes leave, ccxt's signature, our
transport, the simulator, the answer read and made durable. The other: the same order as one signed POST of a bare
aiohttp session, its answer parsed. Both from one loop to one simulator, in pairs, taking turns to be first.
"""

from __future__ import annotations

import asyncio
import cProfile
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlencode

import aiohttp

from bench.composed import BALANCES, SYMBOL, Composed, trading, until, write_keys
from bench.figure import Figure, figure_of_pairs, percentile, ratios
from bench.setting import Setting
from tradingbot_sandbox.venues.process import VenueProcess, running_venue
from tradingbot_trader.orders.gateway import LiveGateway
from tradingbot_trader.orders.order import BookName, Intent, OrderState
from tradingbot_trader.risk.engine import Decision
from tradingbot_trader.strategy.base import Target
from tradingbot_trader.venues.binance_account import RECV_WINDOW_MS, place_params

SAMPLES = 250
WARM_UP = 25
GOAL = 4.0
PACE_SECONDS = 0.12
"""Of pairs: Binance takes 100 orders of an account in ten seconds, and the trader's budget knows it."""
RESTING = Target(Decimal(1), limit_offset_percent=Decimal("1.5"), reason="bench")
"""An entry that rests below the market: no fill of the simulator's gets into the measurement."""


@dataclass(frozen=True, slots=True)
class RawClient:
    """The least that sends a signed order and reads its answer."""

    session: aiohttp.ClientSession
    url: str
    key: str
    secret: str

    async def place_and_cancel(self, like: Intent) -> float:
        """Seconds from the first thought to the answer; the cancel is not in it. Raises when the venue refuses."""
        began = time.perf_counter()
        params = {**place_params(like), "newClientOrderId": secrets.token_hex(16)}
        async with self.session.post(self.url, data=self._sign(params), headers=self._headers) as response:
            answer = await response.json()
        took = time.perf_counter() - began
        if answer.get("status") != "NEW":
            raise RuntimeError(f"the bare order was not taken: {answer}")
        query = self._sign({"symbol": params["symbol"], "origClientOrderId": params["newClientOrderId"]})
        async with self.session.delete(f"{self.url}?{query}", headers=self._headers) as response:
            response.raise_for_status()
            await response.read()
        return took

    def _sign(self, params: Mapping[str, str]) -> str:
        query = urlencode({**params, "timestamp": time.time_ns() // 1_000_000, "recvWindow": RECV_WINDOW_MS})
        return f"{query}&signature={hmac.new(self.secret.encode(), query.encode(), hashlib.sha256).hexdigest()}"

    @property
    def _headers(self) -> Mapping[str, str]:
        return {"X-MBX-APIKEY": self.key, "Content-Type": "application/x-www-form-urlencoded"}


class Path:
    """The trader's own way to an order. `profile` sees what runs while an order is under way, and nothing else."""

    def __init__(self, composed: Composed, profile: cProfile.Profile | None) -> None:
        self._desk = composed.trading.desk
        gateway = composed.trading.execution.gateway
        if not isinstance(gateway, LiveGateway):
            raise TypeError("only a live book has a path to a venue")
        self._gateway, self._profile = gateway, profile
        self._disk = composed.disk
        self.in_commits: list[float] = []
        """Seconds of each order."""
        self.commits: list[int] = []

    def without_commits(self, seconds: list[float]) -> list[float]:
        """Of the last orders, which are these: how long each would have taken on a disk that costs nothing."""
        return [all_of_it - disk for all_of_it, disk in zip(seconds, self.in_commits[-len(seconds) :], strict=True)]

    async def place_and_cancel(self, seconds: list[float]) -> Intent:
        """Appends how long it took from the wish to the answer in the books; the cancel is not in it."""
        if self._profile:
            self._profile.enable()
        self._disk.commits_seconds.clear()
        began = time.perf_counter()
        decision = self._desk.pursue(SYMBOL, RESTING)
        await self._gateway.drain()  # done when the answer was read and made durable
        seconds.append(time.perf_counter() - began)
        if self._profile:
            self._profile.disable()
        self.in_commits.append(sum(self._disk.commits_seconds))
        self.commits.append(len(self._disk.commits_seconds))
        if not isinstance(decision, Decision) or not decision.is_approved:
            raise RuntimeError(f"the measured order was not approved: {decision}")
        intent = decision.intent
        order = self._desk.find(intent.client_order_id)
        if order is None or order.state is not OrderState.OPEN:
            raise RuntimeError(f"the measured order does not rest: {order}")
        self._desk.cancel([intent.client_order_id])
        await until("the end of the order", lambda: not self._desk.open_orders())
        return intent


async def measure(setting: Setting) -> list[Figure]:
    profile = cProfile.Profile() if os.environ.get("BENCH_PROFILE") else None
    with running_venue("binance") as venue:
        keys = write_keys(venue, setting.folder / "keys")
        async with (
            trading(venue, setting.folder, book=BookName.LIVE, keys_dir=keys) as composed,
            aiohttp.ClientSession() as session,
        ):
            path = Path(composed, profile)
            ours, bare = await _measure_pairs(path, _raw(venue, session))
    if profile:
        profile.dump_stats(os.environ["BENCH_PROFILE"])
    return [
        figure_of_pairs(
            "order-path",
            f"risk check, durable intent, ccxt, answer in the books (on {setting.filesystem})",
            ours=ours,
            reference=bare,
            names=("ours", "bare"),
            relative_to="a raw signed POST of the same order",
            goal=GOAL,
            detail={
                "ours_in_commits_p50_ms": round(percentile(path.in_commits[-SAMPLES:], 50) * 1e3, 3),
                "without_commits_p50_x": round(percentile(ratios(path.without_commits(ours), bare), 50), 2),
                "commits_p50": percentile(path.commits[-SAMPLES:], 50),
            },
        )
    ]


async def _measure_pairs(path: Path, raw: RawClient) -> tuple[list[float], list[float]]:
    """The bare order is a copy of ours, or of the one before when it is its turn to be first."""
    ours: list[float] = []
    bare: list[float] = []
    intent = await path.place_and_cancel(ours)
    for number in range(WARM_UP + SAMPLES):
        due = time.monotonic() + PACE_SECONDS
        if number % 2:
            bare.append(await raw.place_and_cancel(intent))
            intent = await path.place_and_cancel(ours)
        else:
            intent = await path.place_and_cancel(ours)
            bare.append(await raw.place_and_cancel(intent))
        await asyncio.sleep(max(due - time.monotonic(), 0.0))
    return ours[WARM_UP + 1 :], bare[WARM_UP:]


def _raw(venue: VenueProcess, session: aiohttp.ClientSession) -> RawClient:
    """With an account of its own: its orders are nobody's orphans."""
    key, secret = venue.issue_key(venue.open_account(BALANCES))
    return RawClient(session, f"{venue.rest_url}/order", key, secret)
