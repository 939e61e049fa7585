"""What of the audit log counts as a write, when all are reconciled, and how a growth becomes one number."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.operator_scale import SIZES, AuditTail, exponent, parse_sizes
from bench.operator_writes import sort_writes
from tradingbot_sandbox.control_plane.audit import AuditEvent

OPERATOR = "system:serviceaccount:system:operator"
BOTS = {"stage": "bot-stage", "limit": "bot-limit"}


def write(resource: str = "tradingbots/status", **changes: Any) -> AuditEvent:
    values = {
        "user": OPERATOR, "user_agent": "", "verb": "patch", "group": "", "resource": resource,
        "namespace": "bot-stage", "name": "btc", "code": 200, "uri": "/apis/x?fieldManager=tradingbot-operator",
    }  # fmt: skip
    return AuditEvent(**(values | changes))


def line(
    *, second: int, user: str = OPERATOR, verb: str = "patch", code: int = 200, name: str = "btc", **ref: str
) -> bytes:
    """One of the audit log, `second` seconds after the full minute, answered a tenth later."""
    resource = {"resource": "tradingbots", "subresource": "status", "namespace": "desk-0", "name": name} | ref
    event = {
        "user": {"username": user},
        "verb": verb,
        "requestURI": "/",
        "objectRef": resource,
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": f"2026-01-01T00:00:{second:02}.000000Z",
        "stageTimestamp": f"2026-01-01T00:00:{second:02}.100000Z",
    }
    return json.dumps(event).encode() + b"\n"


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        (write(), 1),
        (write("events", verb="create", code=201), 1),
        (write("deployments", code=201), 0),
        (write("deployments", code=200), 1),
        (write(verb="get"), 0),
        (write(verb="watch"), 0),
        (write(code=409), 0),
        (write(code=403), 0),
        (write(uri="/apis/x?dryRun=All&fieldManager=probe"), 0),
        (write("leases", namespace="system"), 0),
        (write("leases"), 1),
    ],
)
def test_writes_beyond_the_children_are_answered_and_real(event: AuditEvent, counted: int) -> None:
    assert sort_writes([event], BOTS).counts == {"stage": counted, "limit": 0}


def test_writes_beside_the_bots_are_told_apart_from_the_operators_own_lease() -> None:
    beside = write("tradingreviews", namespace="system")
    writes = sort_writes([beside, write("leases", namespace="system", verb="update")], BOTS)
    assert writes.elsewhere == [beside]
    assert writes.by_resource == {}


def tail(tmp_path: Path) -> AuditTail:
    (tmp_path / "audit.log").write_bytes(line(second=1))
    return AuditTail(tmp_path / "audit.log", OPERATOR)


def append(log: AuditTail, *lines: bytes) -> None:
    with log.path.open("ab") as file:
        file.write(b"".join(lines))
    log.read()


def test_time_runs_from_the_first_list_to_the_answer_to_the_last_bots_first_status(tmp_path: Path) -> None:
    log = tail(tmp_path)
    append(
        log, line(second=5, verb="list"), line(second=6, name="a"), line(second=8, name="b"), line(second=9, name="a")
    )
    assert len(log.with_status) == 2
    assert log.last_status_at - log.first_list_at == pytest.approx(3.1)
    assert log.requests == 4
    assert len(log.lists) == 1


@pytest.mark.parametrize(
    "other",
    [
        line(second=5, user="system:admin"),
        line(second=5, verb="watch"),
        line(second=5, code=409),
        line(second=5, subresource=""),
        line(second=5, resource="deployments"),
        line(second=5, namespace="operator-test"),
    ],
)
def test_bot_is_reconciled_only_by_an_accepted_status_of_the_operator(tmp_path: Path, other: bytes) -> None:
    log = tail(tmp_path)
    append(log, other)
    assert log.with_status == set()


def test_line_that_is_not_all_there_is_read_when_it_is(tmp_path: Path) -> None:
    log = tail(tmp_path)
    whole = line(second=5)
    append(log, whole[:30])
    assert log.requests == 0
    append(log, whole[30:])
    assert log.requests == 1


def test_log_that_was_turned_over_is_no_measurement(tmp_path: Path) -> None:
    log = tail(tmp_path)
    log.path.write_bytes(b"")
    with pytest.raises(RuntimeError, match="turned over"):
        log.read()


@given(st.floats(0.1, 1e3), st.floats(0.2, 3), st.floats(2, 100))
def test_exponent_is_that_of_the_power_that_grew(small: float, power: float, times: float) -> None:
    assert math.isclose(exponent(small, small * times**power, times=times), power, rel_tol=1e-6)


def test_sizes_are_those_of_the_goal_or_those_that_are_named() -> None:
    assert parse_sizes("") == SIZES == (100, 1_000, 4_000)
    assert parse_sizes("300, 100") == (100, 300)
    for text in ("many", "0,100", "-5", "1.5"):
        with pytest.raises(ValueError, match="BENCH_BOTS"):
            parse_sizes(text)
