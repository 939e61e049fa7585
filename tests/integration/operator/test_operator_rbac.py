"""What the chart lets the operator do, against what it does: the API server's audit log of a whole run decides.

The operator runs with the chart's own service account, roles and arguments.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.chart import Chart, Rendered, chart_tool
from tradingbot_sandbox.control_plane.api import ApiClient
from tradingbot_sandbox.control_plane.audit import AuditEvent
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

pytestmark = pytest.mark.control_plane
Raw = dict[str, Any]
Right = tuple[str, str, str]
"""Group, resource (with its subresource) and verb."""

APPLY = "application/apply-patch+yaml"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
BOT = "tradingbot.dev"
LEASES = "coordination.k8s.io"
MAY_STAY_UNUSED: dict[Right, str] = {
    (BOT, "tradingbots", "grant"): "no request: by this verb the admission policies know who writes permits",
    (BOT, "tradingbots", "get"): "asked after a conflict alone; granted on to each trader for its own bot",
    (BOT, "tradingbots/status", "get"): "granted on to each trader for its own bot",
    (
        BOT,
        "tradingbots/finalizers",
        "update",
    ): "owner references that block deletion, where they are checked (OpenShift)",
    (LEASES, "leases", "update"): "granted on to each trader for its own Lease",
}
"""Granted, and perhaps not asked for in this run: each with its reason."""

FOREIGN_KINDS = {"PodMonitor": "monitoring.coreos.com", "ExternalSecret": "external-secrets.io"}
EXTERNAL = {"externalSecret": {"storeRef": {"name": "vault"}, "key": "trading/binance"}}
GIVEN_BY_THE_TEST = ("--listen=", "--service-account-dir=", "--resync-interval-seconds=", "--exchange-addresses=")
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
WAYS_TO_A_SECRET = (
    *(("", "secrets", "", verb) for verb in VERBS),
    ("", "pods", "", "create"),
    ("", "pods", "exec", "create"),
    ("", "pods", "attach", "create"),
    ("", "serviceaccounts", "token", "create"),
    ("", "serviceaccounts", "", "impersonate"),
    ("", "users", "", "impersonate"),
    ("rbac.authorization.k8s.io", "roles", "", "escalate"),
    ("rbac.authorization.k8s.io", "roles", "", "bind"),
    ("rbac.authorization.k8s.io", "clusterroles", "", "bind"),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "", "create"),
)
"""Group, resource, subresource and verb. What stays open is documented: who makes Deployments can have a pod mount any
Secret of its namespace, and making Deployments is what an operator is for."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The chart's service account in the cluster, with its rights, and what its Deployment tells the operator."""

    folder: Path
    user: str
    groups: tuple[str, ...]
    arguments: tuple[str, ...]
    granted: frozenset[Right]


def find_roles(rendered: Rendered, account: str) -> tuple[list[Raw], list[Raw]]:
    """Cluster roles and bindings of the operator's account; not those that the chart has for people and traders."""
    bindings = [
        binding
        for binding in rendered.of("ClusterRoleBinding")
        if any((each["kind"], each["name"]) == ("ServiceAccount", account) for each in binding["subjects"])
    ]
    names = {binding["roleRef"]["name"] for binding in bindings}
    return [role for role in rendered.of("ClusterRole") if role["metadata"]["name"] in names], bindings


def rights_of(roles: list[Raw]) -> frozenset[Right]:
    return frozenset(
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )


def install(admin: ApiClient, folder: str, manifest: Raw) -> None:
    path = f"{folder}/{manifest['metadata']['name']}?fieldManager=operator-rbac&force=true&fieldValidation=Strict"
    answer = admin.request("PATCH", path, manifest, content_type=APPLY)
    assert answer.is_success, answer.body


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    chart = Chart(chart_tool("helm"), tmp_path_factory.mktemp("helm"))
    rendered, admin = chart.render(), control_plane.admin
    accounts = f"/api/v1/namespaces/{chart.namespace}/serviceaccounts"
    admin.create("/api/v1/namespaces", {"metadata": {"name": chart.namespace}})
    (account,) = rendered.of("ServiceAccount")
    name = account["metadata"]["name"]
    install(admin, accounts, account)
    roles, bindings = find_roles(rendered, name)
    for manifest in roles:
        install(admin, f"{RBAC}/clusterroles", manifest)
    for manifest in bindings:
        install(admin, f"{RBAC}/clusterrolebindings", manifest)
    for kind in ("Role", "RoleBinding"):
        for manifest in rendered.of(kind, namespace=chart.namespace):
            install(admin, f"{RBAC}/namespaces/{chart.namespace}/{kind.lower()}s", manifest)
    token = admin.create(f"{accounts}/{name}/token", {"spec": {"expirationSeconds": 3600}})
    assert token.is_success, token.body
    folder = tmp_path_factory.mktemp("chart-account")
    (folder / "token").write_text(token.body["status"]["token"], encoding="ascii")
    (folder / "ca.crt").write_bytes(control_plane.ca.read_bytes())
    (folder / "namespace").write_text(chart.namespace, encoding="ascii")
    arguments = tuple(each for each in rendered.container["args"] if not each.startswith(GIVEN_BY_THE_TEST))
    user = f"system:serviceaccount:{chart.namespace}:{name}"
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{chart.namespace}", "system:authenticated")
    namespaced = rights_of(rendered.of("Role", namespace=chart.namespace))
    return Installed(folder, user, groups, arguments, rights_of(roles) | namespaced)


@pytest.fixture(scope="module")
def foreign_kinds(control_plane: ControlPlane, apply_crd: Callable[[Raw], None]) -> Iterator[None]:
    """What other people's operators bring, as far as ours is concerned; gone with this module."""
    names = []
    for kind, group in FOREIGN_KINDS.items():
        plural = f"{kind.lower()}s"
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        spec = {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        }
        names.append(f"{plural}.{group}")
        apply_crd(
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": names[-1]},
                "spec": spec,
            }
        )
    yield
    for name in names:
        control_plane.admin.delete(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the operator asked of the API server, and what it was not allowed to."""

    used: frozenset[Right]
    forbidden: frozenset[Right]


def read_asked(log: Path, offset: int, user: str) -> Asked:
    """From the audit log's own words: an answer of 403 may be an admission policy's, `forbid` is RBAC's alone."""
    used: set[Right] = set()
    forbidden: set[Right] = set()
    with log.open("rb") as file:
        file.seek(offset)
        lines = [line for line in file if user.encode() in line and line.endswith(b"\n")]
    for line in lines:
        raw = json.loads(line)
        event = AuditEvent.from_json(raw)
        if event.user != user or not event.resource:
            continue  # discovery is about no resource, and everybody may
        right = (event.group, event.resource, event.verb)
        used.add(right)
        if (event.verb, event.code) == ("patch", 201):
            used.add((event.group, event.resource, "create"))  # asked of an apply too, where nothing is there
        if raw.get("annotations", {}).get("authorization.k8s.io/decision") != "allow":
            forbidden.add(right)
    return Asked(frozenset(used), frozenset(forbidden))


def find(desk: Any, kind: str, name: str = "btc-trader") -> Raw | None:
    """Of a kind that is not ours."""
    path = f"/apis/{FOREIGN_KINDS[kind]}/v1/namespaces/{desk.namespace}/{kind.lower()}s/{name}"
    answer = desk.admin.get(path)
    return answer.body if answer.is_success else None


def live(desk: Any) -> None:
    """A live bot, from a store that fails and then does not, to the question for its permit."""
    desk.create_bot({"spec.mode": "Live", "spec.credentials": EXTERNAL})
    desk.until("an ExternalSecret", lambda: find(desk, "ExternalSecret"))
    say_external_secret(desk, "False", "SecretSyncedError")
    desk.until_verdict("CredentialsReady", "False", "ExternalSecretNotReady")
    say_external_secret(desk, "True", "SecretSynced")
    keys = {"name": "keys", "secret": {"secretName": "btc-trader", "defaultMode": 0o440, "optional": True}}
    desk.until("a live pod", lambda: is_rolled_out(desk.get("Deployment"), keys))
    desk.make_pod_ready()
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    desk.report(
        mode="Live",
        state="ReduceOnly",
        limit="0",
        openOrders=0,
        openPositions=0,
        account={"fingerprint": "0123456789ab"},
        preflight={"passed": True, "at": at},
        credentials={"ready": True, "fingerprint": "0123456789ab", "since": at},
        reconciliation={"at": at, "result": "Passed"},
    )
    desk.until_verdict("PreflightPassed", "True", "Passed")
    desk.until("our finalizer", lambda: desk.bot()["metadata"].get("finalizers"))


def is_rolled_out(deployment: Raw, volume: Raw) -> bool:
    """Its only pod is of the template with that volume."""
    is_seen = deployment["status"].get("observedGeneration") == deployment["metadata"]["generation"]
    return (
        volume in deployment["spec"]["template"]["spec"]["volumes"]
        and is_seen
        and deployment["status"].get("updatedReplicas") == deployment["status"].get("replicas") == 1
    )


def say_external_secret(desk: Any, status: str, reason: str) -> None:
    """As External Secrets would."""
    conditions = [{"type": "Ready", "status": status, "reason": reason, "message": reason}]
    path = f"/apis/external-secrets.io/v1/namespaces/{desk.namespace}/externalsecrets/btc-trader/status"
    answer = desk.admin.merge(path, {"status": {"conditions": conditions}})
    assert answer.is_success, answer.body


def change(desk: Any) -> None:
    """Changes, drift and a suspended bot."""
    desk.create_bot({"metadata.name": "eth"})
    binding = desk.until("a binding", lambda: desk.get("RoleBinding", "eth-trader"))
    desk.until("a Deployment", lambda: desk.get("Deployment", "eth-trader"))
    desk.until("a PodMonitor", lambda: find(desk, "PodMonitor", "eth-trader"))
    desk.until_current("eth")
    desk.patch({"capital": {"stage": "small"}}, name="eth")
    desk.until_current("eth")
    for kind in ("Service", "Role", "ServiceAccount", "Deployment", "Lease"):
        assert desk.admin.delete(desk.path(kind, "eth-trader")).is_success
        desk.until(f"another {kind}", lambda kind=kind: desk.get(kind, "eth-trader"))
    forged = {key: binding[key] for key in ("apiVersion", "kind", "subjects", "roleRef")}
    forged["metadata"] = {key: binding["metadata"][key] for key in ("name", "labels", "ownerReferences")}
    forged["roleRef"] = binding["roleRef"] | {"name": "somebody-elses"}

    def forge() -> bool:
        """The operator may be faster than we are with the name that is free for a moment."""
        desk.admin.delete(desk.path("RoleBinding", "eth-trader"))
        return bool(desk.admin.create(desk.path("RoleBinding"), forged).is_success)

    desk.until("a binding to another role", forge)
    desk.until("our role", lambda: (desk.get("RoleBinding", "eth-trader") or {}).get("roleRef") == binding["roleRef"])
    desk.create_bot({"metadata.name": "sol", "spec.credentials": EXTERNAL})
    desk.until("an ExternalSecret", lambda: find(desk, "ExternalSecret", "sol-trader"))
    desk.patch({"credentials": None}, name="sol")
    desk.until("no ExternalSecret", lambda: find(desk, "ExternalSecret", "sol-trader") is None)
    drill(desk, "eth")
    desk.patch({"suspend": True}, name="eth")
    desk.until("no replica", lambda: desk.get("Deployment", "eth-trader")["spec"]["replicas"] == 0)


def drill(desk: Any, name: str) -> None:
    """As the plugin asks for it and a trader answers."""
    reason = "drill 0123456789ab by kubectl tradingbot"
    switch = {"engaged": True, "reason": reason, "rearm": ""}
    body = {"metadata": {"annotations": {"tradingbot.dev/drill": "0123456789ab"}}, "spec": {"killSwitch": switch}}
    assert desk.admin.merge(desk.path("TradingBot", name), body).is_success
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    latch = {"state": "Stopped", "id": "latch-1", "reason": reason, "engagedAt": at, "acknowledgedAt": at}
    desk.report(name, latch=latch, state="ReduceOnly")
    desk.until("the mirror", lambda: desk.status(name)["killSwitch"].get("state") == "Stopped")
    desk.patch({"killSwitch": {"engaged": False, "rearm": "latch-1"}}, name=name)
    desk.report(name, latch={"state": "Armed"})
    path = f"/apis/tradingbot.dev/v1alpha1/namespaces/{desk.namespace}/tradingreviews"
    desk.until("a record", lambda: desk.admin.get(path).body["items"])


def end(desk: Any) -> None:
    """No trader is there that could cancel anything: the live bot is not asked to."""
    desk.patch({"onDelete": "Hold"})
    for name in ("btc", "eth", "sol"):
        assert desk.admin.delete(desk.path("TradingBot", name)).is_success
        desk.until(f"{name} is gone", lambda name=name: desk.get("TradingBot", name) is None)


def switched_off(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The platform engineer wants neither NetworkPolicies nor PodMonitors any more."""
    off = ("--trader-network-policy=", "--trader-pod-monitor=")
    kept = [each for each in arguments if not each.startswith(off)]
    return (*kept, *(f'{each}{{"enabled": false}}' for each in off))


@pytest.mark.usefixtures("foreign_kinds")
def test_each_right_that_the_chart_grants_is_used_or_has_its_reason(
    control_plane: ControlPlane, installed: Installed, desk: Any, start_operator: Callable[..., Any]
) -> None:
    """The life of some bots, from their creation to their end, and what the audit log tells of it."""
    offset = control_plane.audit_log.stat().st_size
    short = "--watch-server-timeout-seconds=5"  # the audit log tells of a watch when it has ended
    operator = start_operator(*installed.arguments, short, given=installed).until_ready()
    live(desk)
    change(desk)
    operator.until_resynced(12)  # longer than a watch lasts
    assert operator.stop() == 0
    again = start_operator(*switched_off(installed.arguments), given=installed).until_ready()
    desk.until("no PodMonitor", lambda: find(desk, "PodMonitor", "eth-trader") is None)
    desk.until("no NetworkPolicy", lambda: desk.get("NetworkPolicy", "eth-trader") is None)
    end(desk)
    again.until_resynced()
    assert again.stop() == 0
    asked = read_asked(control_plane.audit_log, offset, installed.user)
    assert asked.forbidden == frozenset()
    assert asked.used <= installed.granted
    unused = installed.granted - asked.used
    assert unused <= MAY_STAY_UNUSED.keys(), sorted(unused - MAY_STAY_UNUSED.keys())


def test_every_reason_is_of_a_right_that_is_granted(installed: Installed) -> None:
    assert MAY_STAY_UNUSED.keys() <= installed.granted
    assert all(MAY_STAY_UNUSED.values())


def test_chart_grants_what_the_operators_own_tests_run_with(installed: Installed, rights: set[tuple[str, str]]) -> None:
    assert {(resource, verb) for _, resource, verb in installed.granted} >= rights


def test_nothing_is_granted_by_a_wildcard(installed: Installed) -> None:
    assert [right for right in installed.granted if any("*" in part for part in right)] == []


@pytest.mark.parametrize("namespace", ["default", "kube-system", "trading-system"])
@pytest.mark.parametrize(("group", "resource", "subresource", "verb"), WAYS_TO_A_SECRET)
def test_operator_comes_to_no_secret(
    control_plane: ControlPlane,
    installed: Installed,
    namespace: str,
    group: str,
    resource: str,
    subresource: str,
    verb: str,
) -> None:
    """As the API server's authorizer answers for the operator's account, all that is bound in this cluster included."""
    asked = {"namespace": namespace, "group": group, "resource": resource, "subresource": subresource, "verb": verb}
    review = {"spec": {"user": installed.user, "groups": list(installed.groups), "resourceAttributes": asked}}
    answer = control_plane.admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer.is_success, answer.body
    assert answer.body["status"]["allowed"] is False


def test_reading_a_secret_with_the_operators_token_is_refused(
    control_plane: ControlPlane, installed: Installed, namespace: str
) -> None:
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    assert control_plane.admin.create(secrets, {"metadata": {"name": "keys"}}).is_success
    operator = control_plane.client((installed.folder / "token").read_text(encoding="ascii"))
    bots = "/apis/tradingbot.dev/v1alpha1/tradingbots"
    assert operator.get(bots).status in {200, 404}, "the token is good: what follows is refused for its rights"
    for path in (f"{secrets}/keys", secrets, "/api/v1/secrets"):
        answer = operator.get(path)
        assert (answer.status, answer.body["reason"]) == (403, "Forbidden"), path
