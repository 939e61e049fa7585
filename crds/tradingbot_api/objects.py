"""PURE. The four kinds as whole objects, and the specs of the three smaller ones."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from tradingbot_api.model import ApiModel, rule, validations
from tradingbot_api.spec import DnsLabel, ObjectName, StopAction, TradingBotSpec
from tradingbot_api.status import Condition, Message, Text, Time, TradingBotStatus

Digest = Annotated[str, Field(pattern=r"^v[0-9]+:[0-9a-f]{64}$", max_length=80)]


class TradingBot(ApiModel):
    """A trading bot: mode, exchange, symbols, strategy, staged capital, risk limits, and a kill switch."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            rule(
                "self.spec.exchange == oldSelf.spec.exchange || !has(self.status) || !has(self.status.trader)"
                " || (self.status.trader.?openPositions.orValue(1) == 0"
                " && self.status.trader.?openOrders.orValue(1) == 0)",
                "exchange cannot change while the bot has open positions or orders: close them, or make another bot",
                fieldPath=".spec.exchange",
            )
        )
    )

    spec: TradingBotSpec
    """What the bot owner asks for."""
    status: TradingBotStatus | None = None
    """What operator and trader answer."""


class HaltSelector(ApiModel):
    match_labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, json_schema_extra={"default": {}, "maxProperties": 20}
    )
    """Labels that a bot must carry, all of them."""


class TradingHaltSpec(ApiModel):
    """Which bots to stop. Each field narrows; everything left out: all bots of the cluster."""

    namespaces: list[DnsLabel] = Field(
        default_factory=list, max_length=100, json_schema_extra={"default": [], "x-kubernetes-list-type": "set"}
    )
    """Namespaces to stop; empty: all."""
    bots: list[DnsLabel] = Field(
        default_factory=list, max_length=100, json_schema_extra={"default": [], "x-kubernetes-list-type": "set"}
    )
    """Names of bots to stop; empty: all."""
    selector: HaltSelector = Field(default_factory=HaltSelector, json_schema_extra={"default": {}})
    """Labels of bots to stop; empty: all."""
    action: StopAction = StopAction.CANCEL_ORDERS
    """What each stopped bot does."""
    reason: Annotated[str, Field(max_length=1024)] = ""
    """Why, for the audit."""


class TradingHalt(ApiModel):
    """Stops every bot that it matches. A bot once matched stays stopped, whatever happens to the halt or its labels."""

    spec: TradingHaltSpec = Field(default_factory=TradingHaltSpec, json_schema_extra={"default": {}})


class TradingApprovalSpec(ApiModel):
    model_config = ConfigDict(
        json_schema_extra=validations(
            rule("self == oldSelf", "a signature cannot be changed: delete it and make a new one")
        )
    )

    bot: DnsLabel
    """Name of the bot, in the same namespace."""
    digest: Digest
    """Digest of the risk-relevant spec that is signed, from `status.trader.config.digest`."""
    stage: DnsLabel
    """Highest stage that is signed."""
    expires_at: Time
    """From then on the signature grants nothing new."""
    comment: Annotated[str, Field(max_length=1024)] = ""


class TradingApproval(ApiModel):
    """One person's signature under one bot, one digest of its risk-relevant spec, up to one stage, until one time."""

    spec: TradingApprovalSpec


class ReviewedGate(ApiModel):
    name: Text
    required: Text
    observed: Text
    passed: bool


class TradingReviewSpec(ApiModel):
    model_config = ConfigDict(json_schema_extra=validations(rule("self == oldSelf", "a review cannot be changed")))

    bot: DnsLabel
    digest: Digest
    stage: DnsLabel
    verdict: Annotated[str, Field(pattern=r"^(GO|NO-GO|INCONCLUSIVE)$", max_length=12)]
    window_start: Time
    window_end: Time
    gates: list[ReviewedGate] = Field(max_length=50, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    approved_by: list[Text] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"}
    )
    message: Message = ""


class TradingReview(ApiModel):
    """An immutable GO, NO-GO or INCONCLUSIVE report: each gate, what was required, what was observed, who approved."""

    spec: TradingReviewSpec


__all__ = [
    "Condition",
    "ObjectName",
    "TradingApproval",
    "TradingBot",
    "TradingHalt",
    "TradingReview",
]
