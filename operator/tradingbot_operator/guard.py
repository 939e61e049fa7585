"""SHELL. Asks the API server whether the chart's admission policies are in force, before a live permit is granted.

What to ask and what the answers prove stands in plan/guard.py. Nothing here is remembered: a policy that was in force a
minute ago proves nothing now. A check is three dry runs and two reads for each policy, all at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from tradingbot_operator.errors import ApiError, Refused
from tradingbot_operator.kube import KubeApi
from tradingbot_operator.manifest import Manifest
from tradingbot_operator.plan.guard import (
    BINDING,
    POLICY,
    GuardReport,
    Probe,
    build_probes,
    find_absent,
    find_parts,
    judge_denial,
    judge_objects,
    judge_unanswered,
)

log = structlog.get_logger(__name__)


class Guard:
    def __init__(
        self,
        api: KubeApi,
        expected: Mapping[str, str] | None = None,
        *,
        told: Callable[[GuardReport], None] = lambda _: None,
    ) -> None:
        """`expected`: digest of each policy with its binding, by name, as the chart says; without any: not in force.
        `told`: each answer."""
        self._told = told
        self._api = api
        self._expected = dict(expected or {})

    async def check(self, bot: Manifest) -> GuardReport:
        """Whether they are in force for this bot, as it is on the API server."""
        parts = find_parts(self._expected)
        probes = [self._try(probe, parts[probe.part]) for probe in build_probes(bot) if probe.part in parts]
        return await self._gather(*probes, *self._reads())

    async def check_installed(self) -> GuardReport:
        """Without a bot, as at the start: they are there and unchanged. That they are enforced is not proved by it."""
        return await self._gather(*self._reads())

    async def _gather(self, *findings: Awaitable[str]) -> GuardReport:
        found = await asyncio.gather(*findings)
        report = GuardReport((*find_absent(self._expected), *dict.fromkeys(each for each in found if each)))
        self._told(report)
        return report

    def _reads(self) -> list[Awaitable[str]]:
        return [self._read(name, digest) for name, digest in self._expected.items()]

    async def _try(self, probe: Probe, policy: str) -> str:
        try:
            await self._api.dry_run(probe.kind, probe.manifest, subresource=probe.subresource)
        except Refused as refused:
            return judge_denial(probe, policy, refused.message)
        except ApiError as error:
            return judge_unanswered(policy, error.message)
        return judge_denial(probe, policy, None)

    async def _read(self, policy: str, digest: str) -> str:
        try:
            found, binding = await asyncio.gather(self._api.get(POLICY, "", policy), self._api.get(BINDING, "", policy))
        except ApiError as error:
            return judge_unanswered(policy, error.message)
        return judge_objects(policy, digest, found, binding)


async def check_at_start(guard: Guard, *, interval_seconds: float) -> None:
    """Until they are there and unchanged, once. Nothing waits for it: each live permit asks for itself."""
    before: tuple[str, ...] | None = None
    while not (report := await guard.check_installed()).is_in_force:
        if report.missing != before:
            log.error("admission policies are not in force: no new live permit", missing=list(report.missing))
        before = report.missing
        await asyncio.sleep(interval_seconds)
    log.info("admission policies are there and unchanged")
