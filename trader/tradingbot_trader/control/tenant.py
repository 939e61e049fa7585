"""SHELL. Takes the bot's Lease and keeps it. The rules are in lease.py; this asks and writes."""

from __future__ import annotations

import random

import structlog

from tradingbot_trader.clock import Clock
from tradingbot_trader.control.kube import KubeApi, KubeError, Raw
from tradingbot_trader.control.lease import (
    RENEW_SECONDS,
    LeaseView,
    Tenure,
    claim,
    may_take,
    read_lease,
    tenure_from,
)
from tradingbot_trader.control.timestamps import rfc3339

_RETRY_SECONDS = 1.0


class Tenant:
    """Holds the Lease while it runs. `tenure` is the proof that the gateway checks before every send."""

    def __init__(self, kube: KubeApi, clock: Clock, jitter: random.Random, *, identity: str) -> None:
        """`identity` is the pod's name: a restarted container of the same pod is alone by definition, and goes on."""
        self._kube, self._clock, self._jitter, self._identity = kube, clock, jitter, identity
        self._log = structlog.get_logger().bind(part="lease")
        self._view: LeaseView | None = None
        self._raw: Raw = {}
        self.tenure: Tenure | None = None

    def holds(self, *, margin_seconds: float = 0.0) -> bool:
        """True while no other trader of this bot can be running."""
        return self.tenure is not None and self.tenure.covers(self._clock.monotonic_ns(), margin_seconds=margin_seconds)

    async def run(self) -> None:
        """Acquire, then renew, until cancelled."""
        while True:
            try:
                renewed = await self._try_once()
            except KubeError as error:
                self._log.warning("lease_not_renewed", error=str(error), status=error.status, still_held=self.holds())
                renewed = False
            await self._clock.sleep((RENEW_SECONDS if renewed else _RETRY_SECONDS) * self._jitter.uniform(0.9, 1.1))

    async def release(self) -> None:
        """Let a successor start at once. Only after the last request has been answered."""
        if not self.holds() or self._view is None:
            return
        self.tenure = None
        body = {**self._raw, "spec": {"leaseTransitions": self._view.transitions, "leaseDurationSeconds": 1}}
        try:
            await self._kube.replace_lease(body, resource_version=self._view.resource_version)
        except KubeError as error:
            self._log.warning("lease_not_released", error=str(error))

    async def _try_once(self) -> bool:
        raw = await self._kube.get_lease()
        if raw is None:
            self._log.warning("lease_missing", action="the operator makes it")
            return False
        now_ns = self._clock.monotonic_ns()
        self._view = read_lease(raw, previous=self._view, now_monotonic_ns=now_ns)
        if not may_take(self._view, identity=self._identity, now_monotonic_ns=now_ns):
            if self.tenure is not None:
                self._log.error("lease_lost", holder=self._view.holder)
                self.tenure = None
            return False
        if self.tenure is None:
            self._log.info("lease_taken", previous_holder=self._view.holder)
        sent_ns = self._clock.monotonic_ns()
        spec = claim(self._view, identity=self._identity, now_rfc3339=rfc3339(self._clock.now_ns()))
        body = {**raw, "spec": {**(raw.get("spec") or {}), **spec}}
        self._raw = await self._kube.replace_lease(body, resource_version=self._view.resource_version)
        self._view = read_lease(self._raw, previous=self._view, now_monotonic_ns=sent_ns)
        self.tenure = tenure_from(sent_ns, self._view.transitions)
        return True
