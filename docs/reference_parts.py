# ruff: noqa: INP001  a script's helper, and no package
"""What the pages of the reference are made of: Markdown, words for a schema's types, and looks into the code."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tradingbot_api import decimal, duration

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("trader/tradingbot_trader", "operator/tradingbot_operator")
WIDTH = 120
Schema = dict[str, Any]


# ---- Markdown --------------------------------------------------------------------------------------------------------


def wrap(text: str, *, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        " ".join(text.split()),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def bullet(text: str, *, indent: str = "") -> str:
    return wrap(text, first=f"{indent}- ", rest=f"{indent}  ")


def item(name: str, kind: str, text: str, *notes: str) -> str:
    """One entry of a list: its name and kind, what it means, and what else has to be known."""
    text = re.sub(r"<(?=\w)", r"\\<", sentence(text))  # Markdown would take it for HTML
    return "\n".join([bullet(f"**`{name}`** {kind}. {text}"), *(bullet(note, indent="  ") for note in notes)])


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if not text or text[-1] in ".:" else f"{text}."


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def written(value: object) -> str:
    return code(json.dumps(value))


# ---- schemas ---------------------------------------------------------------------------------------------------------


def describe_type(schema: Schema) -> str:
    """A type in a few words."""
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return "whole number or string"
    match schema.get("type"):
        case "string":
            return describe_string(schema)
        case "integer":
            return "whole number" + bounds(schema.get("minimum"), schema.get("maximum"))
        case "boolean":
            return "`true` or `false`"
        case "array":
            of = "objects" if "properties" in schema["items"] else f"({describe_type(schema['items'])})"
            count = bounds(schema.get("minItems"), schema.get("maxItems"))
            keys = schema.get("x-kubernetes-list-map-keys")
            unique = ", each once" if schema.get("x-kubernetes-list-type") == "set" else ""
            return f"list of {of}{count}{unique}" + (f", by `{keys[0]}`" if keys else "")
        case "object" if "additionalProperties" in schema:
            most = f", at most {schema['maxProperties']}" if "maxProperties" in schema else ""
            return f"map of names to ({describe_type(schema['additionalProperties'])}){most}"
    return "object"


def describe_string(schema: Schema) -> str:
    known = {
        decimal.PATTERN: "decimal string",
        decimal.REPORTED_PATTERN: "decimal string",
        duration.PATTERN: "duration",
    }
    if schema.get("pattern") in known:
        return known[schema["pattern"]]
    if schema.get("format") == "date-time":
        return "time"
    text = "string"
    if "maxLength" in schema:
        text += f", at most {schema['maxLength']} characters"
    return text + (f", matching `{schema['pattern']}`" if "pattern" in schema else "")


def bounds(least: object, most: object) -> str:
    if least is not None and most is not None:
        return f", {least} to {most}"
    return f", {least} or more" if least is not None else f", at most {most}" if most is not None else ""


def resolve(schema: Schema, root: Schema) -> Schema:
    """A JSON schema with its references followed and its parts joined; what stands beside a reference wins."""
    merged: Schema = {}
    for part in schema.get("allOf", []):
        merged |= {key: value for key, value in resolve(part, root).items() if key != "additionalProperties"}
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        merged |= resolve(target, root)
    return merged | {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}


# ---- the code --------------------------------------------------------------------------------------------------------


def documented_members(module: ModuleType, name: str, members: Any) -> list[tuple[Any, str]]:
    """The members of an enum with the sentence below each; members without one get an empty text."""
    tree = ast.parse(inspect.getsource(module))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name).body
    comments: dict[str, str] = {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            said = following.value if isinstance(following, ast.Expr) else None
            comments[node.targets[0].id] = str(said.value) if isinstance(said, ast.Constant) else ""
    return [(member, " ".join(comments.get(member.name, "").split())) for member in members]


def named_constants(function: Callable[..., object], enum_name: str, members: Any) -> list[str]:
    """Which members of an enum a function names, in that order."""
    names = re.findall(rf"\b{enum_name}\.([A-Z_]+)", inspect.getsource(function))
    return [members[name].value for name in dict.fromkeys(names)]


def sources() -> Iterator[str]:
    """The text of every module of operator and trader."""
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.read_text(encoding="utf-8")


def demand(name: str, given: Mapping[str, object], wanted: set[str]) -> None:
    """What is in the code has a sentence, and every sentence is about something in the code."""
    missing, unknown = sorted(wanted - set(given)), sorted(set(given) - wanted)
    if missing or unknown:
        raise SystemExit(f"docs/reference_texts.py: {name} lacks {missing} and has unknown {unknown}")
