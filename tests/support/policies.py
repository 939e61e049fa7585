"""The chart's admission policies on a real API server, and people who ask things of it, by impersonation."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from support.changes import changed
from tradingbot_sandbox.control_plane.api import Answer, ApiClient
from tradingbot_sandbox.control_plane.binaries import Search

Raw = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "tradingbot-operator"
RELEASE, SYSTEM, DESK = "prod", "policies-system", "policies-desk"
OPERATOR = f"system:serviceaccount:{SYSTEM}:{RELEASE}-tradingbot-operator"
PARTS = ("bots", "records", "workloads")
MUTATING = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

PATHS = {
    "Namespace": "/api/v1/namespaces",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "MutatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "TradingBot": "/apis/tradingbot.dev/v1alpha1/namespaces/{}/tradingbots",
    "TradingApproval": "/apis/tradingbot.dev/v1alpha1/namespaces/{}/tradingapprovals",
    "TradingReview": "/apis/tradingbot.dev/v1alpha1/namespaces/{}/tradingreviews",
    "Pod": "/api/v1/namespaces/{}/pods",
    "ReplicationController": "/api/v1/namespaces/{}/replicationcontrollers",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
}


def path_of(kind: str, name: str = "", *, namespace: str = DESK) -> str:
    return PATHS[kind].format(namespace) + (f"/{name}" if name else "")


def install(admin: ApiClient, manifest: Raw) -> int:
    """Answers its generation, which counts changes of its spec."""
    kind, metadata = manifest["kind"], manifest["metadata"]
    path = path_of(kind, quote(metadata["name"], safe=""), namespace=metadata.get("namespace", ""))
    answer = admin.request(
        "PATCH", f"{path}?fieldManager=test&force=true&fieldValidation=Strict", manifest, content_type=APPLY
    )
    assert answer.is_success, answer.body
    return int(answer.body["metadata"].get("generation", 0))


def render_chart(values: Raw, *, kubernetes: str, api_versions: Iterable[str] = ()) -> list[Raw]:
    """What Helm makes of it, for a release `prod` in `policies-system`."""
    helm = Search.here().find("helm")
    assert helm is not None, "no Helm: `make tools` finds or builds one"
    given = [flag for each in api_versions for flag in ("--api-versions", each)]
    done = subprocess.run(
        [helm.path, "template", RELEASE, CHART, "--namespace", SYSTEM, "--kube-version", kubernetes, *given, "-f", "-"],
        input=yaml.safe_dump(values), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def digests_of(rendered: list[Raw]) -> dict[str, str]:
    """What the operator is told to expect."""
    (deployment,) = (item for item in rendered if item["kind"] == "Deployment")
    flag = "--admission-policies="
    (given,) = (
        argument.removeprefix(flag)
        for argument in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        if argument.startswith(flag)
    )
    found: dict[str, str] = json.loads(given)
    return found


@dataclass(frozen=True)
class Person:
    """Somebody who is not the administrator, by impersonation."""

    admin: ApiClient
    user: str
    groups: tuple[str, ...] = ("system:authenticated",)

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, content_type: str = "application/json"
    ) -> Answer:
        address, tls = urlsplit(self.admin.url), self.admin.tls
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.load_cert_chain(str(tls.certificate), tls.key)
        connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=30, context=context)
        try:
            connection.putrequest(method, path)
            text = b"" if body is None else json.dumps(body).encode()
            headers = [("Accept", "application/json"), ("Content-Type", content_type), ("Impersonate-User", self.user)]
            for name, value in [*headers, *(("Impersonate-Group", group) for group in self.groups)]:
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(text)))
            connection.endheaders(text)
            response = connection.getresponse()
            raw = response.read()
            try:
                answer = json.loads(raw)
            except ValueError:
                answer = {"message": raw.decode(errors="replace")}
            return Answer(response.status, answer)
        finally:
            connection.close()

    def create(self, manifest: Raw, *, dry_run: bool = False) -> Answer:
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.request("POST", path_of(manifest["kind"]) + query, manifest)

    def patch(self, kind: str, name: str, body: Raw, *, sub: str = "", content_type: str = MERGE) -> Answer:
        return self.request("PATCH", path_of(kind, name) + (f"/{sub}" if sub else ""), body, content_type=content_type)

    def patch_bot(self, spec: Raw | None = None, *, name: str = "btc", asks: bool = False) -> Answer:
        """`asks`: puts the own name into the annotation, in the same request."""
        body: Raw = {"spec": spec or {}}
        if asks:
            body["metadata"] = {"annotations": {"tradingbot.dev/requested-by": self.user}}
        return self.patch("TradingBot", name, body)

    def delete(self, kind: str, name: str) -> Answer:
        return self.request("DELETE", path_of(kind, name))


def is_denied(answer: Answer, part: str, *words: str) -> bool:
    """By that policy, and not by RBAC or the schema; the message has these words."""
    said = answer.body.get("message", "")
    if f"ValidatingAdmissionPolicy '{part}.{RELEASE}-tradingbot-operator.{SYSTEM}'" not in said:
        return False
    return answer.status == 403 and "resulted in error" not in said and all(word in said for word in words)


_BOT: Raw = {
    "apiVersion": "tradingbot.dev/v1alpha1",
    "kind": "TradingBot",
    "metadata": {"name": "btc", "namespace": DESK},
    "spec": {
        "exchange": {"id": "binance", "network": "Sandbox"},
        "symbols": ["BTC/USDT"],
        "strategy": {"name": "sma-cross", "timeframe": "1s", "parameters": {"fast": 5, "slow": "20"}},
        "capital": {
            "currency": "USDT",
            "stage": "micro",
            "stages": [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "100"}],
        },
        "risk": {"maxOrderNotional": "20"},
    },
}
LIVE: Raw = {"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}}


def build_bot(changes: Raw | None = None) -> Raw:
    """A valid bot; `changes` are dotted paths and values, None takes the field away."""
    return changed(_BOT, changes)


def build_trader_part(uid: str, **more: Any) -> Raw:
    """A valid `status.trader`."""
    at = "2026-01-02T03:04:05Z"
    config = {"generation": 1, "accepted": True, "reason": "Accepted"}
    return {
        "uid": uid, "pod": "btc-trader-1", "version": "0.1.0", "mode": "Paper", "state": "Active", "startedAt": at,
        "heartbeatAt": at, "epoch": 1, "config": config,
    } | more  # fmt: skip


def build_pod_spec(account: str) -> Raw:
    return {"serviceAccountName": account, "containers": [{"name": "main", "image": "example/thief:1"}]}


def build_workload(kind: str, name: str, account: str) -> Raw:
    """The smallest valid object of that kind whose pods use that account."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": build_pod_spec(account)}
    selector = {"matchLabels": labels}
    specs: dict[str, tuple[str, Raw]] = {
        "Pod": ("v1", build_pod_spec(account)),
        "ReplicationController": ("v1", {"replicas": 0, "selector": labels, "template": template}),
        "Deployment": ("apps/v1", {"replicas": 0, "selector": selector, "template": template}),
        "ReplicaSet": ("apps/v1", {"replicas": 0, "selector": selector, "template": template}),
        "StatefulSet": (
            "apps/v1", {"replicas": 0, "selector": selector, "template": template, "serviceName": "none"}
        ),
        "DaemonSet": ("apps/v1", {"selector": selector, "template": template}),
        "Job": ("batch/v1", {"suspend": True, "template": _once(template)}),
        "CronJob": (
            "batch/v1",
            {"suspend": True, "schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": _once(template)}}},
        ),
    }  # fmt: skip
    api_version, spec = specs[kind]
    metadata = {"name": name, "namespace": DESK, "labels": labels}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


def _once(template: Raw) -> Raw:
    return {"metadata": template["metadata"], "spec": template["spec"] | {"restartPolicy": "Never"}}
