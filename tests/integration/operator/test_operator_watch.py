"""A watch whose connection dies without a sign: what the operator makes of it, and what it says meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.watch_proxy import WatchProxy
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

pytestmark = pytest.mark.control_plane
INTERVAL_SECONDS = 4.0
GRACE_SECONDS = 1.5
SETTINGS = (
    f"--resync-interval-seconds={INTERVAL_SECONDS}",
    f"--watch-grace-seconds={GRACE_SECONDS}",
    "--request-timeout-seconds=2",
    "--lease-retry-seconds=0.5",
)
MISSED = 'tradingbot_operator_watch_missed_total{{resource="{}"}}'
EVENTS = 'tradingbot_operator_watch_events_total{{resource="{}"}}'


@pytest.fixture
def proxy(control_plane: ControlPlane, tmp_path: Path) -> Iterator[WatchProxy]:
    folder = tmp_path / "proxy"
    folder.mkdir()
    between = WatchProxy(control_plane.url, control_plane.ca, folder)
    yield between
    between.close()


@pytest.fixture
def operator(proxy: WatchProxy, desk: Any, start_operator: Any, account: Any, tmp_path: Path) -> Iterator[Any]:
    """It knows the API server by the proxy's address and authority alone."""
    folder = tmp_path / "serviceaccount"
    shutil.copytree(account.folder, folder)
    shutil.copy(proxy.ca, folder / "ca.crt")
    started = start_operator(
        f"--namespaces={desk.namespace}", *SETTINGS, given=replace(account, folder=folder), server=proxy.url
    ).until_ready()
    yield started
    if started.process.poll() is None:
        started.stop()


def count(operator: Any, name: str, resource: str) -> float:
    found: float = operator.metric(name.format(resource))
    return found


def until_healed(desk: Any, operator: Any, *, lives_at: Any) -> None:
    desk.until("the operator is well again", lambda: operator.http("/healthz")[0] == 200)
    desk.until("it is ready again", lambda: operator.http("/readyz")[0] == 200)
    before = lives_at()
    desk.patch({"capital": {"stage": "micro"}})
    desk.until("the watch brings events again", lambda: lives_at() > before)
    assert operator.process.poll() is None, "it was repaired from within"


def until_found_dead(desk: Any, operator: Any) -> None:
    """By a change that a list shows. One may come in another way, as the answer to a write of the operator's own status
    that crossed it: then the next one tells."""
    for stage in ("small", "micro", "small"):
        desk.patch({"capital": {"stage": stage}})
        desk.until(
            "the change is reconciled without a watch",
            lambda stage=stage: desk.status()["permit"]["stage"] == stage,
            seconds=2 * INTERVAL_SECONDS,
        )
        with suppress(AssertionError):
            desk.until("liveness fails", lambda: operator.http("/healthz")[0] == 503, seconds=2 * INTERVAL_SECONDS)
            return
    raise AssertionError(f"three changes, and the dead watch was not found\n{operator.log[-3000:]}")


def test_watch_that_is_silently_cut_is_found_told_and_opened_anew(desk: Any, operator: Any, proxy: WatchProxy) -> None:
    desk.create_bot()
    desk.until_current()
    assert operator.http("/healthz")[0] == 200
    # Held first: a watch that is opened between the two would live. The server ends one from time to time: then there
    # is none to silence, and the next one is held.
    proxy.hold_watches()
    proxy.silence_watches("tradingbots")
    until_found_dead(desk, operator)
    said = operator.http("/healthz")[1]
    assert f"the watch of tradingbots in {desk.namespace} is dead" in said
    assert f"{desk.namespace}/btc" in said
    assert count(operator, MISSED, "tradingbots") >= 1
    assert count(operator, MISSED, "services") == 0
    assert '"event": "watches are dead"' in operator.log
    proxy.let_watch()
    until_healed(desk, operator, lives_at=lambda: count(operator, EVENTS, "tradingbots"))


def test_repair_takes_no_more_than_two_intervals_when_new_connections_pass(
    desk: Any, operator: Any, proxy: WatchProxy
) -> None:
    desk.create_bot()
    desk.until_current()
    operator.until_resynced(1)
    assert proxy.silence_watches() >= 8
    desk.patch({"capital": {"stage": "small"}})
    desk.until(
        "the watch is found dead",
        lambda: count(operator, MISSED, "tradingbots") > 0,
        seconds=INTERVAL_SECONDS + GRACE_SECONDS + 2.0,
    )
    assert desk.status()["permit"]["stage"] == "small"
    until_healed(desk, operator, lives_at=lambda: count(operator, EVENTS, "tradingbots"))
    services = count(operator, EVENTS, "services")
    assert desk.admin.delete(desk.path("Service", "btc-trader")).is_success
    desk.until("the watches of the others live too", lambda: count(operator, EVENTS, "services") > services)
    desk.until("the Service", lambda: desk.get("Service"))


def test_operator_recovers_from_a_network_that_swallowed_everything_for_a_while(
    desk: Any, operator: Any, proxy: WatchProxy
) -> None:
    desk.create_bot()
    desk.until_current()
    proxy.swallow_everything()
    desk.patch({"capital": {"stage": "small"}})
    desk.until("lists fail", lambda: "listing failed" in operator.log)
    proxy.pass_on()
    desk.until(
        "the change is reconciled",
        lambda: desk.status()["permit"]["stage"] == "small",
        seconds=2 * INTERVAL_SECONDS + 10.0,
    )
    until_healed(desk, operator, lives_at=lambda: count(operator, EVENTS, "tradingbots"))


def test_quiet_and_then_busy_cluster_raises_no_alarm(desk: Any, operator: Any) -> None:
    operator.until_resynced(2)
    desk.create_bot()
    for stage in ("small", "micro") * 5:
        desk.patch({"capital": {"stage": stage}})
        desk.until_current()
        assert operator.http("/healthz") == (200, "ok\n")
    operator.until_resynced(2)
    assert operator.http("/healthz") == (200, "ok\n")
    assert "watch_missed_total{" not in operator.http("/metrics")[1]
    assert operator.stop() == 0
