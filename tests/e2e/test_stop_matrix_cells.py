"""The matrix of stops with real processes is whole, and its judge finds lies: no process is needed for either."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from support.simulation.stop_cells import ACTIONS, LATCHING, SELF_CLEARING, SITUATIONS
from support.stop_matrix import cells, moves
from support.stop_matrix.cells import LEFT_OUT, SLICE, Cell, all_cells, find_cell, pairs_of, wanted_pairs
from support.stop_matrix.verdict import (
    Arrival,
    Decided,
    Word,
    as_ns,
    check_latch,
    check_nothing_left,
    find_word,
    read_arrivals,
    read_held,
    read_orders,
)
from support.stop_matrix.waves import STAGES, Meeting

NS = 1_000_000_000


def occurring(chosen: tuple[Cell, ...]) -> set[cells.Pair]:
    return set().union(*map(pairs_of, chosen))


def test_every_pair_occurs_but_those_that_are_left_out_with_a_reason() -> None:
    assert occurring(all_cells()) == wanted_pairs()
    whole = len(LATCHING) * (len(SITUATIONS) + len(ACTIONS)) + len(SELF_CLEARING) * len(SITUATIONS)
    assert len(wanted_pairs()) == whole + len(SITUATIONS) * len(ACTIONS) - len(LEFT_OUT)


@pytest.mark.parametrize("gone", all_cells(), ids=str)
def test_no_cell_could_be_missing(gone: Cell) -> None:
    assert occurring(tuple(cell for cell in all_cells() if cell != gone)) != wanted_pairs()


def test_left_out_pairs_exist_and_have_a_reason() -> None:
    for (source, situation), reason in LEFT_OUT.items():
        assert source in {**LATCHING, **SELF_CLEARING}
        assert situation in SITUATIONS
        assert len(reason) > 20


def test_moves_know_the_sources_and_situations_of_the_simulation() -> None:
    assert list(moves.LATCHING) == list(LATCHING)
    assert list(moves.SELF_CLEARING) == list(SELF_CLEARING)
    assert list(moves.SITUATIONS) == list(SITUATIONS)


def test_each_cell_is_played_once() -> None:
    played = [cell for cell in all_cells() if cells.is_local(cell)]
    played += cells.without_operator(all_cells())
    played += cells.at_the_clock(all_cells())
    played += cells.without_api(all_cells())
    assert sorted(played) == sorted(all_cells())
    assert len(set(played)) == len(played)


def test_slice_has_each_situation() -> None:
    assert {cell.situation for cell in SLICE} == set(SITUATIONS)
    assert len(SLICE) <= 10
    assert set(SLICE) <= set(all_cells())


def test_cell_is_found_by_its_name() -> None:
    assert [find_cell(str(cell)) for cell in all_cells()] == list(all_cells())
    with pytest.raises(ValueError, match="there is no cell 'idle'"):
        find_cell("idle")


# What came over the wire


def left(
    *,
    at: float,
    side: str = "BUY",
    order_type: str = "LIMIT",
    sent: float = 0.0,
    may_sell: bool = False,
    until: float | None = None,
) -> list[str]:
    """Of one order that came `at` seconds after the moment, and was written down as sent then."""
    after_ns = 1_000 * NS
    decided = {"a": Decided(side, order_type, after_ns + int(sent * NS))}
    until_ns = None if until is None else after_ns + int(until * NS)
    arrivals = [Arrival(after_ns + int(at * NS), "a")]
    return list(check_nothing_left(arrivals, decided, after_ns=after_ns, until_ns=until_ns, may_sell=may_sell))


def test_entry_that_comes_after_the_moment_is_found() -> None:
    assert left(at=0.2, sent=0.19) == ["LIMIT BUY a came to the venue 0.200 s after it"]


def test_entry_that_left_before_the_moment_may_be_on_the_wire_for_a_second() -> None:
    assert left(at=-0.1, sent=-0.2) == []
    assert left(at=0.9, sent=-0.1) == []
    assert left(at=1.1, sent=-0.1) != []


def test_order_that_nobody_wrote_down_counts_as_an_entry() -> None:
    assert list(check_nothing_left([Arrival(2, "b")], {}, after_ns=1, may_sell=True)) != []


def test_sale_is_found_where_none_was_asked_for() -> None:
    assert left(at=2, sent=2, side="SELL", order_type="MARKET") != []
    assert left(at=2, sent=2, side="SELL", order_type="MARKET", may_sell=True) == []


def test_protective_stop_may_leave_at_any_time() -> None:
    assert left(at=2, sent=2, side="SELL", order_type="STOP_LOSS") == []
    assert left(at=2, sent=2, side="BUY", order_type="STOP_LOSS") != []


def test_what_comes_after_the_end_of_the_cause_is_not_counted() -> None:
    assert left(at=2, sent=2, until=3) != []
    assert left(at=3, sent=3, until=3) == []


def test_arrivals_are_the_bots_own_orders_in_the_venues_log() -> None:
    def line(operation: str, client_id: str, event: str = "fault") -> dict[str, Any]:
        return {
            "event": event, "operation": operation, "client_id": client_id, "timestamp": "1970-01-01T00:00:01.500000Z"
        }  # fmt: skip

    log = [line("place", "aa1"), line("place", "bb1"), line("cancel", "aa1"), {"event": "subscribed"}]
    assert read_arrivals(log, "aa") == [Arrival(1_500_000_000, "aa1")]


def test_word_is_the_first_one_that_names_the_cause_after_the_moment() -> None:
    words = [Word(1, ("FeedLost",)), Word(3, ("Latched",)), Word(5, ("FeedLost", "Latched")), Word(6, ("FeedLost",))]
    assert find_word(words, "FeedLost", after_ns=2) == words[2]
    assert find_word(words, "LeaseLost", after_ns=0) is None


# What a stop says, against the book

ENTRY, STOP = "aa-entry", "aa-stop"


def build_account() -> dict[str, Any]:
    """A position of 0.01 BTC with its stop, and an entry that was cancelled two seconds after 1970 began."""
    common = {"origQty": "0.01", "executedQty": "0", "time": 500}
    return {
        "uid": 7,
        "balances": {"BTC": {"free": "0", "locked": "0.01"}, "USDT": {"free": "1", "locked": "0"}},
        "orders": [
            common | {
                "clientOrderId": ENTRY, "orderId": 1, "symbol": "ETHUSDT", "side": "BUY", "type": "LIMIT",
                "status": "CANCELED", "updateTime": 2000,
            },
            common | {
                "clientOrderId": STOP, "orderId": 2, "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_LOSS_LIMIT",
                "status": "NEW", "updateTime": 500,
            },
            common | {
                "clientOrderId": "web_1", "orderId": 3, "symbol": "ETHUSDT", "side": "BUY", "type": "LIMIT",
                "status": "NEW", "updateTime": 500,
            },
        ],
    }  # fmt: skip


def build_told(**changes: Any) -> dict[str, Any]:
    """The truth about that account."""
    return {
        "id": "1", "action": "CancelOrders", "source": "Signal", "sources": [{"source": "Signal"}],
        "engagedAt": "1970-01-01T00:00:01.000000Z", "acknowledgedAt": "1970-01-01T00:00:01.100000Z",
        "orders": [
            {"clientOrderId": ENTRY, "result": "Cancelled"},
            {"clientOrderId": STOP, "result": "Remaining", "reason": "protects"},
        ],
        "ordersCancelled": 1, "flat": "False", "positionsLeft": ["0.01 BTC/USDT"],
    } | changes  # fmt: skip


def judge(told: dict[str, Any], account: dict[str, Any] | None = None, *, action: str = "CancelOrders") -> list[str]:
    account = account or build_account()
    held = read_held(account, {"BTC/USDT": Decimal(60_000), "ETH/USDT": Decimal(2_000)})
    orders = read_orders(account, "aa")
    return list(
        check_latch(
            told, orders=orders, held=held, open_before={ENTRY, STOP}, engaged_ns=NS, source="Signal", action=action
        )
    )


def test_truth_is_no_problem() -> None:
    assert judge(build_told()) == []


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        ({"flat": "True"}, "flat is True, and the venue holds"),
        ({"flat": "Unknown"}, "flat is Unknown, though"),
        ({"positionsLeft": []}, "positionsLeft is {}"),
        ({"ordersCancelled": 2}, "ordersCancelled is 2"),
        ({"orders": [{"clientOrderId": ENTRY, "result": "Cancelled"}]}, f"{STOP} is NEW at the venue and missing"),
        ({"orders": [{"clientOrderId": STOP, "result": "Remaining", "reason": "x"}], "ordersCancelled": 0}, ENTRY),
        ({"acknowledgedAt": None}, "never acknowledged"),
        ({"source": "Drawdown"}, "the source is told as Drawdown"),
        ({"sources": []}, "the source is told as Signal, []"),
        ({"action": "Flatten"}, "the action is told as Flatten"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_lie_is_found(lie: dict[str, Any], found: str) -> None:
    assert any(found in problem for problem in judge(build_told(**lie))), judge(build_told(**lie))


def test_order_that_is_told_as_cancelled_and_rests_is_found() -> None:
    account = build_account()
    account["orders"][0]["status"] = "NEW"
    problems = judge(build_told(), account)
    assert f"{ENTRY} is told as Cancelled, at the venue it is NEW" in problems
    assert f"entries ['{ENTRY}'] still rest at the venue" in problems


def test_protective_stop_that_is_gone_is_found() -> None:
    account = build_account()
    account["orders"][1] |= {"status": "CANCELED", "updateTime": 2000}
    assert "the protective stop is gone" in judge(build_told(), account)


def test_flatten_that_leaves_something_is_found() -> None:
    problems = judge(build_told(action="Flatten"), action="Flatten")
    assert any(problem.startswith(f"after Flatten ['{STOP}'] are open") for problem in problems)


def test_dust_is_not_held() -> None:
    balances = {"balances": {"BTC": {"free": "0.00005", "locked": "0"}, "ETH": {"free": "0.01", "locked": "0.01"}}}
    prices = {"BTC/USDT": Decimal(60_000), "ETH/USDT": Decimal(2_000)}
    assert read_held(balances, prices) == {"ETH/USDT": Decimal("0.02")}


def test_times_are_read_to_the_microsecond() -> None:
    assert as_ns("1970-01-01T00:00:01.000001Z") == 1_000_001_000


# Who plays together


def test_meeting_takes_away_once_all_have_come_and_gives_back_once_all_have_seen_enough() -> None:
    done: list[str] = []
    meeting = Meeting(["one"], {stage: lambda stage=stage: done.append(stage) for stage in STAGES})
    meeting.reach("one", "struck")
    assert done == ["made-0", "made-1", "made-2", "struck"]
    meeting.reach("one", "healed")
    assert done == list(STAGES)


def test_player_that_has_ended_is_not_waited_for() -> None:
    done: list[str] = []
    meeting = Meeting(["one", "two"], {"struck": lambda: done.append("struck")})
    meeting.end("two")
    assert done == []
    meeting.reach("one", "struck")
    assert done == ["struck"]
