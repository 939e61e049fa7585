"""The fault script: which request is hit, and what then happens to it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradingbot_sandbox.venues import faults_rules as rules
from tradingbot_sandbox.venues.faults import PLAIN, Canned, Event, Fate, FaultScript, Request
from tradingbot_sandbox.venues.faults_rules import Effect, Operation, Rule, When

ScriptOf = Callable[..., FaultScript]
RequestOf = Callable[..., Request]
At = Callable[[float], int]
SECOND = 10**9


def hits(script: FaultScript, request: Request, now_ns: int, *, times: int) -> list[int]:
    """Which of so many equal requests are hit, counted from 1."""
    return [n for n in range(1, times + 1) if script.on_request(request, now_ns) != PLAIN]


def test_script_without_rules_leaves_everything_as_it_is(
    make_request: RequestOf, at: At, make_event: Callable[..., Event]
) -> None:
    script = FaultScript(now_ns=at(0))
    assert script.on_request(make_request(), at(1)) == Fate()
    assert script.on_event(make_event(), at(1)).copies == 1
    assert not script.is_hearing_events(Operation.USER_STREAM)
    assert script.clock_skew_ns(at(1)) == 0
    assert not script.is_stale("BTCUSDT", at(1))
    assert script.next_due_ns() is None


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"nth": 3}, [3]),
        ({"nth": 3, "count": 2}, [3, 4]),
        ({"count": 2}, [1, 2]),
        ({"every": 3}, [3, 6]),
        ({"every": 3, "count": 1}, [3]),
        ({"nth": 2, "every": 3}, [2, 5, 8]),
        ({"probability": Decimal(1)}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"probability": Decimal(0)}, []),
    ],
)
def test_counting_says_which_matches_are_hit(
    when: dict[str, Any],
    expected: list[int],
    make_script: ScriptOf,
    make_request: RequestOf,
    at: At,
) -> None:
    script = make_script(rules.LoseAnswer(), **when)
    assert hits(script, make_request(), at(0), times=8) == expected


@pytest.mark.parametrize(
    ("when", "is_hit"),
    [
        ({"operation": Operation.ANY}, True),
        ({"operation": Operation.PLACE}, True),
        ({"operation": Operation.CANCEL}, False),
        ({"path": "/api/v3/order"}, True),
        ({"path": "/api/v3/orders"}, False),
        ({"symbol": "BTCUSDT"}, True),
        ({"symbol": "ETHUSDT"}, False),
        ({"client_id": "ab12"}, True),
        ({"client_id": "b12"}, False),
    ],
)
def test_conditions_say_what_is_a_match(
    when: dict[str, Any], *, is_hit: bool, make_script: ScriptOf, make_request: RequestOf, at: At
) -> None:
    script = make_script(rules.LoseAnswer(), **when)
    assert (script.on_request(make_request(), at(0)) != PLAIN) is is_hit


def test_only_matches_are_counted(make_script: ScriptOf, make_request: RequestOf, at: At) -> None:
    script = make_script(rules.LoseAnswer(), nth=2, symbol="BTCUSDT")
    other = make_request(symbol="ETHUSDT")
    assert [script.on_request(r, at(0)).is_answered for r in (other, make_request(), other, make_request())] == [
        True,
        True,
        True,
        False,
    ]


def test_rule_holds_in_its_time_only(make_script: ScriptOf, make_request: RequestOf, at: At) -> None:
    script = make_script(rules.LoseAnswer(), from_seconds=Decimal(2), until_seconds=Decimal("3.5"))
    seen = {s: script.on_request(make_request(), at(s)).is_answered for s in (0, 1.999, 2, 3.499, 3.5, 9)}
    assert seen == {0: True, 1.999: True, 2: False, 3.499: False, 3.5: True, 9: True}


def test_seconds_of_a_later_rule_count_from_when_it_was_given(make_request: RequestOf, at: At) -> None:
    script = FaultScript(now_ns=at(0))
    script.add(Rule(when=When(from_seconds=Decimal(5)), what=rules.LoseAnswer()), at(10))
    assert script.on_request(make_request(), at(14)).is_answered
    assert not script.on_request(make_request(), at(15)).is_answered


@pytest.mark.parametrize(
    ("what", "fate"),
    [
        (rules.LoseRequest(), Fate(is_delivered=False, is_answered=False)),
        (
            rules.LoseRequest(seconds=Decimal(2)),
            Fate(is_delivered=False, is_answered=False, answered_after_ns=2 * SECOND),
        ),
        (rules.LoseAnswer(), Fate(is_answered=False)),
        (rules.AnswerLate(seconds=Decimal(2)), Fate(answered_after_ns=2 * SECOND)),
        (rules.AcceptLate(seconds=Decimal(2)), Fate(delivered_after_ns=2 * SECOND, answered_after_ns=2 * SECOND)),
        (
            rules.AcceptLate(seconds=Decimal(2), answered=False),
            Fate(delivered_after_ns=2 * SECOND, is_answered=False),
        ),
        (
            rules.ServerError(status=504, code=-1007, accepted=True),
            Fate(answer=Canned(status=504, code=-1007)),
        ),
        (rules.ServerError(status=502), Fate(is_delivered=False, answer=Canned(status=502, body=""))),
        (
            rules.RateLimited(retry_after_seconds=7),
            Fate(is_delivered=False, answer=Canned(status=429, retry_after_seconds=7)),
        ),
        (
            rules.Banned(retry_after_seconds=120, code=-1003),
            Fate(is_delivered=False, answer=Canned(status=418, code=-1003, retry_after_seconds=120)),
        ),
        (
            rules.Reject(code=-2010, text="No."),
            Fate(is_delivered=False, answer=Canned(status=400, code=-2010, text="No.")),
        ),
        (rules.TruncateAnswer(), Fate(is_cut=True)),
        (rules.TruncateAnswer(bytes=5, dies=True), Fate(is_cut=True, cut_bytes=5, dies_in_body=True)),
        (rules.EmptyAnswer(), Fate(answer=Canned(status=200, body=""))),
        (
            rules.GarbageAnswer(text="??", accepted=False),
            Fate(is_delivered=False, answer=Canned(status=200, body="??", content_type="text/html")),
        ),
        (rules.Crash(), Fate(crashes=True)),
        (rules.PartialFill(most_base=Decimal("0.01")), Fate(most_taken_base=Decimal("0.01"))),
    ],
)
def test_effect_is_told_as_a_plain_value(
    what: Effect, fate: Fate, make_script: ScriptOf, make_request: RequestOf, at: At
) -> None:
    told = make_script(what).on_request(make_request(), at(0))
    assert told.rules == (1,)
    assert told == Fate(**{name: getattr(fate, name) for name in Fate.__slots__ if name != "rules"}, rules=(1,))


@pytest.mark.parametrize("what", [rules.WafBlock(), rules.ServerError(status=500, html=True)])
def test_html_page_names_its_status(what: Effect, make_script: ScriptOf, make_request: RequestOf, at: At) -> None:
    told = make_script(what).on_request(make_request(), at(0))
    assert told.answer is not None
    assert told.answer.content_type == "text/html"
    assert str(told.answer.status) in str(told.answer.body)
    assert not told.is_delivered


def test_effects_of_two_rules_come_together(make_request: RequestOf, at: At) -> None:
    given = [
        Rule(what=rules.AcceptLate(seconds=Decimal(2))),
        Rule(what=rules.AnswerLate(seconds=Decimal(3))),
        Rule(what=rules.ServerError(status=504, accepted=True)),
        Rule(what=rules.ServerError(status=500, accepted=False)),
    ]
    fate = FaultScript(given, now_ns=at(0)).on_request(make_request(), at(0))
    assert fate.delivered_after_ns == 2 * SECOND
    assert fate.answered_after_ns == 5 * SECOND
    assert fate.answer is not None
    assert fate.answer.status == 504
    assert not fate.is_delivered
    assert fate.rules == (1, 2, 3, 4)


def test_lost_request_stays_lost_whatever_its_answer_says(make_request: RequestOf, at: At) -> None:
    given = [Rule(what=rules.LoseRequest()), Rule(what=rules.ServerError(accepted=True))]
    assert not FaultScript(given, now_ns=at(0)).on_request(make_request(), at(0)).is_delivered


def test_effects_on_orders_happen_to_new_orders_alone(make_script: ScriptOf, make_request: RequestOf, at: At) -> None:
    script = make_script(rules.PartialFill(most_base=Decimal(1)))
    assert script.on_request(make_request(Operation.CANCEL), at(0)) == PLAIN
    assert script.on_request(make_request(Operation.PLACE), at(0)) != PLAIN


def test_hidden_order_is_unknown_for_its_time(make_script: ScriptOf, make_request: RequestOf, at: At) -> None:
    script = make_script(rules.HideOrder(seconds=Decimal(5)), nth=1)
    script.on_request(make_request(client_id="first"), at(1))
    script.on_request(make_request(client_id="second"), at(1))
    assert [script.is_hidden("first", at(s)) for s in (1, 5.999, 6)] == [True, True, False]
    assert not script.is_hidden("first", at(2), trades=True)
    assert not script.is_hidden("second", at(2))


def test_hiding_begins_when_a_late_order_is_accepted(make_request: RequestOf, at: At) -> None:
    given = [
        Rule(what=rules.HideOrder(seconds=Decimal(5), trades=True)),
        Rule(what=rules.AcceptLate(seconds=Decimal(3))),
    ]
    script = FaultScript(given, now_ns=at(0))
    script.on_request(make_request(client_id="late"), at(0))
    assert [script.is_hidden("late", at(s), trades=True) for s in (7.9, 8)] == [True, False]


def test_clock_is_skewed_in_its_time(make_script: ScriptOf, at: At) -> None:
    script = make_script(rules.ClockSkew(milliseconds=-1500), from_seconds=Decimal(1), until_seconds=Decimal(2))
    assert [script.clock_skew_ns(at(s)) for s in (0, 1, 2)] == [0, -1_500_000_000, 0]


def test_market_stands_still_in_its_time(make_script: ScriptOf, at: At) -> None:
    script = make_script(rules.StaleMarket(symbol="BTCUSDT"), from_seconds=Decimal(1), until_seconds=Decimal(2))
    assert [script.is_stale("BTCUSDT", at(s)) for s in (0, 1, 2)] == [False, True, False]
    assert not script.is_stale("ETHUSDT", at(1))
    assert make_script(rules.StaleMarket()).is_stale("ETHUSDT", at(0))


def test_moment_is_told_once_when_it_is_due(make_script: ScriptOf, at: At) -> None:
    script = make_script(rules.RevokeKey(key="abc"), from_seconds=Decimal(3))
    assert script.next_due_ns() == at(3)
    assert script.take_due(at(2.9)) == []
    assert [rule.what for rule in script.take_due(at(4))] == [rules.RevokeKey(key="abc")]
    assert script.take_due(at(5)) == []
    assert script.next_due_ns() is None
    assert script.report(at(5))[0]["hits"] == 1


def test_report_tells_each_rule_and_its_hits(make_script: ScriptOf, make_request: RequestOf, at: At) -> None:
    script = make_script(rules.LoseAnswer(), nth=2, operation=Operation.PLACE)
    for _ in range(3):
        script.on_request(make_request(), at(0))
    assert script.report(at(0)) == [
        {
            "rule": 1,
            "seen": 3,
            "hits": 1,
            "in_force": True,
            "when": {"operation": "place", "nth": 2},
            "what": {"effect": "lose-answer"},
        }
    ]


def test_removed_rule_hits_no_more_and_numbers_do_not_come_back(
    make_script: ScriptOf, make_request: RequestOf, at: At
) -> None:
    script = make_script(rules.LoseAnswer())
    assert script.remove(1)
    assert not script.remove(1)
    assert script.on_request(make_request(), at(0)) == PLAIN
    assert script.add(Rule(what=rules.Crash()), at(0)) == 2
    assert script.clear() == 1
    assert script.report(at(0)) == []


def test_chance_is_drawn_anew_by_another_seed(make_script: ScriptOf, make_request: RequestOf, at: At) -> None:
    def drawn(**seeds: int) -> list[int]:
        script = make_script(rules.LoseAnswer(), probability=Decimal("0.5"), **seeds)
        return hits(script, make_request(), at(0), times=200)

    assert drawn() == drawn()
    assert 60 < len(drawn()) < 140
    assert drawn(seed=2) != drawn()
    assert drawn(script_seed=2) != drawn()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.tuples(st.sampled_from(sorted(rules.REQUESTS)), st.sampled_from("ab")), max_size=40))
def test_one_rules_numbers_do_not_depend_on_other_rules(
    asked: list[tuple[Operation, str]], make_request: RequestOf, at: At
) -> None:
    """A rule that is added after the others changes nothing of what they do."""
    first = Rule(when=When(probability=Decimal("0.4"), client_id="a"), what=rules.LoseAnswer())
    second = Rule(when=When(probability=Decimal("0.4")), what=rules.AnswerLate(seconds=Decimal(1)))
    alone = FaultScript([first], now_ns=at(0), seed=9)
    together = FaultScript([first, second], now_ns=at(0), seed=9)
    for operation, client_id in asked:
        request = make_request(operation, client_id=client_id)
        assert alone.on_request(request, at(1)).is_answered == together.on_request(request, at(1)).is_answered


def test_rule_is_in_force_at_once_for_a_question_with_the_time_of_a_moment_ago(make_request: RequestOf, at: At) -> None:
    script = FaultScript(now_ns=at(0))
    script.add(Rule(what=rules.LoseAnswer()), at(1))
    assert not script.on_request(make_request(), at(0.95)).is_answered
