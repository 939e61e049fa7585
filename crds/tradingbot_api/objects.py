"""PURE. Three of the four kinds as whole objects (review.py has the fourth), and the specs of the smaller ones."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from tradingbot_api.model import ApiModel, rule, validations
from tradingbot_api.spec import DnsLabel, ObjectName, StopAction, TradingBotSpec
from tradingbot_api.status import Condition, TradingBotStatus

Digest = Annotated[str, Field(pattern=r"^v[0-9]+:[0-9a-f]{64}$", max_length=80)]
MOMENT_PATTERN = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)


def _moment(value: str) -> str:
    if not re.fullmatch(MOMENT_PATTERN, value, re.ASCII):
        raise ValueError('must be a time like "2026-01-31T18:00:00Z"')
    return value


Moment = Annotated[
    str,
    Field(max_length=40),
    AfterValidator(_moment),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 40,
            **validations(
                rule(f"self.matches(r'{MOMENT_PATTERN}')", 'must be a time like "2026-01-31T18:00:00Z"'),
            ),
        }
    ),
]
"""A time that people write. Not `format: date-time`: where a format stands the API server takes any list for the string
(seen on Kubernetes 1.36). 30 February passes; whoever reads it has to fail safe: a halt then never expires, a signature
grants nothing."""
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
"""What Kubernetes takes for a label's value; a halt that asks for another one would match no bot, silently."""

# An absent count is no proof of zero. What cannot be sold any more (dust) is not counted by the trader.
_HOLDS_NOTHING = (
    "!has(self.status) || !has(self.status.trader) || (self.status.trader.?openPositions.orValue(1) == 0"
    " && self.status.trader.?openOrders.orValue(1) == 0 && self.status.trader.?unresolvedOrders.orValue(0) == 0)"
)


def _is_same(path: str, same: str = "") -> str:
    """Left out before and after, or there before and after and alike. `.?` and `orValue` would do it in fewer words,
    and cost more than the API server allows."""
    now, before = f"self.{path}", f"oldSelf.{path}"
    return f"(has({now}) == has({before}) && (!has({now}) || {same or f'{now} == {before}'}))"


# Unchanged comes first: what is missing in an older object must not end in an error, which would refuse a kill.
_SAME_CURRENCY = (
    "self.spec.capital == oldSelf.spec.capital || self.spec.capital.currency == oldSelf.spec.capital.currency"
)
# Which Secret, not how often it is read again or how old it may be.
_SAME_KEYS = _is_same(
    "spec.credentials",
    "self.spec.credentials == oldSelf.spec.credentials || ("
    + _is_same("spec.credentials.secretName")
    + " && "
    + _is_same(
        "spec.credentials.externalSecret",
        "(self.spec.credentials.externalSecret.key == oldSelf.spec.credentials.externalSecret.key"
        " && self.spec.credentials.externalSecret.storeRef == oldSelf.spec.credentials.externalSecret.storeRef)",
    )
    + ")",
)


class TradingBot(ApiModel):
    """A trading bot: mode, exchange, symbols, strategy, staged capital, risk limits, and a kill switch."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            rule(
                f"self.spec.exchange == oldSelf.spec.exchange || {_HOLDS_NOTHING}",
                "exchange cannot change while the bot has open positions or orders: close them, or make another bot",
                fieldPath=".spec.exchange",
                reason="FieldValueForbidden",
            ),
            rule(
                f"{_SAME_CURRENCY} || {_HOLDS_NOTHING}",
                "capital.currency cannot change while the bot has open positions or orders, which are counted in it:"
                " close them, or make another bot",
                fieldPath=".spec.capital.currency",
                reason="FieldValueForbidden",
            ),
            rule(
                f"{_SAME_KEYS} || {_HOLDS_NOTHING} || self.status.trader.?mode.orValue('Live') != 'Live'",
                "the source of the credentials cannot change while the live bot has open positions or orders, because"
                " it may be another account: put a new key into the same Secret, or close them first",
                fieldPath=".spec.credentials",
                reason="FieldValueForbidden",
            ),
        )
    )

    spec: TradingBotSpec
    """What the bot owner asks for."""
    status: TradingBotStatus | None = None
    """What operator and trader answer."""


class HaltSelector(ApiModel):
    """Bots by their labels."""

    match_labels: dict[str, LabelValue] = Field(
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
    expires_at: Moment | None = None
    """From then on no further bot is matched; left out: until the halt is deleted. An expiry never re-arms by itself: a
    bot that was stopped stays stopped until a person releases its latch."""


class TradingHalt(ApiModel):
    """Stops every bot that it matches. A bot once matched stays stopped, whatever happens to the halt or its labels."""

    spec: TradingHaltSpec = Field(default_factory=TradingHaltSpec, json_schema_extra={"default": {}})
    """Which bots to stop, and how. Left out: all bots of the cluster, by CancelOrders."""


class TradingApprovalSpec(ApiModel):
    """What is signed. It cannot be changed, only deleted."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            rule(
                "self == oldSelf",
                "a signature cannot be changed: delete it and make a new one",
                reason="FieldValueForbidden",
            )
        )
    )

    bot: DnsLabel
    """Name of the bot, in the same namespace."""
    digest: Digest
    """Digest of the risk-relevant spec that is signed, from `status.trader.config.digest`."""
    stage: DnsLabel
    """Highest stage that is signed."""
    expires_at: Moment
    """From then on the signature grants nothing new; what was granted on it stays."""
    comment: Annotated[str, Field(max_length=1024)] = ""
    """What the signer wants to say, for the record."""


class TradingApproval(ApiModel):
    """One person's signature under one bot, one digest of its risk-relevant spec, up to one stage, until one time."""

    spec: TradingApprovalSpec
    """What is signed. Who signed is proved by the API server, not written here."""


__all__ = [
    "Condition",
    "ObjectName",
    "TradingApproval",
    "TradingBot",
    "TradingHalt",
]
