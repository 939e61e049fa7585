"""PURE. TradingHalts: how `kill` and `halt` make them, and which bots one matches. The same rule is the trader's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tradingbot_api.spec import StopAction
from tradingbot_plugin.errors import Refused
from tradingbot_plugin.view import BotView, Raw, Ref, is_as_strict, parse_time, read_action

MADE_BY = "tradingbot.dev/made-by"
PLUGIN = "kubectl-tradingbot"
ACTION_BEFORE = "tradingbot.dev/action-before-kill"
MAX_REASON = 1024
"""What spec.reason takes; a stop does not fail for a long story."""
_LABEL = re.compile(r"([A-Za-z0-9./_-]+)=([A-Za-z0-9._-]*)")


def halt_name(ref: Ref, suffix: str = "") -> str:
    """A dot between the two: neither may have one, so no two bots share a name (kill-a-b-c could be of either of
    two)."""
    return f"kill-{ref.namespace}.{ref.name}" + (f"-{suffix}" if suffix else "")


def build_kill_halt(
    ref: Ref, action: StopAction, reason: str, *, suffix: str = "", action_before: StopAction | None = None
) -> Raw:
    """For exactly that bot. `action_before` is for the re-arm, which takes back what the kill wrote over."""
    metadata: Raw = {"name": halt_name(ref, suffix), "labels": {MADE_BY: PLUGIN}}
    if action_before is not None:
        metadata["annotations"] = {ACTION_BEFORE: action_before.value}
    return _halt(metadata, {"namespaces": [ref.namespace], "bots": [ref.name]}, action=action, reason=reason)


def read_action_before(made_by_kill: Sequence[object]) -> StopAction | None:
    """What the bot's spec said before the first of these kills wrote its own action over it; None: none did."""
    oldest_first = sorted(made_by_kill, key=lambda each: str(_mapping(each, "metadata").get("creationTimestamp") or ""))
    found = (_mapping(each, "metadata", "annotations").get(ACTION_BEFORE) for each in oldest_first)
    return next((read_action(each) for each in found if read_action(each)), None)


def build_halt(
    name: str,
    *,
    namespaces: Sequence[str],
    bots: Sequence[str],
    labels: Mapping[str, str],
    action: StopAction,
    reason: str,
    expires_at: datetime | None,
) -> Raw:
    spec: Raw = {"namespaces": list(namespaces), "bots": list(bots)}
    if labels:
        spec["selector"] = {"matchLabels": dict(labels)}
    if expires_at is not None:
        spec["expiresAt"] = expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return _halt({"name": name} if name else {"generateName": "halt-"}, spec, action=action, reason=reason)


def _halt(metadata: Raw, spec: Raw, *, action: StopAction, reason: str) -> Raw:
    spec |= {"action": action.value, "reason": reason[:MAX_REASON]}
    return {"apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingHalt", "metadata": metadata, "spec": spec}


def parse_labels(text: str) -> dict[str, str]:
    """`key=value,...`: a halt knows no other form of selector."""
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        match = _LABEL.fullmatch(part.strip())
        if match is None:
            raise Refused(f"{part!r}: a halt matches labels of the form key=value, several with commas between them")
        found[match[1]] = match[2]
    return found


def reason_of(halt: object) -> str:
    reason = _mapping(halt, "spec").get("reason")
    return reason if isinstance(reason, str) else ""


def name_of(halt: object) -> str:
    name = _mapping(halt, "metadata").get("name")
    return name if isinstance(name, str) else ""


def uid_of(halt: object) -> str:
    uid = _mapping(halt, "metadata").get("uid")
    return uid if isinstance(uid, str) else ""


def matches(halt: object, bot: BotView, now: datetime) -> bool:
    """What cannot be read of a halt matches, and never expires: the stricter side, as the trader reads it."""
    spec = _mapping(halt, "spec")
    namespaces, bots, wanted = spec.get("namespaces"), spec.get("bots"), _mapping(spec, "selector", "matchLabels")
    expires = parse_time(str(spec.get("expiresAt") or ""))
    return (
        (not isinstance(namespaces, list) or not namespaces or bot.ref.namespace in namespaces)
        and (not isinstance(bots, list) or not bots or bot.ref.name in bots)
        and all(bot.labels.get(key) == value for key, value in wanted.items())
        and (expires is None or now < expires)
    )


def is_made_by_kill(halt: object, ref: Ref) -> bool:
    """With our label, and for exactly that bot: only such a one is deleted by a re-arm."""
    spec = _mapping(halt, "spec")
    return (
        _mapping(halt, "metadata", "labels").get(MADE_BY) == PLUGIN
        and spec.get("namespaces") == [ref.namespace]
        and spec.get("bots") == [ref.name]
        and not _mapping(spec, "selector", "matchLabels")
    )


def does_the_same(halt: object, ref: Ref, action: StopAction) -> bool:
    """It stops that bot for as long as it is there, as strictly as wanted."""
    spec = _mapping(halt, "spec")
    is_strict = is_as_strict(read_action(spec.get("action")), action)
    is_going = bool(_mapping(halt, "metadata").get("deletionTimestamp"))
    return is_made_by_kill(halt, ref) and is_strict and not spec.get("expiresAt") and not is_going


def _mapping(value: object, *path: str) -> Mapping[str, Any]:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}
