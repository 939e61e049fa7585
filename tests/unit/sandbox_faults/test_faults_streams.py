"""Faults on streams: what comes out, in which order, and when."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.market.events import NS_PER_SECOND
from tradingbot_sandbox.venues import faults_rules as rules
from tradingbot_sandbox.venues.faults import Event, FaultScript
from tradingbot_sandbox.venues.faults_rules import Effect, Operation, Rule, When
from tradingbot_sandbox.venues.faults_streams import StreamWay

ScriptOf = Callable[..., FaultScript]
At = Callable[[float], int]


def describe(number: int) -> Event:
    """Odd numbers are trades, even ones something else."""
    stream = "trade" if number % 2 else "depth"
    return Event(operation=Operation.MARKET_STREAM, stream=stream, symbol="BTCUSDT")


def way_of(script: FaultScript) -> StreamWay[int]:
    return StreamWay(script, describe)


def test_events_pass_in_their_order_at_once(make_script: ScriptOf, at: At) -> None:
    way = way_of(make_script(rules.LoseAnswer()))
    for number in range(5):
        way.put(number, at(0))
    assert way.next_due_ns() == at(0)
    assert way.take(at(0)) == [0, 1, 2, 3, 4]
    assert way.next_due_ns() is None


def test_gap_of_so_many_trades_lets_others_through(make_script: ScriptOf, at: At) -> None:
    script = make_script(rules.DropEvents(events=3), stream="trade", nth=2)
    way = way_of(script)
    for number in range(12):
        way.put(number, at(0))
    assert way.take(at(0)) == [0, 1, 2, 4, 6, 8, 9, 10, 11]
    assert script.report(at(0))[0]["hits"] == 1


def test_gap_ends_though_its_rule_is_over(make_script: ScriptOf, at: At) -> None:
    way = way_of(make_script(rules.DropEvents(events=2), until_seconds=Decimal(1)))
    way.put(0, at(0.9))
    way.put(1, at(5))
    way.put(2, at(5))
    assert way.take(at(9)) == [2]


def test_event_is_doubled(make_script: ScriptOf, at: At) -> None:
    way = way_of(make_script(rules.DuplicateEvent(times=2), nth=2))
    for number in range(3):
        way.put(number, at(0))
    assert way.take(at(0)) == [0, 1, 1, 1, 2]


def test_delayed_event_is_overtaken(make_script: ScriptOf, at: At) -> None:
    way = way_of(make_script(rules.DelayEvent(seconds=Decimal(2)), nth=1))
    way.put(0, at(0))
    way.put(1, at(1))
    assert way.take(at(1.9)) == [1]
    assert way.next_due_ns() == at(2)
    assert way.take(at(2)) == [0]


def test_events_are_shuffled_within_their_window(make_script: ScriptOf, at: At) -> None:
    way = way_of(make_script(rules.ReorderEvents(window=4), count=8))
    for number in range(10):
        way.put(number, at(0))
    out = way.take(at(0))
    assert sorted(out) == list(range(10))
    first, second = [n for n in out if n < 4], [n for n in out if 4 <= n < 8]
    assert first != sorted(first)
    assert second != sorted(second)
    assert out.index(max(first, key=out.index)) < out.index(min(second, key=out.index))
    assert out.index(8) < out.index(9)


def test_no_window_comes_out_as_it_went_in(make_script: ScriptOf, at: At) -> None:
    way = way_of(make_script(rules.ReorderEvents(window=2)))
    for number in range(40):
        way.put(number, at(0))
    assert way.take(at(0)) == [number + 1 - 2 * (number % 2) for number in range(40)]


def test_window_that_does_not_fill_is_let_go(make_script: ScriptOf, at: At) -> None:
    way = way_of(make_script(rules.ReorderEvents(window=10, seconds=Decimal(3))))
    way.put(0, at(0))
    way.put(1, at(1))
    assert way.take(at(2.9)) == []
    assert way.next_due_ns() == at(3)
    assert way.take(at(3)) == [1, 0]


def test_silence_by_itself_holds_for_its_time(make_script: ScriptOf, at: At) -> None:
    script = make_script(rules.Silence(seconds=Decimal(2)), operation=Operation.MARKET_STREAM, from_seconds=Decimal(1))

    def silent(operation: Operation, seconds: float) -> bool:
        return script.is_silent(operation, opened_ns=at(0), now_ns=at(seconds))

    assert [silent(Operation.MARKET_STREAM, s) for s in (0, 1, 2.9, 3)] == [False, True, True, False]
    assert not silent(Operation.USER_STREAM, 2)


def test_silence_may_end_with_its_rule(make_script: ScriptOf, at: At) -> None:
    script = make_script(rules.Silence(), until_seconds=Decimal(2))
    assert script.is_silent(Operation.USER_STREAM, opened_ns=at(0), now_ns=at(1))
    assert not script.is_silent(Operation.USER_STREAM, opened_ns=at(0), now_ns=at(2))


def test_silence_may_spare_new_connections(make_script: ScriptOf, at: At) -> None:
    script = make_script(rules.Silence(new_connections=False), from_seconds=Decimal(1))
    assert script.is_silent(Operation.USER_STREAM, opened_ns=at(0.5), now_ns=at(2))
    assert not script.is_silent(Operation.USER_STREAM, opened_ns=at(1), now_ns=at(2))


def test_silence_may_begin_with_an_event(make_script: ScriptOf, make_event: Callable[..., Event], at: At) -> None:
    script = make_script(rules.Silence(seconds=Decimal(5)), operation=Operation.USER_STREAM, nth=2)
    told = []
    for second in range(3):
        script.on_event(make_event(), at(second))
        told.append(script.is_silent(Operation.USER_STREAM, opened_ns=at(0), now_ns=at(second)))
    assert told == [False, True, True]
    assert not script.is_silent(Operation.USER_STREAM, opened_ns=at(0), now_ns=at(6))


def test_disconnect_comes_at_its_time_or_with_its_event(make_event: Callable[..., Event], at: At) -> None:
    timed = Rule(when=When(from_seconds=Decimal(3)), what=rules.Disconnect())
    counted = Rule(when=When(every=2, operation=Operation.USER_STREAM), what=rules.Disconnect())
    script = FaultScript([timed, counted], now_ns=at(0))
    told = []
    for second in range(5):
        script.on_event(make_event(), at(second))
        told.append([rule.when.every for rule in script.take_due(at(second))])
    assert told == [[], [2], [], [None, 2], []]


def test_events_of_other_kinds_are_not_asked_about(make_script: ScriptOf) -> None:
    script = make_script(rules.DuplicateEvent(), operation=Operation.USER_STREAM)
    assert script.is_hearing_events(Operation.USER_STREAM)
    assert not script.is_hearing_events(Operation.MARKET_STREAM)
    assert not make_script(rules.Silence()).is_hearing_events(Operation.MARKET_STREAM)


EFFECTS: list[Effect] = [
    rules.DuplicateEvent(),
    rules.ReorderEvents(window=3),
    rules.DropEvents(events=2),
    rules.DelayEvent(seconds=Decimal(2)),
]


@given(
    chosen=st.lists(st.tuples(st.sampled_from(EFFECTS), st.sampled_from(["0.2", "0.8"])), max_size=4),
    steps=st.lists(st.integers(0, NS_PER_SECOND), max_size=30),
    seed=st.integers(0, 5),
)
def test_nothing_is_lost_but_what_is_dropped_and_a_seed_replays(
    chosen: list[tuple[Effect, str]], steps: list[int], seed: int
) -> None:
    def play() -> tuple[list[tuple[int, int]], set[int]]:
        script = FaultScript(
            [Rule(when=When(probability=Decimal(chance)), what=what) for what, chance in chosen], now_ns=0, seed=seed
        )
        way, now_ns, out = way_of(script), 0, []
        for number, step in enumerate(steps):
            now_ns += step
            way.put(number, now_ns)
            out += [(now_ns, item) for item in way.take(now_ns)]
        while (due_ns := way.next_due_ns()) is not None:
            out += [(due_ns, item) for item in way.take(due_ns)]
        return out, set(range(len(steps)))

    out, all_of_them = play()
    assert play() == (out, all_of_them)
    came = [item for _, item in out]
    if not any(isinstance(what, rules.DropEvents) for what, _ in chosen):
        assert set(came) == all_of_them
    if not any(isinstance(what, rules.DuplicateEvent) for what, _ in chosen):
        assert len(came) == len(set(came))
