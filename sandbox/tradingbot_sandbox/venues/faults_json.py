"""Fault rules as JSON that a person reads and writes: `[{"when": {...}, "what": {"effect": ...}}, ...]`. PURE.

Flow: file or request -> `parse_rules` -> faults; faults -> `rule_json` -> whoever asks which rules there are.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from decimal import Decimal
from typing import Annotated, Any

from tradingbot_sandbox.venues.faults_rules import EFFECTS, Bounds, Effect, FaultRuleError, Operation, Rule, When


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules of a JSON list; one rule alone may stand without the list. Raises FaultRuleError."""
    try:
        given = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except ValueError as error:
        raise FaultRuleError(f"not JSON: {error}") from error
    rows = given if isinstance(given, list) else [given]
    return tuple(
        _parse_rule(row, f"rules[{number}]" if row is not given else "rule") for number, row in enumerate(rows)
    )


def rule_json(rule: Rule) -> dict[str, object]:
    """The rule as it is written; what has its default is left out."""
    when, what = _written(rule.when), {"effect": rule.what.name} | _written(rule.what)
    return {"when": when, "what": what} if when else {"what": what}


def _parse_rule(row: object, where: str) -> Rule:
    parts = _object(row, where, ("when", "what"))
    what = _object(parts.get("what"), f"{where}.what", None)
    name = what.pop("effect", None)
    if not isinstance(name, str) or name not in EFFECTS:
        raise FaultRuleError(f"{where}.what.effect: expected one of {', '.join(sorted(EFFECTS))}, not {name!r}")
    effect = EFFECTS[name]
    when = _object(parts.get("when", {}), f"{where}.when", None)
    conditions = When(**_values(When, when, f"{where}.when", "when"))
    consequence = effect(**_values(effect, what, f"{where}.what", name))
    try:
        return Rule(when=conditions, what=consequence)
    except FaultRuleError as error:
        raise FaultRuleError(f"{where}.{error}") from error


def _object(given: object, where: str, names: tuple[str, ...] | None) -> dict[str, object]:
    if not isinstance(given, dict):
        raise FaultRuleError(f"{where}: expected an object, not {given!r}")
    for name in given:
        if names is not None and name not in names:
            raise FaultRuleError(f"{where}.{name}: unknown field; there are {', '.join(names)}")
    return dict(given)


def _values(kind: type[When | Effect], given: Mapping[str, object], where: str, called: str) -> dict[str, Any]:
    hints = _hints(kind)
    for name in given:
        if name not in hints:
            there = f"{called} has {', '.join(hints)}" if hints else f"{called} has no fields"
            raise FaultRuleError(f"{where}.{name}: unknown field; {there}")
    for field in fields(kind):
        if field.default is MISSING and field.name not in given:
            raise FaultRuleError(f"{where}.{field.name}: {called} needs it, {_expected(hints[field.name])}")
    return {name: _value(value, hints[name], f"{where}.{name}") for name, value in given.items()}


def _value(given: object, hint: Any, where: str) -> object:
    kind, bounds, is_optional = _take_apart(hint)
    if given is None and is_optional:
        return None
    value = _convert(given, kind)
    if value is None or (bounds is not None and not bounds.least <= value <= bounds.most):
        raise FaultRuleError(f"{where}: {_expected(hint)}, not {given!r}")
    return value


def _convert(given: object, kind: type) -> Any:
    """None: it is not of that kind."""
    if kind is bool or isinstance(given, bool):
        return given if kind is bool and isinstance(given, bool) else None
    if kind is Operation:
        return Operation(given) if isinstance(given, str) and given in list(Operation) else None
    if kind is int:
        return given if isinstance(given, int) else None
    if kind is Decimal:
        # amounts are texts, as everywhere in this project, seconds are numbers: both are exact here
        if isinstance(given, int | Decimal):
            return Decimal(given)
        is_number = isinstance(given, str) and given.replace(".", "", 1).isdecimal()
        return Decimal(str(given)) if is_number else None
    return given if isinstance(given, str) else None


def _expected(hint: Any) -> str:
    kind, bounds, _ = _take_apart(hint)
    if kind is Operation:
        return f"expected one of {', '.join(Operation)}"
    names = {bool: "true or false", int: "a whole number", Decimal: "a decimal number", str: "a text"}
    span = f" from {bounds.least} to {bounds.most}" if bounds is not None else ""
    return f"expected {names[kind]}{span}"


def _take_apart(hint: Any) -> tuple[type, Bounds | None, bool]:
    """The plain type, its bounds, and whether there may be none."""
    is_optional = typing.get_origin(hint) in (typing.Union, types.UnionType)
    inner = next(part for part in typing.get_args(hint) if part is not type(None)) if is_optional else hint
    if typing.get_origin(inner) is Annotated:
        kind, bounds = typing.get_args(inner)
        return kind, bounds, is_optional
    return inner, None, is_optional


def _hints(kind: type[When | Effect]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _written(part: When | Effect) -> dict[str, object]:
    return {
        field.name: _plain(getattr(part, field.name))
        for field in fields(part)
        if getattr(part, field.name) != field.default
    }


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else format(value.normalize(), "f")
    return str(value) if isinstance(value, Operation) else value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")
