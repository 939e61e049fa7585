"""Several operators as real processes, and one Lease. Each has an account of its own, so that the audit log tells them
apart."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.chart import Chart, chart_tool
from tradingbot_sandbox.control_plane.audit import AuditEvent
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

pytestmark = pytest.mark.control_plane
Raw = dict[str, Any]
DURATION_SECONDS = 4
TIMES = (
    f"--lease-duration-seconds={DURATION_SECONDS}",
    "--lease-renew-deadline-seconds=2.5",
    "--lease-retry-seconds=0.4",
)
BOTS = 50
PATIENT = ("--lease-duration-seconds=60", "--lease-renew-deadline-seconds=45")
"""A leader that cannot renew in time ends, by design. Where that is not asked, a busy machine must not answer it."""


class Rivals:
    """Starts operators that want the same Lease."""

    def __init__(self, desk: Any, start_operator: Any, make_account: Any, folder: Path) -> None:
        self._desk, self._start, self._make_account, self._folder = desk, start_operator, make_account, folder
        self.lease_name = f"rivals-{desk.namespace}"
        self.users: dict[int, str] = {}

    def start(self, *arguments: str) -> Any:
        name = f"{self.lease_name}-{len(self.users)}"
        account = self._make_account(name, folder=self._folder / name)
        operator = self._start(
            f"--namespaces={self._desk.namespace}", f"--lease-name={self.lease_name}", *TIMES, *arguments, given=account
        )
        self.users[operator.process.pid] = account.user
        return operator.until_ready()

    def user(self, operator: Any) -> str:
        return self.users[operator.process.pid]

    @property
    def lease(self) -> Raw:
        path = f"/apis/coordination.k8s.io/v1/namespaces/operator-test/leases/{self.lease_name}"
        spec: Raw = self._desk.admin.get(path).body["spec"]
        return spec


@pytest.fixture
def rivals(desk: Any, start_operator: Any, make_account: Any, tmp_path: Path) -> Rivals:
    return Rivals(desk, start_operator, make_account, tmp_path)


def leads(operator: Any) -> bool:
    return bool(operator.metric("tradingbot_operator_leader") == 1.0)


def until_leads(desk: Any, operator: Any) -> float:
    """Seconds that it took."""
    began_at = time.monotonic()
    desk.until("it leads", lambda: leads(operator) and operator.http("/readyz") == (200, "ok\n"))
    return time.monotonic() - began_at


def asked_by(log: Any, user: str) -> list[AuditEvent]:
    return [event for event in log.events() if event.user == user and event.resource]


def test_standby_is_ready_and_asks_for_the_lease_alone(control_plane: ControlPlane, desk: Any, rivals: Rivals) -> None:
    log = control_plane.audit()
    leader = rivals.start()
    until_leads(desk, leader)
    standby = rivals.start()
    assert standby.http("/readyz") == (200, "ok: standby\n")
    assert standby.http("/healthz") == (200, "ok: standby\n")
    desk.create_bot()
    desk.until_current()
    desk.until("the standby has looked again", lambda: len(asked_by(log, rivals.user(standby))) >= 4)
    assert {(event.verb, event.resource) for event in asked_by(log, rivals.user(standby))} == {("get", "leases")}
    assert leads(leader)
    assert not leads(standby)
    assert standby.stop() == 0
    assert rivals.lease["leaseTransitions"] == 0
    assert leader.stop() == 0


def test_leader_that_is_asked_to_end_hands_over_without_the_wait(desk: Any, rivals: Rivals) -> None:
    leader = rivals.start("--lease-duration-seconds=60")
    until_leads(desk, leader)
    standby = rivals.start("--lease-duration-seconds=60")
    desk.create_bot()
    desk.until_current()
    assert leader.stop() == 0
    assert '"event": "lease given back"' in leader.log
    assert until_leads(desk, standby) < 30.0, "it would have waited for 60 s"
    desk.patch({"capital": {"stage": "small"}})
    desk.until("the new one reconciles", lambda: desk.status()["permit"]["stage"] == "small")
    assert rivals.lease["leaseTransitions"] == 1
    assert standby.stop() == 0
    assert rivals.lease["holderIdentity"] == ""


def test_standby_takes_over_from_a_leader_that_was_killed(desk: Any, rivals: Rivals) -> None:
    leader = rivals.start()
    until_leads(desk, leader)
    standby = rivals.start()
    desk.create_bot()
    desk.until_current()
    leader.kill()
    desk.patch({"capital": {"stage": "small"}})
    assert desk.admin.delete(desk.path("Service", "btc-trader")).is_success
    desk.until("the change", lambda: desk.status()["permit"]["stage"] == "small")
    desk.until("the Service", lambda: desk.get("Service"))
    assert leads(standby)
    assert standby.stop() == 0


def test_leader_that_was_paused_for_longer_than_its_lease_ends_and_writes_nothing_more(
    control_plane: ControlPlane, desk: Any, rivals: Rivals
) -> None:
    leader = rivals.start()
    until_leads(desk, leader)
    standby = rivals.start()
    desk.create_bot()
    desk.until_current()
    desk.until("its last word about the new bot", lambda: "Permitted" in desk.events())
    with leader.asleep():
        desk.patch({"capital": {"stage": "small"}})  # its watch brings it when it wakes
        until_leads(desk, standby)
        desk.until("the standby reconciles", lambda: desk.status()["permit"]["stage"] == "small")
        desk.patch({"capital": {"stage": "micro"}})
        assert desk.admin.delete(desk.path("Service", "btc-trader")).is_success
        log = control_plane.audit()
    assert leader.process.wait(20) == 3
    assert '"event": "lease lost"' in leader.log
    assert "Traceback" not in leader.log
    desk.until("the standby reconciles", lambda: desk.status()["permit"]["stage"] == "micro")
    assert [event for event in asked_by(log, rivals.user(leader)) if event.is_write and event.code < 300] == []
    assert leads(standby)
    assert standby.stop() == 0


def test_leader_whose_lease_is_taken_away_ends(desk: Any, rivals: Rivals) -> None:
    leader = rivals.start()
    until_leads(desk, leader)
    path = f"/apis/coordination.k8s.io/v1/namespaces/operator-test/leases/{rivals.lease_name}"
    assert desk.admin.merge(path, {"spec": {"holderIdentity": "somebody-else"}}).is_success
    assert leader.process.wait(20) == 3
    assert "somebody-else" in leader.log


def test_leader_that_is_cut_off_ends_and_the_standby_goes_on(
    desk: Any, rivals: Rivals, start_operator: Any, make_account: Any, relay: Any, tmp_path: Path
) -> None:
    cut_off = start_operator(
        f"--namespaces={desk.namespace}",
        f"--lease-name={rivals.lease_name}",
        *TIMES,
        given=make_account(f"{rivals.lease_name}-cut", folder=tmp_path / "cut"),
        server=relay.url,
    ).until_ready()
    until_leads(desk, cut_off)
    standby = rivals.start()
    relay.cut()
    assert cut_off.process.wait(30) == 3
    until_leads(desk, standby)
    desk.create_bot()
    desk.until_current()
    assert standby.stop() == 0


def test_sigterm_under_load_loses_nothing(desk: Any, rivals: Rivals) -> None:
    """Half of the bots are made, the leader is asked to end while the rest comes and others change."""
    leader = rivals.start(*PATIENT, "--workers=2", "--graceful-exit-seconds=100")  # what is begun ends
    until_leads(desk, leader)
    names = [f"bot-{number}" for number in range(BOTS)]
    for name in names[: BOTS // 2]:
        desk.create_bot({"metadata.name": name})
    leader.process.send_signal(signal.SIGTERM)
    for name in names[BOTS // 2 :]:
        desk.create_bot({"metadata.name": name})
    for name in names[: BOTS // 2]:
        desk.patch({"capital": {"stage": "small"}}, name=name)
    assert leader.process.wait(120) == 0, leader.log[-3000:]
    assert "Traceback" not in leader.log, leader.log[-3000:]
    assert "cut off" not in leader.log, leader.log[-3000:]
    successor = rivals.start(*PATIENT)

    def has(name: str, stage: str) -> bool:
        assert successor.process.poll() is None, successor.log[-3000:]
        return bool((desk.status(name).get("permit") or {}).get("stage") == stage)

    for number, name in enumerate(names):
        stage = "small" if number < BOTS // 2 else "micro"
        desk.until(f"{name} has what was asked for", lambda name=name, stage=stage: has(name, stage))
        desk.until("its Deployment", lambda name=name: desk.get("Deployment", f"{name}-trader"))
    successor.until_resynced()
    assert successor.stop() == 0


def test_operator_without_any_cluster_role_starts_elects_lists_and_watches(
    control_plane: ControlPlane, desk: Any, start_operator: Callable[..., Any], account: Any, tmp_path: Path
) -> None:
    """With exactly the roles that the chart makes for one namespace."""
    admin, home = control_plane.admin, f"{desk.namespace}-home"
    chart = Chart(chart_tool("helm"), tmp_path)
    rendered = chart.render({"watch": {"namespaces": [desk.namespace]}, "admissionPolicies": {"enabled": False}})
    assert admin.create("/api/v1/namespaces", {"metadata": {"name": home}}).is_success
    (ours,) = rendered.of("ServiceAccount")
    name = ours["metadata"]["name"]
    accounts = f"/api/v1/namespaces/{home}/serviceaccounts"
    assert admin.create(accounts, {"metadata": {"name": name}}).is_success
    for kind in ("Role", "RoleBinding"):
        for manifest in rendered.of(kind):
            where = manifest["metadata"]["namespace"].replace(chart.namespace, home)
            for subject in manifest.get("subjects", []):
                subject["namespace"] = home
            manifest["metadata"]["namespace"] = where
            path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{where}/{kind.lower()}s"
            answer = admin.create(path, manifest)
            assert answer.is_success, answer.body
    token = admin.create(f"{accounts}/{name}/token", {"spec": {"expirationSeconds": 3600}})
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text(token.body["status"]["token"], encoding="ascii")
    (folder / "ca.crt").write_bytes(control_plane.ca.read_bytes())
    given_by_us = ("--listen=", "--service-account-dir=", "--resync-interval-seconds=", "--lease-namespace=")
    arguments = [each for each in rendered.container["args"] if not each.startswith(given_by_us)]
    log, user = control_plane.audit(), f"system:serviceaccount:{home}:{name}"
    confined = replace(account, folder=folder, user=user)
    operator = start_operator(*arguments, f"--lease-namespace={home}", given=confined).until_ready()
    desk.create_bot()
    desk.until_current()
    desk.until_children()
    desk.patch({"capital": {"stage": "small"}})
    desk.until("a change", lambda: desk.status()["permit"]["stage"] == "small")
    assert operator.stop() == 0
    asked = [event for event in asked_by(log, user) if event.resource != "tradinghalts"]  # these are the cluster's
    assert [event for event in asked if event.code in {401, 403}] == []
    assert {event.namespace for event in asked} == {desk.namespace, home}
    assert {(event.verb, event.resource, event.name) for event in asked if event.namespace == home} >= {
        ("get", "leases", _lease_name(arguments)),
        ("update", "leases", _lease_name(arguments)),
    }
    admin.delete(f"/api/v1/namespaces/{home}")


def _lease_name(arguments: list[str]) -> str:
    (name,) = (each.removeprefix("--lease-name=") for each in arguments if each.startswith("--lease-name="))
    return name
