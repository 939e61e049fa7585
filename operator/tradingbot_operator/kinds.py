"""PURE. The kinds of objects that the operator reads and writes, and where the API server keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_api import API_VERSION


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    api_version: str
    plural: str

    @property
    def group(self) -> str:
        """Empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]


BOT = Kind("TradingBot", API_VERSION, "tradingbots")
EVENT = Kind("Event", "events.k8s.io/v1", "events")

SERVICE_ACCOUNT = Kind("ServiceAccount", "v1", "serviceaccounts")
ROLE = Kind("Role", "rbac.authorization.k8s.io/v1", "roles")
ROLE_BINDING = Kind("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings")
LEASE = Kind("Lease", "coordination.k8s.io/v1", "leases")
VOLUME = Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims")
SERVICE = Kind("Service", "v1", "services")
DEPLOYMENT = Kind("Deployment", "apps/v1", "deployments")

CHILDREN = (SERVICE_ACCOUNT, ROLE, ROLE_BINDING, LEASE, VOLUME, SERVICE, DEPLOYMENT)
"""In the order in which they are made: what the pods need comes before the Deployment."""

WATCHED = (BOT, SERVICE_ACCOUNT, ROLE, ROLE_BINDING, VOLUME, SERVICE, DEPLOYMENT)
"""Leases are only listed: each trader renews its own every 10 s, and of all that we need nothing but that it exists."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """A bot, and what the queue is about."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
