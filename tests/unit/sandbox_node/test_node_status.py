"""The status of a pod, as a kubelet writes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tradingbot_sandbox.node.records import ContainerRecord, Exit, PodRecord, Running, Waiting
from tradingbot_sandbox.node.status import Observation, build_status
from tradingbot_sandbox.node.timestamps import NS, from_rfc3339, to_rfc3339, to_rfc3339_micro

Json = dict[str, Any]
NOW = from_rfc3339("2026-01-02T03:04:05Z")
RUNNING = Running("process://r", 1, 2, "boot", NOW - 5 * NS, "img")
EXIT = Exit("process://e", 1, "Error", NOW - 60 * NS, NOW - NS)
UP = Observation(initialized=True, prepared=True, started=frozenset({"a"}), ready=frozenset({"a"}))


def pod(*, init: tuple[str, ...] = (), policy: str = "Always", gates: tuple[str, ...] = ()) -> Json:
    spec: Json = {"containers": [{"name": "a", "image": "img"}], "restartPolicy": policy}
    spec["initContainers"] = [{"name": name, "image": "img"} for name in init]
    spec["readinessGates"] = [{"conditionType": gate} for gate in gates]
    return {"metadata": {"name": "p", "generation": 3}, "spec": spec}


def build(state: Any, seen: Observation, *, previous: Json | None = None, **fields: Any) -> Json:
    init = fields.get("init", ())
    known = ContainerRecord(
        "a", state, fields.pop("last", None), starts=fields.pop("starts", 1), image_id="process:///x"
    )
    others = {name: ContainerRecord(name, fields.get("init_state", Waiting())) for name in init}
    fields.pop("init_state", None)
    record = PodRecord("u", "ns", "p", "127.1.2.3", NOW - 9 * NS, containers={"a": known, **others})
    return build_status(pod(**fields), record, seen, previous or {}, NOW)


def conditions(status: Json) -> dict[str, str]:
    return {item["type"]: item["status"] for item in status["conditions"]}


def test_running_and_ready_pod() -> None:
    status = build(RUNNING, UP)
    assert status["phase"] == "Running"
    assert set(conditions(status).values()) == {"True"}
    assert list(conditions(status)) == [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    assert status["containerStatuses"] == [
        {
            "name": "a",
            "image": "img",
            "imageID": "process:///x",
            "containerID": "process://r",
            "restartCount": 0,
            "started": True,
            "ready": True,
            "state": {"running": {"startedAt": "2026-01-02T03:04:00Z"}},
            "lastState": {},
        }
    ]
    assert (status["podIP"], status["podIPs"], status["hostIP"]) == ("127.1.2.3", [{"ip": "127.1.2.3"}], "127.0.0.1")
    assert status["startTime"] == "2026-01-02T03:03:56Z"
    assert status["observedGeneration"] == 3


def test_running_and_not_ready_pod_says_which_container() -> None:
    status = build(RUNNING, replace(UP, ready=frozenset()))
    assert status["phase"] == "Running"
    ready = next(item for item in status["conditions"] if item["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    assert ready["message"] == "containers with unready status: [a]"


def test_new_pod_waits_for_its_container() -> None:
    status = build(Waiting(), Observation(), starts=0)
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert conditions(status)["PodReadyToStartContainers"] == "False"


@pytest.mark.parametrize(("last", "phase"), [(None, "Pending"), (EXIT, "Running")])
def test_container_that_cannot_be_configured(last: Exit | None, phase: str) -> None:
    state = Waiting("CreateContainerConfigError", 'secret "x" not found')
    status = build(state, Observation(initialized=True, prepared=True), last=last)
    assert status["phase"] == phase
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}
    assert status["containerStatuses"][0]["state"] == {"waiting": waiting}


def test_crash_loop_shows_the_wait_and_the_last_end() -> None:
    seen = Observation(
        initialized=True, prepared=True, backing_off=frozenset({"a"}), back_off_messages={"a": "back-off 10s"}
    )
    status = build(EXIT, seen, starts=3, last=Exit("older", 9, "Error", 0, 0))
    shown = status["containerStatuses"][0]
    assert status["phase"] == "Running"
    assert shown["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    assert shown["lastState"]["terminated"]["exitCode"] == 1
    assert shown["restartCount"] == 2


@pytest.mark.parametrize(("outcome", "reason"), [("Succeeded", "PodCompleted"), ("Failed", "PodFailed")])
def test_pod_that_is_over(outcome: Any, reason: str) -> None:
    status = build(EXIT, Observation(initialized=True, outcome=outcome), policy="Never")
    assert status["phase"] == outcome
    assert "terminated" in status["containerStatuses"][0]["state"]
    for item in status["conditions"]:
        if item["type"] in ("Ready", "ContainersReady"):
            assert (item["status"], item["reason"]) == ("False", reason)


def test_terminated_state_has_all_that_is_known() -> None:
    ended = Exit("process://e", 137, "Error", NOW - 60 * NS, NOW - NS, signal=9, message="bye")
    status = build(ended, Observation(initialized=True, outcome="Failed"), policy="Never")
    assert status["containerStatuses"][0]["state"]["terminated"] == {
        "exitCode": 137,
        "signal": 9,
        "reason": "Error",
        "message": "bye",
        "startedAt": "2026-01-02T03:03:05Z",
        "finishedAt": "2026-01-02T03:04:04Z",
        "containerID": "process://e",
    }


def test_containers_wait_while_init_containers_run() -> None:
    status = build(Waiting(), Observation(prepared=True), init=("i", "j"), init_state=RUNNING, starts=0)
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
    initialized = next(item for item in status["conditions"] if item["type"] == "Initialized")
    assert initialized["message"] == "containers with incomplete status: [i j]"
    done = build(RUNNING, UP, init=("i",), init_state=Exit("x", 0, "Completed", NOW, NOW))
    assert done["initContainerStatuses"][0]["ready"] is True
    assert conditions(done)["Initialized"] == "True"


def test_lost_container_waits_for_the_init_containers_that_run_again() -> None:
    lost = Exit("process://e", 255, "Unknown", NOW, NOW)
    status = build(lost, Observation(prepared=True), init=("i",), init_state=RUNNING)
    shown = status["containerStatuses"][0]
    assert shown["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert shown["lastState"]["terminated"]["reason"] == "Unknown"


def test_refused_pod_that_is_held_shows_its_reason_at_its_containers() -> None:
    status = build(Waiting(), Observation(held_reason="UnsupportedField", message="spec.hostNetwork"), starts=0)
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"]["waiting"] == {
        "reason": "UnsupportedField",
        "message": "spec.hostNetwork",
    }


def test_refused_pod_that_failed_leaves_the_word_to_its_own_reason() -> None:
    seen = Observation(outcome="Failed", reason="UnsupportedField", message="spec.hostNetwork")
    status = build(Waiting(), seen, starts=0)
    assert (status["phase"], status["reason"]) == ("Failed", "UnsupportedField")
    assert status["containerStatuses"] == []


def test_transition_time_changes_with_the_status_alone() -> None:
    before = build(RUNNING, replace(UP, ready=frozenset()))
    later = {item["type"]: {**item, "lastTransitionTime": "2020-01-01T00:00:00Z"} for item in before["conditions"]}
    status = build(RUNNING, UP, previous={"conditions": list(later.values())})
    times = {item["type"]: item["lastTransitionTime"] for item in status["conditions"]}
    assert times["Initialized"] == "2020-01-01T00:00:00Z"
    assert times["Ready"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(("gate", "ready"), [("True", "True"), ("False", "False"), (None, "False")])
def test_readiness_gate_holds_ready_back_but_not_containers_ready(gate: str | None, ready: str) -> None:
    previous = {"conditions": [{"type": "example.com/in", "status": gate}]} if gate else {}
    status = build(RUNNING, UP, previous=previous, gates=("example.com/in",))
    assert conditions(status)["Ready"] == ready
    assert conditions(status)["ContainersReady"] == "True"


def test_times_have_the_forms_of_the_api() -> None:
    assert to_rfc3339(NOW + 999_999_999) == "2026-01-02T03:04:05Z"
    assert to_rfc3339_micro(NOW + 1_234_999) == "2026-01-02T03:04:05.001234Z"
    assert from_rfc3339("2026-01-02T03:04:05.001234Z") == NOW + 1_234_000
