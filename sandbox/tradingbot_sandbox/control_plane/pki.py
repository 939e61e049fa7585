"""SHELL: the certificate authorities and keys of one sandbox on disk, and what is signed from them at each start."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tradingbot_sandbox.control_plane.certificates import Authority, KeyPair, new_signing_key
from tradingbot_sandbox.supervisor.component import Tls
from tradingbot_sandbox.supervisor.state import write_atomic

ADMIN = "sandbox-admin"
NODE = "sandbox-node"
SUPERVISOR = "sandbox-supervisor"
"""Only checks health; the audit log leaves it out, or it would be most of what is in there."""
MASTERS = "system:masters"
CONTROLLER_MANAGER = "system:kube-controller-manager"

SERVICE_ADDRESS = "10.96.0.1"
"""The address of the Service `kubernetes`: the first of the service network below."""
SERVICE_NETWORK = "10.96.0.0/16"

SERVER_NAMES = (
    "127.0.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    SERVICE_ADDRESS,
)


@dataclass(frozen=True, slots=True)
class Pki:
    """The folder of certificates and keys. All paths exist after `prepare`."""

    folder: Path

    @property
    def ca(self) -> Path:
        """Signs the API server and its clients."""
        return self.folder / "ca.crt"

    @property
    def etcd_ca(self) -> Path:
        """Signs etcd and its one client. Apart from the other: whoever gets a certificate from the cluster's own
        signer must not be able to read the store."""
        return self.folder / "etcd-ca.crt"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def client(self, name: str) -> Tls:
        """How to talk to the API server as this client."""
        return Tls(self.ca, self.certificate(name), self.key(name))

    def etcd_client(self) -> Tls:
        return Tls(self.etcd_ca, self.certificate("etcd-client"), self.key("etcd-client"))

    def prepare(self, now: datetime | None = None) -> None:
        """Makes the authorities if there are none, and signs everything else anew, so that nothing ever expires."""
        now = now or datetime.now(UTC)
        if not self.folder.exists():
            self._create_authorities(now)
        cluster, etcd = self._authority("ca"), self._authority("etcd-ca")
        self._write("etcd", etcd.issue_server("etcd", hosts=("127.0.0.1", "localhost"), also_client=True, now=now))
        self._write("etcd-client", etcd.issue_client("kube-apiserver", now=now))
        self._write("apiserver", cluster.issue_server("kube-apiserver", hosts=SERVER_NAMES, now=now))
        self._write("controller-manager", cluster.issue_client(CONTROLLER_MANAGER, now=now))
        self._write(
            "controller-manager-server", cluster.issue_server("controller-manager", hosts=("127.0.0.1",), now=now)
        )
        self._write("kubelet-client", cluster.issue_client("kube-apiserver-kubelet-client", groups=(MASTERS,), now=now))
        self._write("admin", cluster.issue_client(ADMIN, groups=(MASTERS,), now=now))
        self._write("supervisor", cluster.issue_client(SUPERVISOR, groups=(MASTERS,), now=now))
        self._write("node", cluster.issue_client(NODE, groups=(MASTERS,), now=now))

    def kubeconfig(self, client: str, *, server: str) -> str:
        """A kubeconfig with everything inside, so that it can be copied."""
        pair = (self.certificate(client).read_bytes(), self.key(client).read_bytes())
        return kubeconfig(server=server, ca_pem=self.ca.read_bytes(), user=client, pair=KeyPair(*pair))

    def _create_authorities(self, now: datetime) -> None:
        """All at once or not at all: half a set of keys would be worse than none."""
        part = self.folder.with_name(f"{self.folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        unfinished = Pki(part)
        unfinished._write("ca", Authority.create("tradingbot-sandbox", now=now).pair)
        unfinished._write("etcd-ca", Authority.create("tradingbot-sandbox-etcd", now=now).pair)
        private, public = new_signing_key()
        write_atomic(part / "service-account.key", private)
        write_atomic(part / "service-account.pub", public)
        part.replace(self.folder)

    def _authority(self, name: str) -> Authority:
        return Authority.load(KeyPair(self.certificate(name).read_bytes(), self.key(name).read_bytes()))

    def _write(self, name: str, pair: KeyPair) -> None:
        write_atomic(self.certificate(name), pair.certificate_pem)
        write_atomic(self.key(name), pair.key_pem)


def kubeconfig(*, server: str, ca_pem: bytes, user: str, pair: KeyPair) -> str:
    """As JSON, which every reader of YAML takes."""
    name = "sandbox"
    ca_data = base64.b64encode(ca_pem).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": ca_data}}],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": base64.b64encode(pair.certificate_pem).decode(),
                    "client-key-data": base64.b64encode(pair.key_pem).decode(),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    return json.dumps(config, indent=1) + "\n"
