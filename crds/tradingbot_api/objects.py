"""PURE. The four kinds as whole objects, and the specs of the three smaller ones."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from tradingbot_api.model import ApiModel, rule, validations
from tradingbot_api.spec import DnsLabel, ObjectName, StopAction, TradingBotSpec
from tradingbot_api.status import Condition, Message, Text, TradingBotStatus

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


class Verdict(StrEnum):
    """What a review came to."""

    GO = "GO"
    """Every gate was passed, and enough people have signed; of a drill: every step was seen, in its order."""
    NO_GO = "NO-GO"
    """A gate was not passed; a drill did not come to its end, or another stop joined it."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """A gate could not be judged: too little was observed. A step of a drill was not seen."""


class ReviewKind(StrEnum):
    """What a review is about."""

    GATES = "Gates"
    """Whether the bot may enter a capital stage."""
    DRILL = "Drill"
    """Whether a stop of the bot worked, and its release. Its GO says nothing about a stage: whoever looks for a stage's
    GO has to ask for Gates."""


class DrillStep(StrEnum):
    """Of a drill, in their order."""

    REQUESTED = "Requested"
    """The stop was asked for."""
    ACKNOWLEDGED = "Acknowledged"
    """The latch is durable, and no new risk can leave any more."""
    STOPPED = "Stopped"
    """What the stop's action asks for is done and proved."""
    RELEASED = "Released"
    """The latch is gone."""
    ACTIVE = "Active"
    """The trader is Active again."""


class ReviewedGate(ApiModel):
    """One gate: what was asked, and what was seen."""

    name: Text
    """Field of the stage's gate, like minSharpe."""
    required: Text
    """What the spec asks for."""
    observed: Text
    """What was seen in the window; empty: too little to say."""
    passed: bool
    """Whether what was seen is enough."""


class ReviewedStep(ApiModel):
    """One step of a drill, and when it was so."""

    step: DrillStep
    """Requested, Acknowledged, Stopped, Released, Active: in this order."""
    at: Moment
    """The trader's own time where it tells one (Acknowledged, and Requested if it was faster), else when the operator
    saw it."""
    milliseconds: Annotated[int, Field(ge=0)]
    """Since Requested."""


_KIND_MESSAGE = "a review of kind Drill has steps and no gates, one of kind Gates has no steps"


class TradingReviewSpec(ApiModel):
    """One judgement of one bot: for one stage, or of one drill. It cannot be changed."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            rule(
                "self.kind == 'Drill' ? size(self.steps) > 0 && size(self.gates) == 0 : size(self.steps) == 0",
                _KIND_MESSAGE,
            ),
            rule(
                "self == oldSelf",
                "a review cannot be changed: the operator writes another one when it looks again",
                reason="FieldValueForbidden",
            ),
        )
    )

    bot: DnsLabel
    """Name of the bot, in the same namespace."""
    digest: Digest
    """Digest of the risk-relevant spec that was judged; of another spec it says nothing."""
    kind: ReviewKind = ReviewKind.GATES
    """Gates: whether the bot may enter a capital stage. Drill: whether a stop of it worked; its GO is none for a
    stage."""
    stage: DnsLabel
    """The stage that it is about; of a drill, the one that the bot was in."""
    verdict: Verdict
    """GO: every gate was passed, and enough people have signed; of a drill: every step was seen, in its order. NO-GO: a
    gate was not passed; a drill did not come to its end in time, or another stop joined it. INCONCLUSIVE: a gate could
    not be judged, or a step was not seen."""
    window_start: Moment
    """Begin of the time that was looked at."""
    window_end: Moment
    """End of the time that was looked at."""
    gates: list[ReviewedGate] = Field(
        default_factory=list, max_length=50, json_schema_extra={"default": [], "x-kubernetes-list-type": "atomic"}
    )
    """Every gate of the stage, passed or not; none of a drill."""
    steps: list[ReviewedStep] = Field(
        default_factory=list, max_length=10, json_schema_extra={"default": [], "x-kubernetes-list-type": "atomic"}
    )
    """The steps of a drill that were seen, in their order."""
    approved_by: list[Text] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"}
    )
    """Users whose signatures were counted."""
    message: Message = ""
    """What it rests on, and what is missing, for people."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        is_drill = self.kind is ReviewKind.DRILL
        if is_drill != bool(self.steps) or (is_drill and self.gates):
            raise ValueError(_KIND_MESSAGE)
        return self


class TradingReview(ApiModel):
    """An immutable GO, NO-GO or INCONCLUSIVE report: each gate, what was required, what was observed, who approved; or
    each step of a drill, and its time. The operator alone writes it."""

    spec: TradingReviewSpec
    """What was judged, and what it came to."""


__all__ = [
    "Condition",
    "ObjectName",
    "TradingApproval",
    "TradingBot",
    "TradingHalt",
    "TradingReview",
    "Verdict",
]
