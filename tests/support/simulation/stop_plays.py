"""Plays the cells of the matrix of stops (stop_cells.py), and judges them by the wire and by the venue's book.

Each raises Violation with what broke. A cell whose situation did not come about breaks, too: it would prove nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from support.simulation.stop_cells import LATCHING, NS, SITUATIONS, Latching, SelfClearing, Situation, send_signal
from support.simulation.stop_truth import check_orders, check_positions
from support.simulation.stop_world import BTC, BUY_MORE, BUY_SOME, ETH, REST, StopWorld
from support.simulation.venue import add_rules
from tradingbot_sandbox.venues.faults_rules import Rule
from tradingbot_sandbox.venues.matching import Order
from tradingbot_sandbox.venues.matching import OrderState as VenueState

HELD_SECONDS = 6.0
"""How long a source that clears itself lasts at least: some candles, each of which asks for an entry."""


async def _set_up(world: StopWorld) -> None:
    """A position with its protective stop, and nothing else."""
    await world.until("Active", lambda: world.says("Active"))
    world.strategy.wishes[BTC] = BUY_SOME
    await world.until("a position and its stop", lambda: BTC in world.held() and world.truth.open_orders())
    await world.clock.sleep(0.5)


async def _make(world: StopWorld, situation: Situation) -> None:
    if situation.has_entry:
        add_rules(world.venue, situation.faults)
        world.strategy.wishes[ETH] = REST
        if not situation.faults:
            await world.until("an entry that rests", world.entries_open, 10)
            await world.clock.sleep(0.2)
    situation.prepare(world)
    await world.until("the situation", lambda: situation.is_there(world), 10)
    if not situation.faults:
        await world.clock.sleep(0.3)


def _press(world: StopWorld) -> None:
    """From now on every candle asks for more of everything."""
    world.strategy.wishes |= {BTC: BUY_MORE, ETH: REST}


async def play_latching(folder: Path, *, source: Latching, situation: Situation, action: str, crashes: bool) -> None:
    """`crashes`: the process is killed in the moment in which the latch is durable, and starts again."""
    world = StopWorld(folder, action=action, risk=source.risk)
    async with world.playing():
        await _set_up(world)
        await _make(world, situation)
        situation.begin(world)
        if situation.cuts_api and not source.needs_api:
            world.kube.down = True
        if not source.is_loss:  # what it buys would lose, too: another position, another stop
            _press(world)
        if action != "Flatten":
            world.no_sales_for = f"the action is {action}, and nobody asked for a sale"
        source.on(world, action)
        stored = await world.until("the latch", world.latch, 10)
        _press(world)
        latch_ns = world.clock.now_ns()
        touched = {order.client_id for order in world.truth.open_orders()}
        if situation.cuts_api:
            world.kube.down = True
        if crashes:
            await world.crash()
            await world.clock.sleep(1.0)
            world.begin()
        await _stop_ends(world, situation, stored.latch.id)
        at_venue = {order.client_id: order for order in _own(world)}
        touched |= {o.client_id for o in at_venue.values() if o.side.is_buy and o.created_ns > latch_ns}
        _judge_stop(world, source, action, at_venue, touched)
        world.raise_violations()
        await _release(world, source)
        await _finish(world)


def _own(world: StopWorld) -> list[Order]:
    return [order for order in world.venue.account.orders if order in world.truth.own_orders()]


async def _stop_ends(world: StopWorld, situation: Situation, latch_id: str) -> None:
    """First with the trouble there, as far as that is possible; then without."""

    def is_stopped() -> bool:
        stored = world.latch()
        return stored is not None and stored.latch.state == "Stopped" and stored.latch.flat != "Unknown"

    def is_told() -> bool:
        told, stored = world.kube.trader.get("latch") or {}, world.latch()
        return stored is not None and (told.get("state"), told.get("flat")) == (stored.latch.state, stored.latch.flat)

    deadline_ns = world.clock.monotonic_ns() + 12 * NS
    while not is_stopped() and world.clock.monotonic_ns() < deadline_ns:
        await world.clock.sleep(0.25)
    await world.clock.sleep(2.0)  # some candles, each of which asks for entries
    if situation.cuts_api and not is_stopped():
        world.report("P4: the API server is away, and the stop does not end without it")
    situation.heal(world)
    await world.until("the end of the stop", is_stopped)
    await world.until("the report of its end", is_told)
    stored = world.latch()
    if stored is None or stored.latch.id != latch_id:
        world.report(f"P4: the latch was {latch_id}, and now is {stored}")


def _judge_stop(world: StopWorld, source: Latching, action: str, at_venue: dict[str, Order], touched: set[str]) -> None:
    told = world.kube.trader["latch"]
    problems = list(check_orders(told, at_venue, touched=touched))
    problems += check_positions(told, world.held())
    if told["source"] != source.told_as or source.told_as not in {each["source"] for each in told["sources"]}:
        problems.append(f"the source is told as {told['source']}, {told['sources']}")
    if told["action"] != action:
        problems.append(f"the action is told as {told['action']}")
    if world.entries_open():
        problems.append(f"entries {world.entries_open()} still rest")
    left = world.truth.open_orders()
    if action == "Flatten" and (left or world.held()):
        problems.append(f"after Flatten {left} are open and {world.held()} is held")
    if action != "Flatten" and not [order for order in left if order.type.is_conditional]:
        problems.append("the protective stop is gone")
    if action != "Flatten" and world.own_sales():
        problems.append(f"{world.own_sales()} was sold")
    if told.get("acknowledgedAt") is None:
        problems.append("it ended, and was never acknowledged")
    for problem in problems:
        world.report(f"P4: {problem}; told {told}")


async def _release(world: StopWorld, source: Latching) -> None:
    """A wrong id releases nothing, the right one does once the source is off; then trading goes on."""
    told = world.kube.trader["latch"]
    source.off(world)
    world.kube.edit(killSwitch={"rearm": str(uuid.UUID(int=0))})
    await world.clock.sleep(2.0)
    stored = world.latch()
    if stored is None or stored.latch.id != told["id"]:
        world.report("P4: a wrong id released the latch")
        world.raise_violations()
    released_ns = world.clock.now_ns()
    world.kube.edit(killSwitch={"rearm": told["id"]})
    await world.until("the release", lambda: world.latch() is None, 60)
    if not world.reconciled_since(released_ns):
        world.report("P4: the latch was released without a fresh reconciliation")
    await world.until("an entry after the release", lambda: world.bought_since(released_ns), 60)


async def play_nothing_held(folder: Path, *, faults: Sequence[Rule], action: str, least_unknown_seconds: float) -> None:
    """The stop comes while the only order is on its way, and the position may begin behind its back."""
    world = StopWorld(folder, action=action, risk={})
    async with world.playing():
        await world.until("Active", lambda: world.says("Active"))
        add_rules(world.venue, faults)
        world.strategy.wishes[ETH] = BUY_SOME
        await world.until("an entry on its way", lambda: any(each.is_order for each in world.venue.sent), 10)
        world.strategy.wishes.clear()
        LATCHING["kill-switch"].on(world, action)
        latch_id = (await world.until("the latch", world.latch, 10)).latch.id
        began_ns = world.clock.monotonic_ns()
        await world.until("what is known", lambda: _told_flat(world) in ("True", "False"))
        known_seconds = (world.clock.monotonic_ns() - began_ns) / NS
        if known_seconds < least_unknown_seconds:
            world.report(f"P4: flat is told as {_told_flat(world)} after {known_seconds} s")
        await _stop_ends(world, SITUATIONS["idle"], latch_id)
        for problem in check_positions(world.kube.trader["latch"], world.held()):
            world.report(f"P4: {problem}")
        await _finish(world)


def _told_flat(world: StopWorld) -> str:
    return str((world.kube.trader.get("latch") or {}).get("flat"))


async def play_protective_stop_fills(folder: Path, *, action: str, crashes: bool) -> None:
    """Latched, and days later the market falls through the stop that was left at the venue to do just that."""
    world = StopWorld(folder, action=action, risk={})
    async with world.playing():
        await _set_up(world)
        LATCHING["kill-switch"].on(world, action)
        latch_id = (await world.until("the latch", world.latch, 10)).latch.id
        await _stop_ends(world, SITUATIONS["idle"], latch_id)
        if crashes:
            await world.crash()
        (stop,) = [order for order in world.truth.open_orders() if order.type.is_conditional]
        world.market.put(BTC, stop.stop_price - Decimal("0.02"))
        await world.until("that the venue sells", lambda: not world.held(), 10)
        if crashes:
            world.begin()
        await world.until("that it is told", lambda: _told_flat(world) == "True", 60)
        at_venue = {order.client_id: order for order in _own(world)}
        if stop.state is not VenueState.FILLED:
            world.report(f"the stop is {stop.state}: this proves nothing")
        for problem in check_orders(world.kube.trader["latch"], at_venue, touched=[stop.client_id]):
            world.report(f"P4: {problem}")
        await _finish(world)


async def play_decided(folder: Path) -> None:
    """The stop comes between the decision for an order and its first byte."""
    world = StopWorld(folder, action="CancelOrders", risk={})
    async with world.playing():
        await world.until("Active", lambda: world.says("Active"))
        await world.clock.sleep(1.5)  # what the history asks for is no order
        world.strategy.before_next = lambda: send_signal(world, "")
        world.strategy.wishes[ETH] = BUY_SOME
        await world.until("the latch", world.latch, 10)
        await world.clock.sleep(3.0)
        if not world.orders_denied():
            world.report("no order was decided before the stop: this proves nothing")
        if world.held():
            world.report(f"P4: {world.held()} was bought")
        await _finish(world)


async def play_self_clearing(folder: Path, *, source: SelfClearing, situation: Situation) -> None:
    world = StopWorld(folder, action="CancelOrders", risk={})
    async with world.playing():
        await _set_up(world)
        effect_ns = world.clock.monotonic_ns()
        world.no_sales_for = "this source never sells"
        if source.effect_ns is not None:
            source.on(world)
            effect_ns = source.effect_ns(world)
            await world.until_ns(effect_ns - int(situation.lead_seconds * NS))
        await _make(world, situation)
        situation.begin(world)
        if situation.cuts_api:
            world.kube.down = True
        if source.effect_ns is None:
            source.on(world)
        else:
            await world.until_ns(effect_ns)
        await world.clock.sleep(source.grace_seconds)
        await world.until("that it is noticed", lambda: source.is_noticed(world), 40)
        world.no_buys_for = "the source is on"
        _press(world)
        began_ns = world.clock.monotonic_ns()
        if source.ends_life:
            await world.end()
        while world.clock.monotonic_ns() - began_ns < HELD_SECONDS * NS or (
            world.entries_open() and world.clock.monotonic_ns() - began_ns < 3 * HELD_SECONDS * NS
        ):
            await world.clock.sleep(0.25)
        situation.heal(world)
        if source.ends_life:
            world.begin()
        await world.until("the end of what rests", lambda: not world.entries_open(), 60)
        world.no_buys_for = ""
        off_ns = world.clock.now_ns()
        world.must_reconcile_since_ns = off_ns
        source.off(world)
        await world.until("an entry after its end", lambda: world.bought_since(off_ns), 120)
        if not world.says("Active"):
            await world.until("Active", lambda: world.says("Active"), 40)
        if world.latches():
            world.report(f"P4: a latch was left: {world.latches()}")
        if world.own_sales():
            world.report(f"P4: {world.own_sales()} was sold")
        await _finish(world)


async def _finish(world: StopWorld) -> None:
    """To rest, and the rest of the promises: each fill once in the books, the audit's chain."""
    world.strategy.wishes.clear()
    await world.clock.sleep(2.0)
    await world.end()
    world.truth.check_end(world.store)
    world.raise_violations()
