"""What an operator does that was away, is refused, loses the API server, or is asked to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tradingbot_sandbox.control_plane.control_plane import ControlPlane

pytestmark = pytest.mark.control_plane
BOTS = ("btc", "eth", "sol")


def create_bots(desk: Any) -> None:
    for name in BOTS:
        desk.create_bot({"metadata.name": name})
    for name in BOTS:
        desk.until_current(name)


def test_restarted_operator_writes_nothing(desk: Any, start_operator: Any, audit: Any) -> None:
    operator = start_operator(f"--namespaces={desk.namespace}").until_ready()
    create_bots(desk)
    desk.make_pod_ready()
    desk.report()
    desk.until_verdict("Ready", "True", "Trading")
    desk.patch({"killSwitch": {"engaged": True}}, name="sol")
    desk.until_verdict("Halted", "True", "Latched", name="sol")
    operator.until_resynced()
    operator.kill()
    before = audit.events()
    restarted = start_operator(f"--namespaces={desk.namespace}").until_ready()
    restarted.until_resynced(3)
    after = audit.events()[len(before) :]
    assert [event for event in after if event.is_write] == []
    assert {event.verb for event in after} <= {"list", "watch", "get"}
    assert "list" in {event.verb for event in after}
    assert restarted.stop() == 0


def test_bot_that_was_applied_and_changed_while_the_operator_was_away(desk: Any, start_operator: Any) -> None:
    operator = start_operator(f"--namespaces={desk.namespace}").until_ready()
    desk.create_bot()
    desk.until_children()
    desk.until_current()
    operator.kill()
    desk.patch({"capital": {"stage": "small"}})
    desk.create_bot({"metadata.name": "eth"})
    assert desk.admin.delete(desk.path("Service", "btc-trader")).is_success
    again = start_operator(f"--namespaces={desk.namespace}").until_ready()
    assert desk.until_current()["permit"]["stage"] == "small"
    assert desk.until_current("eth")["permit"]["stage"] == "micro"
    desk.until("the Service", lambda: desk.get("Service"))
    desk.until("the Deployment", lambda: desk.get("Deployment", "eth-trader"))
    assert again.stop() == 0


def test_operator_of_one_namespace_needs_no_right_elsewhere(
    control_plane: ControlPlane, desk: Any, start_operator: Any, make_account: Any, tmp_path: Path
) -> None:
    confined = make_account("confined", only_in=desk.namespace, folder=tmp_path / "confined")
    other = f"{desk.namespace}-other"
    assert control_plane.admin.create("/api/v1/namespaces", {"metadata": {"name": other}}).is_success
    log = control_plane.audit()
    operator = start_operator(f"--namespaces={desk.namespace}", given=confined).until_ready()
    elsewhere = replace(desk, namespace=other)
    elsewhere.create_bot()
    desk.create_bot()
    desk.until_current()
    desk.until_children()
    operator.until_resynced()
    assert "status" not in elsewhere.bot()
    asked = [
        event
        for event in log.events()
        if event.user == confined.user and event.resource and event.resource != "tradinghalts"  # the cluster's
    ]
    home = confined.user.split(":")[-2]  # where its Lease is
    assert {event.namespace for event in asked if event.resource != "leases"} == {desk.namespace}
    assert {event.namespace for event in asked} == {desk.namespace, home}
    assert [event for event in asked if event.code in {401, 403}] == []
    assert [line for line in operator.log.splitlines() if "warning" in line and "halts not seen" not in line] == []
    assert operator.stop() == 0
    control_plane.admin.delete(f"/api/v1/namespaces/{other}")


def test_what_the_operator_may_not_do_is_said_with_its_verb(
    desk: Any, start_operator: Any, make_account: Any, tmp_path: Path
) -> None:
    limited = make_account("limited", without="leases", verbs=["create", "patch"], folder=tmp_path / "limited")
    operator = start_operator(f"--namespaces={desk.namespace}", given=limited).until_ready()
    desk.create_bot()
    desk.until_verdict("Stalled", "True", "ApplyRefused")
    assert 'cannot patch resource "leases"' in desk.message("Stalled")
    assert desk.get("Deployment") is None
    assert desk.get("Service") is not None
    assert 'cannot patch resource \\"leases\\"' in operator.log
    assert operator.http("/healthz")[0] == 200
    assert operator.stop() == 0


def test_operator_outlives_an_outage_of_the_api_server(desk: Any, start_operator: Any, relay: Any) -> None:
    operator = start_operator(f"--namespaces={desk.namespace}", server=relay.url).until_ready()
    desk.create_bot()
    desk.until_current()
    relay.cut()
    desk.until("the outage is noticed", lambda: "listing failed" in operator.log)
    desk.patch({"capital": {"stage": "small"}})
    relay.join()
    assert desk.until_current()["permit"]["stage"] == "small"
    assert operator.process.poll() is None
    assert operator.stop() == 0


def test_sigterm_ends_the_operator_well_within_its_grace_period(desk: Any, start_operator: Any) -> None:
    operator = start_operator(f"--namespaces={desk.namespace}", "--graceful-exit-seconds=20").until_ready()
    create_bots(desk)
    assert operator.stop(seconds=20) == 0
    assert '"event": "ended"' in operator.log
    assert "Traceback" not in operator.log
    assert "exception" not in operator.log


def test_operator_without_an_api_server_is_not_ready_and_then_not_alive(desk: Any, start_operator: Any) -> None:
    operator = start_operator("--liveness-intervals=2", server="https://127.0.0.1:1")
    desk.until("it has started", lambda: '"event": "started"' in operator.log)
    assert operator.http("/readyz")[0] == 503
    desk.until("liveness fails", lambda: operator.http("/healthz")[0] == 503)
    assert "no answer about the Lease" in operator.http("/healthz")[1]
    assert operator.stop(seconds=15) == 0, "less than the grace that work under way would get"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workers=0",), "workers"),
        (("--service-account-dir=/nowhere",), "token cannot be read"),
        (("--kubeconfig=/nowhere",), "/nowhere"),
    ],
)
def test_misconfigured_operator_ends_with_a_message(
    start_operator: Any, arguments: tuple[str, ...], message: str
) -> None:
    operator = start_operator(*arguments)
    assert operator.process.wait(120) == 2
    assert message in operator.log
    assert "Traceback" not in operator.log


def test_token_that_is_renewed_is_used(
    control_plane: ControlPlane, desk: Any, start_operator: Any, make_account: Any, tmp_path: Path
) -> None:
    account = make_account("renewed", folder=tmp_path / "renewed")
    first = (account.folder / "token").read_text(encoding="ascii")
    log = control_plane.audit()
    operator = start_operator(f"--namespaces={desk.namespace}", given=account).until_ready()
    make_account("renewed", folder=tmp_path / "again")
    second = (tmp_path / "again" / "token").read_text(encoding="ascii")
    assert first != second
    (account.folder / "token").write_text(second, encoding="ascii")
    desk.create_bot()
    desk.until_current()
    assert operator.stop() == 0
    assert [event for event in log.events() if event.user == account.user and event.code == 401] == []
