"""PURE. The variables and the command line of a container, in the kubelet's order and by its rules of expansion."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .downward import field_value
from .errors import StartProblem
from .expansion import expand
from .mounts import Mount, rewrite_argument, rewrite_value

Json = dict[str, Any]
Lookup = Callable[[str, str], Json | None]
"""(`secrets` or `configmaps`, name) -> the object, None if there is none."""


def data_of(kind: str, item: Json) -> dict[str, bytes]:
    """The entries of a Secret or ConfigMap as bytes."""
    if kind == "secrets":
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}
    texts = {key: value.encode() for key, value in (item.get("data") or {}).items()}
    return texts | {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}


def build_environment(
    container: Json, pod: Json, pod_ip: str, lookup: Lookup, services: Mapping[str, str]
) -> dict[str, str]:
    """`envFrom`, then `env`, over `services` (the variables of Services, which `$(VAR)` may name too). Values are those
    of the API: paths are not yet rewritten. StartProblem (CreateContainerConfigError) if something is missing."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix", "")
        for kind, field in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            if reference := source.get(field):
                item = _find(kind, reference, lookup)
                data = data_of(kind, item) if item else {}
                found |= {prefix + key: value.decode(errors="surrogateescape") for key, value in data.items()}
    for variable in container.get("env") or []:
        if variable.get("value"):
            found[variable["name"]] = expand(variable["value"], dict(services) | found)
            continue
        value = _value_from(variable.get("valueFrom") or {}, pod, pod_ip, lookup) if "valueFrom" in variable else ""
        if value is not None:
            found[variable["name"]] = value
    return dict(services) | found


def build_arguments(container: Json, environment: Mapping[str, str], mounts: Sequence[Mount]) -> list[str]:
    """What follows the program: the command after its first word (which is the program), then `args`."""
    words = [*(container.get("command") or [])[1:], *(container.get("args") or [])]
    return [rewrite_argument(expand(word, environment), mounts) for word in words]


def rewrite_environment(environment: Mapping[str, str], mounts: Sequence[Mount]) -> dict[str, str]:
    return {name: rewrite_value(value, mounts) for name, value in environment.items()}


def _value_from(source: Json, pod: Json, pod_ip: str, lookup: Lookup) -> str | None:
    if reference := source.get("fieldRef"):
        return field_value(reference["fieldPath"], pod, pod_ip)
    for kind, field, word in (("configmaps", "configMapKeyRef", "ConfigMap"), ("secrets", "secretKeyRef", "Secret")):
        if reference := source.get(field):
            item = _find(kind, reference, lookup)
            if item is None:
                return None
            data = data_of(kind, item)
            if reference["key"] in data:
                return data[reference["key"]].decode(errors="surrogateescape")
            if reference.get("optional"):
                return None
            where = f"{pod['metadata']['namespace']}/{reference['name']}"
            raise StartProblem("CreateContainerConfigError", f"couldn't find key {reference['key']} in {word} {where}")
    raise StartProblem("CreateContainerConfigError", "a variable's valueFrom names no source that is known here")


def _find(kind: str, reference: Json, lookup: Lookup) -> Json | None:
    name = reference.get("name", "")
    item = lookup(kind, name)
    if item is None and not reference.get("optional"):
        raise StartProblem("CreateContainerConfigError", f'{kind[:-1]} "{name}" not found')
    return item
