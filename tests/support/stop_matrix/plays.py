"""Plays one cell of the matrix of stops on a real bot, and judges it by the venue's log and book. Raises what broke.

First the situation is made, then the stop is asked for while the strategy goes on asking for more; then it is looked
at, released or ended, and the bot has to trade again.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.stop_matrix.bots import AGAIN, HELD, MORE, RESTS, Bot
from support.stop_matrix.cells import API_DEAD, CLOCK, CONTACT, Cell
from support.stop_matrix.contact import last_contact_ns
from support.stop_matrix.moves import LATCHING, SELF_CLEARING, SITUATIONS, Latching, SelfClearing, Situation
from support.stop_matrix.verdict import NS, as_ns, check_latch, check_nothing_left, find_word, read_held, read_orders
from support.stop_matrix.waves import TRIES, Meeting, NotThere

DENIALS = 3
"""So many entries have to be asked for, and refused, before a silence is believed."""
TROUBLE_SECONDS = 12.0
"""So long a stop may take to end with the trouble there; then the trouble ends, and it has to."""
REPORT_SECONDS = 15.0
"""So long the report of a stop's end may be on its way; what is wrong with it after that is wrong."""
FLIGHT_LEAD_SECONDS = 1.9
"""So long before a moment that is known is a candle waited for that brings an order under way."""


def play(bot: Bot, cell: Cell, meeting: Meeting) -> None:
    try:
        if cell.latches:
            _play_latching(bot, cell, meeting)
        else:
            _play_self_clearing(bot, cell, meeting)
    finally:
        bot.remove_faults()
        SITUATIONS["websocket-down"].heal(bot)


def _make(bot: Bot, situation: Situation) -> None:
    situation.before(bot)
    if situation.entry is not None:
        bot.wish(ETH=situation.entry)
    try:
        bot.wait("its situation", lambda: situation.is_there(bot), seconds=30.0)
    except AssertionError as error:
        bot.remove_faults()
        raise NotThere(str(error)) from None


def _make_in_turn(bot: Bot, situation: Situation, meeting: Meeting) -> None:
    """What does not last is made last."""
    for stage in range(3):
        if situation.made_at == stage:
            _make_at_last(bot, situation)
        meeting.reach(bot, f"made-{stage}")


def _make_at_last(bot: Bot, situation: Situation) -> None:
    """A market that bursts may fill the whole of what was to be filled in part: then once more."""
    for _ in range(TRIES - 1):
        try:
            return _make(bot, situation)
        except NotThere:
            bot.settle()
    return _make(bot, situation)


def _press(bot: Bot) -> None:
    """From now on every candle asks for more of everything."""
    bot.wish(BTC=MORE, ETH=RESTS, SOL=HELD)


def _count(bot: Bot, event: str, *, after_ns: int) -> int:
    """By the log: a store that takes nothing has none of them."""
    found = (line for line in bot.log() if line.get("event") == event and line.get("purpose") in (None, "Entry"))
    return sum(as_ns(line["timestamp"]) > after_ns for line in found)


def _look_at_the_wire(bot: Bot, *, after_ns: int, may_sell: bool, has_candles: bool = True) -> None:
    """For as long as it takes until entries were asked for, and refused; or until something left. Without candles no
    strategy asks: then until the market was called for some times in vain."""
    event = "order_denied" if has_candles else "stream lost"

    def left() -> list[str]:
        return list(check_nothing_left(bot.arrivals(), bot.decided(), after_ns=after_ns, may_sell=may_sell))

    bot.wait("entries that are refused", lambda: left() or _count(bot, event, after_ns=after_ns) >= DENIALS)
    _fail(left(), bot.words()[-3:])


def _softly(bot: Bot, what: str, look: Any, seconds: float) -> bool:
    """Whether it came in that time."""
    try:
        bot.wait(what, look, seconds=seconds)
    except AssertionError:
        return False
    return True


def _fail(problems: list[str], told: object) -> None:
    if problems:
        raise AssertionError("; ".join(problems) + f"; told {told}")


# A stop that only a person releases


def _play_latching(bot: Bot, cell: Cell, meeting: Meeting) -> None:
    source, situation = LATCHING[cell.source], SITUATIONS[cell.situation]
    bot.settle()
    bot.ask({"killSwitch": {"action": cell.action}})
    bot.wait_for_spec()
    _make_in_turn(bot, situation, meeting)
    open_before = {order["clientOrderId"] for order in bot.open_at_venue()}
    situation.begin(bot)
    is_heard_first = source.needs_api and cell.situation == API_DEAD
    if not is_heard_first:
        meeting.reach(bot, "struck")
        _press(bot)
    source.on(bot, cell.action)
    latch_id = bot.wait("the latch", bot.latch).id
    latched_ns = time.time_ns()
    _press(bot)
    if is_heard_first:
        meeting.reach(bot, "struck")

    def is_stopped() -> bool:
        latch = bot.latch()
        return latch is not None and latch.state == "Stopped" and latch.flat != "Unknown"

    problems = []
    ends_with_trouble = _softly(bot, "the end of the stop", is_stopped, TROUBLE_SECONDS)
    if cell.situation == API_DEAD and not ends_with_trouble:
        problems.append("the API server is away, and the stop does not end without it")
    _look_at_the_wire(bot, after_ns=latched_ns, may_sell=cell.action == "Flatten")
    meeting.reach(bot, "healed")
    if not situation.met(bot):
        raise NotThere("its fault was not met")
    situation.heal(bot)
    bot.wait("the end of the stop", is_stopped)
    open_at = Moment(open_before, latch_id, latched_ns)
    _softly(bot, "a report of the whole end", lambda: not _judge_stop(bot, cell, source, open_at)[0], REPORT_SECONDS)
    found, told = _judge_stop(bot, cell, source, open_at)
    _fail([*problems, *found], told)
    _release(bot, source)


def _release(bot: Bot, source: Latching) -> None:
    """By its id, once a loosened limit of loss is in force: before the permit covers it, it would latch anew."""
    latch = bot.latch()
    assert latch is not None
    released_ns = time.time_ns()
    source.off(bot)
    bot.ask({"killSwitch": {"engaged": False}, **source.released_by})
    if source.released_by:
        bot.wait("the permit", bot.has_its_permit)
    bot.ask({"killSwitch": {"rearm": latch.id}})
    bot.wait("the release", lambda: bot.latch() is None)
    _trade_again(bot, after_ns=released_ns)


@dataclass(frozen=True)
class Moment:
    """In which a stop came."""

    open_before: set[str]
    """Ids at the venue just before it."""
    latch_id: str
    latched_ns: int
    """By then it was in the store."""


def _judge_stop(bot: Bot, cell: Cell, source: Latching, at: Moment) -> tuple[list[str], dict[str, Any]]:
    """What is wrong with the report as it is now, and the report."""
    told = bot.trader["latch"]
    account, decided, arrivals = bot.account(), bot.decided(), bot.arrivals()
    problems = [f"the latch was {at.latch_id}, and now is {told['id']}"] if told["id"] != at.latch_id else []
    if told["state"] != "Stopped":
        problems.append(f"it has ended, and is told as {told['state']}")
    may_sell = cell.action == "Flatten"
    problems += check_nothing_left(arrivals, decided, after_ns=at.latched_ns, may_sell=may_sell)
    if told.get("acknowledgedAt"):
        after_ns = as_ns(told["acknowledgedAt"])
        problems += check_nothing_left(arrivals, decided, after_ns=after_ns, may_sell=may_sell)
    problems += check_latch(
        told, orders=read_orders(account, bot.prefix), held=read_held(account, bot.prices()),
        open_before=at.open_before, engaged_ns=bot.engaged_ns(told["id"]), source=source.told_as(bot),
        action=cell.action,
    )  # fmt: skip
    return problems, told


def _trade_again(bot: Bot, *, after_ns: int) -> None:
    """An entry is taken by the venue, and not before books and account were compared."""
    bot.wish(SOL=AGAIN)

    def first_entry_ns() -> int:
        """By the venue's log: the clock of its book may be skewed."""
        taken = {order["clientOrderId"] for order in bot.account()["orders"] if order["side"] == "BUY"}
        return min((a.at_ns for a in bot.arrivals() if a.at_ns > after_ns and a.client_id in taken), default=0)

    first_ns = bot.wait("an entry after it", first_entry_ns)
    if not any(after_ns < at_ns <= first_ns for at_ns in bot.reconciled_ns()):
        raise AssertionError("an entry was placed before a fresh reconciliation")


# A source that clears itself


def _play_self_clearing(bot: Bot, cell: Cell, meeting: Meeting) -> None:
    source, situation = SELF_CLEARING[cell.source], SITUATIONS[cell.situation]
    bot.settle()
    began_ns = time.time_ns()
    epoch, pid = int(bot.trader["epoch"]), bot.pid
    is_timed = bool(source.lead_seconds) or cell.source == CONTACT
    with ExitStack() as until_off:
        if is_timed:
            _begin_before_its_effect(bot, cell, source, situation, meeting, until_off)
            on_ns = began_ns
        else:
            _make_in_turn(bot, situation, meeting)
            situation.begin(bot)
            _press(bot)
            on_ns = time.time_ns()
            meeting.reach(bot, "struck")
            source.on(bot, until_off)
        since_ns = _wait_for_its_word(bot, source, after_ns=on_ns)
        _press(bot)
        if not source.ends_life:
            _look_at_the_wire(bot, after_ns=since_ns, may_sell=False, has_candles=source.has_candles)
        _softly(bot, "the end of what rests", lambda: not bot.entries(), TROUBLE_SECONDS)
        off_ns = time.time_ns()
        meeting.reach(bot, "healed")
        situation.heal(bot)
        if cell.source not in (CONTACT, CLOCK):  # what was everybody's is over by now, and the bot trades again
            bot.wait("the end of what rests", lambda: not bot.entries())
    if source.ends_life:  # its last word and its Lease need the API server: with that away, it waits for some time
        bot.wait("the end of the process", lambda: not Path(f"/proc/{pid}").exists())
        off_ns = bot.wait("its drain", lambda: bot.last_ns("drained", after_ns=since_ns))
        bot.wait("the next run", lambda: int(bot.trader["epoch"]) > epoch)
    _trade_again(bot, after_ns=off_ns)

    arrivals, decided = bot.arrivals(), bot.decided()
    problems = list(check_nothing_left(arrivals, decided, after_ns=since_ns, until_ns=off_ns, may_sell=False))
    problems += [
        f"{o.type} SELL {client_id} left: this source never sells"
        for client_id, o in decided.items()
        if o.side == "SELL" and not o.type.startswith("STOP_LOSS") and on_ns < o.sent_ns < off_ns
    ]
    if bot.audit("Latched", after_ns=began_ns) or bot.trader["latch"].get("state", "Armed") != "Armed":
        problems.append("a latch was left")
    _fail(problems, bot.trader.get("latch"))
    if cell.situation == "in-flight" and is_timed and not _was_under_way(bot, since_ns):
        raise NotThere("no order was under way when it took effect")


def _begin_before_its_effect(
    bot: Bot, cell: Cell, source: SelfClearing, situation: Situation, meeting: Meeting, until_off: ExitStack
) -> None:
    """The source takes effect some seconds after its beginning, and then the situation has to be there."""
    if cell.source == CONTACT:
        for stage in range(3):
            meeting.reach(bot, f"made-{stage}")
        meeting.reach(bot, "struck")
        effect_ns = last_contact_ns(bot) + 30 * NS
        lead_seconds = FLIGHT_LEAD_SECONDS if situation.made_at == 2 else 9.0
        make_ns = effect_ns - int(lead_seconds * NS)
    else:
        source.on(bot, until_off)
        make_ns = time.time_ns() + int((source.lead_seconds - situation.takes_seconds) * NS)
    bot.wait("the moment before", lambda: time.time_ns() >= make_ns)
    _make(bot, situation)
    situation.begin(bot)
    if cell.source != CONTACT:
        _make_nothing_more(bot, meeting)


def _make_nothing_more(bot: Bot, meeting: Meeting) -> None:
    for stage in ("made-0", "made-1", "made-2", "struck"):
        meeting.reach(bot, stage)


def _wait_for_its_word(bot: Bot, source: SelfClearing, *, after_ns: int) -> int:
    """When the trader said that it holds back for this."""
    if source.told_by:
        found = bot.wait("its word", lambda: bot.audit(source.told_by, after_ns=after_ns), seconds=90.0)
        return int(found[0][0])
    word = bot.wait("its word", lambda: find_word(bot.words(), source.cause, after_ns=after_ns), seconds=120.0)
    return int(word.at_ns)


def _was_under_way(bot: Bot, at_ns: int) -> bool:
    created = {order["clientOrderId"]: int(order["time"]) * 1_000_000 for order in bot.account()["orders"]}
    return any(a.at_ns < at_ns < created.get(a.client_id, 0) for a in bot.arrivals())
