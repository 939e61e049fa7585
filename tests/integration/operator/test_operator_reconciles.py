"""The operator as a real process against a real API server: what a bot becomes. No node: pods stay pending."""

from __future__ import annotations

import copy
import subprocess
from typing import Any

import pytest

from tradingbot_sandbox.control_plane.binaries import find_binaries
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

pytestmark = pytest.mark.control_plane
Raw = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def operator(start_operator: Any, audit_of_module: Any) -> Any:
    """Its watches end and are resumed again and again; the audit log tells of a watch when it has ended."""
    assert audit_of_module
    return start_operator("--watch-server-timeout-seconds=5").until_ready()


def test_bot_gets_its_children_and_its_permit(desk: Any) -> None:
    uid = desk.create_bot()["metadata"]["uid"]
    status = desk.until_current()
    children = desk.until_children()
    for kind, child in children.items():
        owners = child["metadata"].get("ownerReferences", [])
        assert [owner["uid"] for owner in owners] == ([] if kind == "PersistentVolumeClaim" else [uid]), kind
        assert child["metadata"]["labels"]["tradingbot.dev/bot"] == "btc"
    assert status["permit"] == {
        "uid": uid,
        "mode": "Paper",
        "stage": "micro",
        "limit": "50",
        "digest": status["permit"]["digest"],
        "specGeneration": 1,
        "issuedAt": status["permit"]["issuedAt"],
    }
    assert desk.verdict("Ready") == ("False", "Starting")
    assert desk.verdict("Reconciling") == ("True", "WaitingForTrader")
    assert desk.verdict("LiveEligible") == ("False", "NotRequested")
    assert status["phase"] == "Pending"
    assert desk.events() == ["Permitted"]


def test_new_bot_costs_one_status_and_one_event_beyond_its_children(desk: Any, audit: Any, operator: Any) -> None:
    desk.create_bot()
    desk.until_current()
    operator.until_resynced()
    writes = [event for event in audit.writes() if event.namespace == desk.namespace]
    assert [event.code for event in writes if event.code >= 300] == []
    assert sorted(event.resource for event in writes) == [
        "deployments", "events", "leases", "networkpolicies", "persistentvolumeclaims", "rolebindings", "roles",
        "serviceaccounts", "services", "tradingbots/status",
    ]  # fmt: skip


def test_bot_keeps_no_trace_of_the_framework(desk: Any, operator: Any) -> None:
    desk.create_bot()
    desk.until_current()
    desk.patch({"onDelete": "Hold"})
    desk.until_current()
    operator.until_resynced()
    metadata = desk.bot()["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata
    managers = {(entry["manager"], entry.get("subresource", "")) for entry in metadata["managedFields"]}
    assert {entry for entry in managers if entry[0] != "tradingbot-sandbox"} == {("tradingbot-operator", "status")}


def test_pod_meets_the_restricted_profile(control_plane: ControlPlane, desk: Any) -> None:
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    assert control_plane.admin.merge(f"/api/v1/namespaces/{desk.namespace}", labels).is_success
    desk.create_bot()
    desk.make_pod_ready()


def test_trading_bot_is_ready_for_kubectl_wait(control_plane: ControlPlane, desk: Any) -> None:
    desk.create_bot()
    desk.until_current()
    desk.make_pod_ready()
    desk.report()
    done = subprocess.run(
        [find_binaries().kubectl, f"--kubeconfig={control_plane.kubeconfig}", f"--namespace={desk.namespace}", "wait",
         "--for=condition=Ready", "--timeout=30s", "tradingbot/btc"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stderr} {desk.status()}"
    assert desk.status()["phase"] == "Running"
    assert desk.verdict("Reconciling") == ("False", "UpToDate")


def test_heartbeats_cost_no_write(desk: Any, audit: Any, operator: Any) -> None:
    desk.create_bot()
    desk.until_current()
    desk.make_pod_ready()
    desk.report()
    desk.until_verdict("Ready", "True", "Trading")
    before = [event for event in audit.writes() if event.namespace == desk.namespace]
    for fills in range(1, 4):
        desk.report(performance={"fills": fills})
    operator.until_resynced()
    assert [event for event in audit.writes() if event.namespace == desk.namespace] == before


@pytest.mark.parametrize(
    "kind", ["ServiceAccount", "Role", "RoleBinding", "Lease", "PersistentVolumeClaim", "Service", "Deployment"]
)
def test_deleted_child_is_made_again(desk: Any, kind: str) -> None:
    desk.create_bot()
    before = desk.until_children()[kind]["metadata"]["uid"]
    desk.admin.merge(desk.path(kind, "btc-trader"), {"metadata": {"finalizers": None}})  # pvc-protection would hold it
    assert desk.admin.delete(desk.path(kind, "btc-trader")).is_success
    desk.until(f"another {kind}", lambda: (desk.get(kind) or {}).get("metadata", {}).get("uid", before) != before)


@pytest.mark.parametrize(
    ("kind", "change", "read"),
    [
        ("Deployment", {"spec": {"replicas": 3}}, lambda child: child["spec"]["replicas"]),
        (
            "Role",
            {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]},
            lambda child: child["rules"],
        ),
        ("Service", {"metadata": {"labels": {"tradingbot.dev/bot": None}}}, lambda child: child["metadata"]["labels"]),
        ("RoleBinding", {"subjects": []}, lambda child: child.get("subjects")),
        ("ServiceAccount", {"automountServiceAccountToken": True}, lambda child: child["automountServiceAccountToken"]),
    ],
)
def test_changed_child_is_put_right(desk: Any, kind: str, change: Raw, read: Any) -> None:
    desk.create_bot()
    before = read(desk.until_children()[kind])
    desk.until_current()
    answer = desk.admin.merge(desk.path(kind, "btc-trader"), change)
    assert answer.is_success, answer.body
    assert read(answer.body) != before
    desk.until(f"{kind} as before", lambda: read(desk.get(kind)) == before)


def test_binding_that_gives_another_role_is_made_anew(desk: Any, operator: Any) -> None:
    desk.create_bot()
    binding = desk.until_children()["RoleBinding"]
    desk.until_current()
    forged = {key: copy.deepcopy(binding[key]) for key in ("apiVersion", "kind", "subjects")}
    forged["metadata"] = {key: binding["metadata"][key] for key in ("name", "labels", "ownerReferences")}
    forged["roleRef"] = binding["roleRef"] | {"name": "somebody-elses"}
    with operator.asleep():
        assert desk.admin.delete(desk.path("RoleBinding", "btc-trader")).is_success
        assert desk.admin.create(desk.path("RoleBinding"), forged).is_success
    desk.until("our role", lambda: (desk.get("RoleBinding") or {}).get("roleRef") == binding["roleRef"])


@pytest.mark.parametrize("kind", ["Service", "ServiceAccount", "PersistentVolumeClaim"])
def test_foreign_object_is_not_touched_and_the_trader_is_not_started(desk: Any, kind: str) -> None:
    foreign: Raw = {"metadata": {"name": "btc-trader"}}
    if kind == "Service":
        foreign["spec"] = {"ports": [{"port": 1}]}
    if kind == "PersistentVolumeClaim":
        foreign["spec"] = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "5Gi"}}}
    before = desk.admin.create(desk.path(kind), foreign).body
    desk.create_bot()
    desk.until_verdict("Stalled", "True", "OwnershipConflict")
    assert f"{kind} btc-trader" in desk.message("Stalled")
    after = desk.get(kind)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert "tradingbot-operator" not in {entry["manager"] for entry in after["metadata"].get("managedFields", [])}
    assert desk.get("Deployment") is None
    assert desk.get("Role") is not None
    desk.admin.merge(desk.path(kind, "btc-trader"), {"metadata": {"finalizers": None}})
    assert desk.admin.delete(desk.path(kind, "btc-trader")).is_success
    desk.until_verdict("Stalled", "False", "NotStalled")
    desk.until_children()


def test_stage_is_a_new_permit_and_no_new_pod(desk: Any) -> None:
    desk.create_bot()
    desk.until_current()
    before = desk.get("Deployment")["metadata"]["generation"]
    desk.patch({"capital": {"stage": "small"}})
    permit = desk.until_current()["permit"]
    assert (permit["stage"], permit["limit"], permit["specGeneration"]) == ("small", "100", 2)
    assert desk.get("Deployment")["metadata"]["generation"] == before


def test_spec_that_the_trader_rejects_keeps_the_old_permit(desk: Any) -> None:
    desk.create_bot()
    permit = desk.until_current()["permit"]
    desk.report()
    desk.patch({"symbols": ["XYZ/USDT"], "capital": {"stage": "small"}})
    desk.until_verdict("Reconciling", "True", "WaitingForTrader")
    rejection = {"accepted": False, "reason": "UnknownSymbol", "message": "XYZ/USDT is not traded at binance"}
    desk.report(config=rejection | {"digest": permit["digest"]})
    desk.until_verdict("Stalled", "True", "UnknownSymbol")
    assert "XYZ/USDT is not traded at binance" in desk.message("Stalled")
    assert desk.status()["permit"] == permit
    desk.patch({"symbols": ["BTC/USDT"]})
    desk.report()
    desk.until_verdict("Stalled", "False", "NotStalled")
    assert desk.status()["permit"]["stage"] == "small"


def test_live_on_mainnet_stays_on_paper_and_says_what_is_missing(desk: Any) -> None:
    exchange = {"id": "binance", "network": "Mainnet"}
    desk.create_bot({"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}, "spec.exchange": exchange})
    assert desk.until_current()["permit"]["mode"] == "Paper"
    assert desk.verdict("LiveEligible") == ("False", "MainnetNotSupported")
    assert "gates and approvals" in desk.message("LiveEligible")
    assert "secret" not in str(desk.until_children()["Deployment"]["spec"]["template"]["spec"]["volumes"])


def test_live_bot_gets_no_permit_without_admission_policies_and_comes_back(desk: Any) -> None:
    """This control plane has none. With them: tests/e2e/test_live.py."""
    desk.create_bot()
    desk.until_current()
    desk.make_pod_ready()
    desk.report()
    desk.until_verdict("Ready", "True", "Trading")

    def volumes() -> list[Any]:
        return desk.get("Deployment")["spec"]["template"]["spec"]["volumes"]

    desk.patch({"mode": "Live", "credentials": {"secretName": "keys"}})
    desk.report()
    keys = {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o440, "optional": True}}
    desk.until("the pod is a live one", lambda: keys in volumes())
    assert "permit" not in desk.status()
    assert desk.verdict("LiveEligible") == ("True", "TestNetwork")
    desk.until("the paper pod is gone", lambda: desk.get("Deployment")["status"].get("updatedReplicas") == 1)
    desk.make_pod_ready()
    at = "2025-06-15T15:06:40Z"
    live = {"mode": "Live", "state": "ReduceOnly", "limit": "0", "openOrders": 0, "openPositions": 0}
    desk.report(**live, preflight={"passed": False, "reason": "Reconciling", "message": "wait", "at": at})
    desk.until_verdict("PreflightPassed", "False", "Reconciling")
    assert "permit" not in desk.status()
    more = {
        "preflight": {"passed": True, "at": at},
        "credentials": {"ready": True, "fingerprint": "0123456789ab"},
        "reconciliation": {"at": at, "result": "Passed"},
    }
    desk.report(**live, **more)
    desk.until_verdict("LiveEligible", "False", "PoliciesNotInForce")
    assert "permit" not in desk.status()
    for kind in ("PreflightPassed", "CredentialsReady", "Reconciled"):
        assert desk.verdict(kind) == ("True", "Passed")
    assert {"Permitted", "Withdrawn"} <= set(desk.events())
    assert desk.get("TradingBot", "btc")["metadata"]["finalizers"] == ["tradingbot.dev/on-delete"]

    desk.patch({"mode": "Paper"})
    drain = {"reason": "LeavingLive", "since": at, "orders": []}
    desk.report(**live, drain=drain | {"done": False}, **more)
    desk.until_verdict("ConfigDrift", "True", "WaitingForDrain")
    more["drain"] = drain | {"done": True}
    desk.report(**live | {"openPositions": 1}, **more)
    desk.until_verdict("ConfigDrift", "True", "WaitingUntilFlat")
    desk.until_verdict("Reconciling", "True", "SwappingPod")
    assert keys in volumes()
    desk.report(**live, **more)
    desk.until("the pod is one for paper", lambda: "secret" not in str(volumes()))
    desk.report()
    desk.until("a paper permit", lambda: desk.status().get("permit", {}).get("mode") == "Paper")
    assert desk.verdict("CredentialsReady") == ("", "")


def test_stop_without_a_trader_is_latched_until_it_is_re_armed_by_its_id(desk: Any) -> None:
    desk.create_bot()
    desk.until_current()
    desk.patch({"killSwitch": {"engaged": True, "reason": "drill"}})
    desk.until_verdict("Halted", "True", "Latched")
    latch = desk.status()["killSwitch"]
    assert latch["id"].startswith("operator-")
    assert "acknowledgedAt" not in latch
    desk.patch({"killSwitch": {"engaged": False}})
    desk.until_current()
    assert desk.status()["killSwitch"] == latch
    desk.patch({"killSwitch": {"rearm": latch["id"]}})
    desk.until_verdict("Halted", "False", "NotHalted")
    assert desk.status()["killSwitch"] == {"state": "Armed"}
    desk.until("every event", lambda: desk.events() == ["Latched", "Permitted", "Rearmed"])


def test_traders_latch_is_mirrored(desk: Any) -> None:
    desk.create_bot()
    desk.until_current()
    desk.report()
    desk.patch({"killSwitch": {"engaged": True}})
    now = "2026-01-01T00:00:00Z"
    proof = {"state": "Stopped", "id": "t-1", "source": "KillSwitch", "engagedAt": now, "acknowledgedAt": now}
    desk.report(latch=proof | {"ordersCancelled": 2})
    # Its pod is not ready: the operator may have latched by itself before this report. The trader's wins.
    desk.until("the trader's latch", lambda: desk.status().get("killSwitch", {}).get("id") == "t-1")
    assert desk.verdict("Halted") == ("True", "Latched")
    assert desk.status()["killSwitch"]["ordersCancelled"] == 2
    assert desk.status()["phase"] == "Stopped"


def test_suspended_bot_has_no_pod_and_keeps_its_volume(desk: Any) -> None:
    desk.create_bot()
    volume = desk.until_children()["PersistentVolumeClaim"]["metadata"]["uid"]
    desk.patch({"suspend": True})
    desk.until("no replica", lambda: desk.get("Deployment")["spec"]["replicas"] == 0)
    desk.until_verdict("Ready", "False", "Suspended")
    assert desk.get("PersistentVolumeClaim")["metadata"]["uid"] == volume
    desk.patch({"suspend": False})
    desk.until("a replica", lambda: desk.get("Deployment")["spec"]["replicas"] == 1)


def test_volume_in_other_words_is_written_once(desk: Any, audit: Any, operator: Any) -> None:
    desk.create_bot({"spec.storage": {"size": "1024Mi"}})
    desk.until_children()
    operator.until_resynced()
    writes = [event for event in audit.writes() if event.resource == "persistentvolumeclaims"]
    assert [event.code for event in writes if event.namespace == desk.namespace] == [201]


def test_growth_that_the_cluster_refuses_is_said(desk: Any) -> None:
    desk.create_bot()
    desk.until_children()
    desk.until_current()
    desk.patch({"storage": {"size": "2Gi"}})
    desk.until_verdict("Stalled", "True", "ApplyRefused")
    assert "persistentvolumeclaims" in desk.message("Stalled")
    desk.until("the event", lambda: "ApplyRefused" in desk.events())


def test_deleted_bot_leaves_its_volume_to_the_next_of_its_name(desk: Any) -> None:
    desk.create_bot()
    children = desk.until_children()
    desk.until_current()
    assert desk.admin.delete(desk.path("TradingBot", "btc")).is_success
    desk.until("the bot is gone", lambda: desk.get("TradingBot", "btc") is None)
    uid = desk.create_bot()["metadata"]["uid"]

    def is_made_again() -> bool:
        deployment = desk.get("Deployment")
        return bool(deployment and deployment["metadata"]["ownerReferences"][0]["uid"] == uid)

    desk.until("a Deployment of the new bot", is_made_again)
    desk.until_verdict("Stalled", "False", "NotStalled")
    assert desk.get("PersistentVolumeClaim")["metadata"]["uid"] == children["PersistentVolumeClaim"]["metadata"]["uid"]


def test_garbage_that_an_older_api_let_in_stalls_that_bot_alone(desk: Any, crds: list[Raw], change_crd: Any) -> None:
    strict = next(manifest for manifest in crds if manifest["spec"]["names"]["kind"] == "TradingBot")
    loose = copy.deepcopy(strict)
    schema = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema.pop("x-kubernetes-validations")
    loose["spec"]["versions"][0].pop("selectableFields")
    with change_crd(loose, strict):
        garbage = {
            "exchange": {"id": 5},
            "symbols": "all",
            "capital": {"stages": [None]},
            "killSwitch": {"engaged": True},
        }
        odd = {
            "apiVersion": strict["spec"]["group"] + "/v1alpha1", "kind": "TradingBot", "metadata": {"name": "odd"},
            "spec": garbage,
        }  # fmt: skip
        desk.until("the API server takes it", lambda: desk.admin.create(desk.path("TradingBot"), odd).is_success)
        desk.until_verdict("Stalled", "True", "InvalidSpec", name="odd")
        assert desk.verdict("Halted", name="odd") == ("True", "Latched")
        assert desk.get("Deployment", "odd-trader") is None
        desk.create_bot()
        desk.until_current()
        desk.until_children()
        assert desk.admin.delete(desk.path("TradingBot", "odd")).is_success
        desk.until("it is gone", lambda: desk.get("TradingBot", "odd") is None)


def test_every_right_is_used_and_no_other_is_asked_for(audit_of_module: Any, rights: Any) -> None:
    """Last in this module: it looks back at all of it."""
    used = audit_of_module.rights_used()
    assert used <= rights
    made_by_apply = {
        "serviceaccounts", "services", "persistentvolumeclaims", "deployments", "roles", "rolebindings", "leases",
        "networkpolicies",
    }  # fmt: skip
    optional = {"podmonitors", "externalsecrets"}  # listed; the rest: test_children_optional.py
    unused = {
        *((resource, "create") for resource in made_by_apply),  # asked of an apply, which is logged as patch
        ("leases", "update"), ("tradingbots/status", "get"),  # granted on to each trader
        ("tradingbots/finalizers", "update"),  # asked where owner references are checked (OpenShift)
        ("tradingbots", "get"),  # after a conflict alone
        *((resource, verb) for resource in optional for verb in ("get", "create", "patch", "delete")),
        ("networkpolicies", "delete"),  # when it is turned off: test_children_network_policy.py
        ("events", "list"),  # of an ExternalSecret that is not ready
        ("tradingreviews", "create"),  # of a drill: test_operator_drills.py
        ("tradingbots", "grant"),  # asked by admission policies, in no request
    }  # fmt: skip
    assert rights - used - unused == set()
    # Writes are refused in namespaces that earlier tests have left to be deleted; reads never are.
    refused = [event for event in audit_of_module.events() if event.code in {401, 403} and not event.is_write]
    assert refused == []


def test_operator_is_alive_and_counts(operator: Any) -> None:
    assert operator.http("/healthz") == (200, "ok\n")
    text = operator.http("/metrics")[1]
    assert "tradingbot_operator_reconcile_seconds_count" in text
    assert 'tradingbot_operator_watch_events_total{resource="tradingbots"}' in text
    assert "Defect" not in text
    assert operator.process.poll() is None
