"""What goes wrong in one world: drawn from its seed, printable, and the same each time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from support.simulation.crash import POINTS
from tradingbot_sandbox.venues import faults_rules as rules
from tradingbot_sandbox.venues.faults_rules import Effect, Operation, Rule, When

SECONDS = 60.0
"""How long the chaos of one world lasts."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happens around the trader, beside the venue's own faults."""

    at_seconds: float
    what: str
    seconds: float = 0.0
    """How long it lasts, where it does."""
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    seed: int
    rules: tuple[Rule, ...] = ()
    crashes: tuple[tuple[str, int], ...] = ()
    """Where each life ends: a point, and the n-th time that it is passed."""
    incidents: tuple[Incident, ...] = ()
    seconds: float = SECONDS
    kinds: str = "limit,ioc,market,post"
    latency_seconds: float = 0.02
    symbols: int = 2
    spec: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        lines = [f"seed {self.seed}: {self.seconds:g} s, kinds {self.kinds}, latency {self.latency_seconds:g} s"]
        lines += [f"  life {n + 1} ends at {point} ({nth})" for n, (point, nth) in enumerate(self.crashes)]
        lines += [f"  {i.at_seconds:6.2f} s {i.what} {i.value} for {i.seconds:g} s" for i in self.incidents]
        lines += [f"  {rule.what} when {_short(rule.when)}" for rule in self.rules]
        return "\n".join(lines)


def draw_plan(seed: int) -> Plan:
    draw = random.Random(f"plan {seed}")  # noqa: S311  a simulation
    crashes = tuple((draw.choice(POINTS), draw.randint(1, 6)) for _ in range(draw.choice((0, 0, 1, 1, 2, 3))))
    return Plan(
        seed=seed,
        rules=tuple(_draw_rule(draw) for _ in range(draw.choice((0, 1, 2, 3, 4, 6)))),
        crashes=crashes,
        incidents=tuple(sorted(_draw_incidents(draw), key=lambda each: each.at_seconds)),
        kinds=draw.choice(("limit,ioc,market,post", "limit,post", "ioc", "market", "limit,ioc")),
        latency_seconds=draw.choice((0.001, 0.02, 0.02, 0.3, 1.5)),
        symbols=draw.choice((1, 2)),
    )


def _draw_rule(draw: random.Random) -> Rule:
    seconds = Decimal(draw.choice(("0", "0.5", "2", "8", "30")))
    requests: tuple[Effect, ...] = (
        rules.LoseRequest(seconds=min(seconds, Decimal(8))),
        rules.LoseAnswer(seconds=min(seconds, Decimal(8))),
        rules.LoseAnswer(seconds=Decimal(0)),
        rules.AnswerLate(seconds=seconds),
        rules.AcceptLate(seconds=min(seconds, Decimal(2)), answered=draw.random() < 0.5),
        rules.ServerError(status=draw.choice((500, 502, 503, 504)), accepted=draw.random() < 0.5),
        rules.ServerError(status=503, code=draw.choice((-1006, -1007, -1008)), accepted=draw.random() < 0.5),
        rules.RateLimited(retry_after_seconds=draw.choice((1, 5))),
        rules.WafBlock(),
        rules.TruncateAnswer(dies=draw.random() < 0.5),
        rules.EmptyAnswer(accepted=draw.random() < 0.5),
        rules.GarbageAnswer(accepted=draw.random() < 0.5),
        rules.Reject(code=draw.choice((-1013, -1021, -2010, -2011))),
    )
    kind = draw.randrange(10)
    if kind < 6:
        operation = draw.choice(
            (Operation.PLACE, Operation.PLACE, Operation.PLACE, Operation.CANCEL, Operation.QUERY, Operation.ANY)
        )
        what = draw.choice(requests)
        if isinstance(what, rules.Reject) and operation is not Operation.PLACE:
            what = rules.LoseAnswer(seconds=Decimal(0))  # a venue does not refuse what it is asked about at random
        return Rule(when=_draw_when(draw, operation), what=what)
    if kind == 6:
        what = rules.PartialFill(most_base=Decimal(draw.choice(("0.001", "0.05"))))
        return Rule(when=_draw_when(draw, Operation.PLACE), what=what)
    if kind == 7:
        hidden = rules.HideOrder(seconds=Decimal(draw.choice((1, 5, 20))), trades=draw.random() < 0.3)
        return Rule(when=_draw_when(draw, Operation.PLACE), what=hidden)
    if kind == 8:
        events: tuple[Effect, ...] = (
            rules.DuplicateEvent(times=draw.choice((1, 3))),
            rules.ReorderEvents(window=draw.choice((2, 5))),
            rules.DropEvents(events=draw.choice((1, 5))),
            rules.DelayEvent(seconds=Decimal(draw.choice((1, 5)))),
            rules.Disconnect(),
        )
        operation = draw.choice((Operation.USER_STREAM, Operation.USER_STREAM, Operation.MARKET_STREAM))
        return Rule(when=_draw_when(draw, operation), what=draw.choice(events))
    venue: tuple[Effect, ...] = (
        rules.ClockSkew(milliseconds=draw.choice((-5000, -400, 700, 4000))),
        rules.StaleMarket(),
        rules.FilterChange(symbol="BTCUSDT", tick=Decimal("0.02"), step=Decimal("0.002")),
    )
    start = Decimal(draw.randrange(5, 40))
    until = None if kind != 9 else start + Decimal(draw.choice((5, 20, 40)))
    what = draw.choice(venue)
    if isinstance(what, rules.FilterChange):
        until = None
    return Rule(when=When(from_seconds=start, until_seconds=until), what=what)


def _draw_when(draw: random.Random, operation: Operation) -> When:
    start = Decimal(draw.randrange(0, 45))
    until = start + Decimal(draw.choice((10, 30, 45)))
    how = draw.randrange(3)
    if how == 0:
        return When(operation=operation, nth=draw.randint(1, 8), count=draw.choice((1, 1, 3)), from_seconds=start)
    if how == 1:
        return When(operation=operation, every=draw.randint(2, 5), from_seconds=start, until_seconds=until)
    chance = Decimal(draw.choice(("0.1", "0.3", "0.8")))
    return When(
        operation=operation, probability=chance, seed=draw.randrange(10**6), from_seconds=start, until_seconds=until
    )


def _draw_incidents(draw: random.Random) -> list[Incident]:
    found = []
    for _ in range(draw.choice((0, 0, 1, 2, 3))):
        at = draw.uniform(5, SECONDS - 10)
        what = draw.choice(
            ("cut-off", "control-plane-down", "disk-full", "kill", "kill", "permit-revoked", "limit-lowered",
             "wall-clock", "deposit", "manual-trade", "sigterm", "key-rotated", "volume-lost")
        )  # fmt: skip
        seconds = {
            "cut-off": draw.choice((1.0, 15.0, 40.0)),
            "control-plane-down": draw.choice((10.0, 45.0)),
            "disk-full": draw.choice((2.0, 20.0)),
            "kill": draw.choice((3.0, 15.0)),
            "permit-revoked": 10.0,
        }.get(what, 0.0)
        value = {
            "wall-clock": draw.choice(("90000", "-90000", "30")),
            "kill": draw.choice(("CancelOrders", "ReduceOnly", "Flatten")),
        }.get(what, "")
        found.append(Incident(at, what, seconds, value))
    return found


def _short(when: When) -> str:
    default = When()
    names = [name for name in When.__dataclass_fields__ if getattr(when, name) != getattr(default, name)]
    return ", ".join(f"{name}={getattr(when, name)}" for name in names) or "always"
