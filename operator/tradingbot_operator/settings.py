"""SHELL. What the platform engineer decides, from arguments (`--workers=4`) or the environment
(`TRADINGBOT_OPERATOR_WORKERS=4`; arguments win). Read once, at the start.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_operator.children.platform import Addresses, MonitorRules, NetworkRules, Platform
from tradingbot_operator.manifest import Manifest

ResourceName = Literal["cpu", "memory", "ephemeral-storage"]
Quantities = dict[ResourceName, str]


class Resources(BaseModel):
    """Of a trader's container, in Kubernetes' quantities."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: Quantities = {"cpu": "50m", "memory": "192Mi"}
    limits: Quantities = {"memory": "512Mi"}


def _parsed(url: str) -> str:
    """A port that is none, and half an address of version 6, are found here and not by the plan."""
    split = urlsplit(url)
    if url and not (split.hostname and (split.port is None or split.port > 0)):
        raise ValueError("has no host, or no port that can be")
    return url


Url = Annotated[str, AfterValidator(_parsed)]


class VenueAddresses(BaseModel):
    """Where a test venue answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rest: Url = Field(pattern=r"^https?://[^\s]+$")
    stream: Url = Field(pattern=r"^wss?://[^\s]+$")
    account: Url = Field(default="", pattern=r"^(wss?://[^\s]+)?$")
    """Where an account is told about its own orders and fills; live pods alone are given it."""


def _network(cidr: str) -> str:
    ipaddress.ip_network(cidr)  # with bits of a host in it, the API server refuses it too
    return cidr


class ApiServer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    cidrs: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    """Its addresses; none: any."""
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        default=tuple(NetworkRules().api_server_ports), min_length=1
    )


class NetworkPolicies(BaseModel):
    """Of the traders. Named as in the chart's values, which are passed on as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    enabled: bool = True
    metrics_from: tuple[Manifest, ...] = tuple(NetworkRules().metrics_from)
    """Peers of a NetworkPolicy that may read the metrics."""
    dns: tuple[Manifest, ...] = tuple(NetworkRules().dns)
    """Peers that resolve names; none: any address."""
    api_server: ApiServer = ApiServer()
    extra_egress: tuple[Manifest, ...] = ()
    """Further egress rules of a NetworkPolicy."""

    @property
    def rules(self) -> NetworkRules:
        return NetworkRules(
            is_enabled=self.enabled,
            metrics_from=self.metrics_from,
            dns=self.dns,
            api_server_cidrs=self.api_server.cidrs,
            api_server_ports=self.api_server.ports,
            extra_egress=self.extra_egress,
        )


class PodMonitors(BaseModel):
    """Of the traders. Named as in the chart's values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    interval: str = Field(default=MonitorRules().interval, pattern=r"^([0-9]+(ms|s|m|h))+$")
    labels: dict[str, str] = Field(default_factory=dict)

    @property
    def rules(self) -> MonitorRules:
        return MonitorRules(self.enabled, self.interval, self.labels)


class Settings(BaseSettings):
    """Reconciles TradingBots: makes each bot's workload, grants permits, reports in its status."""

    model_config = SettingsConfigDict(
        env_prefix="TRADINGBOT_OPERATOR_",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        cli_prog_name="tradingbot-operator",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    """Namespaces whose bots are reconciled, separated by commas. Empty: all of the cluster."""
    installation: str = Field(default="tradingbot", pattern=r"^[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,126}[a-zA-Z0-9])?$")
    """Name of this installation; part of every client order id and of each bot's store. Never change it."""

    trader_image: str = Field(default="tradingbot-trader", min_length=1)
    """Image of the trader."""
    trader_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When a node pulls that image."""
    trader_resources: Resources = Resources()
    """Requests and limits of a trader's container, as JSON: {"requests": {"cpu": "50m"}, "limits": {}}."""
    storage_class: str = ""
    """StorageClass of the bots' volumes. Empty: the cluster's default."""
    storage_access_mode: Literal["ReadWriteOnce", "ReadWriteOncePod"] = "ReadWriteOnce"
    """Access mode of the bots' volumes; ReadWriteOncePod where the driver has it."""
    exchange_addresses: dict[ExchangeId, dict[Literal[Network.TESTNET, Network.SANDBOX], VenueAddresses]] = Field(
        default_factory=dict
    )
    """Addresses of test venues, as JSON: {"binance": {"Sandbox": {"rest": "http://..", "stream": "ws://.."}}}; with
    "account" also that of the account stream."""

    trader_network_policy: NetworkPolicies = NetworkPolicies()
    """What may reach the traders and be reached by them, as JSON in the chart's words: {"enabled": true,
    "metricsFrom": [], "dns": [], "apiServer": {"cidrs": [], "ports": [443]}, "extraEgress": []}."""
    trader_pod_monitor: PodMonitors = PodMonitors()
    """How Prometheus finds the traders' metrics, where PodMonitors exist, as JSON: {"enabled": true, "interval": "30s",
    "labels": {}}."""

    admission_policies: dict[str, str] = Field(default_factory=dict)
    """The chart's admission policies that must be in force before a live permit, as JSON: name -> digest of policy and
    binding. Empty: no bot gets a live permit."""

    listen: str = Field(default="0.0.0.0:8080", pattern=r"^(\S+):[0-9]{1,5}$")
    """Address and port of /healthz, /readyz and /metrics."""
    service_account_dir: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Folder with the service account's token and ca.crt; read again while running, because the token is renewed."""
    kubeconfig: Path | None = None
    """For development: a kubeconfig file; used instead of the service account."""

    workers: int = Field(default=4, ge=1, le=64)
    """How many bots are reconciled at the same time."""
    lease_name: str = Field(default="tradingbot-operator", pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
    """Name of the Lease by which one of several operators leads."""
    lease_namespace: str = Field(default="", pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")
    """Its namespace. Empty: the service account's own."""
    lease_duration_seconds: int = Field(default=15, ge=1, le=300)
    """A standby takes over when the Lease was not renewed for so long."""
    lease_renew_deadline_seconds: float = Field(default=10.0, gt=0.0, le=300.0)
    """A leader that could not renew it for so long ends its process. Keep it well below the duration: what it has sent
    last must have arrived before its successor begins."""
    lease_retry_seconds: float = Field(default=2.0, gt=0.0, le=60.0)
    """Time between two renewals, or two looks of a standby."""
    election: bool = True
    """Whether a Lease is needed. For development: `--no-election`, with --kubeconfig alone."""

    resync_interval_seconds: float = Field(default=60.0, ge=0.1, le=3600.0)
    """How often every bot and child is listed and looked at, watches or not. A silently dead watch hides a change for
    at most twice this."""
    liveness_intervals: int = Field(default=5, ge=2, le=100)
    """For so many resync intervals neither a watch event nor a list may come through before /healthz fails."""
    watch_grace_seconds: float = Field(default=10.0, ge=0.1, le=600.0)
    """A change that a list has shown and its watch not for so long proves the watch dead: all are then opened anew."""
    loop_lag_limit_seconds: float = Field(default=1.0, gt=0.0, le=60.0)
    """An event loop that comes to what is due later than that is too slow."""
    loop_lag_bound_seconds: float = Field(default=30.0, gt=0.0, le=3600.0)
    """For so long it may be too slow before /healthz fails."""
    watch_server_timeout_seconds: int = Field(default=290, ge=5, le=3600)
    """After how long the API server ends a watch, which is then resumed. The client gives up 10 s later."""
    watch_inactivity_timeout_seconds: float = Field(default=75.0, ge=5.0, le=3600.0)
    """A watch that brings nothing for so long, not even a bookmark (one a minute), is opened anew."""
    request_timeout_seconds: float = Field(default=30.0, ge=1.0, le=300.0)
    """Longest time that one request to the API server may take."""
    backoff_base_seconds: float = Field(default=0.2, gt=0.0, le=60.0)
    """First wait after a reconciliation that failed; doubled with each further failure."""
    backoff_max_seconds: float = Field(default=120.0, gt=0.0, le=3600.0)
    """Longest wait after a reconciliation that failed."""
    graceful_exit_seconds: float = Field(default=20.0, ge=1.0, le=600.0)
    """After SIGTERM, time for reconciliations that are under way. Keep it below the pod's grace period."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log lines that are written."""

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _elect_safely(self) -> Settings:
        if self.lease_renew_deadline_seconds >= self.lease_duration_seconds:
            raise ValueError("lease-renew-deadline-seconds must be less than lease-duration-seconds")
        if self.lease_retry_seconds >= self.lease_renew_deadline_seconds:
            raise ValueError("lease-retry-seconds must be less than lease-renew-deadline-seconds")
        if not self.election and self.kubeconfig is None:
            raise ValueError("no-election is for development, with kubeconfig: two operators would do everything twice")
        return self

    @property
    def listen_host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def listen_port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def platform(self) -> Platform:
        """The part that the plan needs."""
        return Platform(
            installation=self.installation,
            trader_image=self.trader_image,
            trader_image_pull_policy=self.trader_image_pull_policy,
            trader_requests={str(name): amount for name, amount in self.trader_resources.requests.items()},
            trader_limits={str(name): amount for name, amount in self.trader_resources.limits.items()},
            storage_class=self.storage_class,
            storage_access_mode=self.storage_access_mode,
            addresses={
                (exchange, network): Addresses(rest=given.rest, stream=given.stream, account=given.account)
                for exchange, networks in self.exchange_addresses.items()
                for network, given in networks.items()
            },
            network=self.trader_network_policy.rules,
            monitor=self.trader_pod_monitor.rules,
        )
