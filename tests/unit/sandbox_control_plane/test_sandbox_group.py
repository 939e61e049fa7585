"""The group of components: order, restarts with back-off, failures that are visible, an orderly stop.

The processes are real and small; the clock is the test's, so that no test waits for a back-off.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tradingbot_sandbox.supervisor.component import (
    STEADY_SECONDS,
    Component,
    ComponentStatus,
    HealthCheck,
    State,
    describe_exit,
    restart_delay_seconds,
)
from tradingbot_sandbox.supervisor.errors import AddressInUse, ComponentFailed
from tradingbot_sandbox.supervisor.group import ComponentGroup
from tradingbot_sandbox.supervisor.process import ProcessId

DEADLINE_SECONDS = 20.0
SLEEPER = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
STUBBORN = (
    sys.executable, "-S", "-u", "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(600)",
)  # fmt: skip


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic_seconds(self) -> float:
        return self.seconds

    def now_ns(self) -> int:
        return int(self.seconds * 1e9)


class FakeProber:
    """Healthy, but for the addresses that a test names."""

    def __init__(self) -> None:
        self.complaints: dict[str, str] = {}

    def complaint(self, check: HealthCheck) -> str:
        return self.complaints.get(check.url, "")


class Bench:
    """Makes groups, and makes sure that nothing of them outlives the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.prober = FakeProber()
        self.groups: list[ComponentGroup] = []

    def group(self, *components: Component) -> ComponentGroup:
        group = ComponentGroup(
            components, logs=self.folder, directory=self.folder, prober=self.prober, clock=self.clock
        )
        self.groups.append(group)
        return group

    def step_until(self, group: ComponentGroup, name: str, state: State) -> ComponentStatus:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            group.step()
            status = status_of(group, name)
            if status.state is state:
                return status
            assert time.monotonic() < deadline, f"{name} is {status.state}, not {state}"
            time.sleep(0.005)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for group in bench.groups:
        group.stop()


def component(name: str, argv: tuple[str, ...] = SLEEPER, **more: object) -> Component:
    health = (HealthCheck(name),)
    return Component(name, argv, health, environ={"PATH": "/usr/bin:/bin"}, **more)  # type: ignore[arg-type]  # shorthand


def status_of(group: ComponentGroup, name: str) -> ComponentStatus:
    return next(status for status in group.statuses() if status.name == name)


def statuses(group: ComponentGroup) -> Mapping[str, State]:
    return {status.name: status.state for status in group.statuses()}


def kill(group: ComponentGroup, name: str) -> None:
    """From outside, as a crash: the group only sees it end."""
    pid = status_of(group, name).pid
    assert pid is not None
    process = ProcessId.of(pid)
    assert process is not None
    process.send(signal.SIGKILL)


def test_component_is_healthy_when_its_check_passes(bench: Bench) -> None:
    bench.prober.complaints["a"] = "does not listen yet"
    group = bench.group(component("a"))
    group.step()
    assert status_of(group, "a").message == "does not listen yet"
    assert not group.is_healthy
    bench.prober.complaints.clear()
    bench.clock.seconds += 1
    group.step()
    assert group.is_healthy
    assert status_of(group, "a").message == ""


def test_component_waits_for_those_that_it_needs(bench: Bench) -> None:
    bench.prober.complaints["a"] = "not yet"
    group = bench.group(component("b", after=("a",)), component("a"))
    group.step()
    assert statuses(group) == {"a": State.STARTING, "b": State.WAITING}
    bench.prober.complaints.clear()
    bench.clock.seconds += 1
    group.step()
    group.step()
    assert statuses(group) == {"a": State.HEALTHY, "b": State.HEALTHY}


def test_component_that_ends_before_it_is_ready_is_a_failure_with_its_last_words(bench: Bench) -> None:
    bench.prober.complaints["a"] = "not yet"
    group = bench.group(component("a", ("/bin/sh", "-c", "echo wrong flag; exit 3")))
    with pytest.raises(ComponentFailed, match=r"a ended with status 3 before it was ready\. It said: wrong flag\."):
        bench.step_until(group, "a", State.HEALTHY)


def test_last_words_of_an_earlier_run_are_not_repeated(bench: Bench) -> None:
    (bench.folder / "a.log").write_text("address already in use\n")
    bench.prober.complaints["a"] = "not yet"
    group = bench.group(component("a", ("/bin/sh", "-c", "exit 3")))
    with pytest.raises(ComponentFailed) as failure:
        bench.step_until(group, "a", State.HEALTHY)
    assert not isinstance(failure.value, AddressInUse)
    assert "It said" not in str(failure.value)


@pytest.mark.parametrize(
    "said", ["listen tcp 127.0.0.1:1: bind: address already in use", "[Errno 98] Address already in use"]
)
def test_port_that_is_taken_is_a_failure_of_its_own_kind(bench: Bench, said: str) -> None:
    bench.prober.complaints["a"] = "not yet"
    group = bench.group(component("a", ("/bin/sh", "-c", f"echo '{said}'; echo goodbye; exit 1")))
    with pytest.raises(AddressInUse):
        bench.step_until(group, "a", State.HEALTHY)


def test_program_that_does_not_exist_is_named(bench: Bench) -> None:
    bench.prober.complaints["a"] = "not yet"
    group = bench.group(component("a", ("/nowhere/etcd",)))
    with pytest.raises(ComponentFailed, match="cannot start /nowhere/etcd: No such file"):
        bench.step_until(group, "a", State.HEALTHY)


def test_component_that_dies_later_is_restarted_after_a_back_off_and_says_so(bench: Bench) -> None:
    group = bench.group(component("a"), component("b"))
    group.wait_healthy(timeout_seconds=DEADLINE_SECONDS)
    before = group.pids()
    kill(group, "a")
    status = bench.step_until(group, "a", State.RESTARTING)
    assert status.message == "was killed by signal 9"
    assert status.pid is None
    group.step()
    assert status_of(group, "a").state is State.RESTARTING
    bench.clock.seconds += 0.5
    status = bench.step_until(group, "a", State.HEALTHY)
    assert (status.restarts, status.last_exit, status.message) == (1, "was killed by signal 9", "")
    assert group.pids()["a"] != before["a"]
    assert group.pids()["b"] == before["b"]


def test_back_off_grows_while_it_keeps_dying_and_is_forgotten_when_it_is_steady(bench: Bench) -> None:
    group = bench.group(component("a"))
    group.wait_healthy(timeout_seconds=DEADLINE_SECONDS)
    for expected in (0.5, 1.0, 2.0):
        kill(group, "a")
        bench.step_until(group, "a", State.RESTARTING)
        bench.clock.seconds += expected - 0.01
        group.step()
        assert status_of(group, "a").state is State.RESTARTING
        bench.clock.seconds += 0.02
        bench.step_until(group, "a", State.HEALTHY)
    bench.clock.seconds += STEADY_SECONDS + 1
    kill(group, "a")
    bench.step_until(group, "a", State.RESTARTING)
    bench.clock.seconds += 0.51
    bench.step_until(group, "a", State.HEALTHY)


def test_hung_component_is_unhealthy_and_recovers_without_a_restart(bench: Bench) -> None:
    group = bench.group(component("a"))
    group.wait_healthy(timeout_seconds=DEADLINE_SECONDS)
    bench.prober.complaints["a"] = "does not answer"
    bench.clock.seconds += 3
    group.step()
    status = status_of(group, "a")
    assert (status.state, status.message) == (State.UNHEALTHY, "does not answer")
    bench.prober.complaints.clear()
    bench.clock.seconds += 3
    group.step()
    assert (status_of(group, "a").state, status_of(group, "a").restarts) == (State.HEALTHY, 0)


def test_start_that_takes_too_long_names_the_late_component(bench: Bench) -> None:
    bench.prober.complaints["b"] = "/readyz answers 500"
    group = bench.group(component("a"), component("b"))

    def pass_time(seconds: float) -> None:
        bench.clock.seconds += max(seconds, 0.01)

    with pytest.raises(ComponentFailed, match=r"b is not healthy after 5 s \(/readyz answers 500\)"):
        group.wait_healthy(timeout_seconds=5, wait=pass_time)


def test_lowest_stop_order_is_stopped_first(bench: Bench) -> None:
    group = bench.group(component("etcd", stop_order=2), component("server", stop_order=1), component("pods"))
    group.wait_healthy(timeout_seconds=DEADLINE_SECONDS)
    stopped: list[str] = []
    group.stop(on_stopped=stopped.append)
    assert stopped == ["pods", "server", "etcd"]
    assert set(statuses(group).values()) == {State.STOPPED}


def test_component_that_ignores_sigterm_is_killed_after_its_grace(bench: Bench) -> None:
    group = bench.group(component("a", STUBBORN, stop_grace_seconds=0.05))
    group.wait_healthy(timeout_seconds=DEADLINE_SECONDS)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while "deaf" not in (bench.folder / "a.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process = ProcessId.of(group.pids()["a"])
    group.stop()
    assert process is not None
    assert not process.is_alive()


def test_killed_on_purpose_stays_down_until_it_is_resumed(bench: Bench) -> None:
    group = bench.group(component("a"))
    group.wait_healthy(timeout_seconds=DEADLINE_SECONDS)
    group.kill("a")
    bench.clock.seconds += 100
    group.step()
    assert statuses(group) == {"a": State.STOPPED}
    assert group.pids() == {}
    group.resume("a")
    group.wait_healthy(timeout_seconds=DEADLINE_SECONDS)
    assert statuses(group) == {"a": State.HEALTHY}


def test_component_gets_the_environment_that_was_planned_and_no_other(bench: Bench) -> None:
    bench.prober.complaints["a"] = "not yet"
    group = bench.group(component("a", ("/usr/bin/env",)))
    with pytest.raises(ComponentFailed):
        bench.step_until(group, "a", State.HEALTHY)
    found = set((bench.folder / "a.log").read_text().splitlines())
    assert found - {"LC_CTYPE=C.UTF-8"} == {"PATH=/usr/bin:/bin"}  # the launcher's Python may add that one (PEP 538)


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0.5), (1, 0.5), (2, 1.0), (5, 8.0), (7, 30.0), (10_000, 30.0)])
def test_restart_delays_double_up_to_a_limit(failures: int, seconds: float) -> None:
    assert restart_delay_seconds(failures) == seconds


def test_exits_are_described_in_words() -> None:
    assert describe_exit(-9) == "was killed by signal 9"
    assert describe_exit(2) == "ended with status 2"
