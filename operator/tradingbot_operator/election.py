"""Which of several operators leads: one Lease, renewed while we lead, and a guard before each write.

Not `kubernetes.aio.leaderelection`: it counts in wall-clock time, lets one request hang past its deadline, ends at the
first connection that breaks, and never gives the Lease back.

The first half is PURE: the Lease as read and as written. `Elector` is the SHELL around it. Our time begins when the
request is *sent*, and we stop before the Lease ends (renew deadline), so that what was sent last has arrived before a
successor begins; their time begins when they *see* us renew. No clock is compared with another machine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from tradingbot_operator import kinds
from tradingbot_operator.errors import ApiError, Conflict, OperatorError, Transient
from tradingbot_operator.kinds import Key, Kind
from tradingbot_operator.kube import KubeApi, Listing
from tradingbot_operator.manifest import Manifest, mapping, number, text
from tradingbot_operator.timestamps import format_micro_time

log = structlog.get_logger(__name__)

_JITTER = 0.2
"""A standby waits up to so much longer between two looks, so that two of them do not always meet."""

_HINT_AFTER = 3
"""Looks in a row without an answer: one or two are an API server that starts anew."""
_SILENCE_HINT = (
    "if the API server is up, a NetworkPolicy is the usual cause: the chart's "
    "networkPolicy.apiServer.ports must have the port on which the API server itself listens "
    "(kubectl get endpointslices -n default)"
)


class LeaseLost(OperatorError):  # noqa: N818  named by consequence (STYLE)
    """Somebody else may lead now: the process has to end."""

    reason = "LeaseLost"


class LeaseApi(Protocol):
    """What an election asks of the API server. Each call raises an ApiError when it does not succeed."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """None when it is not there."""

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Conflict when it is there."""

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Conflict when it is not as `manifest` was read."""


def _is_silence(error: Exception) -> bool:
    """No answer at all, neither a good nor a bad one."""
    return isinstance(error, TimeoutError) or (isinstance(error, ApiError) and error.status == 0)


@dataclass(frozen=True, slots=True)
class ElectionRules:
    duration_seconds: int
    """A standby takes the Lease when it was not renewed for so long."""
    renew_deadline_seconds: float
    """A leader that could not renew for so long has lost; less than the duration."""
    retry_seconds: float
    """Between two renewals, or two looks."""


@dataclass(frozen=True, slots=True)
class LeaseView:
    """What one read of the Lease said, and when we first saw exactly this."""

    holder: str
    renewed_at: str
    transitions: int
    duration_seconds: int
    first_seen_at: float
    """Monotonic."""


def read_lease(lease: Manifest, *, previous: LeaseView | None, now: float) -> LeaseView:
    """Another holder's times are not compared with our clock: only whether they change."""
    spec = mapping(lease, "spec")
    view = LeaseView(
        holder=text(spec, "holderIdentity"),
        renewed_at=text(spec, "renewTime"),
        transitions=number(spec, "leaseTransitions"),
        duration_seconds=number(spec, "leaseDurationSeconds"),
        first_seen_at=now,
    )
    if previous is not None and _renewal(previous) == _renewal(view):
        return LeaseView(*_renewal(view), view.duration_seconds, previous.first_seen_at)
    return view


def _renewal(view: LeaseView) -> tuple[str, str, int]:
    return view.holder, view.renewed_at, view.transitions


def may_take(view: LeaseView, *, identity: str, least_seconds: float, now: float) -> bool:
    """When nobody holds it, we do, or its holder was silent for its whole duration, and ours, while we watched."""
    if view.holder in ("", identity):
        return True
    return now - view.first_seen_at >= max(view.duration_seconds, least_seconds)


def build_claim(lease: Manifest, *, identity: str, duration_seconds: int, now_ns: int) -> Manifest:
    """The Lease as we would hold it from now on; `lease` as it was read, or with its name alone."""
    spec = mapping(lease, "spec")
    time = format_micro_time(now_ns)
    claimed = {"holderIdentity": identity, "leaseDurationSeconds": duration_seconds, "renewTime": time}
    if text(spec, "holderIdentity") != identity:
        # A Lease that is made has not changed hands.
        claimed |= {"acquireTime": time, "leaseTransitions": number(spec, "leaseTransitions") + bool(spec)}
    return lease | {"spec": {**spec, **claimed}}


def build_release(lease: Manifest, *, now_ns: int) -> Manifest:
    """Nobody holds it: whoever looks next may take it."""
    released = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": format_micro_time(now_ns)}
    return lease | {"spec": {**mapping(lease, "spec"), **released}}


class Elector:
    """SHELL. Waits for the Lease, then holds it until it is lost or given back."""

    def __init__(
        self,
        api: LeaseApi,
        rules: ElectionRules,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
        now_ns: Callable[[], int],
        random: Callable[[], float],
        saw_lease: Callable[[], None],
    ) -> None:
        """`identity`: of this process alone, not of a pod, whose container may be started again. `saw_lease` is
        called for each answer about the Lease."""
        self._api = api
        self._rules = rules
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._now_ns = now_ns
        self._random = random
        self._saw_lease = saw_lease
        self._view: LeaseView | None = None
        self._lease: Manifest = {}
        """As we wrote it last."""
        self._until = float("-inf")
        self.has_won = asyncio.Event()

    def holds(self) -> bool:
        """Whether the Lease is provably ours at this moment, by the monotonic clock and nothing else."""
        return self._clock() < self._until

    async def run(self) -> None:
        """Acquires, then renews; ends with LeaseLost."""
        await self._acquire()
        log.info("leading", identity=self._identity, transitions=number(self._lease, "spec", "leaseTransitions"))
        self.has_won.set()
        while True:
            await asyncio.sleep(self._rules.retry_seconds)
            await self._renew()

    async def release(self) -> None:
        """Gives it back, so that a standby need not wait for its end. Not while `run` runs."""
        if not self.holds():
            return
        self._until = float("-inf")
        try:
            async with asyncio.timeout(self._rules.renew_deadline_seconds):
                await self._give_back()
        except (ApiError, TimeoutError) as error:
            log.warning("lease not given back: it ends by itself", error=str(error) or "no answer")
        else:
            log.info("lease given back")

    async def _give_back(self) -> None:
        try:
            await self._api.replace(kinds.LEASE, build_release(self._lease, now_ns=self._now_ns()))
        except Conflict:
            # `run` may have been ended while a renewal was on its way, which the API server then took.
            found = await self._api.get(kinds.LEASE, self._namespace, self._name)
            if found is None or text(found, "spec", "holderIdentity") != self._identity:
                raise
            await self._api.replace(kinds.LEASE, build_release(found, now_ns=self._now_ns()))

    async def _acquire(self) -> None:
        silent = 0
        while True:
            try:
                async with asyncio.timeout(self._rules.renew_deadline_seconds):
                    if await self._look():
                        return
            except (ApiError, TimeoutError) as error:
                silent = silent + 1 if _is_silence(error) else 0
                hint = {"hint": _SILENCE_HINT} if silent >= _HINT_AFTER else {}
                log.warning("lease not read", error=str(error) or "no answer in time", **hint)
            await asyncio.sleep(self._rules.retry_seconds * (1.0 + _JITTER * self._random()))

    async def _look(self) -> bool:
        """Whether we have it now."""
        found = await self._api.get(kinds.LEASE, self._namespace, self._name)
        now = self._clock()
        self._saw_lease()
        if found is not None:
            holder_before = self._view.holder if self._view is not None else None
            self._view = read_lease(found, previous=self._view, now=now)
            if self._view.holder != holder_before:
                log.info("standing by", holder=self._view.holder or "nobody", identity=self._identity)
        # Deleted by somebody, it is still its holder's, who does not know yet.
        if self._view is not None and not may_take(
            self._view, identity=self._identity, least_seconds=self._rules.duration_seconds, now=now
        ):
            return False
        try:
            await self._claim(found)
        except Conflict:
            return False  # somebody was faster
        return True

    async def _renew(self) -> None:
        """Until it is done, or too late."""
        while (left_seconds := self._until - self._clock()) > 0:
            try:
                # A request that hangs, as on a connection that died silently, leaves time for another.
                async with asyncio.timeout(min(left_seconds, self._rules.renew_deadline_seconds / 3)):
                    await self._claim_again()
                return
            except (ApiError, TimeoutError) as error:
                log.warning("lease not renewed", error=str(error) or "no answer in time")
            await asyncio.sleep(max(min(self._rules.retry_seconds, self._until - self._clock()), 0.0))
        raise LeaseLost(f"the Lease could not be renewed for {self._rules.renew_deadline_seconds:g} s")

    async def _claim_again(self) -> None:
        try:
            await self._claim(self._lease)
        except ApiError as error:
            if not isinstance(error, Conflict) and error.status != 404:
                raise
            # Ours, written by a request whose answer was lost; or gone; or somebody else's.
            found = await self._api.get(kinds.LEASE, self._namespace, self._name)
            holder = text(found, "spec", "holderIdentity")
            if found is not None and holder != self._identity:
                self._until = float("-inf")
                raise LeaseLost(f"the Lease is held by {holder or 'nobody'} now") from error
            await self._claim(found)

    async def _claim(self, lease: Manifest | None) -> None:
        metadata = {"namespace": self._namespace, "name": self._name}
        bare = {"apiVersion": kinds.LEASE.api_version, "kind": kinds.LEASE.name, "metadata": metadata}
        claim = build_claim(
            lease or bare,
            identity=self._identity,
            duration_seconds=self._rules.duration_seconds,
            now_ns=self._now_ns(),
        )
        sent_at = self._clock()
        write = self._api.create if lease is None else self._api.replace
        self._lease = await write(kinds.LEASE, claim)
        self._until = sent_at + self._rules.renew_deadline_seconds
        self._saw_lease()


class ElectedKubeApi:
    """`KubeApi` of which reading is free, and writing needs the Lease."""

    def __init__(self, api: KubeApi, may_write: Callable[[], bool]) -> None:
        self._api = api
        self._may_write = may_write

    async def list(self, kind: Kind, namespace: str | None) -> Listing | None:
        return await self._api.list(kind, namespace)

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return await self._api.get(kind, namespace, name)

    async def apply(self, kind: Kind, manifest: Manifest, *, force: bool) -> Manifest:
        self._require(f"apply {kind.plural}")
        return await self._api.apply(kind, manifest, force=force)

    async def apply_finalizers(self, key: Key, finalizers: Sequence[str], *, uid: str) -> Manifest:
        self._require("apply finalizers")
        return await self._api.apply_finalizers(key, finalizers, uid=uid)

    async def apply_status(self, key: Key, status: Manifest, *, resource_version: str) -> Manifest:
        self._require("apply status")
        return await self._api.apply_status(key, status, resource_version=resource_version)

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        self._require(f"create {kind.plural}")
        return await self._api.create(kind, manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        self._require(f"delete {kind.plural}")
        await self._api.delete(kind, namespace, name, uid=uid)

    async def create_event(self, event: Manifest) -> None:
        self._require("create event")
        await self._api.create_event(event)

    async def dry_run(self, kind: Kind, manifest: Manifest, *, subresource: str = "") -> None:
        await self._api.dry_run(kind, manifest, subresource=subresource)

    async def find_warning(self, namespace: str, kind: Kind, name: str) -> str:
        return await self._api.find_warning(namespace, kind, name)

    def _require(self, what: str) -> None:
        if not self._may_write():
            raise Transient(what, "this operator does not hold the Lease: nothing is written")
