"""What the operator writes for one bot, counted in the API server's audit log. SHELL.

The real operator, API server, etcd and controller manager; no node, so that pods are never scheduled. Each bot has a
namespace of its own, by which a request finds its bot. What a trader would report, the bench says in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.integration.operator import conftest as parts

from bench.figure import Figure, percentile
from bench.operator_process import Cluster, Process, running_cluster
from bench.setting import Setting
from tradingbot_api.digest import digest_spec
from tradingbot_api.spec import TradingBotSpec
from tradingbot_sandbox.control_plane.audit import AuditEvent

RESYNC_SECONDS = 1.0
LISTS = 3
"""After so many whole re-lists nothing more is expected."""
GOAL_CHANGED, GOAL_QUIET = 2, 0
CREATED = 201
AT = "2025-06-15T15:06:40Z"
"""When the trader that the bench plays has started."""

CHANGES: Mapping[str, tuple[parts.Raw, parts.Raw]] = {
    "stage": ({"capital": {"stage": "small"}}, {"capital": {"stage": "micro"}}),
    "limit": ({"risk": {"maxOrderNotional": "10"}}, {"risk": {"maxOrderNotional": "30"}}),
    "symbols": ({"symbols": ["BTC/USDT", "ETH/USDT"]}, {"symbols": ["BTC/USDT"]}),
    "strategy": ({"strategy": {"parameters": {"fast": 6}}}, {"strategy": {"parameters": {"fast": 5}}}),
    "on-delete": ({"onDelete": "Hold"}, {"onDelete": "CancelOrders"}),
}
"""There and back. There is a bot for each."""

Act = Callable[[str, parts.Desk], None]
"""What happens to one bot: the change that it is there for, and its namespace."""


@dataclass(frozen=True, slots=True)
class Writes:
    """Of one phase, by bot; and what was written beside the bots."""

    by_bot: Mapping[str, Sequence[AuditEvent]]
    elsewhere: Sequence[AuditEvent]

    @property
    def counts(self) -> dict[str, int]:
        """By bot, without what made its children."""
        return {bot: sum(not _makes_child(each) for each in found) for bot, found in self.by_bot.items()}

    @property
    def by_resource(self) -> dict[str, int]:
        """Of all bots together."""
        return dict(Counter(each.resource for found in self.by_bot.values() for each in found))


def sort_writes(events: Sequence[AuditEvent], namespaces: Mapping[str, str]) -> Writes:
    """PURE. Answered 2xx, no dry run. The operator's own Lease, which lies in no bot's namespace, is left out.

    `namespaces`: of each bot.
    """
    done = [each for each in events if each.is_write and 200 <= each.code < 300 and "dryRun=" not in each.uri]
    by_bot = {bot: [each for each in done if each.namespace == namespace] for bot, namespace in namespaces.items()}
    known = set(namespaces.values())
    return Writes(by_bot, [each for each in done if each.namespace not in known and each.resource != "leases"])


def _makes_child(event: AuditEvent) -> bool:
    return event.code == CREATED and event.resource != "events"


async def measure(setting: Setting) -> list[Figure]:
    interval = f"--resync-interval-seconds={RESYNC_SECONDS}"
    with running_cluster(setting, "cluster", controllers=True) as cluster:
        phases = Phases(setting, cluster, {what: cluster.create_namespace(f"bot-{what}") for what in CHANGES})
        with cluster.operator(interval) as operator:
            create = phases.count("create", operator, _create)
            idle = [phases.count(f"change {way + 1}", operator, _change(way)) for way in (0, 1)]
            start = phases.count("a trader reports", operator, _start)
            running = [phases.count(f"change {way + 3}", operator, _change(way, and_report=True)) for way in (0, 1)]
            no_op = phases.count("no-op changes", operator, _touch)
            resync = phases.count("resync", operator, lambda _what, _desk: None)
            audit = cluster.audit()
            operator.kill()
        with cluster.operator(interval) as again:
            again.until_resynced(LISTS)
            restart = phases.sort(audit)
        where = f"Kubernetes {cluster.version}"
    again_too = f"{LISTS} re-lists included"
    return [
        _figure("create", f"a new bot costs beyond its children, {where}", [create], goal=GOAL_CHANGED),
        _figure("change", "a change of a bot's spec costs, no trader reports", idle, goal=GOAL_CHANGED),
        _figure("change-running", "a change costs when a trader takes it up and reports", running, goal=GOAL_CHANGED),
        _figure("start", "a trader's first report and its ready pod cost", [start], goal=None),
        _figure("no-op", "heartbeats, annotations and the same spec again cost", [no_op], goal=GOAL_QUIET),
        _figure("resync", f"{LISTS} re-lists cost", [resync], goal=GOAL_QUIET),
        _figure("restart", f"a killed operator's successor costs, {again_too}", [restart], goal=GOAL_QUIET),
    ]


@dataclass(frozen=True, slots=True)
class Phases:
    setting: Setting
    cluster: Cluster
    desks: Mapping[str, parts.Desk]

    def count(self, name: str, operator: Process, act: Act) -> Writes:
        """All bots at once, then until nothing more can come."""
        self.setting.say(f"counting writes: {name}")
        audit = self.cluster.audit()
        for what, desk in self.desks.items():
            act(what, desk)
        operator.require_alive()
        operator.until_resynced(LISTS)
        return self.sort(audit)

    def sort(self, audit: parts.Audit) -> Writes:
        return sort_writes(audit.events(), {what: desk.namespace for what, desk in self.desks.items()})


def _figure(name: str, what: str, phases: Sequence[Writes], *, goal: int | None) -> Figure:
    counts = [float(count) for writes in phases for count in writes.counts.values()]
    return Figure(
        name=f"operator-writes-{name}",
        what=f"writes of the operator that {what}; the most of any bot",
        value=max(counts),
        unit="writes",
        goal=goal,
        samples=len(counts),
        p50=percentile(counts, 50),
        p99=percentile(counts, 99),
        detail={
            "by_bot": [writes.counts for writes in phases],
            "by_resource": [writes.by_resource for writes in phases],
            "elsewhere": [f"{each.verb} {each.resource}" for writes in phases for each in writes.elsewhere],
        },
    )


def _create(_what: str, desk: parts.Desk) -> None:
    desk.create_bot()
    desk.until_current()


def _change(way: int, *, and_report: bool = False) -> Act:
    def change(what: str, desk: parts.Desk) -> None:
        desk.patch(CHANGES[what][way])
        if and_report:
            _report(desk)  # a running trader takes milliseconds, and the operator waits for it (plan.PATIENCE_NS)
        desk.until_current()

    return change


def _start(_what: str, desk: parts.Desk) -> None:
    desk.make_pod_ready()
    _report(desk)
    desk.until_verdict("Ready", "True", "Trading")


def _touch(_what: str, desk: parts.Desk) -> None:
    """Three heartbeats, an annotation of somebody else, and what a GitOps tool applies again."""
    for fills in range(1, 4):
        _report(desk, performance={"fills": fills})
    bot = desk.bot()
    annotation = {"metadata": {"annotations": {"example.com/seen": "yes"}}}
    spec = {"apiVersion": bot["apiVersion"], "kind": bot["kind"], "spec": bot["spec"]}
    path = desk.path("TradingBot", "btc")
    answers = [
        desk.admin.merge(path, annotation),
        desk.admin.merge(path, {"spec": bot["spec"]}),
        desk.admin.request("PATCH", f"{path}?fieldManager=gitops&force=true", spec, content_type=parts.APPLY),
    ]
    for answer in answers:
        if not answer.is_success:
            raise RuntimeError(f"a no-op change was refused: {answer.body}")


def _report(desk: parts.Desk, **more: Any) -> None:
    """As a trader that has taken up the newest spec."""
    digest = digest_spec(TradingBotSpec.model_validate(desk.bot()["spec"]))
    desk.report(config={"digest": digest}, startedAt=AT, **more)
