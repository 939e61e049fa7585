"""The real control plane: what a user of its API may rely on."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tradingbot_sandbox.control_plane.binaries import chosen_kubernetes, find_binaries
from tradingbot_sandbox.control_plane.control_plane import ControlPlane
from tradingbot_sandbox.control_plane.pins import kubernetes_set
from tradingbot_sandbox.control_plane.pki import ADMIN, SUPERVISOR
from tradingbot_sandbox.supervisor.component import State

DEADLINE_SECONDS = 30.0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def token(control_plane: ControlPlane, namespace: str, account: str) -> str:
    """A token of a new service account, by TokenRequest as a kubelet asks for it."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    assert control_plane.admin.create(path, {"metadata": {"name": account}}).is_success
    answer = control_plane.admin.create(f"{path}/{account}/token", {"spec": {"expirationSeconds": 600}})
    assert answer.is_success, answer.body
    return str(answer.body["status"]["token"])


def test_server_knows_its_version(control_plane: ControlPlane) -> None:
    """That of the minor that was asked for: `make test-oldest` depends on it."""
    minor = chosen_kubernetes(os.environ)
    version = control_plane.admin.get("/version").body
    assert version["gitVersion"] == f"v{kubernetes_set(minor).version}"
    assert f"{version['major']}.{version['minor']}" == minor


def test_certificate_passes_the_strict_check_of_newer_pythons(control_plane: ControlPlane) -> None:
    context = ssl.create_default_context(cafile=str(control_plane.ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    port = urlsplit(control_plane.url).port
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="kubernetes.default.svc") as secure,
    ):
        assert secure.version() in ("TLSv1.2", "TLSv1.3")


def test_account_without_a_role_may_not_read_secrets(control_plane: ControlPlane, namespace: str) -> None:
    nobody = control_plane.client(token(control_plane, namespace, "nobody"))
    answer = nobody.get(f"/api/v1/namespaces/{namespace}/secrets")
    assert answer.status == 403
    assert f"system:serviceaccount:{namespace}:nobody" in answer.body["message"]


def test_role_gives_exactly_what_it_says(control_plane: ControlPlane, namespace: str) -> None:
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    reader = control_plane.client(token(control_plane, namespace, "reader"))
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    assert control_plane.admin.create(f"{rbac}/roles", {"metadata": {"name": "reader"}, "rules": rules}).is_success
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
    }
    assert control_plane.admin.create(f"{rbac}/rolebindings", binding).is_success
    wait_for(lambda: reader.get(f"/api/v1/namespaces/{namespace}/configmaps").status == 200)
    assert reader.get(f"/api/v1/namespaces/{namespace}/secrets").status == 403


def test_forged_token_is_nobody(control_plane: ControlPlane) -> None:
    assert control_plane.client("not-a-token").get("/api/v1/namespaces").status == 401


def test_authority_is_published_in_every_namespace(control_plane: ControlPlane, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt"
    wait_for(lambda: control_plane.admin.get(path).is_success)
    assert control_plane.admin.get(path).body["data"]["ca.crt"] == control_plane.ca.read_text()


def test_controllers_work(control_plane: ControlPlane, namespace: str) -> None:
    pod = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    deployment = {
        "metadata": {"name": "x"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "x"}}, "template": pod},
    }
    assert control_plane.admin.create(f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment).is_success
    pods = f"/api/v1/namespaces/{namespace}/pods"
    wait_for(lambda: len(control_plane.admin.get(pods).body["items"]) == 2)


def test_audit_log_records_who_did_what_with_which_result(control_plane: ControlPlane, namespace: str) -> None:
    nobody = control_plane.client(token(control_plane, namespace, "intruder"))
    path, audit = f"/api/v1/namespaces/{namespace}/configmaps", control_plane.audit()
    assert control_plane.admin.create(path, {"metadata": {"name": "x"}}).status == 201
    assert control_plane.admin.get(f"{path}/x").status == 200
    assert nobody.delete(f"{path}/x").status == 403
    intruder = f"system:serviceaccount:{namespace}:intruder"
    wait_for(lambda: len(audit.writes(user=intruder)) == 1)
    seen = [e for e in audit.events() if (e.resource, e.namespace, e.name) == ("configmaps", namespace, "x")]
    assert [(e.user, e.verb, e.code) for e in seen] == [
        (ADMIN, "create", 201),
        (ADMIN, "get", 200),
        (intruder, "delete", 403),
    ]
    assert [e.verb for e in audit.writes(user=ADMIN, resource="configmaps")] == ["create"]


def test_audit_log_holds_no_secret_and_not_our_own_health_checks(control_plane: ControlPlane, namespace: str) -> None:
    path, audit = f"/api/v1/namespaces/{namespace}/secrets", control_plane.audit()
    body = {"metadata": {"name": "keys"}, "stringData": {"apiKey": "very-secret-value"}}
    assert control_plane.admin.create(path, body).is_success
    wait_for(lambda: any(e.resource == "secrets" for e in audit.writes(user=ADMIN)))
    text = control_plane.audit_log.read_text()
    for told in ("very-secret-value", base64.b64encode(b"very-secret-value").decode(), "requestObject"):
        assert told not in text
    assert SUPERVISOR not in text


def test_kubeconfig_is_private_and_works_with_kubectl_from_a_copy(control_plane: ControlPlane, tmp_path: Path) -> None:
    assert control_plane.kubeconfig.stat().st_mode & 0o777 == 0o600
    copy = tmp_path / "copy"
    shutil.copy(control_plane.kubeconfig, copy)
    command = [str(find_binaries().kubectl), "--kubeconfig", str(copy), "auth", "whoami", "-o", "json"]
    done = subprocess.run(command, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    user = json.loads(done.stdout)["status"]["userInfo"]
    assert user["username"] == ADMIN
    assert "system:masters" in user["groups"]


def test_data_and_address_survive_the_death_of_every_component(control_plane: ControlPlane, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    assert control_plane.admin.create(path, {"metadata": {"name": "kept"}}).is_success
    before = control_plane.pids()
    for component in ("kube-controller-manager", "kube-apiserver", "etcd"):
        control_plane.kill(component)
    with pytest.raises(OSError, match="refused"):
        control_plane.admin.get(path)
    control_plane.resume(*before)
    assert {status.state for status in control_plane.statuses()} == {State.HEALTHY}
    assert not set(before.values()) & set(control_plane.pids().values())
    assert control_plane.admin.get(f"{path}/kept").is_success
