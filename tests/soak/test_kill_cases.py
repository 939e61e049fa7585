"""What is tried with real processes: every combination in `make soak`, every pair of values in `make test`."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.kill.cases import FATES, KINDS, POINTS, Case, all_cases, find_case, pairs_of, select_pairwise, slow_first
from support.simulation import crash

CASES = st.sets(st.sampled_from(all_cases()), max_size=40).map(lambda cases: tuple(sorted(cases, key=str)))


def test_at_least_thirteen_points_are_crossed_with_every_kind_of_order_and_every_fate_of_the_answer() -> None:
    crossed = [p for p in POINTS if {(c.kind, c.fate) for c in all_cases() if c.point == p} == _every_kind_and_fate()]
    assert len(crossed) >= 13
    assert {c.kind for c in all_cases() if c.point not in crossed} == {"limit"}, "only a resting order is cancelled"


def test_every_point_of_the_simulation_is_a_point_here() -> None:
    assert set(crash.POINTS) == set(POINTS)


@given(cases=CASES)
def test_every_pair_that_occurs_occurs_in_the_selection(cases: tuple[Case, ...]) -> None:
    pairs = {each for case in cases for each in pairs_of(case)}
    chosen = select_pairwise(cases)
    assert {each for case in chosen for each in pairs_of(case)} == pairs
    assert set(chosen) <= set(cases)
    assert len(set(chosen)) == len(chosen)


def test_the_selection_is_a_third_of_all_and_the_same_each_time() -> None:
    chosen = select_pairwise(all_cases())
    assert chosen == select_pairwise(all_cases())
    assert len(chosen) == len(POINTS) * 3, "fewer cannot be: each point has to meet three kinds, or three fates"
    together = {(case.kind, case.fate) for case in chosen}
    assert together == _every_kind_and_fate()


def test_three_values_make_three_pairs() -> None:
    case = Case("order:after-send", "ioc", "lost")
    named = (("point", "order:after-send"), ("kind", "ioc"), ("fate", "lost"))
    assert pairs_of(case) == set(combinations(named, 2))


def test_a_case_is_found_by_its_printed_name() -> None:
    assert all(find_case(str(case)) == case for case in all_cases())
    with pytest.raises(ValueError, match="no case 'nowhere/ioc/lost'"):
        find_case("nowhere/ioc/lost")


def test_those_that_wait_for_a_minute_begin_first() -> None:
    slow = [case.is_slow for case in slow_first(all_cases())]
    assert slow == sorted(slow, reverse=True)


def test_the_last_life_runs_to_its_end_and_the_others_do_not() -> None:
    for case in all_cases():
        *killed, last = case.lives
        assert not last.point
        assert [life.point for life in killed][-1] == case.point
        assert all(life.point for life in killed)


def _every_kind_and_fate() -> set[tuple[str, str]]:
    return {(kind, fate) for kind in KINDS for fate in FATES}
