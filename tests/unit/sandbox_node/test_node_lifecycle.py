"""What comes next for a pod's containers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.node.backoff import BackOff, BackOffSettings
from tradingbot_sandbox.node.lifecycle import Plan, Shape, lose, plan_pod
from tradingbot_sandbox.node.records import ContainerRecord, Exit, PodRecord, Running, Waiting
from tradingbot_sandbox.node.timestamps import NS

SETTINGS = BackOffSettings()
NOW = 10_000 * NS
RUNNING = Running("process://r", 1, 2, "boot", NOW - 5 * NS, "image")


def ended(code: int, seconds_ago: int = 0) -> Exit:
    return Exit("process://e", code, "Error", NOW - 60 * NS, NOW - seconds_ago * NS)


def record(name: str, state: Any, *, delay_seconds: int = 0) -> ContainerRecord:
    return ContainerRecord(name, state, starts=1, back_off=BackOff(delay_seconds * NS, NOW))


def plan(policy: Any, init: dict[str, Any], main: dict[str, Any], *, delay_seconds: int = 0) -> Plan:
    shape = Shape(policy, tuple(init), tuple(main))
    records = {name: record(name, state, delay_seconds=delay_seconds) for name, state in {**init, **main}.items()}
    return plan_pod(shape, records, NOW, SETTINGS)


def test_containers_of_a_pod_start_together() -> None:
    assert plan("Always", {}, {"a": Waiting(), "b": Waiting()}).starts == ("a", "b")


def test_init_containers_start_one_after_the_other_and_before_the_rest() -> None:
    done = ended(0)
    assert plan("Always", {"i": Waiting(), "j": Waiting()}, {"a": Waiting()}) == Plan(("i",))
    assert plan("Always", {"i": RUNNING, "j": Waiting()}, {"a": Waiting()}) == Plan()
    assert plan("Always", {"i": done, "j": Waiting()}, {"a": Waiting()}) == Plan(("j",))
    assert plan("Always", {"i": done, "j": done}, {"a": Waiting()}) == Plan(("a",), initialized=True)


@pytest.mark.parametrize(
    ("policy", "code", "restarted"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_restart_policy(policy: str, code: int, restarted: bool) -> None:  # noqa: FBT001  a column of the table
    found = plan(policy, {}, {"a": ended(code)})
    assert bool(found.starts) == restarted
    assert found.outcome == (None if restarted else "Failed" if code else "Succeeded")


def test_pod_is_over_only_when_every_container_is() -> None:
    assert plan("Never", {}, {"a": ended(1), "b": RUNNING}).outcome is None
    assert plan("Never", {}, {"a": ended(1), "b": ended(0)}).outcome == "Failed"
    assert plan("OnFailure", {}, {"a": ended(0), "b": ended(0)}).outcome == "Succeeded"


def test_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    assert plan("Never", {"i": ended(1)}, {"a": Waiting()}).outcome == "Failed"
    assert plan("OnFailure", {"i": ended(1)}, {"a": Waiting()}) == Plan(("i",))


def test_crashed_container_waits_for_its_back_off() -> None:
    found = plan("Always", {}, {"a": ended(1, seconds_ago=4), "b": RUNNING}, delay_seconds=10)
    assert found == Plan((), {"a": NOW + 6 * NS}, NOW + 6 * NS, initialized=True)
    assert plan("Always", {}, {"a": ended(1, seconds_ago=10)}, delay_seconds=10).starts == ("a",)


def test_container_that_could_not_start_is_tried_again_at_its_time() -> None:
    later = Waiting("CreateContainerConfigError", "", NOW + 3 * NS)
    assert plan("Always", {}, {"a": later}) == Plan(wake_ns=NOW + 3 * NS, initialized=True)
    assert plan("Never", {}, {"a": replace(later, retry_ns=NOW)}).starts == ("a",)


STATES = st.sampled_from([Waiting(), Waiting("X", "", NOW + NS), RUNNING, ended(0), ended(1), ended(1, seconds_ago=99)])


@given(
    st.sampled_from(["Always", "OnFailure", "Never"]),
    st.lists(STATES, max_size=3),
    st.lists(STATES, min_size=1, max_size=3),
)
def test_plan_is_consistent(policy: str, init: list[Any], main: list[Any]) -> None:
    inits = {f"i{number}": state for number, state in enumerate(init)}
    mains = {f"m{number}": state for number, state in enumerate(main)}
    found = plan(policy, inits, mains, delay_seconds=10)
    states = {**inits, **mains}
    assert not any(isinstance(states[name], Running) for name in found.starts)
    if any(name.startswith("m") for name in found.starts):
        assert all(isinstance(state, Exit) and state.exit_code == 0 for state in init)
    if found.outcome:
        assert not found.starts
        assert not any(isinstance(state, Running) for state in main) or found.outcome == "Failed"
    # Either something runs, or starts, or is waited for, or it is over: a pod is never forgotten.
    runs = any(isinstance(state, Running) for state in states.values())
    assert found.outcome or found.starts or found.wake_ns or runs
    assert not set(found.starts) & set(found.backing_off)


def pod(policy: Any, init: dict[str, Any], main: dict[str, Any]) -> tuple[PodRecord, Shape]:
    containers = {name: record(name, state) for name, state in {**init, **main}.items()}
    return PodRecord("u", "ns", "pod", containers=containers), Shape(policy, tuple(init), tuple(main))


def test_what_ran_when_the_node_died_is_lost_and_starts_again_after_its_init_containers() -> None:
    before, shape = pod("Always", {"i": ended(0)}, {"a": RUNNING, "b": ended(3)})
    after = lose(before, shape, NOW)
    lost = after.containers["a"].state
    assert isinstance(lost, Exit)
    assert (lost.exit_code, lost.reason, lost.container_id) == (255, "Unknown", "process://r")
    assert after.containers["b"] == before.containers["b"]
    assert plan_pod(shape, after.containers, NOW, SETTINGS).starts == ("i",)


def test_pod_that_never_restarts_is_not_run_twice() -> None:
    before, shape = pod("Never", {"i": ended(0)}, {"a": RUNNING})
    assert plan_pod(shape, lose(before, shape, NOW).containers, NOW, SETTINGS).outcome == "Failed"


def test_nothing_is_lost_of_a_pod_that_had_ended() -> None:
    before, shape = pod("OnFailure", {"i": ended(0)}, {"a": ended(0)})
    assert lose(before, shape, NOW) == before
