# ruff: noqa: INP001  a script's helper, and no package
"""The page of the chart's values: meanings from the comments in values.yaml, types from values.schema.json."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from reference_parts import Schema, bounds, code, item, resolve, written

_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][\w-]*):")
_COMMENT = re.compile(r"^(?P<indent> *)# ?(?P<text>.*)$")


def read_comments(text: str) -> dict[str, str]:
    """Path of a value -> the comment right above it, without the indented lines of an example."""
    comments: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    above: list[str] = []
    for line in text.splitlines():
        if comment := _COMMENT.match(line):
            if not comment["text"].startswith("  "):
                above.append(comment["text"])
            continue
        if key := _KEY.match(line):
            indent = len(key["indent"])
            parents = [each for each in parents if each[0] < indent] + [(indent, key["key"])]
            comments[".".join(name for _, name in parents)] = " ".join(above)
        above = []
    return comments


def value_entries(
    schema: Schema, defaults: Mapping[str, Any], comments: Mapping[str, str], placeholders: Mapping[str, str]
) -> Iterator[str]:
    """One entry a value, in the order of the schema; of the children of a placeholder, which are all alike, one."""

    def below(node: Schema, default: Any, path: str) -> Iterator[str]:
        placeholder = placeholders.get(path)
        for name, each in node["properties"].items():
            resolved = resolve(each, schema)
            where = f"{path}.{placeholder or name}" if path else name
            value = default.get(name) if isinstance(default, Mapping) else None
            if resolved.get("properties"):
                yield from below(resolved, value, where)
                if placeholder:
                    return
                continue
            about = comments.get(where) or resolved.get("description", "")
            if not about:
                raise SystemExit(f"values.yaml: no comment above {where}, and no description in values.schema.json")
            yield item(where, describe_kind(resolved, value), about)

    yield from below(schema, defaults, "")


def describe_kind(schema: Schema, default: object) -> str:
    kind = schema.get("type", "object")
    kind = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if "enum" in schema:
        kind = "one of " + ", ".join(map(code, schema["enum"]))
    elif kind in ("integer", "number"):
        kind += bounds(schema.get("minimum"), schema.get("maximum"))
    return kind if default is None else f"{kind}, default {written(default)}"
