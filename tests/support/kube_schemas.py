"""The API server's own OpenAPI documents as JSON schemas for kubeconform: one file a kind, closed to unknown fields."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tradingbot_sandbox.control_plane.api import ApiClient

Schema = dict[str, Any]

LOCATION = "{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json"
"""How kubeconform looks for a file. In the core group, its Group is the version."""

DEADLINE_SECONDS = 60.0

_REFERENCE = "#/components/schemas/"


def write_schemas(api: ApiClient, folder: Path, kinds: Iterable[tuple[str, str]]) -> None:
    """For each of these (apiVersion, kind). Those of a new CRD are waited for: they are published a little later."""
    wanted: dict[str, set[str]] = {}
    for api_version, kind in kinds:
        wanted.setdefault(api_version, set()).add(kind)
    for api_version, names in wanted.items():
        components = read_components(api, api_version, names)
        for name, component in components.items():
            kind = own_kind(component, api_version)
            if kind in names:
                group, _, version = api_version.rpartition("/")
                file = folder / f"{kind.lower()}-{group or version}-{version}.json"
                file.write_text(json.dumps(build_schema(name, components)))


def read_components(api: ApiClient, api_version: str, kinds: set[str]) -> dict[str, Schema]:
    """The document of one group and version, once it has all these kinds."""
    path = ("apis/" if "/" in api_version else "api/") + api_version
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        served = path in api.get("/openapi/v3").body["paths"]
        # Not the address that is given there: it carries a hash, and is redirected once another CRD has changed it.
        found: dict[str, Schema] = api.get(f"/openapi/v3/{path}").body["components"]["schemas"] if served else {}
        if missing := kinds - {own_kind(each, api_version) for each in found.values()}:
            if time.monotonic() > deadline:
                raise AssertionError(f"the API server describes no {', '.join(sorted(missing))} of {api_version}")
            time.sleep(0.1)
            continue
        return found


def own_kind(component: Schema, api_version: str) -> str:
    """The kind that a component is the whole schema of; empty for parts and for what many groups share."""
    kinds = component.get("x-kubernetes-group-version-kind", [])
    if len(kinds) != 1:
        return ""
    (one,) = kinds
    return str(one["kind"]) if "/".join(filter(None, (one["group"], one["version"]))) == api_version else ""


def build_schema(name: str, components: dict[str, Schema]) -> Schema:
    """One component with all that it refers to."""
    definitions: dict[str, Schema] = {}
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each not in definitions:
            definitions[each] = close(components[each])
            waiting += references(definitions[each])
    return {"$ref": f"#/definitions/{name}", "definitions": definitions}


def close(schema: Schema) -> Schema:
    """The same, refusing what has no property; references lead to `definitions`."""
    closed: Schema = dict(schema)
    if isinstance(schema.get("$ref"), str):
        closed["$ref"] = schema["$ref"].replace(_REFERENCE, "#/definitions/")
    if "properties" in schema:
        closed["properties"] = {name: close(each) for name, each in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
    for keyword in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(keyword), dict):
            closed[keyword] = close(schema[keyword])
    for keyword in ("allOf", "anyOf", "oneOf"):
        if keyword in schema:
            # Parts of one object: a part that refused what another one has would refuse everything.
            closed[keyword] = [close(each) if "$ref" in each else each for each in schema[keyword]]
    return closed


def references(schema: object) -> Iterator[str]:
    """Names of the definitions that are referred to."""
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix("#/definitions/")
        for each in schema.values():
            yield from references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from references(each)
