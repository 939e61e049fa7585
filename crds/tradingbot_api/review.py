"""PURE. TradingReview: what the operator records, about a stage's gates or about a drill."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from tradingbot_api.model import ApiModel, rule, validations
from tradingbot_api.objects import Digest, Moment
from tradingbot_api.spec import DnsLabel
from tradingbot_api.status import Message, Text


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
