"""The rate budget: no window is ever overdrawn, a cancel finds room, and a pause is a pause."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import DAY_NS, NOW_NS, SECOND_NS

from tradingbot_trader.orders.budget import BINANCE_LIMITS, WEIGHT_PERCENT, Counts, Lane, RateBudget, RateLimit

MINUTE_NS = 60 * SECOND_NS
START_NS = NOW_NS - NOW_NS % DAY_NS
"""The beginning of a day, so of every window."""
LIMIT = 100


def budget(weight: int = LIMIT, *, orders: int = 1_000, orders_a_day: int = 10_000) -> RateBudget:
    return RateBudget(
        [
            RateLimit(Counts.WEIGHT, 60, weight),
            RateLimit(Counts.ORDERS, 10, orders),
            RateLimit(Counts.ORDERS, 86_400, orders_a_day),
        ]
    )


def taken(one: RateBudget, lane: Lane, *, weight: int = 1, at_ns: int = START_NS, most: int = 10_000) -> int:
    """How many requests of that lane may leave at this moment."""
    count = 0
    while count < most and one.next_allowed_ns(lane, weight, at_ns) == at_ns:
        one.take(lane, weight, at_ns)
        count += 1
    return count


@pytest.mark.parametrize(("lane", "count"), [(Lane.NEW, 70), (Lane.QUERY, 85), (Lane.EXIT, 90), (Lane.CANCEL, 100)])
def test_each_lane_fills_its_share_of_a_window_and_waits_for_the_next(lane: Lane, count: int) -> None:
    one = budget()
    assert taken(one, lane) == count
    assert one.next_allowed_ns(lane, 1, START_NS + SECOND_NS) == START_NS + MINUTE_NS
    assert taken(one, lane, at_ns=START_NS + MINUTE_NS) == count


def test_lanes_share_one_window_and_each_finds_room_above_the_one_below() -> None:
    one = budget()
    assert [taken(one, lane) for lane in (Lane.NEW, Lane.QUERY, Lane.EXIT, Lane.CANCEL)] == [70, 15, 5, 10]


def test_windows_begin_with_the_minute_and_not_with_the_first_request() -> None:
    one = budget()
    late_ns = START_NS + MINUTE_NS - 1
    assert taken(one, Lane.CANCEL, at_ns=late_ns) == 100
    assert one.next_allowed_ns(Lane.CANCEL, 1, late_ns) == late_ns + 1


def test_new_orders_are_counted_too_and_nothing_else_is() -> None:
    one = budget(weight=10_000, orders=50, orders_a_day=80)
    assert taken(one, Lane.NEW) == 45
    assert taken(one, Lane.EXIT) == 5, "the last tenth is theirs"
    for lane in (Lane.NEW, Lane.EXIT):
        assert one.next_allowed_ns(lane, 1, START_NS) == START_NS + 10 * SECOND_NS
    assert taken(one, Lane.NEW, at_ns=START_NS + 10 * SECOND_NS) == 22
    assert taken(one, Lane.EXIT, at_ns=START_NS + 10 * SECOND_NS) == 8
    for lane in (Lane.NEW, Lane.EXIT):
        assert one.next_allowed_ns(lane, 1, START_NS + 10 * SECOND_NS) == START_NS + DAY_NS
    assert one.next_allowed_ns(Lane.CANCEL, 1, START_NS) == START_NS
    assert one.next_allowed_ns(Lane.QUERY, 1, START_NS) == START_NS


def test_what_may_not_leave_is_not_taken() -> None:
    one = budget()
    taken(one, Lane.CANCEL)
    with pytest.raises(ValueError, match=r"may leave in 60\.0 s"):
        one.take(Lane.CANCEL, 1, START_NS)
    assert one.used_percent(START_NS) == 100


def test_request_larger_than_its_lane_gets_an_unused_window() -> None:
    one = budget(weight=90)
    assert one.next_allowed_ns(Lane.QUERY, 80, START_NS) == START_NS
    one.take(Lane.CANCEL, 1, START_NS)
    assert one.next_allowed_ns(Lane.QUERY, 80, START_NS) == START_NS + MINUTE_NS
    with pytest.raises(ValueError, match="never fits"):
        one.next_allowed_ns(Lane.QUERY, 90, START_NS)
    with pytest.raises(ValueError, match="never fits"):
        one.next_allowed_ns(Lane.CANCEL, 91, START_NS)


def test_the_venues_number_counts_the_others_behind_our_address() -> None:
    one = budget()
    one.take(Lane.QUERY, 10, START_NS)
    one.observe_headers({"X-MBX-USED-WEIGHT-1M": "60"}, START_NS + SECOND_NS)
    assert one.used_percent(START_NS + SECOND_NS) == 60
    one.take(Lane.QUERY, 5, START_NS + SECOND_NS)
    assert one.used_percent(START_NS + SECOND_NS) == 65
    assert taken(one, Lane.NEW, at_ns=START_NS + SECOND_NS) == 5


@pytest.mark.parametrize("name", ["x-mbx-used-weight-1m", "X-Mbx-Used-Weight-1M"])
def test_headers_are_read_in_any_case(name: str) -> None:
    one = budget()
    one.observe_headers({name: "100"}, START_NS)
    assert one.next_allowed_ns(Lane.CANCEL, 1, START_NS) == START_NS + MINUTE_NS


@pytest.mark.parametrize(("header", "until_ns"), [("10S", 10 * SECOND_NS), ("1D", DAY_NS)])
def test_order_counts_of_the_venue_hold_new_orders_alone(header: str, until_ns: int) -> None:
    one = budget(orders=20, orders_a_day=20)
    one.observe_headers({f"X-MBX-ORDER-COUNT-{header}": "20"}, START_NS)
    assert one.next_allowed_ns(Lane.NEW, 1, START_NS) == START_NS + until_ns
    assert one.next_allowed_ns(Lane.EXIT, 1, START_NS) == START_NS + until_ns
    assert one.next_allowed_ns(Lane.CANCEL, 1, START_NS) == START_NS


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-MBX-USED-WEIGHT": "90"},
        {"X-MBX-USED-WEIGHT-5M": "90"},
        {"X-MBX-USED-WEIGHT-1M": "-90"},
        {"X-MBX-USED-WEIGHT-1M": "ninety"},
        {"X-MBX-USED-WEIGHT-1M": ""},
        {"Retry-After": "90"},
    ],
)
def test_headers_that_say_nothing_change_nothing(headers: dict[str, str]) -> None:
    one = budget()
    one.observe_headers(headers, START_NS)
    assert one.used_percent(START_NS) == 0


def test_older_number_does_not_hide_a_newer_one() -> None:
    one, at_ns = budget(), START_NS + 20 * SECOND_NS
    one.observe_headers({"X-MBX-USED-WEIGHT-1M": "90"}, at_ns)
    one.observe_headers({"X-MBX-USED-WEIGHT-1M": "40"}, at_ns + SECOND_NS)
    assert one.used_percent(at_ns + SECOND_NS) == 90


def test_late_number_of_the_window_before_is_corrected_by_the_next() -> None:
    one = budget()
    one.observe_headers({"X-MBX-USED-WEIGHT-1M": "99"}, START_NS + SECOND_NS)
    one.observe_headers({"X-MBX-USED-WEIGHT-1M": "3"}, START_NS + 20 * SECOND_NS)
    assert one.used_percent(START_NS + 20 * SECOND_NS) == 3


def test_learned_limits_hold_at_once_and_what_was_used_stays_used() -> None:
    one = RateBudget()
    assert one.limits == BINANCE_LIMITS
    one.take(Lane.QUERY, 40, START_NS)
    one.learn_limits(
        [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 50},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 200},
            {"rateLimitType": "SOMETHING_NEW", "interval": "MINUTE", "intervalNum": 1, "limit": 1},
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "FORTNIGHT"},
        ]
    )
    assert one.limits == (
        RateLimit(Counts.WEIGHT, 60, 50),
        RateLimit(Counts.REQUESTS, 300, 200),
        *BINANCE_LIMITS[1:],
    )
    assert taken(one, Lane.CANCEL) == 10


def test_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="allows nothing"):
        RateLimit(Counts.WEIGHT, 60, 0)


def test_requests_are_counted_where_the_venue_counts_them() -> None:
    one = RateBudget([RateLimit(Counts.REQUESTS, 300, 20)])
    lanes = (Lane.NEW, Lane.QUERY, Lane.EXIT, Lane.CANCEL)
    assert [taken(one, lane, weight=50) for lane in lanes] == [14, 3, 1, 2]


@pytest.mark.parametrize("lane", Lane)
def test_pause_holds_every_lane_until_its_end(lane: Lane) -> None:
    one = budget()
    one.pause(7.5, START_NS)
    one.pause(2, START_NS)
    end_ns = START_NS + 7_500_000_000
    assert one.next_allowed_ns(lane, 1, START_NS) == end_ns
    assert one.next_allowed_ns(lane, 1, end_ns) == end_ns
    with pytest.raises(ValueError, match="not now"):
        one.take(lane, 1, end_ns - 1)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_pause_without_an_end_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="has no end"):
        budget().pause(seconds, START_NS)


def test_too_many_orders_holds_new_orders_to_the_end_of_their_shortest_window() -> None:
    one = RateBudget([RateLimit(Counts.REQUESTS, 5, 100), *BINANCE_LIMITS])
    one.orders_used_up(START_NS + 3 * SECOND_NS)
    for lane in (Lane.NEW, Lane.EXIT):
        assert one.next_allowed_ns(lane, 1, START_NS + 3 * SECOND_NS) == START_NS + 10 * SECOND_NS
    assert one.next_allowed_ns(Lane.CANCEL, 1, START_NS + 3 * SECOND_NS) == START_NS + 3 * SECOND_NS


def test_clock_that_was_far_ahead_does_not_hold_the_lanes_until_that_time() -> None:
    one = budget()
    taken(one, Lane.CANCEL, at_ns=START_NS + 10 * DAY_NS)
    assert one.next_allowed_ns(Lane.CANCEL, 1, START_NS) == START_NS + MINUTE_NS


STEPS = st.lists(
    st.tuples(
        st.sampled_from(list(Lane)),
        st.integers(1, 30),
        st.integers(0, 20),
        st.one_of(st.none(), st.integers(0, 2 * LIMIT)),
    ),
    max_size=60,
)
"""Lane, weight, seconds since the step before, what the venue says."""


@given(STEPS, st.integers(0, 59))
def test_no_minute_ever_sees_more_than_the_limit(
    steps: list[tuple[Lane, int, int, int | None]], offset_seconds: int
) -> None:
    one, now_ns = budget(), START_NS + offset_seconds * SECOND_NS
    used: Counter[int] = Counter()
    for lane, weight, seconds, observed in steps:
        now_ns += seconds * SECOND_NS
        if observed is not None:
            one.observe_headers({"X-MBX-USED-WEIGHT-1M": str(observed)}, now_ns)
        at_ns = one.next_allowed_ns(lane, weight, now_ns)
        assert at_ns >= now_ns
        now_ns = at_ns
        one.take(lane, weight, now_ns)  # what is said to be allowed then, is
        minute = now_ns // MINUTE_NS
        used[minute] += weight
        assert used[minute] <= LIMIT * WEIGHT_PERCENT[lane] // 100


@given(STEPS, st.integers(1, 200))
def test_a_cancel_is_never_delayed_by_queries_and_orders(
    steps: list[tuple[Lane, int, int, int | None]], limit: int
) -> None:
    one, now_ns = budget(weight=limit), START_NS
    for lane, weight, seconds, _ in steps:
        now_ns += seconds * SECOND_NS
        if lane is not Lane.CANCEL and weight < limit and one.next_allowed_ns(lane, weight, now_ns) == now_ns:
            one.take(lane, weight, now_ns)
        assert one.next_allowed_ns(Lane.CANCEL, 1, now_ns) == now_ns


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 100)), min_size=1), st.sampled_from(list(Lane)))
def test_nothing_leaves_before_the_end_of_any_pause(pauses: list[tuple[int, int]], lane: Lane) -> None:
    one, now_ns, ends_ns = budget(), START_NS, []
    for seconds, later in pauses:
        one.pause(seconds, now_ns)
        ends_ns.append(now_ns + seconds * SECOND_NS)
        now_ns += later * SECOND_NS
        assert one.next_allowed_ns(lane, 1, now_ns) == max(now_ns, *ends_ns)


@given(st.lists(st.tuples(st.sampled_from(list(Lane)), st.integers(-50, 70)), max_size=300))
def test_clock_that_steps_back_opens_no_window_twice(steps: list[tuple[Lane, int]]) -> None:
    one, now_ns, latest_ns = budget(weight=20), START_NS + 30 * SECOND_NS, 0
    used: Counter[int] = Counter()
    for lane, seconds in steps:
        # back by less than a window from the latest time that was ever seen
        now_ns = max(now_ns + seconds * SECOND_NS, latest_ns - 59 * SECOND_NS)
        latest_ns = max(latest_ns, now_ns)
        while one.next_allowed_ns(lane, 1, now_ns) == now_ns:
            one.take(lane, 1, now_ns)
            used[latest_ns // MINUTE_NS] += 1
    assert max(used.values(), default=0) <= 20


@given(back=st.integers(0, 2 * DAY_NS), seconds=st.integers(1, 300), is_orders=st.booleans())
def test_clock_that_was_far_ahead_makes_no_pause_longer(back: int, seconds: int, *, is_orders: bool) -> None:
    """429 while a machine's clock is a day ahead, and then the venue tells the time: nothing waits for that day."""
    one = budget()
    if is_orders:
        one.orders_used_up(START_NS)
    else:
        one.pause(seconds, START_NS)
    before_ns = one.next_allowed_ns(Lane.NEW, 1, START_NS) - START_NS
    now_ns = START_NS - back
    assert now_ns < one.next_allowed_ns(Lane.NEW, 1, now_ns) <= now_ns + before_ns
