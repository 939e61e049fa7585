"""Whether a pod may be bound to the node."""

from __future__ import annotations

from typing import Any

import pytest

from tradingbot_sandbox.node.placement import claim_names, is_once_per_pod, place

Json = dict[str, Any]
TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def node(*taints: Json) -> Json:
    return {"metadata": {"name": "here", "labels": {"kubernetes.io/os": "linux"}}, "spec": {"taints": list(taints)}}


def claim(phase: str = "Bound", *, mode: str = "ReadWriteOnce", deleted: bool = False) -> Json:
    metadata = {"deletionTimestamp": "x"} if deleted else {}
    return {"metadata": metadata, "spec": {"accessModes": [mode]}, "status": {"phase": phase}}


def reason(spec: Json, *, at: Json | None = None, claims: dict[str, Any] | None = None, busy: str = "") -> str | None:
    """None: it is bound."""
    decision = place({"spec": spec}, at or node(), claims or {}, frozenset({busy} - {""}))
    return None if decision.bind else decision.reason


@pytest.mark.parametrize(
    "spec", [{}, {"schedulerName": "default-scheduler"}, {"nodeSelector": {"kubernetes.io/os": "linux"}}]
)
def test_pod_that_fits_is_bound(spec: Json) -> None:
    assert reason(spec) is None


def test_other_schedulers_and_other_nodes_are_respected() -> None:
    assert reason({"schedulerName": "x"}) == "no scheduler named x places pods on here"
    assert reason({"nodeSelector": {"zone": "a"}}) == "node here has no label zone=a"
    assert reason({"schedulingGates": [{"name": "x"}]}) == ""


@pytest.mark.parametrize(
    ("toleration", "bound"),
    [
        ({}, False),
        ({"operator": "Exists"}, True),
        ({"key": TAINT["key"], "operator": "Exists"}, True),
        ({"key": TAINT["key"], "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": TAINT["key"], "value": "x"}, False),
        ({"key": TAINT["key"]}, True),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_taints_need_a_toleration(toleration: Json, bound: bool) -> None:  # noqa: FBT001  a column of the table
    assert (reason({"tolerations": [toleration]}, at=node(TAINT)) is None) == bound


def test_preference_is_no_obstacle() -> None:
    assert reason({}, at=node({"key": "x", "effect": "PreferNoSchedule"})) is None


def test_claims_must_be_there_and_bound() -> None:
    assert reason({}, claims={"c": claim()}) is None
    assert reason({}, claims={"c": None}) == 'persistentvolumeclaim "c" not found'
    assert reason({}, claims={"c": claim(deleted=True)}) == 'persistentvolumeclaim "c" is being deleted'
    assert reason({}, claims={"c": claim()}, busy="c") == 'ReadWriteOncePod claim "c" is in use by another pod'
    unbound = place({"spec": {}}, node(), {"c": claim("Pending")}, frozenset())
    assert unbound.wants_volumes
    assert unbound.reason == 'persistentvolumeclaim "c" is not bound yet'


def test_claims_of_a_pod_and_their_mode() -> None:
    spec = {"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "b", "emptyDir": {}}]}
    assert claim_names(spec) == ["c"]
    assert is_once_per_pod(claim(mode="ReadWriteOncePod"))
    assert not is_once_per_pod(claim())
