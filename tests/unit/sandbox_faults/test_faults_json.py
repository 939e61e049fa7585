"""Fault rules as JSON: what is written is read, and what is wrong is refused by its name."""

from __future__ import annotations

import json
from dataclasses import fields
from decimal import Decimal
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.venues import faults_rules as rules
from tradingbot_sandbox.venues.faults_json import parse_rules, rule_json
from tradingbot_sandbox.venues.faults_rules import EFFECTS, Effect, FaultRuleError, Operation, Rule, When

EXAMPLE = """[
  {"when": {"operation": "place", "symbol": "BTCUSDT", "client_id": "ab", "nth": 2, "count": 3, "until_seconds": 60},
   "what": {"effect": "answer-late", "seconds": 2.5}},
  {"what": {"effect": "filter-change", "symbol": "BTCUSDT", "tick": "0.10", "min_notional": "10"}}
]"""


def test_rules_are_read_as_they_are_written() -> None:
    late, change = parse_rules(EXAMPLE)
    assert late == Rule(
        when=When(
            operation=Operation.PLACE,
            symbol="BTCUSDT",
            client_id="ab",
            nth=2,
            count=3,
            until_seconds=Decimal(60),
        ),
        what=rules.AnswerLate(seconds=Decimal("2.5")),
    )
    assert change.what == rules.FilterChange(symbol="BTCUSDT", tick=Decimal("0.1"), min_notional=Decimal(10))


def test_one_rule_may_stand_without_a_list() -> None:
    assert parse_rules('{"what": {"effect": "lose-answer"}}') == (Rule(what=rules.LoseAnswer()),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not JSON"),
        ("[5]", "rules[0]: expected an object, not 5"),
        ('{"whenn": {}, "what": {"effect": "crash"}}', "rule.whenn: unknown field; there are when, what"),
        ("{}", "rule.what: expected an object, not None"),
        ('{"what": {"effect": "explode"}}', "rule.what.effect: expected one of accept-late, answer-late, banned"),
        ('{"what": {"effect": ["crash"]}}', "rule.what.effect: expected one of"),
        ('[{"what": {"effect": "crash"}}, {"what": {"effect": "answer-late"}}]', "rules[1].what.seconds: answer-late"),
        ('{"what": {"effect": "answer-late"}}', "needs it, expected a decimal number from 0 to 86400"),
        ('{"what": {"effect": "answer-late", "secs": 1}}', "what.secs: unknown field; answer-late has seconds"),
        ('{"what": {"effect": "waf-block", "a": 1}}', "what.a: unknown field; waf-block has no fields"),
        ('{"what": {"effect": "answer-late", "seconds": -1}}', "seconds: expected a decimal number from 0 to 86400"),
        ('{"what": {"effect": "answer-late", "seconds": NaN}}', "NaN is no number"),
        ('{"what": {"effect": "answer-late", "seconds": "1.2.3"}}', "seconds: expected a decimal number"),
        ('{"what": {"effect": "answer-late", "seconds": true}}', "seconds: expected a decimal number"),
        ('{"what": {"effect": "answer-late", "seconds": null}}', "seconds: expected a decimal number"),
        ('{"what": {"effect": "server-error", "status": 404}}', "status: expected a whole number from 500 to 599"),
        ('{"what": {"effect": "server-error", "status": "503"}}', "status: expected a whole number from 500 to 599"),
        ('{"what": {"effect": "server-error", "accepted": 1}}', "accepted: expected true or false, not 1"),
        ('{"what": {"effect": "server-error", "html": true, "code": -1007}}', "rule.what.html: an html page has no"),
        ('{"what": {"effect": "reject", "code": -1, "text": 5}}', "what.text: expected a text, not 5"),
        (
            '{"when": {"operation": "buy"}, "what": {"effect": "crash"}}',
            "expected one of any, place, test-order,",
        ),
        ('{"when": {"nth": 0}, "what": {"effect": "crash"}}', "when.nth: expected a whole number from 1 to"),
        (
            '{"when": {"probability": 1.5}, "what": {"effect": "crash"}}',
            "probability: expected a decimal number",
        ),
        (
            '{"when": {"operation": "cancel"}, "what": {"effect": "hide-order", "seconds": 1}}',
            "when.operation: hide-order can happen to any, place, not to cancel",
        ),
        (
            '{"when": {"from_seconds": 5, "until_seconds": 5}, "what": {"effect": "crash"}}',
            "when.until_seconds: must be more than from_seconds, 5",
        ),
        (
            '{"when": {"nth": 2}, "what": {"effect": "clock-skew", "milliseconds": 5}}',
            "when.nth: clock-skew happens at a time",
        ),
        ('{"when": {"until_seconds": 2}, "what": {"effect": "revoke-key"}}', "happens at one moment, from_seconds"),
        ('{"when": {"path": "/x"}, "what": {"effect": "drop-events"}}', "when.path: drop-events happens to events"),
        ('{"when": {"stream": "trade"}, "what": {"effect": "crash"}}', "when.stream: crash happens to requests"),
    ],
)
def test_wrong_rule_is_refused_with_its_field_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(FaultRuleError) as refused:
        parse_rules(text)
    assert message in str(refused.value)


def _values(kind: type[When] | type[Effect]) -> st.SearchStrategy[dict[str, Any]]:
    """Values for a part of a rule: for each field, of its type and within its bounds."""
    hints = get_type_hints(kind, include_extras=True)
    return st.fixed_dictionaries({}, optional={f.name: _value(hints[f.name]) for f in fields(kind)})


def _value(hint: Any) -> st.SearchStrategy[Any]:
    inner = get_args(hint)[0] if type(None) in get_args(hint) else hint
    plain, *bounds = get_args(inner) or (inner,)
    if plain is Decimal:
        return st.decimals(bounds[0].least, bounds[0].most, places=8)
    if plain is int:
        return st.integers(*((bounds[0].least, bounds[0].most) if bounds else ()))
    return {bool: st.booleans(), str: st.text(max_size=5), Operation: st.sampled_from(Operation)}[plain]


def _rules() -> st.SearchStrategy[Any]:
    def build(effect: type[Effect]) -> st.SearchStrategy[Rule | None]:
        return st.builds(lambda when, what: _rule_or_none(effect, when, what), _values(When), _values(effect))

    return st.sampled_from(list(EFFECTS.values())).flatmap(build).filter(lambda rule: rule is not None)


def _rule_or_none(effect: type[Effect], when: dict[str, Any], what: dict[str, Any]) -> Rule | None:
    try:
        return Rule(when=When(**when), what=effect(**what))
    except (FaultRuleError, TypeError):  # conditions that do not go together, or a field that is needed
        return None


@given(_rules())
def test_what_is_written_is_read_back(rule: Rule) -> None:
    assert parse_rules(json.dumps([rule_json(rule)])) == (rule,)


def test_every_effect_is_told_in_the_table_of_the_module() -> None:
    for name, effect in EFFECTS.items():
        (line,) = [line for line in (rules.__doc__ or "").splitlines() if f"| {name}" in line or f", {name} |" in line]
        for field in fields(effect):
            assert field.name in (rules.__doc__ or ""), f"{name}.{field.name} is not told"
        assert line.count("|") >= 3
