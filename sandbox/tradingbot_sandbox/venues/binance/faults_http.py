"""Carries the fault script out on real connections: late, lost, cut, or not at all. SHELL.

Flow: server -> `FaultyDelivery.answer` -> faults says what happens -> RestApi -> the client, if it is told.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from aiohttp import web

from tradingbot_sandbox.market.clock import Clock
from tradingbot_sandbox.market.events import NS_PER_SECOND
from tradingbot_sandbox.venues.binance.exchange import Log
from tradingbot_sandbox.venues.binance.faults import BinanceFaults, RawAnswer
from tradingbot_sandbox.venues.binance.rest import Answer
from tradingbot_sandbox.venues.faults import Fate, Request

CRASH_EXIT_CODE = 70
"""How the process ends by the script's `crash`: EX_SOFTWARE of sysexits.h."""

CarryOut = Callable[[int], Answer]
"""Lets the venue do what is asked, at this time of its own clock."""


class FaultyDelivery:
    """Takes requests to the venue and answers back."""

    def __init__(
        self, faults: BinanceFaults, *, clock: Clock, log: Log, leave: Callable[[int], object] = os._exit
    ) -> None:
        self._faults = faults
        self._clock = clock
        self._log = log
        self._leave = leave
        self._under_way: set[asyncio.Task[Answer]] = set()

    async def answer(self, request: web.Request, asked: Request, carry_out: CarryOut) -> web.StreamResponse:
        fate = self._faults.on_request(asked, self._clock.now_ns())
        # a task of its own: a request that is under way arrives, though its client may have gone
        carried = asyncio.create_task(self._carry_out(fate, carry_out)) if fate.is_delivered else None
        if carried is not None:
            self._under_way.add(carried)
            carried.add_done_callback(self._under_way.discard)
        await _wait(fate.answered_after_ns)
        if not fate.is_answered:
            if carried is not None and not fate.delivered_after_ns:
                await carried
            return _die(request)
        own = None if carried is None else await carried
        raw = self._faults.finish(asked, fate, own, self._clock.now_ns())
        # the path alone: the query of a signed request is nobody's business
        self._log.debug("request", method=request.method, path=request.path, status=raw.status)
        return await _send(request, raw)

    async def close(self) -> None:
        """What was still under way does not arrive any more."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _carry_out(self, fate: Fate, carry_out: CarryOut) -> Answer:
        await _wait(fate.delivered_after_ns)
        answer = self._faults.carry_out(fate, carry_out, self._clock.now_ns())
        if fate.crashes:
            self._log.warning("fault_crash", exit_code=CRASH_EXIT_CODE, status=answer.http_status)
            self._leave(CRASH_EXIT_CODE)
        return answer


async def _wait(time_ns: int) -> None:
    if time_ns:
        await asyncio.sleep(time_ns / NS_PER_SECOND)


def _die(request: web.Request) -> web.StreamResponse:
    """The connection ends without a word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)  # nobody reads it


async def _send(request: web.Request, raw: RawAnswer) -> web.StreamResponse:
    headers = raw.headers | {"Content-Type": f"{raw.content_type};charset=UTF-8"}
    if raw.promised_bytes is None:
        return web.Response(status=raw.status, body=raw.body, headers=headers)
    headers |= {"Content-Length": str(raw.promised_bytes)}
    response = web.StreamResponse(status=raw.status, headers=headers)
    await response.prepare(request)
    await response.write(raw.body)
    if request.transport is not None:
        request.transport.close()  # unlike abort, it sends what was written
    return response
