"""A status as text: a table that says what to do, and each change said once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tradingbot_sandbox.supervisor.client import LiveStatus
from tradingbot_sandbox.supervisor.component import ComponentStatus, State
from tradingbot_sandbox.supervisor.report import Announcer, age, status_table
from tradingbot_sandbox.supervisor.state import SandboxStatus

ETCD = ComponentStatus("etcd", State.HEALTHY, 42, 4242, "https://127.0.0.1:1", 0, 0, "", "")
NODE = ComponentStatus("node", State.STARTING, 43, 4243, "process-node", 0, 0, "", "")


def status(phase: str, *components: ComponentStatus) -> SandboxStatus:
    return SandboxStatus(phase, "", 0, components)


def test_each_change_is_said_once() -> None:
    said: list[str] = []
    announcer = Announcer(said.append)
    announcer(status("starting", NODE))
    announcer(status("starting", NODE, ETCD))
    announcer(status("starting", replace(NODE, message="another reason"), ETCD))
    assert [line.split() for line in said] == [["etcd", "ready", "https://127.0.0.1:1"]]


def test_what_is_known_already_is_not_said() -> None:
    said: list[str] = []
    announcer = Announcer(said.append, known=status("ready", ETCD))
    announcer(status("stopping", ETCD))
    announcer(status("stopped", replace(ETCD, state=State.STOPPED)))
    assert [line.split() for line in said] == [["etcd", "stopped"]]


def test_component_that_never_was_ready_does_not_say_that_it_stopped() -> None:
    said: list[str] = []
    announcer = Announcer(said.append)
    announcer(status("starting", NODE))
    announcer(status("failed", replace(NODE, state=State.STOPPED)))
    assert said == []


def test_restart_says_why() -> None:
    said: list[str] = []
    Announcer(said.append)(status("degraded", replace(ETCD, state=State.RESTARTING, message="was killed by signal 9")))
    assert "restarting was killed by signal 9" in said[0]


def test_readiness_is_told_once() -> None:
    told: list[bool] = []
    announcer = Announcer(lambda _: None)
    announcer.on_ready = lambda: told.append(True)
    for phase in ("starting", "ready", "degraded", "ready"):
        announcer(status(phase, ETCD))
    assert told == [True]


def test_table_has_a_line_for_each_component_and_notes_below() -> None:
    restarted = replace(NODE, state=State.UNHEALTHY, restarts=2, message="does not answer", last_exit="ended with 1")
    live = LiveStatus(True, 7, "degraded", "", (ETCD, restarted))
    head, _, etcd, node, *notes = status_table(live, now_ns=95_000_000_000).splitlines()
    assert head == "Sandbox: degraded (supervisor 7)"
    assert etcd.split() == ["etcd", "healthy", "42", "1m35s", "0", "https://127.0.0.1:1"]
    assert node.split()[:2] == ["node", "unhealthy"]
    assert notes == ["node: does not answer", "node: restarted 2 times; the last time it ended with 1"]


def test_sandbox_that_does_not_run_says_so() -> None:
    assert status_table(LiveStatus(False, None, "stopped", "never started", ()), now_ns=0) == (
        "Sandbox: stopped: never started"
    )


@pytest.mark.parametrize(
    ("running", "components", "healthy"),
    [(True, (ETCD,), True), (True, (ETCD, NODE), False), (True, (), False), (False, (ETCD,), False)],
)
def test_healthy_means_every_component(
    running: bool,  # noqa: FBT001 - a row of the table above
    components: tuple[ComponentStatus, ...],
    healthy: bool,  # noqa: FBT001 - as above
) -> None:
    assert LiveStatus(running, None, "ready", "", components).is_healthy == healthy


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0s"), (59, "59s"), (60, "1m0s"), (3_700, "1h1m"), (200_000, "2d")])
def test_ages_are_short(seconds: int, text: str) -> None:
    assert age(seconds * 1_000_000_000) == text
