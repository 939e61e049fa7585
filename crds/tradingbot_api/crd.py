"""PURE but for `main`. The CRD manifests, made from the models: `python -m tradingbot_api.crd --write` (or `--check`).

Pydantic's JSON schema is no structural schema. The differences, found by applying with `fieldValidation=Strict`
(which refuses keywords that are dropped silently otherwise): references are inlined, `anyOf [X, null]` is X, a numeric
`exclusiveMinimum` is a boolean beside `minimum`, titles go, defaults are written as users would write them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tradingbot_api import GROUP, VERSION, labels
from tradingbot_api.model import ApiModel
from tradingbot_api.objects import TradingApproval, TradingBot, TradingHalt
from tradingbot_api.review import TradingReview

Schema = dict[str, Any]

_NAME: Schema = {"type": "string", "maxLength": 63, "description": "At most 63 characters."}
_BOT_NAME: Schema = {
    "type": "string",
    "maxLength": labels.MAX_BOT_NAME_LENGTH,
    "pattern": labels.BOT_NAME_PATTERN,
    "description": f"At most {labels.MAX_BOT_NAME_LENGTH} characters, because the names of a bot's pods begin with it. "
    "Its volume is found again by it: a bot that is made again under the same name finds its books and its latch.",
}
_VERSION_FIELD: Schema = {"type": "string", "description": f"{GROUP}/{VERSION}."}


@dataclass(frozen=True)
class Column:
    name: str
    path: str
    type: str = "string"
    wide: bool = False
    description: str = ""

    def manifest(self) -> Schema:
        column: Schema = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            column["description"] = self.description
        return column | ({"priority": 1} if self.wide else {})


@dataclass(frozen=True)
class Kind:
    model: type[ApiModel]
    plural: str
    short_names: tuple[str, ...]
    scope: str = "Namespaced"
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ()
    name_schema: Schema = field(default_factory=lambda: dict(_NAME))

    @property
    def name(self) -> str:
        return self.model.__name__


_AGE = Column("Age", ".metadata.creationTimestamp", "date")
_EXPIRES = "From then on it does nothing new"
"""A string, no date: kubectl shows a date as its age, and one that is still to come as <invalid>."""
KINDS = (
    Kind(
        TradingBot,
        "tradingbots",
        ("tb",),
        columns=(
            Column("Mode", ".spec.mode", description="The mode that the spec asks for"),
            Column("Granted", ".status.permit.mode", description="The mode that is permitted"),
            Column("Stage", ".status.permit.stage", description="The capital stage that is permitted"),
            Column("Limit", ".status.permit.limit", description="Most capital at risk, in the bot's currency"),
            Column("Stop", ".status.killSwitch.state", description="Armed: nothing is latched"),
            Column(
                "Ready",
                '.status.conditions[?(@.type=="Ready")].status',
                description="Whether the bot does what its spec asks for, within its permit",
            ),
            _AGE,
            Column(
                "Reason",
                '.status.conditions[?(@.type=="Ready")].reason',
                wide=True,
                description="Why it is Ready or not",
            ),
            Column(
                "Day P&L",
                ".status.trader.performance.dayPnl",
                wide=True,
                description="Realized and unrealized since 00:00 UTC, in the bot's currency",
            ),
            Column(
                "Positions", ".status.trader.openPositions", "integer", wide=True, description="Symbols that are held"
            ),
            Column("Heartbeat", ".status.trader.heartbeatAt", "date", wide=True, description="Age of the last report"),
            Column("State", ".status.trader.state", wide=True, description="What the trader lets out"),
        ),
        selectable=(
            ".spec.mode",
            ".spec.exchange.id",
            ".status.permit.mode",
            ".status.killSwitch.state",
            ".status.phase",
        ),
        name_schema=_BOT_NAME,
    ),
    Kind(
        TradingHalt,
        "tradinghalts",
        ("halt",),
        scope="Cluster",
        columns=(
            Column("Action", ".spec.action", description="What each stopped bot does"),
            Column("Namespaces", ".spec.namespaces", description="Namespaces that it stops; []: all"),
            Column("Bots", ".spec.bots", description="Bots that it stops; []: all"),
            Column("Reason", ".spec.reason"),
            Column("Expires", ".spec.expiresAt", description=_EXPIRES),
            _AGE,
            Column("Labels", ".spec.selector.matchLabels", wide=True, description="Labels that it asks for; {}: none"),
        ),
    ),
    Kind(
        TradingApproval,
        "tradingapprovals",
        ("tba",),
        columns=(
            Column("Bot", ".spec.bot"),
            Column("Stage", ".spec.stage", description="Highest stage that is signed"),
            Column("Expires", ".spec.expiresAt", description=_EXPIRES),
            _AGE,
            Column("Digest", ".spec.digest", wide=True, description="The spec that is signed"),
        ),
        selectable=(".spec.bot",),
    ),
    Kind(
        TradingReview,
        "tradingreviews",
        ("tbr",),
        columns=(
            Column("Bot", ".spec.bot"),
            Column("Kind", ".spec.kind", description="What it is about: a stage's gates, or a drill"),
            Column("Stage", ".spec.stage"),
            Column("Verdict", ".spec.verdict"),
            _AGE,
            Column("Message", ".spec.message", wide=True, description="What the verdict rests on"),
        ),
        selectable=(".spec.bot",),
    ),
)


def build_crd(kind: Kind) -> Schema:
    """The CustomResourceDefinition of one kind."""
    schema = structural_schema(kind.model)
    properties = schema.setdefault("properties", {})
    schema["properties"] = {
        "apiVersion": dict(_VERSION_FIELD),
        "kind": {"type": "string", "description": f"{kind.name}."},
        # The API server describes metadata itself, and refuses all that is said about it here but for its name.
        "metadata": {"type": "object", "properties": {"name": dict(kind.name_schema)}},
        **properties,
    }
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [column.manifest() for column in kind.columns],
    }
    if "status" in properties:
        _drop_defaults(properties["status"])
        version["subresources"] = {"status": {}}
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": kind.scope,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": list(kind.short_names),
                "categories": ["trading"],
            },
            "versions": [version],
        },
    }


def structural_schema(model: type[ApiModel]) -> Schema:
    """The structural schema of a model; ValueError for what the API server would refuse or silently drop."""
    read = model.model_json_schema(mode="validation")
    written = model.model_json_schema(
        mode="serialization"
    )  # its defaults are as users write them: "15m", not nanoseconds
    return _convert(read, written, read.get("$defs", {}), written.get("$defs", {}), path=model.__name__)


_KEPT = (
    "type", "description", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "enum",
    "format", "maxProperties",
)  # fmt: skip


def _convert(
    read: Schema, written: Schema, read_defs: Schema, written_defs: Schema, *, path: str, seen: tuple[str, ...] = ()
) -> Schema:
    read, written = _without_null(read), _without_null(written)
    if "$ref" in read:
        name = read["$ref"].rsplit("/", 1)[-1]
        if name in seen:
            raise ValueError(f"{path}: a structural schema cannot be recursive ({name})")
        seen = (*seen, name)
        # what stands beside the reference is said about this use of it, and wins
        read = read_defs[name] | {key: value for key, value in read.items() if key != "$ref"}
        target = written["$ref"].rsplit("/", 1)[-1] if "$ref" in written else name
        written = written_defs.get(target, {}) | {key: value for key, value in written.items() if key != "$ref"}
    out: Schema = {key: read[key] for key in _KEPT if key in read}
    if "description" in out:
        out["description"] = " ".join(out["description"].split())
    for bound in ("Minimum", "Maximum"):
        if f"exclusive{bound}" in read:
            out[bound.lower()] = read[f"exclusive{bound}"]
            out[f"exclusive{bound}"] = True
    out |= {key: value for key, value in read.items() if key.startswith("x-kubernetes-")}
    if written.get("default") is not None:
        out["default"] = written["default"]
    if read.get("default") == {}:
        out["default"] = {}
    if "properties" in read:
        out["properties"] = {
            name: _convert(
                child,
                written.get("properties", {}).get(name, {}),
                read_defs,
                written_defs,
                path=f"{path}.{name}",
                seen=seen,
            )
            for name, child in read["properties"].items()
        }
        if read.get("required"):
            out["required"] = read["required"]
    elif isinstance(read.get("additionalProperties"), dict):
        out["additionalProperties"] = _convert(
            read["additionalProperties"], {}, read_defs, written_defs, path=f"{path}.*", seen=seen
        )
    if "items" in read:
        out["items"] = _convert(
            read["items"], written.get("items", {}), read_defs, written_defs, path=f"{path}[]", seen=seen
        )
    if "type" not in out and not out.get("x-kubernetes-int-or-string"):
        raise ValueError(f"{path}: a structural schema needs a type, got {read}")
    return out


def _without_null(schema: Schema) -> Schema:
    options = schema.get("anyOf")
    if options is None:
        return schema
    others: list[Schema] = [option for option in options if option != {"type": "null"}]
    if len(others) != 1:
        raise ValueError(f"a structural schema has no unions: {schema}")
    return others[0] | {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}


def _drop_defaults(schema: Schema) -> None:
    """A status says what was written; the API server must not add to it."""
    schema.pop("default", None)
    for child in schema.get("properties", {}).values():
        _drop_defaults(child)
    if "items" in schema:
        _drop_defaults(schema["items"])


def render(crd: Schema) -> str:
    """The manifest as YAML, stable in its order."""
    import yaml  # the generator alone needs it; the API depends on pydantic alone

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, _data: Any) -> bool:
            return True

    head = "# Generated from crds/tradingbot_api: change the models, then run `make generate`.\n"
    return head + yaml.dump(crd, Dumper=Plain, sort_keys=False, width=120, allow_unicode=True)


def main(arguments: list[str] | None = None) -> int:
    """Write the manifests, or check that those in the folders are what the models say."""
    parser = argparse.ArgumentParser(prog="python -m tradingbot_api.crd", description=main.__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true")
    action.add_argument("--check", action="store_true")
    parser.add_argument("folders", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    stale = []
    for kind in KINDS:
        text = render(build_crd(kind))
        for folder in options.folders:
            path = folder / f"{GROUP}_{kind.plural}.yaml"
            if options.write:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            elif not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(str(path))
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}. Run `make generate` and commit the result.\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
