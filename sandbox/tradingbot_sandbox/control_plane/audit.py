"""The API server's audit log: the policy that it is given (PURE), and a reader for tests that count writes (SHELL)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tradingbot_sandbox.control_plane.pki import SUPERVISOR

POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    # One event for each request, when its outcome is known.
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*"]},
        {"level": "None", "users": [SUPERVISOR]},
        {"level": "Metadata"},
    ],
}

WRITE_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who asked for what, and what became of it."""

    user: str
    user_agent: str
    verb: str
    group: str
    resource: str
    """`pods`, or with a subresource `pods/status`."""
    namespace: str
    name: str
    code: int
    uri: str

    @property
    def is_write(self) -> bool:
        return self.verb in WRITE_VERBS

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> AuditEvent:
        ref = data.get("objectRef") or {}
        subresource = ref.get("subresource")
        return cls(
            user=data.get("user", {}).get("username", ""),
            user_agent=data.get("userAgent", ""),
            verb=data.get("verb", ""),
            group=ref.get("apiGroup", ""),
            resource=ref.get("resource", "") + (f"/{subresource}" if subresource else ""),
            namespace=ref.get("namespace", ""),
            name=ref.get("name", ""),
            code=(data.get("responseStatus") or {}).get("code", 0),
            uri=data.get("requestURI", ""),
        )


@dataclass(slots=True)
class AuditLog:
    """Reads the log from where it stood: `mark()` before an action, `events()` after it.

    The server writes an event while it finishes the request: a client may have its answer a moment earlier. Whoever
    expects an event waits for it; whoever expects none first makes a request of his own and waits for that.
    """

    path: Path
    _offset: int = 0

    def mark(self) -> None:
        self._offset = self.path.stat().st_size if self.path.exists() else 0

    def events(self) -> list[AuditEvent]:
        """Everything since the mark."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            # A line that is just being written has no end yet.
            lines: Iterable[bytes] = (line for line in file.readlines() if line.endswith(b"\n"))
        return [AuditEvent.from_json(json.loads(line)) for line in lines]

    def writes(self, *, user: str | None = None, resource: str | None = None) -> list[AuditEvent]:
        """The requests since the mark that changed something, or tried to."""
        return [
            event
            for event in self.events()
            if event.is_write
            and (user is None or event.user == user)
            and (resource is None or event.resource == resource)
        ]
