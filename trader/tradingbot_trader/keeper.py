"""SHELL. Keeps durable what breakers and keys come to: counters, trips, closings, other keys. Beside live.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from tradingbot_api.status import CredentialsReport
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.transaction import Transaction
from tradingbot_trader.clock import Clock
from tradingbot_trader.desk import Desk
from tradingbot_trader.risk.breakers import Breakers, TripKind
from tradingbot_trader.venues.account import Operation

TICK_SECONDS = 0.5


class _Keys(Protocol):
    def report(self) -> CredentialsReport: ...


class Keeper:
    """`run` until cancelled; `on_keys` whenever the key ring has news. Each trip and each change is told once."""

    def __init__(
        self,
        desk: Desk,
        breakers: Breakers,
        keys: _Keys,
        clock: Clock,
        *,
        on_change: Callable[[], None],
        probe: Callable[[], None],
    ) -> None:
        """`probe` sends one question to a venue whose breaker wants to know if it is back."""
        self._desk, self._breakers, self._keys, self._clock = desk, breakers, keys, clock
        self._on_change, self._probe = on_change, probe
        self._written = breakers.to_counters()
        self._trips_told = 0
        self._told = self._look()
        self._key_told = ("", "")

    async def run(self) -> None:
        while True:
            self._keep()
            if self._breakers.may_probe(Operation.QUERY, self._clock.now_ns()):
                self._probe()
            await self._clock.sleep(TICK_SECONDS)

    def on_keys(self) -> None:
        """The audit names the key by its fingerprint alone."""
        report = self._keys.report()
        told = (report.fingerprint, report.reason)
        if told != self._key_told:
            is_new = report.fingerprint != self._key_told[0]
            kind = AuditKind.CREDENTIALS_CHANGED if is_new else AuditKind.CREDENTIALS_REFUSED
            if is_new or not report.ready or report.reason != "Accepted":
                self._desk.record(lambda tx: tx.put_audit(kind, {"credentials": report}))
            self._key_told = told
        self._on_change()

    def _keep(self) -> None:
        counters, looks = self._breakers.to_counters(), self._look()
        trips = self._breakers.trips[self._trips_told :]
        closed = sorted(set(self._told[0]) - set(looks[0]))
        if counters != self._written or closed:
            write = partial(_write, counters=counters, trips=[str(trip) for trip in trips], closed=closed)
            if self._desk.record(write):
                self._written, self._trips_told = counters, self._trips_told + len(trips)
        if looks != self._told:  # what they count meanwhile is no news to anybody
            self._told = looks
            self._on_change()

    def _look(self) -> tuple[tuple[TripKind, ...], int]:
        return self._breakers.open_kinds(self._clock.now_ns()), self._breakers.total_trips


def _write(tx: Transaction, *, counters: Mapping[str, str], trips: list[str], closed: list[TripKind]) -> None:
    tx.put_counters(counters)
    for trip in trips:
        tx.put_audit(AuditKind.BREAKER_TRIPPED, {"trip": trip})
    for kind in closed:
        tx.put_audit(AuditKind.BREAKER_CLOSED, {"kind": kind})
