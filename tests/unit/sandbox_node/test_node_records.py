"""The record of a pod survives its way through JSON, and can be made from a status."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.node.backoff import BackOff
from tradingbot_sandbox.node.records import (
    ContainerRecord,
    Exit,
    PodRecord,
    Running,
    Waiting,
    from_json,
    record_from_status,
    to_json,
)

TEXT = st.text(max_size=10)
NUMBER = st.integers(min_value=0, max_value=2**62)
WAITING = st.builds(Waiting, TEXT, TEXT, NUMBER)
RUNNING = st.builds(Running, TEXT, NUMBER, NUMBER, TEXT, NUMBER, TEXT)
EXIT = st.builds(Exit, TEXT, st.integers(0, 255), TEXT, NUMBER, NUMBER, st.none() | st.integers(1, 64), TEXT)
CONTAINER = st.builds(
    ContainerRecord,
    TEXT,
    WAITING | RUNNING | EXIT,
    st.none() | EXIT,
    st.integers(0, 99),
    st.builds(BackOff, NUMBER, NUMBER),
    TEXT,
)


@given(st.lists(CONTAINER, max_size=3, unique_by=lambda one: one.name), TEXT, NUMBER, st.booleans())
def test_record_is_the_same_after_a_restart(
    containers: list[ContainerRecord],
    ip: str,
    started_ns: int,
    told: bool,  # noqa: FBT001  drawn, not called
) -> None:
    named = {container.name: container for container in containers}
    record = PodRecord("u", "ns", "pod", ip, started_ns, told, named)
    assert from_json(json.loads(json.dumps(to_json(record)))) == record


def test_restarts_are_counted_by_starts_after_the_first() -> None:
    first = ContainerRecord("a")
    running = Running("1", 1, 1, "b", 0, "i")
    assert first.restart_count == 0
    once = first.running(running, "id", BackOff())
    assert once.restart_count == 0
    twice = once.exited(Exit("1", 1, "Error", 0, 1)).running(running, "id", BackOff())
    assert twice.restart_count == 1
    assert twice.last_exit == Exit("1", 1, "Error", 0, 1)


def test_container_that_cannot_start_again_remembers_how_it_ended() -> None:
    ended = Exit("1", 1, "Error", 0, 1)
    waiting = ContainerRecord("a", ended, starts=1).waiting("CreateContainerConfigError", "x", 5)
    assert waiting.latest_exit == ended
    assert waiting.restart_count == 0


def test_record_is_made_from_a_running_status() -> None:
    status = {
        "image": "i",
        "restartCount": 2,
        "containerID": "process://x",
        "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}},
        "lastState": {"terminated": {"exitCode": 3, "reason": "Error", "finishedAt": "2026-01-02T03:04:00Z"}},
    }
    record = record_from_status("a", status)
    assert isinstance(record.state, Running)
    assert record.restart_count == 2
    assert record.last_exit is not None
    assert record.last_exit.exit_code == 3


def test_record_is_made_from_an_ended_and_from_a_waiting_status() -> None:
    ended = {"restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    assert isinstance(record_from_status("a", ended).state, Exit)
    crashing = {
        "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1}},
    }
    assert record_from_status("a", crashing).restart_count == 4
    assert record_from_status("a", {"restartCount": 0, "state": {"waiting": {}}}) == ContainerRecord("a")
