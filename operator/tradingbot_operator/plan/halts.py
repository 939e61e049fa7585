"""PURE. TradingHalts: which bots one matches, and what it asks of them.

The rules are the trader's (its control/latch.py): neither program imports the other, and a test holds both together.
Read from the raw object. What cannot be read of a halt matches and never expires, the stricter side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tradingbot_api.spec import StopAction
from tradingbot_operator.manifest import Manifest, mapping, name_of, namespace_of, text, uid_of
from tradingbot_operator.timestamps import parse_time_ns

_SEVERITY = {StopAction.REDUCE_ONLY: 0, StopAction.CANCEL_ORDERS: 1, StopAction.FLATTEN: 2}


@dataclass(frozen=True, slots=True)
class StopRequest:
    """One source that asks for a stop."""

    source: str
    """KillSwitch, or TradingHalt/NAME."""
    action: StopAction
    reason: str
    identity: str = ""
    """What tells it from another of the same name."""


def matches(bot: Manifest, halt: Manifest) -> bool:
    spec = mapping(halt, "spec")
    namespaces, bots = spec.get("namespaces") or [], spec.get("bots") or []
    wanted, labels = mapping(spec, "selector", "matchLabels"), mapping(bot, "metadata", "labels")
    return (
        (not namespaces or namespace_of(bot) in namespaces)
        and (not bots or name_of(bot) in bots)
        and all(labels.get(key) == value for key, value in wanted.items())
    )


def has_expired(halt: Manifest, now_ns: int) -> bool:
    at_ns = parse_time_ns(mapping(halt, "spec").get("expiresAt"))
    return at_ns is not None and now_ns >= at_ns


def read_halts(bot: Manifest, halts: Iterable[Manifest], now_ns: int) -> list[StopRequest]:
    """What asks for a stop of this bot now."""
    return [read_halt(halt) for halt in halts if matches(bot, halt) and not has_expired(halt, now_ns)]


def read_halt(halt: Manifest) -> StopRequest:
    spec = mapping(halt, "spec")
    return StopRequest(f"TradingHalt/{name_of(halt)}", read_action(spec), text(spec, "reason"), uid_of(halt))


def read_action(spec: object) -> StopAction:
    """An unknown action takes all orders away, and sells nothing that nobody asked to sell."""
    try:
        return StopAction(text(spec, "action"))
    except ValueError:
        return StopAction.CANCEL_ORDERS


def find_strictest(requests: Iterable[StopRequest]) -> StopRequest | None:
    """Of two alike the first."""
    return max(requests, key=lambda request: _SEVERITY[request.action], default=None)


def is_stricter(action: StopAction, than: StopAction | None) -> bool:
    return than is None or _SEVERITY[action] > _SEVERITY[than]
