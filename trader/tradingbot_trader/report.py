"""SHELL. Tells the API server what the trader does: `status.trader`, whole, by server-side apply.

Ordinary news wait for the next heartbeat, because every write is a write to etcd; what a person waits for (a stop, an
accepted or refused spec, another trading state, another limit) goes out at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import structlog

from tradingbot_api.status import TraderStatus
from tradingbot_trader.clock import Clock
from tradingbot_trader.control.kube import KubeApi, KubeError

HEARTBEAT_SECONDS = 30.0
"""How old `status.trader` may get; DESIGN, "status"."""
RETRY_SECONDS = 1.0

_log = structlog.get_logger("report")


_UNKNOWN = re.compile(r"\.status\.trader\.(\S+): field not declared in schema")
_INDEX = re.compile(r"\[[^\]]*\]")


class Reporter:
    """Writes until cancelled. `urge` is safe to call from anywhere in the loop."""

    def __init__(self, kube: KubeApi, clock: Clock, build: Callable[[], TraderStatus | None]) -> None:
        """`build` answers None while this trader may not speak for the bot."""
        self._kube, self._clock, self._build = kube, clock, build
        self._urgent = asyncio.Event()
        self._writing = asyncio.Lock()
        self._unknown: set[str] = set()
        """What an older CRD does not know: one such word, and the whole report is refused, a stop's proof included."""

    def urge(self) -> None:
        """Write at once."""
        self._urgent.set()

    async def run(self) -> None:
        while True:
            self._urgent.clear()
            if not await self.write():
                await self._clock.sleep(RETRY_SECONDS)
                continue
            waiting = asyncio.ensure_future(self._urgent.wait())
            sleeping = asyncio.ensure_future(self._clock.sleep(HEARTBEAT_SECONDS))
            try:
                await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                sleeping.cancel()

    async def write(self) -> bool:
        """One write; False when it did not get through and should be tried again."""
        async with self._writing:  # an older report that is still under way must not land after this one
            return await self._write()

    async def _write(self) -> bool:
        status = self._build()
        if status is None:
            return False
        report = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        try:
            await self._kube.apply_status(leave_out(report, self._unknown))
        except KubeError as error:
            if unknown := find_unknown(str(error)) - self._unknown:
                self._unknown |= unknown
                _log.error("status_shortened", left_out=sorted(unknown), action="upgrade the CRDs to this version")
                return await self._write()
            _log.warning("status_not_written", error=str(error), status=error.status)
            return False
        return True


def find_unknown(message: str) -> set[str]:
    """PURE. Paths below `status.trader`, indexes left out, that the API server calls unknown (1.34 to 1.36: a 500)."""
    return {_INDEX.sub("", path) for path in _UNKNOWN.findall(message)}


def leave_out(report: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """PURE. The report without these paths; a path through a list means each of its items."""
    kept: dict[str, Any] = {}
    for name, value in report.items():
        inner = {path.partition(".")[2] for path in paths if path.startswith(f"{name}.")}
        if name in paths:
            continue
        if isinstance(value, Mapping):
            kept[name] = leave_out(value, inner)
        elif isinstance(value, list):
            kept[name] = [leave_out(each, inner) if isinstance(each, Mapping) else each for each in value]
        else:
            kept[name] = value
    return kept
