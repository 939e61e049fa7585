"""An object from before today's rules, wrong in any way: a kill, a suspend, a re-arm and a status still get through.

The ways are derived from the CRD (tests/support/crd_sins.py), so a new rule is tried here, or fails until somebody says
what breaks it. The bad objects are made under a CRD without rules; then the real one takes its place.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator

import pytest

from support import crd_sins
from support.api_line import Line
from support.crd_sins import Raw, Sin
from tradingbot_api import crd
from tradingbot_sandbox.control_plane.api import Answer
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

pytestmark = pytest.mark.control_plane
GROUP = "old.tradingbot.test"
SINS = [sin for kind in crd.KINDS for sin in crd_sins.find_sins(kind.name)]
LIVE_AND_LOADED: Raw = {
    "uid": "u", "pod": "p", "version": "0", "mode": "Live", "state": "Active", "startedAt": crd_sins.AT,
    "heartbeatAt": crd_sins.AT, "epoch": 1, "openPositions": 1, "openOrders": 1, "unresolvedOrders": 1,
    "config": {"generation": 1, "accepted": True, "reason": "Accepted"},
}  # fmt: skip

LABEL = {"metadata": {"labels": {"touched": "yes"}}}
MUST_PASS: dict[str, dict[str, Raw]] = {
    "TradingBot": {
        "kill": {"spec": {"killSwitch": {"engaged": True, "reason": "night"}}},
        "re-arm": {"spec": {"killSwitch": {"engaged": False, "rearm": "t-1"}}},
        "suspend": {"spec": {"suspend": True}},
        "label": LABEL,
        "finalizer": {"metadata": {"finalizers": ["tradingbot.dev/on-delete"]}},
        "no finalizer": {"metadata": {"finalizers": None}},
    },
    "TradingHalt": {
        "stricter": {"spec": {"action": "Flatten"}},
        "wider": {"spec": {"namespaces": [], "bots": [], "selector": {"matchLabels": None}}},
        "label": LABEL,
    },
    "TradingApproval": {"label": LABEL},
    "TradingReview": {"label": LABEL},
}
"""What a person or a program has to be able to do with any object, by its kind."""


class OldDays:
    """Objects of another group, with the same schema."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self.admin = Line(control_plane.admin)
        self._names: dict[str, str] = {}

    def path(self, kind: str, name: str = "") -> str:
        (found,) = (each for each in crd.KINDS if each.name == kind)
        scope = "namespaces/default/" if found.scope == "Namespaced" else ""
        return f"/apis/{GROUP}/v1alpha1/{scope}{found.plural}" + (f"/{name}" if name else "")

    def make(self, key: str, body: Raw) -> None:
        kind = body["kind"]
        body = copy.deepcopy(body) | {"apiVersion": f"{GROUP}/v1alpha1"}
        if body["metadata"]["name"] == "btc":
            body["metadata"]["name"] = f"old-{len(self._names)}"
        answer = self.admin.create(self.path(kind), body)
        assert answer.is_success, (key, answer.body)
        self._names[key] = self.path(kind, body["metadata"]["name"])

    def find(self, key: str) -> str:
        return self._names[key]


def old_crd(kind: crd.Kind, *, is_loose: bool) -> Raw:
    manifest = crd.build_crd(kind)
    manifest["metadata"]["name"] = f"{kind.plural}.{GROUP}"
    manifest["spec"]["group"] = GROUP
    del manifest["spec"]["names"]["shortNames"]
    if is_loose:
        crd_sins.loosen(manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    return manifest


@pytest.fixture(scope="module")
def old_days(control_plane: ControlPlane, apply_crd: Callable[[Raw], None]) -> Iterator[OldDays]:
    """Every sin was committed before the rules came into force."""
    days = OldDays(control_plane)
    for kind in crd.KINDS:
        apply_crd(old_crd(kind, is_loose=True))
    for kind in crd.KINDS:
        wait_until(f"{kind.name} is served", lambda kind=kind: days.admin.get(days.path(kind.name)).is_success)
    for sin in SINS:
        days.make(str(sin), sin.changed)
    for message, (kind_name, _) in crd_sins.FORBIDDEN_CHANGES.items():
        days.make(message, crd_sins.build(kind_name))
    for kind in crd.KINDS:
        apply_crd(old_crd(kind, is_loose=False))
    for kind_name, sin in {sin.kind: sin for sin in SINS}.items():
        wait_until(f"{kind_name}: {sin}", lambda sin=sin: commit_today(days, sin).status in {400, 422})
    yield days
    days.admin.close()
    for kind in crd.KINDS:
        name = f"{kind.plural}.{GROUP}"
        control_plane.admin.delete(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")


def commit_today(days: OldDays, sin: Sin) -> Answer:
    today = copy.deepcopy(sin.changed) | {"apiVersion": f"{GROUP}/v1alpha1"}
    name = today["metadata"]["name"]
    today["metadata"]["name"] = f"{name}b" if sin.path == ("metadata", "name") else "new"
    return days.admin.create(days.path(sin.kind) + "?dryRun=All&fieldValidation=Strict", today)


def wait_until(what: str, look: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not look():
        assert time.monotonic() < end, f"not within 60 s: {what}"
        time.sleep(0.05)


def patch_all(days: OldDays, kind: str, path: str) -> None:
    for what, patch in MUST_PASS[kind].items():
        answer = days.admin.merge(path, patch)
        assert answer.status == 200, (what, answer.body)
    if kind == "TradingBot":
        answer = days.admin.merge(f"{path}/status", {"status": {"phase": "Stalled"}})
        assert answer.status == 200, ("status", answer.body)


@pytest.mark.parametrize("sin", SINS, ids=str)
def test_what_stops_a_bot_passes_though_the_object_breaks_this(old_days: OldDays, sin: Sin) -> None:
    path = old_days.find(str(sin))
    today = commit_today(old_days, sin)
    assert today.status in {400, 422}, f"no sin any more: {today.body}"
    patch_all(old_days, sin.kind, path)


@pytest.mark.parametrize("message", crd_sins.FORBIDDEN_CHANGES)
def test_what_stops_a_bot_passes_where_a_change_is_refused(old_days: OldDays, message: str) -> None:
    kind, change = crd_sins.FORBIDDEN_CHANGES[message]
    path = old_days.find(message)
    if kind == "TradingBot":
        assert old_days.admin.merge(f"{path}/status", {"status": {"trader": LIVE_AND_LOADED}}).is_success
    answer = old_days.admin.merge(f"{path}?dryRun=All", {"spec": change})
    assert answer.status == 422, answer.body
    assert message in answer.body["message"]
    patch_all(old_days, kind, path)


def test_every_rule_about_a_change_has_a_change_that_it_refuses() -> None:
    told: set[str] = set()
    for kind in crd.KINDS:
        for _, rule in crd_sins.rules_of(kind.name):
            if crd_sins.is_about_change(rule):
                of_kind, _ = crd_sins.find(crd_sins.FORBIDDEN_CHANGES, rule["message"])
                assert of_kind == kind.name
                told |= {words for words in crd_sins.FORBIDDEN_CHANGES if rule["message"].startswith(words)}
    assert told == set(crd_sins.FORBIDDEN_CHANGES)


def test_every_break_is_of_a_rule_that_is_there() -> None:
    messages = [rule["message"] for kind in crd.KINDS for _, rule in crd_sins.rules_of(kind.name)]
    assert [words for words in crd_sins.BREAKS if not any(each.startswith(words) for each in messages)] == []
