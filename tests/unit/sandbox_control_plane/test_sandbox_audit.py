"""Reading the API server's audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tradingbot_sandbox.control_plane.audit import POLICY, AuditLog
from tradingbot_sandbox.control_plane.pki import SUPERVISOR


def event(verb: str, resource: str, **more: Any) -> str:
    data = {
        "verb": verb,
        "user": {"username": "jane"},
        "objectRef": {"resource": resource, "namespace": "desk-a", "name": "x", **more},
        "responseStatus": {"code": 201},
        "requestURI": "/api/v1/whatever",
    }
    return json.dumps(data) + "\n"


def test_writes_are_told_from_reads_and_filtered(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    verbs = ("get", "list", "watch", "create", "patch", "update", "delete")
    log.path.write_text("".join(event(verb, "pods") for verb in verbs) + event("patch", "leases"))
    assert [e.verb for e in log.writes(resource="pods", user="jane")] == ["create", "patch", "update", "delete"]
    assert log.writes(user="john") == []
    assert len(log.writes()) == 5


def test_events_before_the_mark_do_not_count(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.path.write_text(event("create", "pods"))
    log.mark()
    assert log.events() == []
    with log.path.open("a") as file:
        file.write(event("delete", "pods"))
    assert [e.verb for e in log.events()] == ["delete"]


def test_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.path.write_text(event("create", "pods") + event("delete", "pods")[:20])
    assert [e.verb for e in log.events()] == ["create"]


def test_subresource_belongs_to_the_resource(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.path.write_text(event("patch", "tradingbots", subresource="status", apiGroup="tradingbot.dev"))
    (found,) = log.events()
    assert (found.resource, found.group, found.namespace, found.code) == (
        "tradingbots/status", "tradingbot.dev", "desk-a", 201
    )  # fmt: skip


def test_log_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.mark()
    assert log.events() == []


def test_policy_records_everything_but_our_own_health_checks() -> None:
    *exceptions, last = POLICY["rules"]
    assert last == {"level": "Metadata"}
    assert [rule.get("users", rule.get("nonResourceURLs")) for rule in exceptions] == [
        ["/healthz*", "/livez*", "/readyz*"],
        [SUPERVISOR],
    ]
