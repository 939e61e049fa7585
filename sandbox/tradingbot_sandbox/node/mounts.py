"""PURE. Where a mountPath lies on this machine, and the rewriting of values that name one: the node mounts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mount:
    mount_path: str
    """As the container names it, absolute, without a slash at its end."""
    real_path: str
    """The folder (or, for the termination message, the file) behind it."""


def normal_mount_path(path: str) -> str:
    """The API allows a relative mountPath, which is taken from the root, and slashes at its end."""
    return "/" + path.strip("/")


def rewrite_value(value: str, mounts: Sequence[Mount]) -> str:
    """The real path if `value` is a mountPath or lies under one (the innermost one wins), else `value` itself."""
    best: Mount | None = None
    for mount in mounts:
        inside = value == mount.mount_path or value.startswith(mount.mount_path + "/")
        if inside and (best is None or len(mount.mount_path) > len(best.mount_path)):
            best = mount
    # `..` could lead out of the mount again, to a place that the container would see and this machine has not.
    if best is None or ".." in value.split("/"):
        return value
    return best.real_path + value[len(best.mount_path) :]


def rewrite_argument(argument: str, mounts: Sequence[Mount]) -> str:
    """As `rewrite_value`, for the whole argument or for what follows its first `=` (`--store=/var/lib/x`)."""
    whole = rewrite_value(argument, mounts)
    if whole != argument:
        return whole
    name, equals, value = argument.partition("=")
    return name + equals + rewrite_value(value, mounts) if equals else argument
