"""PURE. Whose an object is, and whether it differs from what we want.

Two questions decide about an apply. Is each field that we want there (somebody may have changed it)? Did we want the
same the last time (a field that we no longer want has to go)? The second is answered by a hash in an annotation, so
that a restarted operator writes nothing. What the API server adds by itself (defaults, other spellings of a quantity)
is no difference, or we would write for ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Any

from tradingbot_api import GROUP
from tradingbot_api.labels import BOT, MANAGED_BY, OPERATOR_MANAGER
from tradingbot_operator import kinds
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.kinds import Kind
from tradingbot_operator.manifest import Manifest, mapping, sequence, text
from tradingbot_operator.quantity import parse_quantity

APPLIED_HASH = "tradingbot.dev/applied-hash"

# Lists whose items the API server merges by key, so that others may have added some of their own
# (x-kubernetes-patch-merge-key and list-map-keys of Kubernetes' OpenAPI). Every other list is ours as a whole.
_MERGE_KEYS = {
    "ownerReferences": ("uid",),
    "containers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ports": ("name",),
}
_EXACT = {"rules", "subjects", "roleRef", "accessModes", "matchLabels", "selector"}
"""Nothing may stand beside what we wrote: one more subject or one more label selects something else."""
_QUANTITIES = {"requests", "limits"}


class Ownership(Enum):
    OURS = auto()
    LEFTOVER = auto()
    """Of an earlier bot of this name: the garbage collector is about to delete it."""
    FOREIGN = auto()


def find_owner(kind: Kind, observed: Mapping[str, Any], bot: BotRef) -> Ownership:
    if kind == kinds.VOLUME:
        labels = mapping(observed, "metadata", "labels")
        is_ours = labels.get(BOT) == bot.name and labels.get(MANAGED_BY) == OPERATOR_MANAGER
        return Ownership.OURS if is_ours else Ownership.FOREIGN
    owners = [owner for owner in sequence(observed, "metadata", "ownerReferences") if isinstance(owner, Mapping)]
    if any(owner.get("uid") == bot.uid for owner in owners):
        return Ownership.OURS
    if any(_is_bot(owner) and owner.get("name") == bot.name for owner in owners):
        return Ownership.LEFTOVER
    return Ownership.FOREIGN


def _is_bot(owner: Mapping[str, Any]) -> bool:
    return owner.get("kind") == kinds.BOT.name and text(owner, "apiVersion").partition("/")[0] == GROUP


def stamp(kind: Kind, manifest: Manifest) -> Manifest:
    """The manifest with the hash of itself. A volume's spec is not hashed: it is built from what it already is."""
    hashed = {key: value for key, value in manifest.items() if not (kind == kinds.VOLUME and key == "spec")}
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations", {}) | {APPLIED_HASH: digest}
    return manifest | {"metadata": metadata | {"annotations": annotations}}


def is_up_to_date(stamped: Manifest, observed: Mapping[str, Any]) -> bool:
    """The hash is one of the stamped manifest's fields, so one comparison answers both questions."""
    if text(stamped, "kind") != kinds.NETWORK_POLICY.name:
        return _contains(observed, stamped, field="")
    # One more rule, port or peer lets somebody through: nothing may stand beside what we wrote. Empty lists are not
    # stored.
    wanted = {part: value for part, value in stamped["spec"].items() if value != []}
    head = {part: value for part, value in stamped.items() if part != "spec"}
    return wanted == mapping(observed, "spec") and _contains(observed, head, field="")


def _contains(observed: Any, wanted: Any, *, field: str, quantities: bool = False) -> bool:
    if isinstance(wanted, dict):
        if not isinstance(observed, dict) or (field in _EXACT and set(observed) != set(wanted)):
            return False
        inside = quantities or field in _QUANTITIES
        return all(
            key in observed and _contains(observed[key], value, field=key, quantities=inside)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(observed, list) and _list_contains(observed, wanted, field=field)
    if quantities and isinstance(wanted, str):
        return observed == wanted or (
            parse_quantity(wanted) is not None and parse_quantity(wanted) == parse_quantity(observed)
        )
    return type(observed) is type(wanted) and bool(observed == wanted)


def _list_contains(observed: Sequence[Any], wanted: Sequence[Any], *, field: str) -> bool:
    if field in _EXACT:
        return list(observed) == list(wanted)
    keys = _MERGE_KEYS.get(field)
    if keys is None:
        return len(observed) == len(wanted) and all(
            _contains(have, want, field="") for have, want in zip(observed, wanted, strict=True)
        )
    by_key = {tuple(item.get(key) for key in keys): item for item in observed if isinstance(item, Mapping)}
    return all(_contains(by_key.get(tuple(want.get(key) for key in keys)), want, field="") for want in wanted)
