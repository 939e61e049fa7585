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
HALT = Kind("TradingHalt", API_VERSION, "tradinghalts")
"""Of the whole cluster, in every installation. Watched where it may be listed: an older role does not let us."""
REVIEW = Kind("TradingReview", API_VERSION, "tradingreviews")
"""Written once each, listed at the start, never watched: nobody changes one."""
EVENT = Kind("Event", "events.k8s.io/v1", "events")

SERVICE_ACCOUNT = Kind("ServiceAccount", "v1", "serviceaccounts")
ROLE = Kind("Role", "rbac.authorization.k8s.io/v1", "roles")
ROLE_BINDING = Kind("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings")
LEASE = Kind("Lease", "coordination.k8s.io/v1", "leases")
VOLUME = Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims")
SERVICE = Kind("Service", "v1", "services")
NETWORK_POLICY = Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies")
DEPLOYMENT = Kind("Deployment", "apps/v1", "deployments")
POD_MONITOR = Kind("PodMonitor", "monitoring.coreos.com/v1", "podmonitors")
EXTERNAL_SECRET = Kind("ExternalSecret", "external-secrets.io/v1", "externalsecrets")

NEEDED_BY_PODS = (SERVICE_ACCOUNT, ROLE, ROLE_BINDING, LEASE, VOLUME, SERVICE, NETWORK_POLICY)
"""No pod starts without them, or beside somebody else's of that name."""

BUILT_IN = (*NEEDED_BY_PODS, DEPLOYMENT)
"""Every API server has them."""

OPTIONAL = (POD_MONITOR, EXTERNAL_SECRET)
"""Of other people's operators: the API server may not know them, come to know them, or forget them again."""

CHILDREN = (*BUILT_IN, *OPTIONAL)
"""In the order in which they are made: what the pods need comes before the Deployment, what nothing waits for after."""

WATCHED = (BOT, SERVICE_ACCOUNT, ROLE, ROLE_BINDING, VOLUME, SERVICE, NETWORK_POLICY, DEPLOYMENT)
"""The others are only listed. Leases: each trader renews its own every 10 s, and of all that we need nothing but that
it exists. The optional kinds: in an installation of some namespaces kopf (1.45.2, seen) takes the 404 after a CRD went
for fatal, which ends the process, and never learns of a new one; and a watch that cannot be opened would keep
the operator from being ready."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """A bot, and what the queue is about."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
