"""Words that both programs and the chart agree on."""

from __future__ import annotations

import ast
import inspect
import re
from itertools import pairwise

import pytest

from tradingbot_api import conditions, labels
from tradingbot_api.conditions import ConditionType, ConfigReason, Reason
from tradingbot_api.review import TradingReviewSpec, Verdict


def documented(name: str) -> set[str]:
    """Members of an enum that have a sentence below them."""
    tree = ast.parse(inspect.getsource(conditions))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name).body
    return {
        node.targets[0].id
        for node, after in pairwise(body)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(after, ast.Expr)
    }


def test_every_condition_type_says_what_it_judges() -> None:
    assert {member.name for member in ConditionType} == documented("ConditionType")


@pytest.mark.parametrize("words", [ConditionType, Reason, ConfigReason], ids=lambda words: str(words.__name__))
def test_word_is_one_that_a_condition_may_carry(words: type[ConditionType | Reason | ConfigReason]) -> None:
    for member in words:
        assert re.fullmatch(r"[A-Z][A-Za-z]+", member.value)
        assert member.name == re.sub(r"(?<=[a-z])(?=[A-Z])", "_", member.value).upper()


def test_what_stands_in_metadata_is_of_our_group() -> None:
    ours = (labels.BOT, labels.REQUESTED_BY, labels.ROLL_OUT, labels.FINALIZER, labels.DRILL)
    assert [key for key in ours if not re.fullmatch(r"tradingbot\.dev/[a-z-]+", key)] == []
    assert len(set(ours)) == len(ours)


def test_verdicts_are_those_of_the_design() -> None:
    assert [verdict.value for verdict in Verdict] == ["GO", "NO-GO", "INCONCLUSIVE"]
    assert TradingReviewSpec.model_fields["verdict"].annotation is Verdict


def test_reason_names_one_drill_and_no_story_of_a_person_does() -> None:
    reason = labels.drill_reason("0123456789ab")
    assert labels.names_drill(reason, "0123456789ab")
    assert labels.is_drill_reason(reason)
    for other in ("0123456789a", "0123456789abc", ""):
        assert not labels.names_drill(reason, other)
    for words in ("", "drill", "drill by kubectl tradingbot", "drill of the desk", f"{reason}, in earnest"):
        assert not labels.is_drill_reason(words), words
