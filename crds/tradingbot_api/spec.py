"""PURE. `TradingBot.spec`: what a bot owner asks for, and the first place that can refuse it."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from tradingbot_api.decimal import IS_DECIMAL, POSITIVE_RULE, NonNegative, Percent, Positive
from tradingbot_api.duration import DurationNs, PositiveDurationNs
from tradingbot_api.model import ApiModel, rule, validations

MINUTE_NS = 60 * 1_000_000_000
HOUR_NS = 60 * MINUTE_NS
SECOND_NS = 1_000_000_000

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9]{1,20}/[A-Z0-9]{2,10}$", max_length=31)]


class Mode(StrEnum):
    PAPER = "Paper"
    LIVE = "Live"


class ExchangeId(StrEnum):
    BINANCE = "binance"
    MEXC = "mexc"
    KRAKEN = "kraken"
    COINBASE = "coinbase"


class Network(StrEnum):
    MAINNET = "Mainnet"
    TESTNET = "Testnet"
    SANDBOX = "Sandbox"


class StopAction(StrEnum):
    REDUCE_ONLY = "ReduceOnly"
    CANCEL_ORDERS = "CancelOrders"
    FLATTEN = "Flatten"


class DeleteAction(StrEnum):
    HOLD = "Hold"
    CANCEL_ORDERS = "CancelOrders"
    FLATTEN = "Flatten"


class UpdatePolicy(StrEnum):
    AUTO = "Auto"
    WHEN_FLAT = "WhenFlat"
    MANUAL = "Manual"


class Timeframe(StrEnum):
    """Candle lengths; 1s is the shortest that venues serve history for."""

    S1 = "1s"
    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H12 = "12h"
    D1 = "1d"

    @property
    def duration_ns(self) -> int:
        unit = {"s": SECOND_NS, "m": MINUTE_NS, "h": HOUR_NS, "d": 24 * HOUR_NS}[self.value[-1]]
        return int(self.value[:-1]) * unit


class Exchange(ApiModel):
    """The venue. It stays while the bot holds anything or has orders there."""

    id: ExchangeId
    """The venue, by ccxt's name."""
    network: Network = Network.MAINNET
    """Mainnet is the real venue. Testnet is the venue's own test system. Sandbox is a simulator whose address the
    platform engineer sets in the chart's values."""


class Strategy(ApiModel):
    """What decides when to buy and to sell."""

    name: DnsLabel
    """A strategy that the trader image carries, like sma-cross. Their parameters: docs/reference/strategies.md."""
    timeframe: Timeframe = Timeframe.M1
    """Length of the candles that the strategy sees."""
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        json_schema_extra={
            "default": {},
            "maxProperties": 32,
            # Not "anything": the API server stores values nested 9,000 deep, and no Python program can read the list
            # that such an object stands in. One bot's owner could blind the operator for all others.
            "additionalProperties": {"x-kubernetes-int-or-string": True, "maxLength": 256},
        },
    )
    """The strategy's own parameters: whole numbers, or strings like "0.5". The trader checks them, and keeps its last
    good ones when they are wrong."""


class Gate(ApiModel):
    """What must have been shown one stage below, and on paper before the first stage. What is left out is not asked."""

    min_duration: PositiveDurationNs | None = None
    """Shortest time that the bot has traded one stage below."""
    min_orders: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Fewest orders that were confirmed in that time."""
    min_sharpe: NonNegative | None = None
    """Lowest annualised Sharpe ratio of daily returns in that time, like "0.8"."""
    max_rejection_percent: NonNegative | None = None
    """Largest share of orders that the venue rejected, in percent."""
    max_slippage_percent: NonNegative | None = None
    """Largest mean slippage of fills against the price at the decision, in percent of it."""
    max_desyncs: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Most reconciliations that found a mismatch."""
    max_breaker_trips: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Most trips of a circuit breaker."""
    max_restarts: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Most restarts of the trader that nobody asked for."""


class Stage(ApiModel):
    """One step of the ladder of capital."""

    name: DnsLabel
    """Unique within the bot; `capital.stage` names one."""
    limit: Positive
    """Most of `capital.currency` that positions, open orders and unresolved orders may cost together."""
    gate: Gate = Field(default_factory=Gate, json_schema_extra={"default": {}})
    """What must have been shown one stage below to enter this one with real money."""


class Approvals(ApiModel):
    """Who has to sign, each by a TradingApproval."""

    required: Annotated[int, Field(ge=0, le=10)] = 1
    """How many distinct people, none of them the requester, must sign each live stage; 0: nobody."""


class Demotion(ApiModel):
    """When a live bot loses its stage, and what happens then."""

    max_drawdown_percent: Percent
    """Drawdown, in percent of the permit's limit, at which a live bot is taken back one stage."""
    action: StopAction = StopAction.REDUCE_ONLY
    """What happens to its orders and positions then: see `killSwitch.action`."""


class Capital(ApiModel):
    """How much may be at risk: a ladder of stages, of which one is granted at a time."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            rule(
                # What an older object lacks must not end in an error, which would refuse a kill.
                "!has(self.stage) || !has(self.stages) || self.stages.exists(s, s.name == self.stage)",
                "capital.stage must be the name of one of capital.stages: add that stage, or name one of the list",
                fieldPath=".stage",
            ),
        )
    )

    currency: Annotated[str, Field(pattern=r"^[A-Z0-9]{2,10}$", max_length=10)]
    """What all limits are counted in, and what every symbol is quoted in, like USDT. It stays while the bot holds
    anything or has open orders."""
    stage: DnsLabel
    """How far the bot may climb: the name of one of `stages`. On paper the stage applies at once; live, one stage is
    granted at a time. `status.permit.stage` says which."""
    stages: Annotated[
        list[Stage],
        Field(
            min_length=1,
            max_length=10,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                **validations(
                    rule(
                        "self.all(i, s, i == 0 || !has(s.limit) || !has(self[i-1].limit)"
                        " || !isQuantity(s.limit) || !isQuantity(self[i-1].limit)"
                        " || quantity(self[i-1].limit).isLessThan(quantity(s.limit)))",
                        "stages must be listed from the smallest limit to the largest",
                    )
                ),
            },
        ),
    ]
    """The ladder, from the smallest limit to the largest."""
    approvals: Approvals = Field(default_factory=Approvals, json_schema_extra={"default": {}})
    demotion: Demotion | None = None
    """When a live bot is taken back one stage; left out: never by itself."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("capital.stages: each name may be used once")
        if self.stage not in names:
            raise ValueError(f"capital.stage {self.stage!r} is not one of capital.stages ({', '.join(names)})")
        limits = [stage.limit for stage in self.stages]
        if any(low >= high for low, high in pairwise(limits)):
            raise ValueError("capital.stages must be listed from the smallest limit to the largest")
        return self

    def find_stage(self, name: str) -> Stage:
        """The stage of that name; KeyError when there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)


def _spot_only(value: Decimal) -> Decimal:
    if value > 1:
        raise ValueError("only spot trading is supported: at most 1")
    return value


class Risk(ApiModel):
    """Limits that the trader enforces itself, before every order. Percentages are of the permit's limit."""

    max_order_notional: Positive
    """Largest cost of one order, in `capital.currency`."""
    max_position_percent: Percent = Decimal(40)
    """Largest cost of one symbol's position, with its open and unresolved buys."""
    max_exposure_percent: Percent = Decimal(80)
    """Largest cost of all positions, with all open and unresolved buys."""
    max_open_positions: Annotated[int, Field(ge=1, le=100)] = 3
    """Most symbols that are held, or being bought, at once."""
    max_daily_loss_percent: Percent = Decimal(5)
    """Loss since 00:00 UTC at which the bot stops until a person re-arms it."""
    max_drawdown_percent: Percent = Decimal(10)
    """Fall from the highest profit ever at which the bot stops until a person re-arms it."""
    max_trade_loss_percent: Percent = Decimal(5)
    """Loss of one open position at which it is closed."""
    max_daily_notional: Positive | None = None
    """Most that may be bought and sold since 00:00 UTC, in `capital.currency`; left out: no such limit."""
    max_orders_per_minute: Annotated[int, Field(ge=1, le=600)] = 10
    """Most entries in any 60 seconds. Exits and cancels are not counted against it."""
    cooldown_after_loss: DurationNs = 15 * MINUTE_NS
    """No entry for so long after a position was closed at a loss."""
    stop_loss_percent: Percent = Decimal(2)
    """Fall below the entry price at which a position is closed."""
    price_collar_percent: Percent = Decimal(2)
    """Furthest that an order's price may lie from the last trusted price."""
    max_price_age: PositiveDurationNs = 60 * SECOND_NS
    """No entry when the last price is older."""
    max_clock_skew: PositiveDurationNs = SECOND_NS
    """No entry when this machine's clock differs more from the venue's."""
    max_leverage: Annotated[
        Positive,
        AfterValidator(_spot_only),
        Field(
            json_schema_extra=validations(
                POSITIVE_RULE,
                rule(
                    f"{IS_DECIMAL} && quantity(self).compareTo(quantity('1')) <= 0",
                    'only spot trading is supported: leave maxLeverage at "1" or below',
                ),
            )
        ),
    ] = Decimal(1)
    """Largest exposure in multiples of the permit's limit. Spot trading alone is supported, so at most 1."""


class KillSwitch(ApiModel):
    """Stops the bot by one patch. For people on duty, not for Git."""

    engaged: bool = False
    """true stops the bot, latched: setting it back to false releases nothing, see `rearm`."""
    action: StopAction = StopAction.CANCEL_ORDERS
    """What the stop does. Every action cancels resting entries, because they could still fill. ReduceOnly leaves the
    rest to the strategy's exits; CancelOrders cancels all own orders but protective stops; Flatten also sells what the
    bot holds."""
    reason: Annotated[str, Field(max_length=1024)] = ""
    """Why, for the audit."""
    rearm: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9-]*$")] = ""
    """The id of the latch to release, from `status.killSwitch.id`; anything else releases nothing."""
    control_plane_timeout: PositiveDurationNs = 30 * SECOND_NS
    """No contact with the API server for so long: the trader takes no new risk until it is back."""


class StoreRef(ApiModel):
    """A store of External Secrets."""

    kind: Annotated[str, Field(pattern=r"^(SecretStore|ClusterSecretStore)$", max_length=32)] = "SecretStore"
    """SecretStore, of the bot's namespace, or ClusterSecretStore."""
    name: ObjectName
    """Name of that store."""


class ExternalSecretRef(ApiModel):
    """What the operator's ExternalSecret (external-secrets.io/v1) reads, and where."""

    store_ref: StoreRef
    """The External Secrets store to read from."""
    key: Annotated[str, Field(min_length=1, max_length=512)]
    """Path of the secret in the store; its properties are named as the exchange's key files."""
    refresh_interval: PositiveDurationNs = HOUR_NS
    """How often External Secrets reads the store again."""


class Credentials(ApiModel):
    """Where the exchange keys come from: a Secret with apiKey and apiSecret (Coinbase: apiKeyName, privateKey). Which
    Secret it is stays while a live bot holds anything or has open orders; a new key goes into the same Secret."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            rule(
                "has(self.externalSecret) != has(self.secretName)",
                "set exactly one of credentials.externalSecret and credentials.secretName",
            )
        )
    )

    external_secret: ExternalSecretRef | None = None
    """Have External Secrets make the Secret. Or name one in `secretName`; not both."""
    secret_name: ObjectName | None = None
    """A Secret of the bot's namespace. Whoever names it has to have the right to read it."""
    max_age: PositiveDurationNs = 720 * HOUR_NS
    """Oldest age of a key, from when the trader first saw it, with which a new live permit is granted. An older key
    does not stop a bot that trades: the condition CredentialsReady warns before and after."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.external_secret is None) == (self.secret_name is None):
            raise ValueError("set exactly one of credentials.externalSecret and credentials.secretName")
        return self


class Reconciliation(ApiModel):
    """How books and venue are compared."""

    interval: PositiveDurationNs = HOUR_NS
    """How often the ledger is compared with the venue, besides at start and after each reconnect."""
    tolerance: NonNegative = Decimal("0.00001")
    """Difference that is not a mismatch, relative to the position; never below one lot step."""
    on_mismatch: StopAction = StopAction.REDUCE_ONLY
    """What a mismatch does, beside holding back new risk until the books agree. CancelOrders and Flatten both cancel
    all own orders, and neither sells: what is held is the very thing that is not known."""


class Notifications(ApiModel):
    """Where people are told, beside events, metrics and alerts."""

    secret_name: ObjectName
    """A Secret whose values are apprise URLs (Telegram, Slack, PagerDuty, e-mail, ...)."""


class Storage(ApiModel):
    """The volume that keeps orders, fills and the audit. It stays when the bot is deleted."""

    size: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(Mi|Gi|Ti)$", max_length=10)] = "1Gi"
    """Size of the volume, like 1Gi. It can grow where the storage class lets it, and never shrinks: less than it has
    changes nothing. (So a growth that the class refuses can be taken back.)"""


def _unless_already(expression: str, already: str, message: str, **extra: Any) -> dict[str, Any]:
    """A rule of spec itself must let pass what was already so, or it would refuse a kill patch (ratcheting)."""
    return rule(f"{expression} || (oldSelf.hasValue() && {already})", message, optionalOldSelf=True, **extra)


class TradingBotSpec(ApiModel):
    """What the bot owner asks for."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            _unless_already(
                "self.symbols.all(s, s.endsWith('/' + self.capital.currency))",
                # The first half of the alternative: an older object may lack the currency, and an error refuses a kill.
                "oldSelf.value().symbols == self.symbols && (oldSelf.value().capital == self.capital"
                " || oldSelf.value().capital.currency == self.capital.currency)",
                "every symbol must be quoted in capital.currency, like BTC/USDT with currency USDT",
                fieldPath=".symbols",
            ),
            _unless_already(
                "self.mode != 'Live' || has(self.credentials)",
                "oldSelf.value().mode == 'Live' && !has(oldSelf.value().credentials)",
                "mode Live needs credentials: set credentials.secretName or .externalSecret, or stay on Paper",
                reason="FieldValueRequired",
            ),
        )
    )

    mode: Mode = Mode.PAPER
    """What is asked for: Paper trades real prices with invented money, Live real money. `status.permit.mode` says
    what is granted."""
    suspend: bool = False
    """true: no pod at all; orders are cancelled first, nothing is sold, state is kept."""
    exchange: Exchange
    """The venue that is traded. It cannot change while the bot has open positions or orders."""
    symbols: Annotated[
        list[Symbol], Field(min_length=1, max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    """Spot markets in ccxt's notation, BASE/QUOTE, all quoted in `capital.currency`."""
    strategy: Strategy
    """What decides when to buy and to sell, and its parameters."""
    capital: Capital
    """How much may be at risk, in stages."""
    risk: Risk
    """Limits that the trader enforces itself, before every order. Percentages are of the permit's limit."""
    kill_switch: KillSwitch = Field(default_factory=KillSwitch, json_schema_extra={"default": {}})
    """Stops the bot by one patch, whatever else is wrong with the object. For people on duty, not for Git."""
    credentials: Credentials | None = None
    """Where the exchange keys come from; mode Live needs it. Left out: paper trading only."""
    reconciliation: Reconciliation = Field(default_factory=Reconciliation, json_schema_extra={"default": {}})
    """How the books are compared with the venue, and what a difference does."""
    notifications: Notifications | None = None
    """Left out: no notifications beside events, metrics and alerts."""
    storage: Storage = Field(default_factory=Storage, json_schema_extra={"default": {}})
    """The volume that keeps orders, fills and the audit."""
    on_delete: DeleteAction = DeleteAction.CANCEL_ORDERS
    """What is done when the bot is deleted, before its pod goes. Hold: nothing is waited for; what rests at the venue
    stays, but for entries, which a trader cancels whenever it ends, as far as that works in a few seconds.
    CancelOrders: all own open orders are cancelled but protective stops; what is held stays. Flatten: as CancelOrders,
    and what is held is sold within the price collar. Both are waited for, at most 10 minutes."""
    update_policy: UpdatePolicy = UpdatePolicy.WHEN_FLAT
    """When another pod may replace one whose trader reports; the condition ConfigDrift says what waits, and for what.
    Auto: at once, a pod that leaves live trading after it has cancelled its open orders. WhenFlat: when the trader
    holds no position and has no open orders. Manual: when a person sets the annotation `tradingbot.dev/roll-out` to the
    hash that ConfigDrift names, or suspends the bot. A paper pod has nothing to cancel, and waits for WhenFlat and
    Manual all the same. A pod that is suspended or does not report is replaced at once."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for symbol in self.symbols:
            if not symbol.endswith(f"/{self.capital.currency}"):
                raise ValueError(f"symbols: {symbol} is not quoted in capital.currency ({self.capital.currency})")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("symbols: each may be listed once")
        if self.mode is Mode.LIVE and self.credentials is None:
            raise ValueError("mode Live needs credentials")
        return self
