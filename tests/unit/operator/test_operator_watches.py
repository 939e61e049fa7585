"""Proof that a watch is dead, from nothing but what lists and watches have shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_operator import kinds
from tradingbot_operator.kinds import Kind
from tradingbot_operator.store import News
from tradingbot_operator.watches import Watches, WatchId

GRACE_SECONDS = 10.0
BOTS = WatchId("tradingbots", "")


def build(version: int, name: str = "btc", namespace: str = "desk-a") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "resourceVersion": str(version)}}


def news(version: int, name: str = "btc", namespace: str = "desk-a") -> list[News]:
    return [News(build(version, name, namespace), version)]


def watches(*namespaces: str) -> Watches:
    opened = Watches(namespaces, grace_seconds=GRACE_SECONDS)
    for watch_id in opened.ids:
        opened.opened(watch_id)
    return opened


def test_what_a_list_shows_first_is_a_suspicion_and_after_the_grace_a_proof() -> None:
    seen = watches()
    seen.listed(kinds.BOT, None, news(5), 100.0)
    assert seen.judge(109.0) == []
    assert seen.why_dead(109.0) == ""
    assert seen.next_judgement_at() == 110.0
    assert seen.judge(110.0) == [BOTS]
    assert "tradingbots" in seen.why_dead(130.0)
    assert "desk-a/btc" in seen.why_dead(130.0)
    assert "(20 s ago)" in seen.why_dead(130.0)


def test_event_that_was_under_way_ends_the_suspicion() -> None:
    seen = watches()
    seen.listed(kinds.BOT, None, news(5), 100.0)
    seen.saw(kinds.BOT, build(5))
    assert seen.next_judgement_at() is None
    assert seen.judge(200.0) == []


def test_later_event_of_another_object_proves_that_the_watch_has_passed() -> None:
    seen = watches()
    seen.listed(kinds.BOT, None, news(5), 100.0)
    seen.saw(kinds.BOT, build(7, "eth"))
    assert seen.judge(200.0) == []


def test_earlier_event_of_another_object_proves_nothing() -> None:
    seen = watches()
    seen.listed(kinds.BOT, None, news(5), 100.0)
    seen.saw(kinds.BOT, build(4, "eth"))
    assert seen.judge(110.0) == [BOTS]


def test_event_of_another_kind_proves_nothing() -> None:
    seen = watches()
    seen.listed(kinds.BOT, None, news(5), 100.0)
    seen.saw(kinds.SERVICE, build(9))
    assert seen.judge(110.0) == [BOTS]


def test_event_of_another_namespace_proves_nothing_where_each_has_its_watch() -> None:
    seen = watches("desk-a", "desk-b")
    seen.listed(kinds.BOT, "desk-a", news(5), 100.0)
    seen.saw(kinds.BOT, build(9, namespace="desk-b"))
    assert seen.judge(110.0) == [WatchId("tradingbots", "desk-a")]
    assert "tradingbots in desk-a" in seen.why_dead(110.0)


def test_object_that_changes_all_the_time_is_judged_by_its_first_change() -> None:
    seen = watches()
    for second in range(10):
        seen.listed(kinds.BOT, None, news(5 + second), 100.0 + second)
    assert seen.judge(110.0) == [BOTS]


@pytest.mark.parametrize("kind", [kinds.LEASE, *kinds.OPTIONAL], ids=lambda kind: kind.name)
def test_kind_that_is_only_listed_has_no_watch_that_could_be_dead(kind: Kind) -> None:
    seen = watches()
    seen.listed(kind, None, news(5), 100.0)
    seen.saw(kind, build(5))
    assert seen.judge(200.0) == []


def test_what_came_before_the_watch_was_opened_is_not_its_fault() -> None:
    seen = Watches((), grace_seconds=GRACE_SECONDS)
    assert not seen.are_open
    seen.listed(kinds.BOT, None, news(5), 100.0)
    assert seen.judge(200.0) == []


def test_all_watches_of_all_namespaces_have_to_be_open() -> None:
    seen = Watches(("a", "b"), grace_seconds=GRACE_SECONDS)
    ids = list(seen.ids)
    assert len(ids) == 2 * len(kinds.WATCHED)
    for watch_id in ids[:-1]:
        seen.opened(watch_id)
    assert not seen.are_open
    seen.opened(ids[-1])
    assert seen.are_open


def dead() -> Watches:
    seen = watches()
    seen.listed(kinds.BOT, None, news(5), 100.0)
    seen.judge(110.0)
    return seen


def test_event_of_that_watch_proves_that_it_lives_again() -> None:
    seen = dead()
    seen.saw(kinds.SERVICE, build(9))
    assert seen.why_dead(111.0) != ""
    seen.saw(kinds.BOT, build(5))
    assert seen.why_dead(111.0) == ""


def test_watch_that_was_opened_anew_and_then_missed_nothing_lives_again() -> None:
    seen = dead()
    seen.listed(kinds.BOT, None, [], 111.0)
    assert seen.why_dead(111.0) != "", "it was not answered yet"
    seen.opened(BOTS)
    assert seen.why_dead(112.0) != "", "no list has been compared since"
    seen.listed(kinds.BOT, None, [], 113.0)
    assert seen.why_dead(113.0) == ""


def test_watch_that_is_not_answered_after_it_was_cut_is_cut_again() -> None:
    seen = dead()
    assert seen.judge(119.0) == []
    assert seen.next_judgement_at() == 120.0
    assert seen.judge(120.0) == [BOTS]
    seen.opened(BOTS)
    assert seen.judge(130.0) == []
    assert seen.are_dead, "until an event or a list shows that it lives"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(min_value=0, max_value=9.9)), max_size=60))
def test_watch_that_shows_all_within_the_grace_is_never_found_dead(changes: list[tuple[str, float]]) -> None:
    """Lists come first each time, events in their order after any delay below the grace."""
    seen, now = watches(), 0.0
    for version, (name, delay_seconds) in enumerate(changes, start=1):
        seen.listed(kinds.BOT, None, news(version, name), now)
        now += delay_seconds
        assert seen.judge(now) == []
        seen.saw(kinds.BOT, build(version, name))
    assert seen.why_dead(now) == ""


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.floats(min_value=10, max_value=100))
def test_silent_watch_is_found_dead_however_many_changes_there_are(names: list[str], later: float) -> None:
    seen = watches()
    for version, name in enumerate(names, start=1):
        seen.listed(kinds.BOT, None, news(version, name), version / 100)
    assert seen.judge(names.index(names[0]) + 0.01 + later) == [BOTS]
