"""`$(VAR)` by the kubelet's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.node.expansion import expand

VARIABLES = {"A": "1", "B": "two words", "LOOP": "$(A)", "": "empty name"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("--x=$(A)-$(B)", "--x=1-two words"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$((A))", "$((A))"),
        ("$(LOOP)", "$(A)"),
        ("100$", "100$"),
        ("", ""),
    ],
)
def test_references_are_expanded_as_kubernetes_documents(text: str, expected: str) -> None:
    assert expand(text, VARIABLES) == expected


@given(st.text(alphabet=st.characters(exclude_characters="$")))
def test_text_without_a_dollar_stays(text: str) -> None:
    assert expand(text, VARIABLES) == text


@given(st.text())
def test_doubled_dollars_protect_any_text(text: str) -> None:
    assert expand(text.replace("$", "$$"), VARIABLES) == text


@given(st.text(alphabet="ABC", min_size=1), st.text())
def test_value_is_put_in_as_it_is(name: str, value: str) -> None:
    assert expand(f"<$({name})>", {name: value}) == f"<{value}>"
