"""PURE. The Node and its Lease, as this node writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .downward import HOST_IP
from .timestamps import to_rfc3339, to_rfc3339_micro

Json = dict[str, Any]
LEASE_NAMESPACE = "kube-node-lease"
POD_LIMIT = 110
"""The kubelet's default."""


@dataclass(frozen=True, slots=True)
class Machine:
    cpus: int
    memory_bytes: int
    disk_bytes: int
    architecture: str
    """Go's word: amd64, arm64."""
    kernel: str
    system: str
    boot_id: str
    machine_id: str


def build_node(name: str, machine: Machine) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": machine.architecture,
                "tradingbot.dev/process-node": "true",
            },
        },
    }


def build_node_status(name: str, machine: Machine, version: str, port: int | None, previous: Json, now_ns: int) -> Json:
    """`port`: where the logs are served; None when they are not."""
    capacity = {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory_bytes // 1024}Ki",
        "ephemeral-storage": f"{machine.disk_bytes // 1024}Ki",
        "pods": str(POD_LIMIT),
    }
    known = {item["type"]: item for item in (previous.get("conditions") or [])}
    conditions = [
        _condition("MemoryPressure", "False", "NotMeasured", "the process node does not measure", known, now_ns),
        _condition("DiskPressure", "False", "NotMeasured", "the process node does not measure", known, now_ns),
        _condition("PIDPressure", "False", "NotMeasured", "the process node does not measure", known, now_ns),
        _condition("Ready", "True", "ProcessNodeReady", "the process node runs pods", known, now_ns),
    ]
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": conditions,
        "addresses": [{"type": "InternalIP", "address": HOST_IP}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port or 0}},
        "nodeInfo": {
            "architecture": machine.architecture,
            "bootID": machine.boot_id,
            "containerRuntimeVersion": f"process://{version}",
            "kernelVersion": machine.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": f"v{version}-process-node",
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.system,
            "systemUUID": machine.machine_id,
        },
    }


def build_lease(name: str, node_uid: str, seconds: int, now_ns: int) -> Json:
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": seconds, "renewTime": to_rfc3339_micro(now_ns)},
    }


def _condition(kind: str, status: str, reason: str, message: str, known: dict[str, Json], now_ns: int) -> Json:
    before, now = known.get(kind), to_rfc3339(now_ns)
    same = before is not None and before["status"] == status
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": before["lastTransitionTime"] if before and same else now,
    }
