"""The API server refuses what the models refuse, and takes what they take: hypothesis makes the objects.

Where the two differ on purpose the API server is the stricter one, so no program ever sees what its model cannot read:
- it asks for the right JSON type, where pydantic also takes 1 for true and "1" for 1;
- a strategy's parameters are whole numbers and strings, at most 32 (the models leave their form to the strategy);
- sets of halts and reviews have no duplicates, a label selector has at most 20 labels, names are short.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from support import crd_sins
from support.api_line import Line
from support.crd_sins import Path, Raw
from tradingbot_api import GROUP, VERSION, crd
from tradingbot_api.decimal import PATTERN as DECIMAL
from tradingbot_api.duration import PATTERN as DURATION
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

pytestmark = pytest.mark.control_plane
GONE = object()
"""Instead of a value: the field is taken away."""

WORDS = [
    "",
    "a",
    "A",
    "a-b",
    "-a",
    "a.b",
    "a\n",
    "a b",
    "ß",
    "a" * 41,
    "a" * 64,
    "A" * 64,
    "a" * 300,
    "BTC/USDT",
    "BTC",
]
DECIMALS = [
    "0", "0.0", "1", "50", "-1", "+1", "100", "100.0", "100.000000001", "0.000000001", "1.0000000001", "1e3", "01",
    "1.", ".5", "999999999999999", "1000000000000000", "", "Inf", "1\n", "1,5", "10k", "\u0661",
]  # fmt: skip
MOMENTS = [
    "2026-01-31T18:00:00Z", "2026-01-31T18:00:00.5+02:00", "2026-01-31", "2026-13-01T00:00:00Z", "2026-01-31 18:00:00Z",
    "2026-01-31T24:00:00Z", "2026-02-30T00:00:00Z", "2026-01-31T18:00:00", "2026-01-31t18:00:00z", "now", "",
]  # fmt: skip
DURATIONS = ["0s", "0ms", "1ms", "1h30m", "15m", "1.5h", "7d", "-1s", "1", "", "1us", "999999h", "1000000h", "1h 1m"]
COMBINED: list[tuple[Path, Any]] = [
    (("spec", "mode"), "Live"),
    (("spec", "credentials"), GONE),
    (("spec", "credentials"), {"maxAge": "1h"}),
    (("spec", "credentials"), {"secretName": "keys"}),
    (("spec", "credentials", "secretName"), "keys"),
    (("spec", "capital", "stage"), "small"),
    (("spec", "capital", "stage"), "large"),
    (("spec", "capital", "stages", 1, "limit"), "50.0"),
    (("spec", "capital", "stages", 1, "limit"), "50.000000001"),
    (("spec", "capital", "stages", 1, "name"), "micro"),
    (("spec", "capital", "currency"), "SDT"),
    (("spec", "capital", "currency"), "USDC"),
    (("spec", "symbols"), ["BTC/USDC", "ETH/USDC"]),
    (("spec", "symbols"), ["BTC/USDT", "BTC/USDT"]),
    (("spec", "risk", "maxLeverage"), "1.000000000"),
    (("spec", "risk", "maxLeverage"), "1.000000001"),
]
"""What the rules about several fields are about; by chance alone they would seldom meet."""

STRICTER_BY_PATH = {
    ("spec", "strategy", "parameters"), ("spec", "namespaces"), ("spec", "bots"), ("spec", "approvedBy"),
    ("spec", "selector", "matchLabels"),
}  # fmt: skip


def values(node: Raw) -> st.SearchStrategy[Any]:
    """Of the right type, and often at or beyond a border."""
    if "enum" in node:
        return st.sampled_from([*node["enum"], "Yolo", "", node["enum"][0].upper()])
    match node.get("type"):
        case "boolean":
            return st.booleans()
        case "integer":
            low, high = node.get("minimum", 0), node.get("maximum", 10**6)
            return st.sampled_from([low - 1, low, low + 1, high - 1, high, high + 1, -(10**18), 10**18])
        case "array":
            items = st.lists(values(node["items"]), max_size=3)
            return items | st.sampled_from([value for _, value in crd_sins.break_keywords(node)])
        case "object":
            return st.just({})
    if any("a time like" in rule["message"] for rule in node.get("x-kubernetes-validations", [])):
        return st.sampled_from(MOMENTS)
    pool = {DECIMAL: DECIMALS, DURATION: DURATIONS}.get(node.get("pattern", ""), WORDS)
    found = st.sampled_from(pool) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    return found | st.from_regex(node["pattern"], fullmatch=True) if "pattern" in node else found


def places(kind: str, *, exact: bool) -> list[tuple[Path, Raw]]:
    """Where the spec can be changed; `exact`: only where the two must agree in both directions."""
    found = [
        (path, node) for path, node in crd_sins.walk(crd_sins.schema_of(kind)) if path[:1] == ("spec",) and path[1:]
    ]
    if not exact:
        return found
    return [(path, node) for path, node in found if not any(path[: len(each)] == each for each in STRICTER_BY_PATH)]


def edits(kind: str, *, exact: bool) -> st.SearchStrategy[list[tuple[Path, Any]]]:
    def edit(place: tuple[Path, Raw]) -> st.SearchStrategy[tuple[Path, Any]]:
        path, node = place
        others = st.just(GONE) if exact else st.just(GONE) | st.sampled_from([1, "1", True, 0.5, [], {}, [[]]])
        return st.tuples(st.just(path), values(node) | others)

    one = st.sampled_from(places(kind, exact=exact)).flatmap(edit)
    if kind == "TradingBot":
        one = one | st.sampled_from(COMBINED)
    return st.lists(one, max_size=3)


def apply(kind: str, changes: list[tuple[Path, Any]]) -> Raw:
    body = crd_sins.build(kind)
    for path, value in changes:
        try:
            crd_sins.put(body, path, None if value is GONE else copy.deepcopy(value))
        except (AttributeError, IndexError, KeyError, StopIteration, TypeError):
            continue  # an edit before it has taken that place away
    return body


def model_takes(kind: str, body: Raw) -> bool:
    (found,) = (each for each in crd.KINDS if each.name == kind)
    try:
        found.model.model_validate(body)
    except ValidationError:
        return False
    return True


def server_takes(line: Line, kind: str, body: Raw) -> tuple[bool, str]:
    (found,) = (each for each in crd.KINDS if each.name == kind)
    scope = "namespaces/default/" if found.scope == "Namespaced" else ""
    answer = line.create(f"/apis/{GROUP}/{VERSION}/{scope}{found.plural}?dryRun=All&fieldValidation=Ignore", body)
    assert answer.status in {201, 400, 422}, answer.body
    return answer.status == 201, answer.body.get("message", "")


@pytest.fixture(scope="module")
def line(control_plane: ControlPlane, crds: list[Raw]) -> Iterator[Line]:
    assert crds
    opened = Line(control_plane.admin)
    yield opened
    opened.close()


KINDS = [kind.name for kind in crd.KINDS]
CALM = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("kind", KINDS)
@CALM
@given(data=st.data())
def test_server_and_model_agree(line: Line, kind: str, data: st.DataObject) -> None:
    body = apply(kind, data.draw(edits(kind, exact=True)))
    takes, message = server_takes(line, kind, body)
    event("taken" if takes else "refused")
    assert model_takes(kind, body) == takes, message


@pytest.mark.parametrize("kind", KINDS)
@CALM
@given(data=st.data())
def test_server_lets_nothing_pass_that_the_model_cannot_read(line: Line, kind: str, data: st.DataObject) -> None:
    body = apply(kind, data.draw(edits(kind, exact=False)))
    if not model_takes(kind, body):
        takes, _ = server_takes(line, kind, body)
        assert not takes


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_to_be_wrong_is_wrong_for_both(line: Line, kind: str) -> None:
    """One at a time, so that none of them is left to chance."""
    for sin in crd_sins.find_sins(kind):
        takes, message = server_takes(line, kind, sin.changed)
        assert not takes, sin
        stricter = any(sin.path[: len(each)] == each for each in STRICTER_BY_PATH) or sin.path[0] == "metadata"
        assert stricter or not model_takes(kind, sin.changed), (str(sin), message)
