"""PURE. Which fields of a pod this node would have to ignore: it refuses them instead, by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .image_name import programs_of
from .mounts import normal_mount_path
from .probe_rules import KINDS, resolve_port
from .spec_fields import RULES, Rule

Json = dict[str, Any]
MESSAGE_LIMIT = 1000
"""Events longer than 1,024 bytes are refused by the newer events API; the same bound keeps ours readable."""


@dataclass(frozen=True, slots=True)
class Findings:
    unsupported: tuple[str, ...] = ()
    """JSON paths, with what is wrong where the path alone does not tell."""
    not_enforced: tuple[str, ...] = ()
    """JSON paths of tightening fields that are accepted and have no effect here."""

    def refusal(self) -> str:
        return _shorten("the process node does not honour: ", self.unsupported)

    def notice(self) -> str:
        return _shorten("accepted, but not enforced on a process node: ", self.not_enforced)


def check_pod(spec: Json) -> Findings:
    unsupported: list[str] = []
    not_enforced: list[str] = []
    _walk(spec, "", "spec", unsupported, not_enforced)
    unsupported.extend(_inconsistent(spec))
    return Findings(tuple(dict.fromkeys(unsupported)), tuple(dict.fromkeys(not_enforced)))


_INNER = {path[:end] for path in RULES for end in range(len(path)) if path[end] in ".["}
"""The objects and lists on the way to a known field."""


def _walk(value: Any, pattern: str, path: str, unsupported: list[str], not_enforced: list[str]) -> None:
    rule: Rule | None = RULES.get(pattern)
    if rule is not None:
        if not rule.accepts(value):
            unsupported.append(f"{path}={value}" if isinstance(value, str | int) else path)
        elif not rule.enforced and value:
            not_enforced.append(path)
    elif value is None or value == "" or value == [] or value is False:
        return  # asks for nothing
    elif pattern and pattern not in _INNER:
        unsupported.append(path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _walk(item, f"{pattern}[]", f"{path}[{index}]", unsupported, not_enforced)
    elif isinstance(value, dict):
        for key, item in value.items():
            _walk(item, f"{pattern}.{key}" if pattern else key, f"{path}.{key}", unsupported, not_enforced)
    else:
        unsupported.append(path)


def _inconsistent(spec: Json) -> Iterator[str]:
    """What only two fields together tell."""
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or []):
            where = f"spec.{kind}[{index}]"
            command = container.get("command") or []
            programs = programs_of(container["image"])
            if command and command[0] not in programs:
                yield f"{where}.command[0]={command[0]} (only the image's own program, {' or '.join(programs)})"
            mount_paths = {normal_mount_path(mount["mountPath"]) for mount in container.get("volumeMounts") or []}
            folder = container.get("workingDir") or ""
            if folder and not any((folder + "/").startswith(mount + "/") for mount in mount_paths):
                yield f"{where}.workingDir={folder} (lies under no mountPath)"
            yield from _unknown_ports(container, where)


def _unknown_ports(container: Json, where: str) -> Iterator[str]:
    handlers = {f"{kind}Probe": container.get(f"{kind}Probe") or {} for kind in KINDS}
    handlers["lifecycle.preStop"] = (container.get("lifecycle") or {}).get("preStop") or {}
    for name, handler in handlers.items():
        for action in ("httpGet", "tcpSocket"):
            port = (handler.get(action) or {}).get("port")
            try:
                resolve_port(port if port is not None else 0, container.get("ports") or [])
            except KeyError:
                yield f"{where}.{name}.{action}.port={port} (no port of the container has that name)"


def _shorten(start: str, paths: tuple[str, ...]) -> str:
    text = start
    for index, path in enumerate(paths):
        more = f"{', ' if index else ''}{path}"
        if len(text) + len(more) > MESSAGE_LIMIT:
            return f"{text} and {len(paths) - index} more"
        text += more
    return text
