"""PodMonitors and ExternalSecrets: kinds that the API server comes to know while the operator runs, and forgets again.

Their CRDs are written here: they stand in for the real ones' names, scopes and defaults, and nothing works behind them.
What External Secrets answers is written by the tests as it was seen to write it (test_children_external_secrets.py asks
the real program).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tradingbot_sandbox.control_plane.control_plane import ControlPlane

pytestmark = pytest.mark.control_plane
Raw = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ASKED = {"externalSecret": {"storeRef": {"name": "vault"}, "key": "trading/binance"}}
SAID = "error processing spec.dataFrom[0].extract, err: Secret does not exist"
TEXT = {"type": "string"}
ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def defaulted(value: str) -> Raw:
    return TEXT | {"default": value}


def crd(group: str, version: str, kind: str, spec: Raw) -> Raw:
    plural = kind.lower() + "s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {"spec": {"type": "object", "properties": spec}, "status": ANY},
                        }
                    },
                }
            ],
        },
    }


POD_MONITOR = crd(
    "monitoring.coreos.com",
    "v1",
    "PodMonitor",
    {
        "selector": ANY | {"x-kubernetes-map-type": "atomic"},
        "podMetricsEndpoints": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"port": TEXT, "path": TEXT, "interval": TEXT, "scheme": defaulted("http")},
            },
        },
    },
)
EXTERNAL_SECRET = crd(
    "external-secrets.io",
    "v1",
    "ExternalSecret",
    {
        "refreshInterval": defaulted("1h"),
        "secretStoreRef": {"type": "object", "properties": {"kind": TEXT, "name": TEXT}},
        "target": {
            "type": "object",
            "properties": {
                "name": TEXT,
                "creationPolicy": defaulted("Owner"),
                "deletionPolicy": defaulted("Retain"),
            },
        },
        "dataFrom": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "extract": {
                        "type": "object",
                        "properties": {
                            "key": TEXT,
                            "conversionStrategy": defaulted("Default"),
                            "decodingStrategy": defaulted("None"),
                            "metadataPolicy": defaulted("None"),
                        },
                    }
                },
            },
        },
    },
)
BOTH = (POD_MONITOR, EXTERNAL_SECRET)


class Kinds:
    """The CRDs of other people's operators, and their objects beside a bot."""

    def __init__(self, control_plane: ControlPlane, apply_crd: Callable[[Raw], None]) -> None:
        self._admin = control_plane.admin
        self._apply_crd = apply_crd

    def install(self, *crds: Raw) -> None:
        for each in crds:
            self._apply_crd(each)

    def remove(self, *crds: Raw) -> None:
        for each in crds:
            self._admin.delete(f"{CRDS}/{each['metadata']['name']}")

    def are_removed(self, *crds: Raw) -> bool:
        return all(self._admin.get(f"{CRDS}/{each['metadata']['name']}").status == 404 for each in crds)

    @staticmethod
    def path(of: Raw, namespace: str) -> str:
        spec = of["spec"]
        group, version = spec["group"], spec["versions"][0]["name"]
        return f"/apis/{group}/{version}/namespaces/{namespace}/{spec['names']['plural']}/btc-trader"

    def get(self, of: Raw, namespace: str) -> Raw | None:
        answer = self._admin.get(self.path(of, namespace))
        return answer.body if answer.is_success else None

    def change(self, of: Raw, namespace: str, body: Raw, *, part: str = "") -> None:
        answer = self._admin.merge(self.path(of, namespace) + part, body)
        assert answer.is_success, answer.body

    def answer(self, namespace: str, status: str, reason: str, message: str) -> None:
        """The status that External Secrets 0.20.4 writes."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        seen = self.get(EXTERNAL_SECRET, namespace)
        assert seen is not None
        ready = {"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": now}
        synced = f"{seen['metadata']['generation']}-0123456789abcdef"
        body = {"status": {"conditions": [ready], "refreshTime": now, "syncedResourceVersion": synced}}
        self.change(EXTERNAL_SECRET, namespace, body, part="/status")

    def warn(self, namespace: str, message: str, *, kind: str = "ExternalSecret", of: str = "btc-trader") -> None:
        """The event that it makes, as its client's recorder does."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        event = {
            "metadata": {"name": f"{of}.{time.monotonic_ns():x}"},
            "involvedObject": {
                "apiVersion": "external-secrets.io/v1", "kind": kind, "namespace": namespace, "name": of,
            },
            "type": "Warning",
            "reason": "UpdateFailed",
            "message": message,
            "source": {"component": "external-secrets"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }  # fmt: skip
        answer = self._admin.create(f"/api/v1/namespaces/{namespace}/events", event)
        assert answer.is_success, answer.body


@pytest.fixture(scope="module")
def kinds(control_plane: ControlPlane, apply_crd: Callable[[Raw], None]) -> Iterator[Kinds]:
    """None is installed at first, and none after this module."""
    others = Kinds(control_plane, apply_crd)
    yield others
    others.remove(*BOTH)


@pytest.fixture(scope="module", autouse=True)
def operator(start_operator: Any, kinds: Kinds) -> Any:
    """Starts before the kinds are there."""
    assert kinds
    return start_operator().until_ready()


@pytest.fixture
def without(kinds: Kinds, desk: Any) -> Kinds:
    kinds.remove(*BOTH)
    desk.until("the kinds are gone", lambda: kinds.are_removed(*BOTH))
    return kinds


@pytest.fixture
def installed(kinds: Kinds) -> Kinds:
    kinds.install(*BOTH)
    return kinds


def test_kinds_that_are_not_there_are_no_error(without: Kinds, desk: Any, operator: Any) -> None:
    assert without
    desk.create_bot({"spec.credentials": ASKED})
    desk.until_verdict("CredentialsReady", "False", "ExternalSecretsNotInstalled")
    desk.until_children()
    assert desk.verdict("Stalled") == ("False", "NotStalled")
    operator.until_resynced(3)
    assert operator.http("/readyz")[0] == 200
    assert "podmonitors" not in operator.log
    assert "externalsecrets" not in operator.log


def test_kinds_that_come_later_are_taken_up_and_those_that_go_are_let_go(
    without: Kinds, desk: Any, operator: Any
) -> None:
    uid = desk.create_bot({"spec.credentials": ASKED})["metadata"]["uid"]
    desk.until_current()
    for _ in range(2):  # they may come back
        without.install(*BOTH)
        for of in BOTH:
            child = desk.until("the child", lambda of=of: without.get(of, desk.namespace))
            assert [owner["uid"] for owner in child["metadata"]["ownerReferences"]] == [uid]
        desk.until_verdict("CredentialsReady", "False", "WaitingForSecret")
        without.remove(*BOTH)
        desk.until_verdict("CredentialsReady", "False", "ExternalSecretsNotInstalled")
        desk.until_verdict("Stalled", "False", "NotStalled")
    assert operator.process.poll() is None
    assert operator.http("/healthz")[0] == 200


def test_operator_of_some_namespaces_learns_of_them_too(without: Kinds, desk: Any, start_operator: Any) -> None:
    other = start_operator(f"--namespaces={desk.namespace}").until_ready()
    desk.create_bot()
    desk.until_current()
    without.install(POD_MONITOR)
    desk.until("the PodMonitor", lambda: without.get(POD_MONITOR, desk.namespace))
    without.remove(POD_MONITOR)
    desk.until("the kind is gone", lambda: without.are_removed(POD_MONITOR))
    other.until_resynced(3)
    assert other.stop() == 0


def test_bot_with_all_children_costs_one_status_and_one_event_beyond_them(
    installed: Kinds, desk: Any, audit: Any, operator: Any
) -> None:
    operator.until_resynced(2)
    desk.create_bot({"spec.credentials": ASKED})
    desk.until("its last child", lambda: installed.get(EXTERNAL_SECRET, desk.namespace))
    desk.until_current()
    operator.until_resynced(3)
    writes = sorted(event.resource for event in audit.writes() if event.namespace == desk.namespace)
    assert writes == [
        "deployments", "events", "externalsecrets", "leases", "networkpolicies", "persistentvolumeclaims",
        "podmonitors", "rolebindings", "roles", "serviceaccounts", "services", "tradingbots/status",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("of", "body"),
    [
        (POD_MONITOR, {"spec": {"podMetricsEndpoints": []}}),
        (POD_MONITOR, {"spec": {"selector": {"matchLabels": {"app": "another"}}}}),
        (EXTERNAL_SECRET, {"spec": {"secretStoreRef": {"name": "evil"}}}),
        (EXTERNAL_SECRET, {"spec": {"dataFrom": [{"extract": {"key": "another"}}]}}),
    ],
    ids=["no endpoint", "other pods", "other store", "other key"],
)
def test_child_that_somebody_changed_is_put_right(installed: Kinds, desk: Any, of: Raw, body: Raw) -> None:
    desk.create_bot({"spec.credentials": ASKED})
    before = desk.until("the child", lambda: installed.get(of, desk.namespace))["spec"]
    desk.until_current()
    installed.change(of, desk.namespace, body)
    desk.until("the child as before", lambda: installed.get(of, desk.namespace)["spec"] == before)


def test_failing_store_is_said_with_key_and_event_and_its_recovery_too(
    installed: Kinds, desk: Any, audit: Any, operator: Any
) -> None:
    desk.create_bot({"spec.credentials": ASKED})
    desk.until_verdict("CredentialsReady", "False", "WaitingForSecret")
    installed.warn(desk.namespace, "a Secret of that name has another trouble", kind="Secret")
    installed.warn(desk.namespace, "another bot's trouble", of="eth-trader")
    installed.warn(desk.namespace, SAID)
    installed.answer(desk.namespace, "False", "SecretSyncedError", "could not get secret data from provider")
    desk.until("what it said", lambda: SAID in desk.message("CredentialsReady"))
    message = desk.message("CredentialsReady")
    assert "trading/binance in SecretStore vault" in message
    assert "could not get secret data from provider" in message
    assert "trouble" not in message
    operator.until_resynced(2)
    before = [event for event in audit.writes() if event.namespace == desk.namespace]
    operator.until_resynced(3)
    assert [event for event in audit.writes() if event.namespace == desk.namespace] == before
    installed.answer(desk.namespace, "True", "SecretSynced", "secret synced")
    desk.until_verdict("CredentialsReady", "True", "NotLive")


def test_bot_that_asks_for_live_waits_on_paper_until_its_secret_is_made(installed: Kinds, desk: Any) -> None:
    desk.create_bot({"spec.credentials": ASKED, "spec.mode": "Live"})
    desk.until_verdict("CredentialsReady", "False", "WaitingForSecret")
    assert "--book=paper" in str(desk.until_children()["Deployment"]["spec"])
    installed.answer(desk.namespace, "True", "SecretSynced", "secret synced")
    desk.until("a live pod", lambda: "--book=live" in str(desk.get("Deployment")["spec"]))
    volumes = desk.get("Deployment")["spec"]["template"]["spec"]["volumes"]
    assert [each["secret"]["secretName"] for each in volumes if "secret" in each] == ["btc-trader"]


def test_external_secret_that_is_asked_for_no_more_is_deleted_once(
    installed: Kinds, desk: Any, audit: Any, operator: Any
) -> None:
    desk.create_bot({"spec.credentials": ASKED})
    desk.until("the ExternalSecret", lambda: installed.get(EXTERNAL_SECRET, desk.namespace))
    desk.until_current()
    desk.patch({"credentials": None})
    desk.until("it is gone", lambda: installed.get(EXTERNAL_SECRET, desk.namespace) is None)
    desk.until_current()
    operator.until_resynced(3)
    deletes = [event for event in audit.events() if event.verb == "delete" and event.namespace == desk.namespace]
    assert [event.resource for event in deletes] == ["externalsecrets"]
    assert desk.verdict("CredentialsReady") == ("", "")


def test_foreign_external_secret_is_not_touched(installed: Kinds, desk: Any) -> None:
    theirs = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": "btc-trader"},
        "spec": {"secretStoreRef": {"name": "theirs"}},
    }
    path = Kinds.path(EXTERNAL_SECRET, desk.namespace).removesuffix("/btc-trader")
    assert desk.admin.create(path, theirs).is_success
    desk.create_bot({"spec.credentials": ASKED})
    desk.until_verdict("Stalled", "True", "OwnershipConflict")
    assert desk.verdict("CredentialsReady") == ("False", "ExternalSecretNotReady")
    assert installed.get(EXTERNAL_SECRET, desk.namespace)["spec"]["secretStoreRef"] == {"name": "theirs"}
    assert desk.get("Deployment") is not None
