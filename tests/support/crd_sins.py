"""What a CRD refuses, derived from the CRD itself: for each keyword of each field, and for each rule, one object that
breaks it, and so a new keyword or rule is tried without a new test. A rule says what breaks it in `BREAKS`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tradingbot_api import API_VERSION, crd

Raw = dict[str, Any]
Path = tuple[str | int, ...]
AT = "2026-01-02T03:04:05Z"
DIGEST = f"v1:{'0' * 64}"

FULL: dict[str, Raw] = {
    "TradingBot": {
        "exchange": {"id": "binance", "network": "Sandbox"},
        "symbols": ["BTC/USDT"],
        "strategy": {"name": "sma-cross", "timeframe": "1s", "parameters": {"fast": "5"}},
        "capital": {
            "currency": "USDT",
            "stage": "micro",
            "stages": [
                {
                    "name": "micro",
                    "limit": "50",
                    "gate": {
                        "minDuration": "168h", "minOrders": 100, "minSharpe": "0.8", "maxRejectionPercent": "1",
                        "maxSlippagePercent": "0.5", "maxDesyncs": 0, "maxBreakerTrips": 3, "maxRestarts": 0,
                    },
                },
                {"name": "small", "limit": "100"},
            ],
            "approvals": {"required": 1},
            "demotion": {"maxDrawdownPercent": "5", "action": "ReduceOnly"},
        },
        "risk": {"maxOrderNotional": "20", "maxDailyNotional": "5000"},
        "credentials": {"externalSecret": {"storeRef": {"name": "vault"}, "key": "trading/binance"}},
        "notifications": {"secretName": "alerts"},
    },
    "TradingHalt": {
        "namespaces": ["desk-a"],
        "bots": ["btc"],
        "selector": {"matchLabels": {"team": "a"}},
        "action": "CancelOrders",
        "reason": "night",
        "expiresAt": AT,
    },
    "TradingApproval": {
        "bot": "btc", "digest": DIGEST, "stage": "small", "expiresAt": "2030-01-01T00:00:00Z", "comment": "seen",
    },
    "TradingReview": {
        "bot": "btc", "digest": DIGEST, "stage": "small", "verdict": "GO", "windowStart": AT, "windowEnd": AT,
        "kind": "Gates",
        "gates": [{"name": "minSharpe", "required": "0.8", "observed": "1.1", "passed": True}],
        "approvedBy": ["rita"], "message": "all gates passed",
    },
}  # fmt: skip
"""Valid, with every field that has no default, and with those that a break below needs."""

ONE_SECRET: Raw = {"credentials": {"secretName": "keys"}}
"""The other source of keys: exactly one is allowed."""

A_DRILL: Raw = {"kind": "Drill", "gates": [], "steps": [{"step": "Requested", "at": AT, "milliseconds": 0}]}
"""The other kind of review: it alone has steps."""

BREAKS: dict[str, Any] = {
    "must be greater than 0: a decimal": "0",
    "must be greater than 0 and at most 100": "101",
    "must be 0 or more": "-1",
    "must be longer than 0s": "0s",
    "only spot trading is supported": "3",
    "must be a time like": "2026-01-31",
    "stages must be listed from the smallest": [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "50"}],
    "capital.stage must be the name of": {"stage": "large"},
    "set exactly one of": {"secretName": "keys"},
    "every symbol must be quoted in": {"symbols": ["BTC/EUR"]},
    "mode Live needs credentials": {"mode": "Live", "credentials": None},
    "a review of kind Drill has": {"kind": "Drill"},
}
"""By the first words of a rule's message: a value for the place where the rule stands, or what to merge into it."""

FORBIDDEN_CHANGES: dict[str, tuple[str, Raw]] = {
    "exchange cannot change while": ("TradingBot", {"exchange": {"id": "kraken"}}),
    "capital.currency cannot change while": ("TradingBot", {"capital": {"currency": "USDC"}, "symbols": ["BTC/USDC"]}),
    "the source of the credentials cannot change": (
        "TradingBot", {"credentials": {"externalSecret": {"key": "trading/other"}}}
    ),
    "a signature cannot be changed": ("TradingApproval", {"stage": "large"}),
    "a review cannot be changed": ("TradingReview", {"verdict": "NO-GO"}),
}  # fmt: skip
"""Of rules about a change: a change that they refuse. Those of a bot while a live trader reports something open."""


@dataclass(frozen=True)
class Sin:
    """One object that breaks one thing."""

    kind: str
    path: Path
    what: str
    changed: Raw
    """The whole object."""

    def __str__(self) -> str:
        return f"{self.kind} {'.'.join(map(str, self.path))}: {self.what}"


@cache
def schema_of(kind: str) -> Raw:
    (found,) = (each for each in crd.KINDS if each.name == kind)
    schema: Raw = crd.build_crd(found)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def build(kind: str, name: str = "btc") -> Raw:
    spec = copy.deepcopy(FULL[kind])
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def walk(schema: Raw, path: Path = ()) -> Iterator[tuple[Path, Raw]]:
    """Every place: items of lists at 0, values of maps at the key that FULL has there, or `x`."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, (*path, name))
    if "items" in schema:
        yield from walk(schema["items"], (*path, 0))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from walk(schema["additionalProperties"], (*path, "x"))


def rules_of(kind: str) -> Iterator[tuple[Path, Raw]]:
    """Each rule with the place where it stands."""
    for path, node in walk(schema_of(kind)):
        for rule in node.get("x-kubernetes-validations", []):
            yield path, rule


def is_about_change(rule: Raw) -> bool:
    """A rule that nothing can break by what it is, only by what becomes of it."""
    return "oldSelf" in rule["rule"] and not rule.get("optionalOldSelf")


def find_sins(kind: str) -> Iterator[Sin]:
    """One for each keyword of each field of metadata and spec, and for each rule that is not about a change."""
    frozen = {("spec",), ()}  # what is required there is required for ever: the unit tests hold it
    for path, node in walk(schema_of(kind)):
        if path[:1] in {("status",), ("apiVersion",), ("kind",)}:
            continue
        base = ONE_SECRET if path == ("spec", "credentials", "secretName") else {}
        base = A_DRILL if (kind, path[1:2]) == ("TradingReview", ("steps",)) else base
        for what, value in break_keywords(node):
            if (path, what) == (("metadata", "name"), "pattern"):
                value = "1st"  # noqa: PLW2901  what no object of Kubernetes may be called was refused at all times
            yield Sin(kind, path, what, put(merge(build(kind), ("spec",), base), path, value))
        for name in node.get("required", []) if path not in frozen else []:
            if name not in node.get("x-kubernetes-list-map-keys", []) and not is_list_key(kind, path, name):
                yield Sin(
                    kind, (*path, name), "required", put(merge(build(kind), ("spec",), base), (*path, name), None)
                )
        for rule in node.get("x-kubernetes-validations", []):
            if not is_about_change(rule):
                value = find(BREAKS, rule["message"])
                whole = merge(build(kind), ("spec",), base)
                changed = merge(whole, path, value) if isinstance(value, dict) else put(whole, path, value)
                yield Sin(kind, path, rule["message"][:40], changed)


def is_list_key(kind: str, path: Path, name: str) -> bool:
    """Without its key an item of such a list is no item: the API server refuses the list whatever came before."""
    node = schema_of(kind)
    for step in path[:-1]:
        node = node["items"] if step == 0 else node["properties"].get(step) or node["additionalProperties"]
    return name in node.get("x-kubernetes-list-map-keys", [])


def break_keywords(node: Raw) -> Iterator[tuple[str, Any]]:
    """A value for each keyword, of the right type and wrong in that way."""
    item = sample(node["items"]) if "items" in node else None
    breaks: dict[str, Callable[[Any], Any]] = {
        "enum": lambda _: "Yolo",
        "pattern": lambda _: "§",
        "maxLength": lambda limit: "a" * (limit + 1),
        "minLength": lambda limit: "a" * (limit - 1),
        "minimum": lambda limit: limit - 1,
        "maximum": lambda limit: limit + 1,
        "minItems": lambda limit: [item] * (limit - 1),
        "maxItems": lambda limit: [item] * (limit + 1),
        "maxProperties": lambda limit: {f"x{number}": "1" for number in range(limit + 1)},
    }
    known = {"type", "description", "default", "properties", "items", "additionalProperties", "required"}
    known |= {"x-kubernetes-validations", "x-kubernetes-list-map-keys", "x-kubernetes-int-or-string"}
    for keyword, limit in node.items():
        if keyword == "x-kubernetes-list-type":
            if limit in ("set", "map"):
                yield "twice", [item] * max(2, node.get("minItems", 0))
        elif keyword in breaks:
            yield keyword, breaks[keyword](limit)
        elif keyword not in known:
            raise AssertionError(f"a keyword that nothing here can break: {keyword}")


def sample(node: Raw) -> Any:
    """Something of the node's type that its own keywords take."""
    if node.get("type") == "object":
        return {name: sample(node["properties"][name]) for name in node.get("required", [])}
    if node.get("type") == "boolean":
        return True
    if node.get("type") == "integer":
        return 1
    return {"BTC/": "BTC/USDT"}.get("BTC/" if "/" in node.get("pattern", "") else "", "1")


def find(table: dict[str, Any], message: str) -> Any:
    """The row whose words begin the message; a rule without one fails here."""
    for words, value in table.items():
        if message.startswith(words):
            return value
    raise AssertionError(f"a new rule: say in tests/support/crd_sins.py what breaks it: {message}")


def put(bot: Raw, path: Path, value: Any) -> Raw:
    """The object with another value at that place; None takes it away. Parents that are not there are made."""
    place: Any = bot
    *parents, last = path
    for step in parents:
        place = place[step] if isinstance(place, list) else place.setdefault(step, {})
    if last == "x":
        last = next(iter(place))
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value
    return bot


def merge(bot: Raw, path: Path, changes: Raw) -> Raw:
    for name, value in changes.items():
        bot = put(bot, (*path, name), value)
    return bot


def loosen(schema: Raw) -> None:
    """Keeps names, types and defaults, and takes away all that could refuse."""
    for _, node in list(walk(schema)):
        for keyword in list(node):
            if keyword not in {
                "type", "description", "default", "properties", "items", "additionalProperties",
                "x-kubernetes-int-or-string",
            }:  # fmt: skip
                del node[keyword]
