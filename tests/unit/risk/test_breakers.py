"""Breakers: what opens them, what passes meanwhile, what closes them, and that a restart changes nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import BTC, ETH, NOW_NS, SECOND_NS

from tradingbot_trader.orders.order import Side
from tradingbot_trader.orders.outcome import SUCCESS, UNKNOWN, Action, Meaning, Outcome
from tradingbot_trader.risk.breakers import Breakers, BreakerSettings, TripKind, VenueState
from tradingbot_trader.venues.account import Operation

PLACE, CANCEL, QUERY = Operation.PLACE, Operation.CANCEL, Operation.QUERY
REFUSED = Meaning(Outcome.REJECTED, Action.NONE, is_venue_fault=False, row=None)
NEVER_LEFT = Meaning(Outcome.REJECTED, Action.NONE, is_venue_fault=True, row=None)


class Desk:
    """Breakers with a clock, so that a test reads as a story."""

    def __init__(self, **settings: int) -> None:
        self.settings = BreakerSettings(**settings)
        self.breakers = Breakers(self.settings)
        self.now_ns = NOW_NS

    def later(self, seconds: int) -> Desk:
        self.now_ns += seconds * SECOND_NS
        return self

    def answers(self, meaning: Meaning, operation: Operation = QUERY, *, times: int = 1) -> list[TripKind]:
        trips = [self.breakers.on_answer(meaning, operation, self.now_ns) for _ in range(times)]
        return [trip.kind for trip in trips if trip is not None]

    def fills(self, times: int, *, symbol: str = BTC, side: Side = Side.BUY, order_id: str = "") -> list[TripKind]:
        trips = [self.breakers.on_fill(symbol, side, self.now_ns, order_id) for _ in range(times)]
        return [trip.kind for trip in trips if trip is not None]

    def restart(self) -> Desk:
        self.breakers = Breakers.from_counters(self.breakers.to_counters(), self.settings)
        return self

    @property
    def refusal(self) -> str:
        return self.breakers.allows_new_risk(self.now_ns)

    @property
    def venue(self) -> VenueState:
        return self.breakers.venue.state(self.now_ns)


def open_venue(**settings: int) -> Desk:
    desk = Desk(**settings)
    assert desk.answers(UNKNOWN, times=5) == [TripKind.VENUE_API]
    return desk


def seconds_until_half_open(desk: Desk) -> int:
    seconds = 0
    while desk.venue is VenueState.OPEN:
        desk.later(1)
        seconds += 1
    return seconds


# the venue's API


def test_failures_in_a_row_open_the_venue_breaker() -> None:
    desk = Desk()
    assert desk.answers(UNKNOWN, times=4) == []
    assert desk.refusal == ""
    assert desk.answers(UNKNOWN) == [TripKind.VENUE_API]
    assert desk.refusal == "VenueApi: the venue's API fails; asked again in 30 s"
    (trip,) = desk.breakers.trips
    assert (trip.observed, trip.limit, trip.at_ns) == ("5 failures in a row", "5", NOW_NS)


def test_only_the_venues_own_failures_count() -> None:
    desk = Desk()
    assert desk.answers(REFUSED, QUERY, times=50) == []
    assert desk.answers(UNKNOWN, times=4) == []
    assert desk.answers(REFUSED, CANCEL) == []
    assert desk.answers(UNKNOWN, times=4) == []


def test_half_of_the_answers_of_a_minute_open_it() -> None:
    desk = Desk()
    assert desk.answers(SUCCESS, times=5) == []
    assert desk.answers(UNKNOWN, times=4) == []
    assert desk.answers(SUCCESS) == []
    assert desk.answers(UNKNOWN) == []  # 5 of 11
    assert desk.answers(UNKNOWN) == [TripKind.VENUE_API]  # 6 of 12
    assert desk.breakers.trips[0].observed == "6 of 12 answers within 60 s were failures"


def test_failures_of_an_earlier_minute_do_not_count_for_the_share() -> None:
    desk = Desk()
    desk.answers(UNKNOWN, times=4)
    desk.answers(SUCCESS)
    desk.answers(UNKNOWN, times=4)
    desk.later(60).answers(SUCCESS)
    assert desk.answers(UNKNOWN) == []


def test_while_it_is_open_answers_neither_close_it_nor_keep_it_open() -> None:
    desk = open_venue()
    desk.later(29)
    assert desk.answers(SUCCESS, times=3) == []
    assert desk.answers(UNKNOWN, times=9) == []
    assert desk.venue is VenueState.OPEN
    assert desk.later(1).venue is VenueState.HALF_OPEN


def test_half_open_lets_one_query_find_out_and_no_new_risk() -> None:
    desk = open_venue().later(30)
    assert desk.refusal == "VenueApi: waiting for one query to succeed"
    assert not desk.breakers.may_probe(PLACE, desk.now_ns)
    assert desk.breakers.may_probe(QUERY, desk.now_ns)
    assert not desk.breakers.may_probe(QUERY, desk.now_ns)
    assert not desk.breakers.may_probe(CANCEL, desk.now_ns)
    assert desk.later(10).breakers.may_probe(QUERY, desk.now_ns)


@pytest.mark.parametrize("open_for", [None, 0, 29])
def test_there_is_nothing_to_probe_unless_it_is_half_open(open_for: int | None) -> None:
    desk = Desk() if open_for is None else open_venue().later(open_for)
    assert not desk.breakers.may_probe(QUERY, desk.now_ns)


@pytest.mark.parametrize("operation", [QUERY, CANCEL])
def test_success_closes_it(operation: Operation) -> None:
    desk = open_venue().later(30)
    desk.answers(SUCCESS, operation)
    assert desk.venue is VenueState.CLOSED
    assert desk.refusal == ""
    assert desk.answers(UNKNOWN, times=4) == []


def test_answer_of_an_order_that_had_left_before_does_not_close_it() -> None:
    desk = open_venue().later(30)
    desk.answers(SUCCESS, PLACE)
    assert desk.venue is VenueState.HALF_OPEN


def test_each_failed_probe_doubles_the_time_up_to_the_longest() -> None:
    desk = open_venue()
    times = []
    for _ in range(7):
        times.append(seconds_until_half_open(desk))
        assert desk.answers(UNKNOWN) == [TripKind.VENUE_API]
    assert times == [30, 60, 120, 240, 480, 600, 600]


@pytest.mark.parametrize(("closed_for", "open_for"), [(599, 60), (600, 30)])
def test_venue_that_fails_again_soon_is_left_alone_for_longer(closed_for: int, open_for: int) -> None:
    desk = open_venue().later(30)
    desk.answers(SUCCESS)
    desk.later(closed_for).answers(UNKNOWN, times=5)
    assert seconds_until_half_open(desk) == open_for


# rejected orders


def test_too_many_rejected_orders_stop_new_risk_until_it_was_quiet() -> None:
    desk = Desk()
    assert desk.answers(REFUSED, PLACE, times=4) == []
    assert desk.later(59).answers(REFUSED, PLACE) == [TripKind.REJECT_STORM]
    assert desk.refusal == "RejectStorm: orders were refused; quiet for another 300 s"
    assert desk.later(299).refusal
    assert desk.answers(REFUSED, PLACE) == []  # an exit
    assert desk.later(299).refusal
    assert desk.later(1).refusal == ""


def test_rejects_of_an_earlier_minute_do_not_count() -> None:
    desk = Desk()
    desk.answers(REFUSED, PLACE, times=4)
    assert desk.later(60).answers(REFUSED, PLACE) == []


def test_refused_cancels_and_orders_that_never_left_are_no_storm() -> None:
    desk = Desk(venue_failures_in_a_row=100, venue_least_answers=100)
    assert desk.answers(REFUSED, CANCEL, times=9) == []
    assert desk.answers(NEVER_LEFT, PLACE, times=9) == []


@pytest.mark.parametrize(("closed_for", "quiet"), [(3_599, 600), (3_600, 300)])
def test_storm_that_returns_soon_needs_twice_the_quiet(closed_for: int, quiet: int) -> None:
    desk = Desk()
    desk.answers(REFUSED, PLACE, times=5)
    desk.later(300 + closed_for).answers(REFUSED, PLACE, times=5)
    assert desk.later(quiet - 1).refusal
    assert desk.later(1).refusal == ""


# repeated executions and contradictions


def test_the_same_side_filled_too_often_needs_a_reconciliation() -> None:
    desk = Desk()
    assert desk.fills(10) == []
    assert desk.fills(1) == [TripKind.REPEATED_EXECUTION]
    assert "11 orders to buy BTC/USDT were filled within 60 s against 10" in desk.later(86_400).refusal
    desk.breakers.on_reconciled(desk.now_ns)
    assert desk.refusal == ""


def test_other_symbols_other_sides_and_earlier_minutes_are_counted_apart() -> None:
    desk = Desk()
    assert desk.fills(10) + desk.fills(10, side=Side.SELL) + desk.fills(10, symbol=ETH) == []
    assert desk.later(60).fills(10) == []


def test_many_fills_of_one_order_are_one_execution() -> None:
    desk = Desk()
    assert desk.fills(100, order_id="a" * 32) == []
    assert desk.fills(9) == []
    assert desk.fills(1, order_id="b" * 32) == [TripKind.REPEATED_EXECUTION]


def test_fills_found_late_count_at_their_own_time() -> None:
    desk = Desk()
    desk.fills(5)
    assert [kind for hours in range(20, 0, -1) for kind in desk.later(-3_600 * hours).fills(1)] == []


def test_contradiction_is_cleared_only_by_a_reconciliation_that_began_after_it() -> None:
    desk = Desk()
    trip = desk.breakers.trip(TripKind.CONTRADICTION, "order a", desk.now_ns)
    assert desk.refusal.startswith("Contradiction: order a; cleared")
    desk.later(5).breakers.on_reconciled(desk.now_ns, started_ns=trip.at_ns - 1)
    assert desk.refusal
    desk.breakers.on_reconciled(desk.now_ns, started_ns=trip.at_ns)
    assert desk.refusal == ""


@pytest.mark.parametrize("kind", TripKind)
def test_anybody_can_trip_any_of_them(kind: TripKind) -> None:
    desk = Desk()
    assert desk.breakers.open_kinds(desk.now_ns) == ()
    assert desk.breakers.trip(kind, "because", desk.now_ns).kind is kind
    assert str(desk.breakers.trips[0]) == f"{kind}: because"
    assert desk.refusal
    assert desk.breakers.open_kinds(desk.now_ns) == (kind,)


# all of them


def test_a_restart_forgets_no_open_breaker_and_no_count() -> None:
    desk = open_venue()
    desk.answers(REFUSED, PLACE, times=5)
    desk.fills(11)
    assert desk.restart().breakers.open_kinds(desk.now_ns) == (
        TripKind.VENUE_API,
        TripKind.REJECT_STORM,
        TripKind.REPEATED_EXECUTION,
    )
    assert (desk.breakers.trips, desk.breakers.total_trips, desk.breakers.last_trip_ns) == ((), 3, NOW_NS)
    assert [reason.partition(":")[0] for reason in desk.refusal.split("; ") if ":" in reason] == [
        "RepeatedExecution",
        "VenueApi",
        "RejectStorm",
    ]


def test_what_was_not_written_is_closed() -> None:
    breakers = Breakers.from_counters({"pnl.day": "1"})
    assert (breakers.allows_new_risk(NOW_NS), breakers.total_trips, breakers.last_trip_ns) == ("", 0, None)


@pytest.mark.parametrize("name", ["venue", "rejects", "fills", "trips"])
@pytest.mark.parametrize("value", ["", "[]", "{}", "7", '{"open":["x",0,0],"rejects":[],"total":"x","last":0}'])
def test_counter_that_breakers_did_not_write_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"breaker.{name} is not what breakers have written"):
        Breakers.from_counters({f"breaker.{name}": value})


def test_settings_that_switch_a_breaker_off_are_refused() -> None:
    with pytest.raises(ValueError, match="rejects must be positive"):
        BreakerSettings(rejects=0)


EVENTS = st.one_of(
    st.tuples(
        st.just("answer"), st.sampled_from([SUCCESS, UNKNOWN, REFUSED, NEVER_LEFT]), st.sampled_from(list(Operation))
    ),
    st.tuples(st.just("fill"), st.sampled_from([BTC, ETH]), st.sampled_from(["", "a", "b"])),
    st.tuples(st.just("trip"), st.sampled_from(list(TripKind)), st.just("")),
    st.tuples(st.just("reconciled"), st.integers(-60, 0), st.just("")),
    st.tuples(st.just("probe"), st.sampled_from(list(Operation)), st.just("")),
)
STORY = st.lists(st.tuples(EVENTS, st.integers(-20, 120)), max_size=40)
SMALL = {"venue_failures_in_a_row": 3, "venue_least_answers": 4, "rejects": 2, "executions": 2}


def tell(breakers: Breakers, event: tuple[str, Any, Any], now_ns: int) -> None:
    match event:
        case ("answer", meaning, operation):
            breakers.on_answer(meaning, operation, now_ns)
        case ("fill", symbol, order_id):
            breakers.on_fill(symbol, Side.BUY, now_ns, order_id)
        case ("trip", kind, _):
            breakers.trip(kind, "because", now_ns)
        case ("reconciled", seconds, _):
            breakers.on_reconciled(now_ns, started_ns=now_ns + seconds * SECOND_NS)
        case (_, operation, _):
            breakers.may_probe(operation, now_ns)


@given(STORY, STORY)
def test_breakers_go_on_after_a_restart_as_if_there_had_been_none(before: list[Any], after: list[Any]) -> None:
    settings = BreakerSettings(**SMALL)
    one, now_ns = Breakers(settings), NOW_NS
    for event, seconds in before:
        tell(one, event, now_ns)
        now_ns += seconds * SECOND_NS
    other = Breakers.from_counters(one.to_counters(), settings)
    for event, seconds in after:
        tell(one, event, now_ns)
        tell(other, event, now_ns)
        now_ns += seconds * SECOND_NS
        assert one.allows_new_risk(now_ns) == other.allows_new_risk(now_ns)
        assert one.to_counters() == other.to_counters()


def test_no_trip_is_missing_however_many_there_were() -> None:
    desk = Desk()
    for number in range(200):
        desk.breakers.trip(TripKind.CONTRADICTION, str(number), desk.now_ns)
    assert [trip.observed for trip in desk.breakers.trips] == [str(number) for number in range(200)]


@given(STORY)
def test_no_new_order_is_ever_the_probe_and_open_names_agree_with_the_refusal(story: list[Any]) -> None:
    breakers, now_ns = Breakers(BreakerSettings(**SMALL)), NOW_NS
    for event, seconds in story:
        tell(breakers, event, now_ns)
        now_ns += seconds * SECOND_NS
        assert not breakers.may_probe(PLACE, now_ns)
        assert bool(breakers.allows_new_risk(now_ns)) == bool(breakers.open_kinds(now_ns))


@given(STORY, st.integers(0, 10 * 86_400))
def test_time_and_a_reconciliation_close_all_even_when_the_clock_had_jumped(
    story: list[Any], back_seconds: int
) -> None:
    settings = BreakerSettings(**SMALL)
    breakers, now_ns = Breakers(settings), NOW_NS
    for event, seconds in story:
        tell(breakers, event, now_ns)
        now_ns += seconds * SECOND_NS
    now_ns -= back_seconds * SECOND_NS
    breakers.allows_new_risk(now_ns)  # once it was asked at the earlier time, the longest time from there on is enough
    breakers.on_reconciled(now_ns)
    now_ns += max(settings.venue_longest_open_seconds, settings.reject_longest_quiet_seconds) * SECOND_NS
    breakers.on_reconciled(now_ns)
    breakers.on_answer(SUCCESS, QUERY, now_ns)
    assert breakers.allows_new_risk(now_ns) == ""
