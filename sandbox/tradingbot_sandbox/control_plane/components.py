"""PURE: the command lines of etcd, kube-apiserver and kube-controller-manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tradingbot_sandbox.control_plane.binaries import Binaries
from tradingbot_sandbox.control_plane.pki import SERVICE_NETWORK, Pki
from tradingbot_sandbox.supervisor.component import Component, HealthCheck, Tls

HOST = "127.0.0.1"

ETCD, API_SERVER, CONTROLLER_MANAGER = "etcd", "kube-apiserver", "kube-controller-manager"

PORTS = ("etcd", "etcd-peer", "kube-apiserver", "kube-controller-manager")

STOP_PODS, STOP_CLIENTS, STOP_API_SERVER, STOP_ETCD = range(4)
"""The order in which things stop: nobody loses the server that it still needs."""

ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one control plane keeps its files, and on which ports it listens."""

    root: Path
    ports: Mapping[str, int]

    @property
    def pki(self) -> Pki:
        return Pki(self.root / "pki")

    @property
    def audit_policy(self) -> Path:
        return self.root / "audit" / "policy.json"

    @property
    def audit_log(self) -> Path:
        return self.root / "audit" / "audit.log"

    @property
    def controller_manager_kubeconfig(self) -> Path:
        return self.pki.folder / "controller-manager.kubeconfig"

    @property
    def node_kubeconfig(self) -> Path:
        return self.pki.folder / "node.kubeconfig"

    @property
    def server(self) -> str:
        return f"https://{HOST}:{self.ports['kube-apiserver']}"


def control_plane(layout: Layout, binaries: Binaries, environ: Mapping[str, str]) -> tuple[Component, ...]:
    return (
        etcd(layout, binaries, environ),
        api_server(layout, binaries, environ),
        controller_manager(layout, binaries, environ),
    )


def etcd(layout: Layout, binaries: Binaries, environ: Mapping[str, str]) -> Component:
    pki, client, peer = layout.pki, _url(layout, "etcd"), _url(layout, "etcd-peer")
    flags = {
        "name": "sandbox",
        "data-dir": layout.root / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"sandbox={peer}",
        "cert-file": pki.certificate("etcd"),
        "key-file": pki.key("etcd"),
        "client-cert-auth": "true",
        "trusted-ca-file": pki.etcd_ca,
        "peer-cert-file": pki.certificate("etcd"),
        "peer-key-file": pki.key("etcd"),
        "peer-client-cert-auth": "true",
        "peer-trusted-ca-file": pki.etcd_ca,
        # What was written survives the death of etcd, but not of the machine; a sandbox may lose that.
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }
    return Component(
        name=ETCD,
        argv=(str(binaries.etcd), *_flags(flags)),
        health=(HealthCheck(f"{client}/health", pki.etcd_client()),),
        address=client,
        stop_order=STOP_ETCD,
        environ=environ,
    )


def api_server(layout: Layout, binaries: Binaries, environ: Mapping[str, str]) -> Component:
    pki = layout.pki
    flags = {
        "etcd-servers": _url(layout, "etcd"),
        "etcd-cafile": pki.etcd_ca,
        "etcd-certfile": pki.certificate("etcd-client"),
        "etcd-keyfile": pki.key("etcd-client"),
        "bind-address": HOST,
        "advertise-address": HOST,
        "secure-port": layout.ports["kube-apiserver"],
        # The endpoints of the Service `kubernetes` may not be loopback addresses; nobody here routes services.
        "endpoint-reconciler-type": "none",
        "service-cluster-ip-range": SERVICE_NETWORK,
        "tls-cert-file": pki.certificate("apiserver"),
        "tls-private-key-file": pki.key("apiserver"),
        "client-ca-file": pki.ca,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction,Priority",
        "allow-privileged": "true",
        "service-account-issuer": ISSUER,
        "service-account-key-file": pki.folder / "service-account.pub",
        "service-account-signing-key-file": pki.folder / "service-account.key",
        # How the server fetches `kubectl logs` from a node.
        "kubelet-client-certificate": pki.certificate("kubelet-client"),
        "kubelet-client-key": pki.key("kubelet-client"),
        "kubelet-preferred-address-types": "InternalIP,Hostname",
        "audit-policy-file": layout.audit_policy,
        "audit-log-path": layout.audit_log,
        "audit-log-maxsize": 200,  # MB; a file that is turned over in a test would lose events to its reader
        "audit-log-maxbackup": 2,
        "profiling": "false",
    }
    return Component(
        name=API_SERVER,
        argv=(str(binaries.kube_apiserver), *_flags(flags)),
        health=(HealthCheck(f"{layout.server}/readyz", Tls(pki.ca)),),
        address=layout.server,
        stop_order=STOP_API_SERVER,
        environ=environ,
    )


def controller_manager(layout: Layout, binaries: Binaries, environ: Mapping[str, str]) -> Component:
    pki, url = layout.pki, _url(layout, "kube-controller-manager")
    flags = {
        "kubeconfig": layout.controller_manager_kubeconfig,
        "bind-address": HOST,
        "secure-port": layout.ports["kube-controller-manager"],
        "tls-cert-file": pki.certificate("controller-manager-server"),
        "tls-private-key-file": pki.key("controller-manager-server"),
        "leader-elect": "false",  # there is one; an election would only delay its start
        "use-service-account-credentials": "true",
        "service-account-private-key-file": pki.folder / "service-account.key",
        "root-ca-file": pki.ca,  # published in each namespace as the ConfigMap kube-root-ca.crt
        "cluster-signing-cert-file": pki.ca,
        "cluster-signing-key-file": pki.key("ca"),
        # Pods of the process node have loopback addresses, which the API server takes into no Endpoints.
        "controllers": "*,-endpoints-controller,-endpointslice-controller,-endpointslice-mirroring-controller",
        # The defaults, 20 and 30, are meant for a server that others need too.
        "kube-api-qps": 200,
        "kube-api-burst": 400,
        "profiling": "false",
    }
    # It answers healthz long before its controllers do anything; that this account exists shows that they work.
    works = HealthCheck(f"{layout.server}/api/v1/namespaces/default/serviceaccounts/default", pki.client("supervisor"))
    return Component(
        name=CONTROLLER_MANAGER,
        argv=(str(binaries.kube_controller_manager), *_flags(flags)),
        health=(HealthCheck(f"{url}/healthz", Tls(pki.ca)), works),
        address=url,
        after=(API_SERVER,),  # it waits 10 s for one that lets it in, and ends: too short for a busy machine
        stop_order=STOP_CLIENTS,
        environ=environ,
    )


def _url(layout: Layout, port: str) -> str:
    return f"https://{HOST}:{layout.ports[port]}"


def _flags(flags: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(f"--{name}={value}" for name, value in flags.items())
