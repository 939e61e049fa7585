"""PURE. Whether a pod that no node has yet may be bound to this one: the little of a scheduler that one node needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
SCHEDULER_NAME = "default-scheduler"


@dataclass(frozen=True, slots=True)
class Decision:
    bind: bool
    reason: str = ""
    """Why not, for whoever describes the pod; empty when there is nothing to say."""
    wants_volumes: bool = False
    """All that is missing is that its claims are bound."""


def place(pod: Json, node: Json, claims: Mapping[str, Json | None], busy_claims: frozenset[str]) -> Decision:
    """`claims`: the pod's claims by name, None for one that does not exist. `busy_claims`: those of access mode
    ReadWriteOncePod that another pod of this node still uses."""
    spec = pod["spec"]
    if spec.get("schedulerName", SCHEDULER_NAME) != SCHEDULER_NAME:
        return Decision(bind=False, reason=f"no scheduler named {spec['schedulerName']} places pods on {_name(node)}")
    if spec.get("schedulingGates"):
        return Decision(bind=False)  # the API server says so itself
    labels = node["metadata"].get("labels") or {}
    for key, value in (spec.get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return Decision(bind=False, reason=f"node {_name(node)} has no label {key}={value}")
    tolerations = spec.get("tolerations") or []
    for taint in node["spec"].get("taints") or []:
        if taint["effect"] != "PreferNoSchedule" and not any(_tolerates(one, taint) for one in tolerations):
            return Decision(bind=False, reason=f"node {_name(node)} has the untolerated taint {taint['key']}")
    for name, claim in claims.items():
        if claim is None:
            return Decision(bind=False, reason=f'persistentvolumeclaim "{name}" not found')
        if claim["metadata"].get("deletionTimestamp"):
            return Decision(bind=False, reason=f'persistentvolumeclaim "{name}" is being deleted')
        if name in busy_claims:
            return Decision(bind=False, reason=f'ReadWriteOncePod claim "{name}" is in use by another pod')
        if (claim.get("status") or {}).get("phase") != "Bound":
            reason = f'persistentvolumeclaim "{name}" is not bound yet'
            return Decision(bind=False, reason=reason, wants_volumes=True)
    return Decision(bind=True)


def claim_names(spec: Json) -> list[str]:
    volumes = spec.get("volumes") or []
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]


def is_once_per_pod(claim: Json) -> bool:
    return "ReadWriteOncePod" in (claim["spec"].get("accessModes") or [])


def _tolerates(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    operator = toleration.get("operator") or "Equal"
    if not toleration.get("key"):
        return operator == "Exists"
    if toleration["key"] != taint["key"]:
        return False
    return operator == "Exists" or (toleration.get("value") or "") == (taint.get("value") or "")


def _name(node: Json) -> str:
    return str(node["metadata"]["name"])
