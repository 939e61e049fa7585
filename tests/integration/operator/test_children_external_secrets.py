"""The real External Secrets beside the real operator: a Secret that is made, one that cannot be, and a rotated key.

Runs when TRADINGBOT_EXTERNAL_SECRETS names a folder that holds the program `external-secrets` (in it or in `bin`) and
its CRDs, `external-secrets-crds.yaml` (in it or in `share`): bundle.yaml of a release, seen with 0.20.4. Its store is
the provider `kubernetes`: Secrets of another namespace of the same API server.
"""

from __future__ import annotations

import base64
import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tradingbot_sandbox.control_plane.binaries import find_binaries
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

FOLDER = os.environ.get("TRADINGBOT_EXTERNAL_SECRETS", "")
pytestmark = [
    pytest.mark.control_plane,
    pytest.mark.skipif(not FOLDER, reason="TRADINGBOT_EXTERNAL_SECRETS names no folder with External Secrets"),
]
Raw = dict[str, Any]
SOURCE = "trading-binance"
EXTERNAL_SECRETS = "/apis/external-secrets.io/v1/namespaces/{}/externalsecrets"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}"
SECONDS = 120.0
"""The machine may be busy, and External Secrets backs off after an error."""


def find(name: str, *, below: str) -> Path:
    for path in (Path(FOLDER) / name, Path(FOLDER) / below / name):
        if path.exists():
            return path
    raise FileNotFoundError(f"TRADINGBOT_EXTERNAL_SECRETS={FOLDER}: there is no {name}")


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def external_secrets(
    control_plane: ControlPlane, wait_until: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs, with its CRDs; both are gone after this module."""
    crds = find("external-secrets-crds.yaml", below="share")
    kubectl = [str(find_binaries().kubectl), f"--kubeconfig={control_plane.kubeconfig}"]
    subprocess.run([*kubectl, "apply", "--server-side", "-f", str(crds)], check=True, capture_output=True)
    log_path = tmp_path_factory.mktemp("external-secrets") / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [
                find("external-secrets", below="bin"),
                f"--metrics-addr={free_address()}",
                f"--live-addr={free_address()}",
                "--store-requeue-interval=10s",
            ],
            env={"KUBECONFIG": str(control_plane.kubeconfig), "HOME": os.environ.get("HOME", "")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    yield process
    names = [each["metadata"]["name"] for each in yaml.safe_load_all(crds.read_text(encoding="utf-8")) if each]
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for name in names:  # while it runs: only it takes its finalizers away
        control_plane.admin.delete(f"{path}/{name}")
    gone = "externalsecrets.external-secrets.io"
    wait_until("its CRDs are gone", lambda: control_plane.admin.get(f"{path}/{gone}").status == 404, seconds=SECONDS)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(25)
    process.kill()
    process.wait()


@dataclass
class Vault:
    """Secrets of another namespace, and a SecretStore that reads them."""

    admin: Any
    namespace: str
    keys: dict[str, str] = field(default_factory=dict, repr=False)

    def rotate(self) -> None:
        self.keys = {"apiKey": secrets.token_hex(16), "apiSecret": secrets.token_hex(16)}
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        body = {"metadata": {"name": SOURCE}, "stringData": self.keys}
        if self.admin.create(path, body).status == 409:
            assert self.admin.merge(f"{path}/{SOURCE}", {"stringData": self.keys}).is_success

    def is_in(self, secret: Raw | None) -> bool:
        data = (secret or {}).get("data", {})
        return {name: base64.b64decode(value).decode() for name, value in data.items()} == self.keys


@pytest.fixture
def vault(control_plane: ControlPlane, desk: Any, external_secrets: subprocess.Popen[bytes]) -> Vault:
    assert external_secrets.poll() is None
    admin, place = control_plane.admin, f"{desk.namespace}-vault"
    assert admin.create("/api/v1/namespaces", {"metadata": {"name": place}}).is_success
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}
    role = {"metadata": {"name": "reader"}, "rules": [rule]}
    assert admin.create(f"{RBAC.format(place)}/roles", role).is_success
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "namespace": desk.namespace, "name": "reader"}],
    }
    assert admin.create(f"{RBAC.format(place)}/rolebindings", binding).is_success
    account = f"/api/v1/namespaces/{desk.namespace}/serviceaccounts"
    assert admin.create(account, {"metadata": {"name": "reader"}}).is_success
    provider = {
        "remoteNamespace": place,
        "server": {"url": control_plane.url, "caBundle": base64.b64encode(control_plane.ca.read_bytes()).decode()},
        "auth": {"serviceAccount": {"name": "reader"}},
    }
    store = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "SecretStore",
        "metadata": {"name": "vault"},
        "spec": {"provider": {"kubernetes": provider}},
    }
    path = EXTERNAL_SECRETS.format(desk.namespace).replace("externalsecrets", "secretstores")
    answer = admin.create(path, store)
    assert answer.is_success, answer.body
    made = Vault(admin, place)
    made.rotate()
    return made


@pytest.fixture(scope="module", autouse=True)
def operator(start_operator: Any, external_secrets: subprocess.Popen[bytes]) -> Any:
    assert external_secrets.poll() is None
    return start_operator().until_ready()


def asking_for(key: str) -> Raw:
    return {"externalSecret": {"storeRef": {"name": "vault"}, "key": key, "refreshInterval": "1s"}}


def read_secret(desk: Any) -> Raw | None:
    answer = desk.admin.get(f"/api/v1/namespaces/{desk.namespace}/secrets/btc-trader")
    return answer.body if answer.is_success else None


def until_ready(desk: Any, status: str, reason: str) -> None:
    desk.until(
        f"CredentialsReady={status}/{reason}",
        lambda: desk.verdict("CredentialsReady") == (status, reason),
        seconds=SECONDS,
    )


def test_secret_is_made_and_rotated_and_the_operator_tells_nobody(
    desk: Any, vault: Vault, audit: Any, operator: Any
) -> None:
    desk.create_bot({"spec.credentials": asking_for(SOURCE)})
    until_ready(desk, "True", "NotLive")
    assert vault.is_in(read_secret(desk))
    before = vault.keys
    vault.rotate()
    desk.until("the rotated key", lambda: vault.is_in(read_secret(desk)), seconds=SECONDS)
    operator.until_resynced(3)
    writes = [event for event in audit.writes() if event.namespace == desk.namespace]
    assert [event.code for event in writes if event.resource == "externalsecrets"] == [201]
    assert not [event for event in audit.events() if event.resource == "secrets"]
    everything = f"{operator.log}{desk.bot()}"
    assert not [value for value in (*before.values(), *vault.keys.values()) if value in everything]


def test_key_that_is_missing_in_the_store_is_named(desk: Any, vault: Vault, audit: Any, operator: Any) -> None:
    assert vault.keys
    desk.create_bot({"spec.credentials": asking_for("no-such-key")})
    until_ready(desk, "False", "ExternalSecretNotReady")
    assert "no-such-key in SecretStore vault" in desk.message("CredentialsReady")
    desk.until("its event", lambda: "Secret does not exist" in desk.message("CredentialsReady"), seconds=SECONDS)
    operator.until_resynced(2)
    before = [event for event in audit.writes() if event.namespace == desk.namespace]
    operator.until_resynced(4)
    assert [event for event in audit.writes() if event.namespace == desk.namespace] == before
    desk.patch({"credentials": asking_for(SOURCE)})
    until_ready(desk, "True", "NotLive")


def test_secret_stays_when_its_key_vanishes_and_goes_when_nobody_asks_for_it(desk: Any, vault: Vault) -> None:
    desk.create_bot({"spec.credentials": asking_for(SOURCE)})
    until_ready(desk, "True", "NotLive")
    assert desk.admin.delete(f"/api/v1/namespaces/{vault.namespace}/secrets/{SOURCE}").is_success
    until_ready(desk, "False", "ExternalSecretNotReady")
    assert vault.is_in(read_secret(desk))
    desk.patch({"credentials": None})
    desk.until("the Secret is gone", lambda: read_secret(desk) is None, seconds=SECONDS)


def test_store_without_rights_is_said(desk: Any, vault: Vault) -> None:
    assert desk.admin.delete(f"{RBAC.format(vault.namespace)}/rolebindings/reader").is_success
    desk.create_bot({"spec.credentials": asking_for(SOURCE)})
    until_ready(desk, "False", "ExternalSecretNotReady")
    assert read_secret(desk) is None
