# ruff: noqa: INP001  a script beside what it writes, and no package
"""Writes docs/reference/*.md from the code: `python docs/generate_reference.py --write` (or `--check`).

What a model, a table or a registry says stands there once; sentences beyond that are in reference_texts.py.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import annotated_types as at
import reference_texts as texts
import yaml
from prometheus_client.metrics import MetricWrapperBase
from pydantic.fields import FieldInfo
from reference_parts import (
    ROOT,
    Schema,
    bullet,
    code,
    demand,
    describe_type,
    documented_members,
    item,
    named_constants,
    sentence,
    sources,
    table,
    wrap,
    written,
)
from reference_values import read_comments, value_entries

from tradingbot_api import crd
from tradingbot_operator.metrics import Metrics as OperatorMetrics
from tradingbot_operator.settings import Settings
from tradingbot_trader.book import audit
from tradingbot_trader.metrics import Metrics as TraderMetrics
from tradingbot_trader.orders import sizing
from tradingbot_trader.risk import limits, trips
from tradingbot_trader.strategy.base import BaseStrategy

REFERENCE = ROOT / "docs" / "reference"
CHART = ROOT / "charts" / "tradingbot-operator"
WITHOUT_EFFECT = "**Without effect in this version.**"


def page(name: str, *parts: str) -> str:
    title, intro = texts.INTROS[name]
    return "\n\n".join([f"# {title}", texts.GENERATED, wrap(intro), *parts]) + "\n"


# ---- api.md ----------------------------------------------------------------------------------------------------------


def build_api() -> str:
    sections: list[str] = []
    for kind in crd.KINDS:
        version = crd.build_crd(kind)["spec"]["versions"][0]
        root = version["schema"]["openAPIV3Schema"]
        columns = [each["name"] for each in version["additionalPrinterColumns"] if not each.get("priority")]
        wide = [each["name"] for each in version["additionalPrinterColumns"] if each.get("priority")]
        shown = ", ".join(columns) + (f"; with `-o wide` also {', '.join(wide)}" if wide else "")
        sections += [
            f"## {kind.name}",
            wrap(root.get("description", "")),
            wrap(f"{kind.scope}, short name `{'`, `'.join(kind.short_names)}`. Columns of `kubectl get`: {shown}."),
        ]
        if kind.name in texts.KINDS_WITHOUT_EFFECT:
            sections.append("**Without effect in this version:** nothing reads or writes this kind.")
        sections += refusals(root)
        for part in ("spec", "status"):
            if part in root["properties"]:
                sections += object_sections(part, root["properties"][part])
    return page("api.md", *sections)


def object_sections(path: str, schema: Schema) -> Iterator[str]:
    """One section for an object, then one for each object inside it."""
    required = set(schema.get("required", ()))
    head = [f"### `{path}`"]
    head += [wrap(schema["description"])] if schema.get("description") else []
    head += [WITHOUT_EFFECT] if is_below_any(path, texts.WITHOUT_EFFECT) else []
    head += refusals(schema)
    inner: list[tuple[str, Schema]] = []
    fields = []
    for name, field in schema["properties"].items():
        where = f"{path}.{name}"
        fields.append(describe_field(where, name, field, is_required=name in required))
        if "properties" in field:
            inner.append((where, field))
        elif "properties" in field.get("items", {}):
            inner.append((f"{where}[]", field["items"]))
    yield "\n\n".join([*head, "\n".join(fields)])
    for where, field in inner:
        yield from object_sections(where, field)


def describe_field(path: str, name: str, field: Schema, *, is_required: bool) -> str:
    kind = describe_type(field)
    if is_required:
        kind += ", required"
    elif field.get("default") not in (None, {}, []):
        kind += f", default {written(field['default'])}"
    rules = field.get("x-kubernetes-validations", []) if "properties" not in field else []
    notes = [f"Refused: {sentence(rule['message'])}" for rule in rules]
    if path in texts.WITHOUT_EFFECT:
        notes.append(WITHOUT_EFFECT)
    return item(name, kind, field.get("description", ""), *notes)


def refusals(schema: Schema) -> list[str]:
    """What the API server says of the object as a whole."""
    rules = [bullet(sentence(each["message"])) for each in schema.get("x-kubernetes-validations", [])]
    return ["Refused as a whole:\n\n" + "\n".join(rules)] if rules else []


def is_below_any(path: str, parents: Iterable[str]) -> bool:
    return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in parents)


# ---- metrics.md ------------------------------------------------------------------------------------------------------


def build_metrics() -> str:
    return page(
        "metrics.md",
        "## Trader",
        wrap(texts.TRADER_METRICS),
        describe_metrics(TraderMetrics()),
        "## Operator",
        describe_metrics(OperatorMetrics()),
    )


def describe_metrics(holder: object) -> str:
    found = [value for value in vars(holder).values() if isinstance(value, MetricWrapperBase)]
    return "\n".join(describe_metric(metric) for metric in found)


def describe_metric(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = metric._labelnames  # there is no public way
    said = {label: texts.LABELS[label] if label != "reason" else texts.REASONS[family.name] for label in labels}
    return item(name, family.type, family.documentation, *(f"`{label}`: {text}" for label, text in said.items()))


# ---- risk-limits.md --------------------------------------------------------------------------------------------------


def build_risk_limits() -> str:
    demand("LIMITS", texts.LIMITS, {limit.__name__ for limit in limits.FOR_ENTRIES})
    demand("TRIPS", texts.TRIPS, set(trip_functions()))
    rows = []
    for limit in limits.FOR_ENTRIES:
        field, when = texts.LIMITS[limit.__name__]
        what = "entries and exits" if limit in limits.FOR_EXITS else "entries"
        reasons = named_constants(limit, "DenialReason", limits.DenialReason)
        rows.append([code(field), what, when, ", ".join(map(code, reasons))])
    trip_rows = []
    for name, function in trip_functions().items():
        field, what = texts.TRIPS[name]
        (reason,) = named_constants(function, "TripReason", trips.TripReason)
        is_latching = "is_latching=True" in inspect.getsource(function)
        consequence = "latches: the bot stops until a person re-arms it" if is_latching else "that position is sold"
        trip_rows.append([code(field), what, consequence, code(reason)])
    said = documented_members(sizing, "NoOrderReason", sizing.NoOrderReason)
    demand("NO_ORDER", texts.NO_ORDER, {member.name for member, comment in said if not comment})
    none_rows = [[code(member.value), comment or texts.NO_ORDER[member.name]] for member, comment in said]
    return page(
        "risk-limits.md",
        "## Checked before each order",
        table(("Field", "Applies to", "Denied when", "Reason"), rows),
        wrap(texts.ABOUT_LIMITS),
        "## Watched while something is held",
        "Twenty times a second, at the last trusted price.",
        table(("Field", "Measured", "Then", "Reason"), trip_rows),
        wrap(texts.ABOUT_TRIPS),
        "## No order at all",
        wrap(texts.ABOUT_NO_ORDER),
        table(("Reason", "Meaning"), none_rows),
    )


def trip_functions() -> dict[str, Callable[..., object]]:
    return {
        name: function
        for name, function in inspect.getmembers(trips, inspect.isfunction)
        if function.__module__ == trips.__name__ and re.search(r"\bTripReason\.", inspect.getsource(function))
    }


# ---- audit.md --------------------------------------------------------------------------------------------------------


def build_audit() -> str:
    demand("AUDIT", texts.AUDIT, {kind.name for kind in audit.AuditKind})
    written_now = set(re.findall(r"\bAuditKind\.([A-Z_]+)", "\n".join(sources())))
    demand("AUDIT with a text", {name: text for name, text in texts.AUDIT.items() if text[0]}, written_now)
    rows = [[code(kind.value), *texts.AUDIT[kind.name]] for kind in audit.AuditKind if kind.name in written_now]
    silent = ", ".join(code(kind.value) for kind in audit.AuditKind if kind.name not in written_now)
    damages = [[code(each.value), comment] for each, comment in documented_members(audit, "Damage", audit.Damage)]
    return page(
        "audit.md",
        "## A record",
        table(("Field", "Meaning"), texts.AUDIT_FIELDS),
        "## Kinds",
        table(("Kind", "Written when", "Data"), rows),
        wrap(
            f"Nothing writes these yet: {silent}. A loss that stops a bot is a `Latched` record, an order that is "
            "presumed absent an `OrderEvent`; keys are told by the log and by `status.trader.credentials`."
        ),
        "## What `audit verify` finds",
        table(("Damage", "Meaning"), damages),
    )


# ---- strategies.md ---------------------------------------------------------------------------------------------------


def build_strategies() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    parts = []
    for name, place in sorted(project["entry-points"]["tradingbot.strategies"].items()):
        module_name, _, class_name = place.partition(":")
        module = import_module(module_name)
        strategy: BaseStrategy[Any, Any] = getattr(module, class_name)()
        about = inspect.cleandoc(module.__doc__ or "").removeprefix("PURE. ")
        fields = [describe_parameter(field) for field in strategy.parameters_class.model_fields.values()]
        # The rest of the docstring is about the arithmetic.
        parts += [f"## {name}", *map(wrap, about.split("\n\n")[:2]), "\n".join(fields)]
    return page("strategies.md", *parts, "## How targets become orders", wrap(texts.ABOUT_TARGETS))


def describe_parameter(field: FieldInfo) -> str:
    kind = "whole number" if int in flat_types(field.annotation) else "number"
    words = {at.Ge: ("at least", "ge"), at.Gt: ("above", "gt"), at.Le: ("at most", "le"), at.Lt: ("below", "lt")}
    found = [each for each in (*constraints(field.annotation), *field.metadata) if type(each) in words]
    allowed = [f"{words[type(each)][0]} {getattr(each, words[type(each)][1])}" for each in found]
    default = "none" if field.default is None else f"`{field.default}`"
    kind = ", ".join([kind, *allowed, "required" if field.is_required() else f"default {default}"])
    return item(field.alias or "", kind, field.description or "")


def constraints(annotation: Any) -> Iterator[Any]:
    """What stands in the Annotated parts of a type, inside unions too."""
    for part in get_args(annotation):
        if hasattr(part, "__metadata__"):
            yield from (inner for each in part.__metadata__ for inner in getattr(each, "metadata", [each]))
        yield from constraints(part)


def flat_types(annotation: Any) -> set[Any]:
    parts = get_args(annotation)
    return {each for part in parts for each in flat_types(part)} if parts else {annotation}


# ---- chart-values.md and operator-settings.md ------------------------------------------------------------------------


def build_chart_values() -> str:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    given = (CHART / "values.yaml").read_text(encoding="utf-8")
    entries = value_entries(schema, yaml.safe_load(given), read_comments(given), texts.PLACEHOLDERS)
    return page("chart-values.md", "\n".join(entries), wrap(texts.ABOUT_VALUES))


def build_operator_settings() -> str:
    return page("operator-settings.md", "\n".join(describe_setting(*each) for each in Settings.model_fields.items()))


def describe_setting(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if hasattr(default, "model_dump"):
        default = default.model_dump()
    elif isinstance(default, Path):
        default = str(default)
    kind = "whole number" if field.annotation is int else "number" if field.annotation is float else "text"
    shown = "" if default in ("", (), {}, None) else f", default {written(default)}"
    return item(f"--{name.replace('_', '-')}", kind + shown, field.description or "")


PAGES: Mapping[str, Callable[[], str]] = {
    "api.md": build_api,
    "metrics.md": build_metrics,
    "risk-limits.md": build_risk_limits,
    "audit.md": build_audit,
    "strategies.md": build_strategies,
    "chart-values.md": build_chart_values,
    "operator-settings.md": build_operator_settings,
}


def main() -> int:
    """Write the pages, or check that they are what the code says."""
    parser = argparse.ArgumentParser(prog="python docs/generate_reference.py", description=main.__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true")
    action.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = []
    for name, build in PAGES.items():
        path, text = REFERENCE / name, build()
        if options.write:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}. Run `python docs/generate_reference.py --write`.\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
