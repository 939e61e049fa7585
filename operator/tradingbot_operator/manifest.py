"""PURE. Reading objects as the API server gives them: anything may be missing or of another type than it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Manifest = dict[str, Any]
"""A whole object, as JSON."""


def mapping(value: object, *path: str) -> Mapping[str, Any]:
    """The mapping at that path; an empty one when it is absent or something else."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def sequence(value: object, *path: str) -> Sequence[Any]:
    """The list at that path; an empty one when it is absent or something else."""
    found = mapping(value, *path[:-1]).get(path[-1]) if path else value
    return found if isinstance(found, list) else []


def text(value: object, *path: str) -> str:
    """The string at that path; an empty one when it is absent or something else."""
    found = mapping(value, *path[:-1]).get(path[-1]) if path else value
    return found if isinstance(found, str) else ""


def number(value: object, *path: str) -> int:
    """The integer at that path; 0 when it is absent or something else."""
    found = mapping(value, *path[:-1]).get(path[-1]) if path else value
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def name_of(manifest: object) -> str:
    return text(manifest, "metadata", "name")


def namespace_of(manifest: object) -> str:
    return text(manifest, "metadata", "namespace")


def uid_of(manifest: object) -> str:
    return text(manifest, "metadata", "uid")


def is_terminating(manifest: object) -> bool:
    return bool(mapping(manifest, "metadata").get("deletionTimestamp"))


def resource_version_of(manifest: object) -> int:
    """As a number: versions of one kind can be compared (Kubernetes 1.35 made official what etcd always did)."""
    version = text(manifest, "metadata", "resourceVersion")
    return int(version) if version.isdecimal() else 0
