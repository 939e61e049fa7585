"""PURE. The latch of a stop: what engages it, what releases it.

Read from the raw object, whatever else is wrong with it: a stop must not wait for a valid spec.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tradingbot_api.conditions import LatchState
from tradingbot_api.spec import StopAction
from tradingbot_api.status import MAX_REPORTED_SOURCES, Latch, LatchSource
from tradingbot_trader.control.timestamps import parse_rfc3339

_SEVERITY = {StopAction.REDUCE_ONLY: 0, StopAction.CANCEL_ORDERS: 1, StopAction.FLATTEN: 2}
KILL_SWITCH = "KillSwitch"
BREAK_GLASS = "BreakGlassFile"
SIGNAL = "Signal"


@dataclass(frozen=True, slots=True)
class StopRequest:
    """One source that asks for a stop now."""

    source: str
    """KillSwitch, or TradingHalt/NAME."""
    action: StopAction
    reason: str


@dataclass(frozen=True, slots=True)
class ReportedLatch:
    """A latch that the object's status tells of: of an earlier trader with another store, or minted by the operator."""

    id: str
    action: StopAction
    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class ActiveLatch:
    """What is latched now, as far as deciding needs it."""

    id: str
    action: StopAction


@dataclass(frozen=True, slots=True)
class Engage:
    """Latch. `id` is empty when a new one is to be minted."""

    id: str
    source: str
    action: StopAction
    reason: str


@dataclass(frozen=True, slots=True)
class Escalate:
    """Already latched, and now a stricter action is asked for."""

    action: StopAction
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    id: str


def read_kill_switch(raw: Mapping[str, Any]) -> StopRequest | None:
    """The bot's own kill switch. Anything but a plain `false` counts as engaged: a stop is never lost."""
    switch = _mapping(_mapping(raw.get("spec")).get("killSwitch"))
    if switch.get("engaged", False) in (False, None):
        return None
    return StopRequest(KILL_SWITCH, read_action(raw), _text(switch.get("reason")))


def read_action(raw: Mapping[str, Any]) -> StopAction:
    """What the bot's spec says that a stop should do."""
    return _action(_mapping(_mapping(raw.get("spec")).get("killSwitch")).get("action"))


def read_rearm(raw: Mapping[str, Any]) -> str:
    """The latch id that a person wants released; empty for none."""
    return _text(_mapping(_mapping(raw.get("spec")).get("killSwitch")).get("rearm"))


def is_suspended(raw: Mapping[str, Any]) -> bool:
    """`spec.suspend`, with anything but a plain `false` read as true."""
    return _mapping(raw.get("spec")).get("suspend", False) not in (False, None)


def read_halts(raw: Mapping[str, Any], halts: Sequence[Mapping[str, Any]], now_ns: int) -> list[StopRequest]:
    """The TradingHalts that match this bot and have not expired. What cannot be read of one matches and never expires,
    the stricter side."""
    return [
        StopRequest(
            f"TradingHalt/{_text(_mapping(halt.get('metadata')).get('name'))}",
            _action(_mapping(halt.get("spec")).get("action")),
            _text(_mapping(halt.get("spec")).get("reason")),
        )
        for halt in halts
        if _matches(raw, _mapping(halt.get("spec"))) and not _has_expired(_mapping(halt.get("spec")), now_ns)
    ]


def read_reported(raw: Mapping[str, Any]) -> ReportedLatch | None:
    """The latch in `status`, the trader's own before the operator's mirror; None when neither tells of one.

    A report that carries another uid speaks of an earlier bot of this name and is ignored.
    """
    uid = _mapping(raw.get("metadata")).get("uid")
    status = _mapping(raw.get("status"))
    trader = _mapping(status.get("trader"))
    own = _mapping(trader.get("latch")) if trader.get("uid") == uid else {}
    for latch in (own, _mapping(status.get("killSwitch"))):
        if latch.get("id") and latch.get("state", LatchState.ARMED) != LatchState.ARMED:
            return ReportedLatch(
                _text(latch["id"]), _action(latch.get("action")), _text(latch.get("reason")), _text(latch.get("source"))
            )
    return None


def read_latch(raw: Mapping[str, Any], *, uid: str) -> Latch | None:
    """The latch that a trader of this bot reported last, whole; None when there is none or it cannot be read."""
    trader = _mapping(_mapping(raw.get("status")).get("trader"))
    try:
        return Latch.model_validate(trader["latch"]) if trader.get("uid") == uid else None
    except (KeyError, ValidationError):
        return None


def decide(
    active: ActiveLatch | None,
    requests: Sequence[StopRequest],
    *,
    rearm: str,
    reported: ReportedLatch | None,
    released_ids: Collection[str],
) -> Engage | Escalate | Release | None:
    """What the latch does now. It is released only by its own id and only when every source is off."""
    strictest = max(requests, key=lambda request: _SEVERITY[request.action], default=None)
    if reported is not None and (reported.id in released_ids or reported.id == rearm):
        reported = None  # the status is older than the release, or a person releases what only the status remembers
    if active is None:
        if reported is not None and (strictest is None or _SEVERITY[reported.action] > _SEVERITY[strictest.action]):
            return Engage(reported.id, reported.source or KILL_SWITCH, reported.action, reported.reason)
        if strictest is not None:
            return Engage(reported.id if reported else "", strictest.source, strictest.action, strictest.reason)
        return None
    if strictest is not None:
        if _SEVERITY[strictest.action] > _SEVERITY[active.action]:
            return Escalate(strictest.action, strictest.source, strictest.reason)
        return None
    return Release(active.id) if rearm == active.id else None


def name_sources(
    known: Sequence[LatchSource], requests: Sequence[StopRequest], now: str, *, are_active: bool
) -> list[LatchSource]:
    """Each who asks or asked, in the order in which they were first seen, at most MAX_REPORTED_SOURCES: those who still
    ask before the others. `are_active` False: these asked once, and only a stricter action is news of them."""
    asking = {request.source: request for request in requests}
    told = []
    for each in known:
        request = asking.pop(each.source, None)
        if request is None:
            told.append(each.model_copy(update={"active": False}) if are_active else each)
        elif are_active or _SEVERITY[request.action] > _SEVERITY[each.action]:
            news = {"action": request.action, "reason": request.reason, "active": are_active}
            told.append(each.model_copy(update=news))
        else:
            told.append(each)
    told += [
        LatchSource(source=source, action=each.action, reason=each.reason, since=now, active=are_active)
        for source, each in asking.items()
    ]
    return (
        sorted(told, key=lambda each: not each.active)[:MAX_REPORTED_SOURCES]
        if len(told) > MAX_REPORTED_SOURCES
        else told
    )


def _matches(raw: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    metadata = _mapping(raw.get("metadata"))
    namespaces, bots = spec.get("namespaces") or [], spec.get("bots") or []
    wanted = _mapping(_mapping(spec.get("selector")).get("matchLabels"))
    labels = _mapping(metadata.get("labels"))
    return (
        (not namespaces or metadata.get("namespace") in namespaces)
        and (not bots or metadata.get("name") in bots)
        and all(labels.get(key) == value for key, value in wanted.items())
    )


def _has_expired(spec: Mapping[str, Any], now_ns: int) -> bool:
    try:
        return now_ns >= parse_rfc3339(_text(spec.get("expiresAt")))
    except ValueError:
        return False


def read_glass_words(text: str) -> StopRequest:
    """The file's first word names the action; an empty file, or another word, is CancelOrders."""
    words = text.split(None, 1)
    return StopRequest(BREAK_GLASS, _action(words[0] if words else ""), words[1].strip()[:256] if words[1:] else "")


def _action(value: object) -> StopAction:
    """An unknown action is CancelOrders: it takes all orders away, and sells nothing that nobody asked to sell."""
    try:
        return StopAction(str(value))
    except ValueError:
        return StopAction.CANCEL_ORDERS


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
