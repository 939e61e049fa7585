"""What the node can be told, with units. The defaults are the kubelet's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .backoff import BackOffSettings


@dataclass(frozen=True)
class Settings:
    kubeconfig: Path
    """How the API server is reached. The identity in it needs what a kubelet, the scheduler and a volume provisioner
    may do: nodes, pods, pods/binding, pods/status, events, leases in kube-node-lease, serviceaccounts/token, Secrets
    and ConfigMaps (get, list, watch), persistent volumes and claims, storage classes, subject access reviews."""
    state: Path
    """Everything that the node writes lies under this folder, which only its user may read."""
    name: str = "process-node"
    client_ca: Path | None = None
    """Who signs the API server's client certificate. Without it nothing is served, and `kubectl logs` does not work."""
    parent_pid: int | None = None
    """The process without which the node must not live."""
    programs: Mapping[str, Path] = field(default_factory=dict)
    """Image name -> executable, beside the console scripts."""
    container_env: Mapping[str, str] = field(default_factory=dict)
    """Given to every container before its own variables: coverage measurement, for example. No secrets."""
    restart_backoff: BackOffSettings = field(default_factory=BackOffSettings)
    token_renewal_fraction: float = 0.8
    """The part of a token's life after which it is replaced."""
    start_retry_seconds: float = 10.0
    """How often a container that could not start is tried again when nothing that it refers to has changed."""
    lease_seconds: int = 40
    """The Node's Lease; renewed every quarter of it. The node lifecycle controller gives up a node after 50 s."""
    node_status_seconds: float = 60.0
    """How often the Node's conditions are written again."""
    shutdown_grace_seconds: float = 5.0
    """How long running containers get to end when the node is told to stop."""
    kept_pod_logs: int = 20
    """Log folders of deleted pods that are kept for whoever asks what happened."""
    log_limit_bytes: int = 10 * 1024 * 1024
    """A longer log of a running container is begun anew; its older part is kept once. The kubelet's size."""
    log_check_seconds: float = 10.0
    """How often the sizes of logs are looked at."""
    kept_container_logs: int = 5
    """Logs of earlier runs of one container that are kept."""
