"""PURE. What a pod may be told about itself: fieldRef, as variable and as file."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]

_PLAIN = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_WHOLE = ("metadata.labels", "metadata.annotations")
HOST_IP = "127.0.0.1"


def is_known_field(path: str, *, as_file: bool = False) -> bool:
    return path in _PLAIN or _KEYED.fullmatch(path) is not None or (as_file and path in _WHOLE)


def field_value(path: str, pod: Json, pod_ip: str) -> str:
    """The field's text; one that the pod lacks is empty, as the kubelet has it."""
    if path.startswith("status.podIP"):
        return pod_ip
    if path.startswith("status.hostIP"):
        return HOST_IP
    if keyed := _KEYED.fullmatch(path):
        return str(pod["metadata"].get(keyed[1], {}).get(keyed[2], ""))
    part, _, name = path.partition(".")
    value = pod[part].get(name, "")
    if isinstance(value, dict):
        return "\n".join(f'{key}="{_escape(text)}"' for key, text in sorted(value.items()))
    return str(value)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
