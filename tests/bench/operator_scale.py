"""How the operator's time and memory grow with the number of bots. SHELL.

The real operator with its default settings, on a real API server and etcd, new ones for each size. All bots are there
before it starts. No node and no controller manager: pods never exist, and nothing but the operator writes meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from tests.integration.operator import conftest as parts

from bench.figure import Figure
from bench.operator_process import Cluster, Process, running_cluster
from bench.setting import Setting, resident_mb
from tradingbot_sandbox.control_plane.audit import AuditEvent

SIZES = (100, 1_000, 4_000)
GOAL_EXPONENT = 1.1
NAMESPACES = 10
CREATORS = 8
"""Requests under way while bots are made."""
TELL_SECONDS = 10.0
LOOK_SECONDS = 0.2
LIST = "tradingbot_operator_last_resync_timestamp_seconds"
RECONCILED = "tradingbot_operator_reconcile_seconds_count"
QUEUE = "tradingbot_operator_queue_depth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one number of bots cost."""

    bots: int
    seconds: float
    """From the operator's first list to the answer to the last bot's first status."""
    from_spawn_seconds: float
    cpu_seconds: float
    """User and system time of the operator in these seconds."""
    requests: int
    """That the API server answered it until then, watches left out."""
    resync_seconds: float
    """From the first page of a re-list to the last bot looked at again, when nothing had changed."""
    resync_cpu_seconds: float
    resident_mb: float
    """After that re-list."""
    peak_mb: float


async def measure(setting: Setting) -> list[Figure]:
    sizes = parse_sizes(os.environ.get("BENCH_BOTS", ""))
    runs = [await _run(setting, bots) for bots in sizes]
    figures = [figure for run in runs for figure in _figures(run)]
    if len(runs) > 1:
        figures += [
            _growth("seconds", "seconds until all are reconciled", runs[0], runs[-1], [run.seconds for run in runs]),
            _growth("cpu", "CPU seconds until then", runs[0], runs[-1], [run.cpu_seconds for run in runs]),
            _growth("memory", "resident memory", runs[0], runs[-1], [run.resident_mb for run in runs]),
            _growth("resync", "seconds of a re-list", runs[0], runs[-1], [run.resync_seconds for run in runs]),
        ]
    return figures


def parse_sizes(text: str) -> tuple[int, ...]:
    """BENCH_BOTS: numbers of bots in rising order, separated by commas; empty: those of the goal."""
    try:
        sizes = tuple(sorted({int(each) for each in text.replace(",", " ").split()})) or SIZES
    except ValueError:
        raise ValueError(f"BENCH_BOTS={text}: say numbers of bots, as BENCH_BOTS=100,1000") from None
    if sizes[0] < 1:
        raise ValueError(f"BENCH_BOTS={text}: at least one bot")
    return sizes


def exponent(small: float, large: float, *, times: float) -> float:
    """PURE. x for which large = small * times^x: 1 grows as the number does, 2 as its square."""
    return math.log(large / small) / math.log(times)


async def _run(setting: Setting, bots: int) -> Run:
    with running_cluster(setting, f"bots-{bots}", controllers=False) as cluster:
        say = _Teller(setting, bots)
        await _create_bots(cluster, bots, say)
        tail = AuditTail(cluster.control_plane.audit_log, cluster.account.user)
        operator = cluster.spawn()
        try:
            cpu_seconds = _until_reconciled(operator, tail, bots, say)
            requests = tail.requests
            seconds = tail.last_status_at - tail.first_list_at
            from_spawn = tail.last_status_at - operator.spawned_at
            _check_all(cluster, bots)
            resync_seconds, resync_cpu = _measure_resync(operator, tail, bots, say)
            return Run(
                bots=bots,
                seconds=seconds,
                from_spawn_seconds=from_spawn,
                cpu_seconds=cpu_seconds,
                requests=requests,
                resync_seconds=resync_seconds,
                resync_cpu_seconds=resync_cpu,
                resident_mb=resident_mb(operator.process.pid),
                peak_mb=operator.peak_mb,
            )
        finally:
            operator.end()


def _until_reconciled(operator: Process, tail: AuditTail, bots: int, say: _Teller) -> float:
    """Each bot has a status, which is written after the children. By the audit log: to read it asks nobody.

    CPU seconds since the first list, give or take a look.
    """
    end = time.monotonic() + _deadline_seconds(bots)
    at_start_seconds = 0.0
    while True:
        tail.read()
        if len(tail.with_status) >= bots:
            return operator.cpu_seconds - at_start_seconds
        operator.require_alive()
        if not tail.first_list_at:
            at_start_seconds = operator.cpu_seconds
        if time.monotonic() > end:
            raise TimeoutError(f"{len(tail.with_status)} of {bots} bots were reconciled; {operator.log[-2000:]}")
        say(f"{len(tail.with_status)} reconciled")
        time.sleep(LOOK_SECONDS)


def _measure_resync(operator: Process, tail: AuditTail, bots: int, say: _Teller) -> tuple[float, float]:
    """Seconds and CPU seconds of one whole re-list in which nothing is to do."""
    end = time.monotonic() + _deadline_seconds(bots)

    def look(what: str) -> tuple[float, float, float]:
        operator.require_alive()
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come; {operator.log[-2000:]}")
        say(what)
        time.sleep(LOOK_SECONDS)
        text = operator.http("/metrics")[1]
        found = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line[:1] not in ("#", "")}
        return found.get(LIST, 0.0), found.get(RECONCILED, 0.0), found.get(QUEUE, 1.0)

    # An operator that is still busy with a list, or with what its own writes brought, would be measured with both.
    listed, looked_at, queued = look("waiting for quiet")
    while True:
        before = (listed, looked_at)
        listed, looked_at, queued = look("waiting for quiet")
        if queued == 0 and before == (listed, looked_at):
            break
    tail.read()
    tail.lists.clear()
    cpu_seconds, first = operator.cpu_seconds, listed
    while listed == first:
        listed, _, _ = look("waiting for the next re-list")
    done = looked_at + bots
    while looked_at < done or queued > 0:
        listed, looked_at, queued = look("looking at each bot again")
    ended_at = time.time()
    tail.read()
    if not tail.lists:
        raise RuntimeError("the audit log shows no list of this re-list")
    return ended_at - tail.lists[0], operator.cpu_seconds - cpu_seconds


@dataclass(slots=True)
class AuditTail:
    """Reads the API server's audit log as it grows, and keeps of the operator's requests what is asked about here.

    Without those about the Lease by which it leads, alone in a namespace of its own.
    """

    path: Path
    user: str
    with_status: set[tuple[str, str]] = field(default_factory=set)
    lists: list[float] = field(default_factory=list)
    """When each was received, Unix seconds."""
    requests: int = 0
    first_list_at: float = 0.0
    last_status_at: float = 0.0
    """When the last of the first statuses was answered."""
    _offset: int = 0
    _rest: bytes = b""

    def __post_init__(self) -> None:
        self._offset = self.path.stat().st_size

    def read(self) -> None:
        if self.path.stat().st_size < self._offset:
            raise RuntimeError("the audit log was turned over: too many bots for one file of 200 MB")
        for line in self._lines():
            self.take(json.loads(line))

    def take(self, raw: dict[str, Any]) -> None:
        """One event of the log."""
        event = AuditEvent.from_json(raw)
        if event.user != self.user or event.verb == "watch" or event.namespace == parts.OPERATORS:
            return
        self.requests += 1
        if event.verb == "list":
            received_at = unix_seconds(raw["requestReceivedTimestamp"])
            self.lists.append(received_at)
            self.first_list_at = self.first_list_at or received_at
        place = (event.namespace, event.name)
        is_status = (event.verb, event.resource) == ("patch", "tradingbots/status") and 200 <= event.code < 300
        if is_status and place not in self.with_status:
            self.with_status.add(place)
            self.last_status_at = unix_seconds(raw["stageTimestamp"])

    def _lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        # Most lines of a run are the operator's; those of the bench that made the bots are not worth parsing.
        return (line for line in lines if self.user.encode() in line)


def unix_seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


async def _create_bots(cluster: Cluster, bots: int, say: _Teller) -> None:
    desks = [cluster.create_namespace(f"desk-{number}") for number in range(min(NAMESPACES, bots))]
    admin = cluster.control_plane.admin
    context = ssl.create_default_context(cafile=str(admin.tls.ca))
    context.load_cert_chain(str(admin.tls.certificate), str(admin.tls.key))
    numbers = iter(range(bots))

    async def create(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            desk = desks[number % len(desks)]
            bot = parts.build_bot({"metadata.name": f"bot-{number}"})
            async with session.post(admin.url + desk.path("TradingBot"), json=bot) as answer:
                if answer.status != 201:
                    raise RuntimeError(f"a bot was refused: {await answer.text()}")
            say(f"{number + 1} made")

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        await asyncio.gather(*(create(session) for _ in range(CREATORS)))


def _check_all(cluster: Cluster, bots: int) -> None:
    """By the API server itself: each bot's newest spec was looked at, and each has its Deployment."""
    admin = cluster.control_plane.admin
    current = 0
    deployments = 0
    for number in range(min(NAMESPACES, bots)):
        desk = parts.Desk(admin, f"desk-{number}")
        for bot in admin.get(desk.path("TradingBot")).body["items"]:
            current += bot.get("status", {}).get("observedGeneration") == bot["metadata"]["generation"]
        deployments += len(admin.get(desk.path("Deployment")).body["items"])
    if (current, deployments) != (bots, bots):
        raise RuntimeError(f"of {bots} bots {current} are reconciled, and there are {deployments} Deployments")


def _deadline_seconds(bots: int) -> float:
    return 180.0 + bots * 0.5


class _Teller:
    """One line now and then."""

    def __init__(self, setting: Setting, bots: int) -> None:
        self._setting = setting
        self._bots = bots
        self._began = self._told = time.monotonic()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            self._setting.say(f"{self._bots} bots, {now - self._began:.0f} s: {text}")


def _figures(run: Run) -> list[Figure]:
    bots = f"{run.bots:,} bots"
    detail = {
        "from_spawn_s": round(run.from_spawn_seconds, 2),
        "cpu_s": round(run.cpu_seconds, 2),
        "bots_per_s": round(run.bots / run.seconds, 1),
        "requests_per_bot": round(run.requests / run.bots, 1),
    }
    return [
        Figure(
            name=f"operator-reconcile-{run.bots}",
            what=f"the operator's first list until {bots} are reconciled, no controller manager, no node",
            value=run.seconds,
            unit="s",
            samples=run.bots,
            detail=detail,
        ),
        Figure(
            name=f"operator-cpu-{run.bots}",
            what=f"CPU time of the operator in these seconds, {bots}",
            value=run.cpu_seconds,
            unit="s",
            samples=1,
            detail={"ms_per_bot": round(run.cpu_seconds * 1e3 / run.bots, 2)},
        ),
        Figure(
            name=f"operator-resync-{run.bots}",
            what=f"one re-list: {bots} and their children are read and looked at, nothing is to do",
            value=run.resync_seconds,
            unit="s",
            samples=1,
            detail={"cpu_s": round(run.resync_cpu_seconds, 2)},
        ),
        Figure(
            name=f"operator-memory-{run.bots}",
            what=f"VmRSS of the operator after that, {bots}",
            value=run.resident_mb,
            unit="MB",
            samples=1,
            detail={"peak_mb": round(run.peak_mb, 1)},
        ),
    ]


def _growth(name: str, what: str, small: Run, large: Run, values: Sequence[float]) -> Figure:
    times = large.bots / small.bots
    return Figure(
        name=f"operator-growth-{name}",
        what=f"exponent of the growth of {what} from {small.bots:,} to {large.bots:,} bots",
        value=exponent(values[0], values[-1], times=times),
        unit="",
        goal=GOAL_EXPONENT,
        samples=len(values),
        detail={"values": [round(each, 2) for each in values]},
    )
