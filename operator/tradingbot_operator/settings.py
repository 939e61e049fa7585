"""SHELL. What the platform engineer decides, from arguments (`--workers=4`) or the environment
(`TRADINGBOT_OPERATOR_WORKERS=4`; arguments win). Read once, at the start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_operator.children.platform import Addresses, Platform

ResourceName = Literal["cpu", "memory", "ephemeral-storage"]
Quantities = dict[ResourceName, str]


class Resources(BaseModel):
    """Of a trader's container, in Kubernetes' quantities."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: Quantities = {"cpu": "50m", "memory": "192Mi"}
    limits: Quantities = {"memory": "512Mi"}


class VenueAddresses(BaseModel):
    """Where a test venue answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rest: str = Field(pattern=r"^https?://[^\s]+$")
    stream: str = Field(pattern=r"^wss?://[^\s]+$")
    account: str = Field(default="", pattern=r"^(wss?://[^\s]+)?$")
    """Where an account is told about its own orders and fills; live pods alone are given it."""


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

    listen: str = Field(default="0.0.0.0:8080", pattern=r"^(\S+):[0-9]{1,5}$")
    """Address and port of /healthz, /readyz and /metrics."""
    service_account_dir: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Folder with the service account's token and ca.crt; read again while running, because the token is renewed."""
    kubeconfig: Path | None = None
    """For development: a kubeconfig file; used instead of the service account."""

    workers: int = Field(default=4, ge=1, le=64)
    """How many bots are reconciled at the same time."""
    resync_interval_seconds: float = Field(default=60.0, ge=0.1, le=3600.0)
    """How often every bot and child is listed and looked at, watches or not. A silently dead watch hides a change for
    at most twice this."""
    liveness_intervals: int = Field(default=5, ge=2, le=100)
    """For so many resync intervals neither a watch event nor a list may come through before /healthz fails."""
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
        )
