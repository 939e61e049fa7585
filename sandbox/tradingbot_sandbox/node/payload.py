"""PURE. Which files a volume holds: their bytes and modes, from the objects that the pod names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .downward import field_value
from .environment import Lookup, data_of
from .errors import StartProblem

Json = dict[str, Any]
DEFAULT_MODE = 0o644


@dataclass(frozen=True, slots=True)
class File:
    data: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class TokenRequest:
    audience: str
    """Empty: the API server's own."""
    expiration_seconds: int


Tokens = Callable[[TokenRequest], str]
FILE_SOURCES = ("secret", "configMap", "downwardAPI", "projected")


def holds_files(volume: Json) -> bool:
    return any(source in volume for source in FILE_SOURCES)


def token_requests(volume: Json) -> list[TokenRequest]:
    sources = (volume.get("projected") or {}).get("sources") or []
    return [_token_request(source["serviceAccountToken"]) for source in sources if "serviceAccountToken" in source]


def referenced_objects(spec: Json) -> set[tuple[str, str]]:
    """(`secrets` or `configmaps`, name) of everything that the pod's volumes and variables name."""
    found: set[tuple[str, str]] = set()
    for volume in spec.get("volumes") or []:
        for source in (volume, *((volume.get("projected") or {}).get("sources") or [])):
            if secret := source.get("secret"):
                found.add(("secrets", secret.get("secretName") or secret.get("name", "")))
            if config_map := source.get("configMap"):
                found.add(("configmaps", config_map.get("name", "")))
    for container in (*(spec.get("initContainers") or []), *spec["containers"]):
        sources = [variable.get("valueFrom") or {} for variable in container.get("env") or []]
        for source in (*sources, *(container.get("envFrom") or [])):
            for kind, fields in (
                ("secrets", ("secretKeyRef", "secretRef")),
                ("configmaps", ("configMapKeyRef", "configMapRef")),
            ):
                found |= {(kind, source[name].get("name", "")) for name in fields if source.get(name)}
    return found


def build_files(volume: Json, pod: Json, pod_ip: str, lookup: Lookup, tokens: Tokens) -> dict[str, File]:
    """Path inside the volume -> file. StartProblem (FailedMount) when something that is needed is missing."""
    if projected := volume.get("projected"):
        mode = projected.get("defaultMode", DEFAULT_MODE)
        files: dict[str, File] = {}
        for source in projected.get("sources") or []:
            files |= _source_files(source, mode, pod, pod_ip, lookup, tokens)
        return files
    source = next(volume[name] for name in FILE_SOURCES if name in volume)
    return _source_files(volume, source.get("defaultMode", DEFAULT_MODE), pod, pod_ip, lookup, tokens)


def _source_files(source: Json, mode: int, pod: Json, pod_ip: str, lookup: Lookup, tokens: Tokens) -> dict[str, File]:
    if secret := source.get("secret"):
        return _object_files("secrets", secret.get("secretName") or secret.get("name", ""), secret, mode, lookup)
    if config_map := source.get("configMap"):
        return _object_files("configmaps", config_map.get("name", ""), config_map, mode, lookup)
    if token := source.get("serviceAccountToken"):
        return {token["path"]: File(tokens(_token_request(token)).encode(), mode)}
    items = (source.get("downwardAPI") or {}).get("items") or []
    return {
        item["path"]: File(field_value(item["fieldRef"]["fieldPath"], pod, pod_ip).encode(), item.get("mode") or mode)
        for item in items
    }


def _object_files(kind: str, name: str, source: Json, mode: int, lookup: Lookup) -> dict[str, File]:
    optional = bool(source.get("optional"))
    item = lookup(kind, name)
    if item is None:
        if optional:
            return {}
        raise StartProblem("FailedMount", f'{kind[:-1]} "{name}" not found')
    data = data_of(kind, item)
    if not source.get("items"):
        return {key: File(value, mode) for key, value in data.items()}
    files: dict[str, File] = {}
    for entry in source["items"]:
        if entry["key"] in data:
            files[entry["path"]] = File(data[entry["key"]], entry.get("mode") or mode)
        elif not optional:
            raise StartProblem("FailedMount", f'{kind[:-1]} "{name}" has no key "{entry["key"]}"')
    return files


def _token_request(source: Json) -> TokenRequest:
    # 3,600 s: the API's own default, written by the API server; here for the type's sake.
    return TokenRequest(source.get("audience") or "", source.get("expirationSeconds") or 3600)
