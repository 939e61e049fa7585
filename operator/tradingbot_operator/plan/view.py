"""PURE. A TradingBot as the plan sees it: parsed once, and nothing in it can make the plan fail.

The object may be older or newer than our CRD, or of a CRD that somebody loosened: what cannot be read is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import ValidationError

from tradingbot_api.conditions import LatchState
from tradingbot_api.digest import digest_spec
from tradingbot_api.labels import FINALIZER, ROLL_OUT
from tradingbot_api.model import ApiModel
from tradingbot_api.spec import DeleteAction, Mode, StopAction, TradingBotSpec, UpdatePolicy
from tradingbot_api.status import (
    ConfigReport,
    CredentialsReport,
    DrainReport,
    Latch,
    Permit,
    Preflight,
    ReconciliationReport,
)
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.manifest import (
    Manifest,
    is_terminating,
    mapping,
    name_of,
    namespace_of,
    number,
    sequence,
    text,
    uid_of,
)
from tradingbot_operator.timestamps import parse_time_ns

_UNREADABLE = (ValidationError, ValueError, TypeError, ArithmeticError, RecursionError)
_MAX_REPORTED_ERRORS = 3


@dataclass(frozen=True, slots=True)
class TraderReport:
    """`status.trader`, as far as the plan needs it; each part is there or not by itself."""

    mode: Mode | None
    state: str
    heartbeat_ns: int | None
    config: ConfigReport | None
    latch: Latch | None
    has_books: bool
    """Whether it has opened its store; before that its numbers say nothing."""
    limit_quote: Decimal | None
    open_positions: int | None
    open_orders: int | None
    unresolved_orders: int | None
    """None: not told."""
    preflight: Preflight | None
    credentials: CredentialsReport | None
    last_reconciliation: ReconciliationReport | None
    drain: DrainReport | None
    """How far it is with what has to be done before its pod goes; None: it has not seen that anybody asks for it."""
    left_behind: tuple[str, ...]
    """What the live book still holds, of a paper trader."""
    template: str
    """Hash of the pod template that its pod was made with; empty: it does not tell."""
    account: str
    """Fingerprint of the venue's account; empty: not told."""


@dataclass(frozen=True, slots=True)
class KillSwitchView:
    """`spec.killSwitch` from the raw object: a stop does not wait for a valid spec."""

    engaged: bool
    action: StopAction
    reason: str
    rearm: str


@dataclass(frozen=True, slots=True)
class BotView:
    ref: BotRef
    generation: int
    created_ns: int
    is_deleting: bool
    deleted_ns: int
    """When the deletion was asked for; 0 while it was not."""
    has_finalizer: bool
    """Whether our own finalizer is on it."""
    on_delete: DeleteAction
    update_policy: UpdatePolicy
    roll_out: str
    """The pod template that a person lets in (updatePolicy Manual)."""
    suspended: bool
    kill_switch: KillSwitchView
    spec: TradingBotSpec | None
    spec_error: str
    """What is wrong with the spec, for a person; empty when it is good."""
    digest: str
    trader: TraderReport | None
    """None when no trader of this very bot has reported."""
    permit: Permit | None
    latch: Latch
    """`status.killSwitch`."""
    status: Mapping[str, Any]

    @property
    def is_rejected(self) -> bool:
        """Whether the trader has refused this very generation."""
        config = self.trader.config if self.trader else None
        return config is not None and config.generation == self.generation and not config.accepted


def read_bot(raw: Manifest) -> BotView:
    ref = BotRef(namespace_of(raw), name_of(raw), uid_of(raw))
    status = mapping(raw, "status")
    spec, spec_error, digest = _read_spec(raw)
    return BotView(
        ref=ref,
        generation=max(number(raw, "metadata", "generation"), 0),
        created_ns=parse_time_ns(mapping(raw, "metadata").get("creationTimestamp")) or 0,
        is_deleting=is_terminating(raw),
        deleted_ns=parse_time_ns(mapping(raw, "metadata").get("deletionTimestamp")) or 0,
        has_finalizer=FINALIZER in sequence(raw, "metadata", "finalizers"),
        # From the raw object: what is done with orders does not wait for a valid spec, and the unknown asks for work.
        on_delete=_read_enum(DeleteAction, mapping(raw, "spec").get("onDelete"), DeleteAction.CANCEL_ORDERS),
        update_policy=_read_enum(UpdatePolicy, mapping(raw, "spec").get("updatePolicy"), UpdatePolicy.WHEN_FLAT),
        roll_out=text(raw, "metadata", "annotations", ROLL_OUT),
        # anything but a plain false asks for the stricter
        suspended=mapping(raw, "spec").get("suspend", False) not in (False, None),
        kill_switch=_read_kill_switch(raw),
        spec=spec,
        spec_error=spec_error,
        digest=digest,
        trader=_read_trader(mapping(status, "trader"), ref.uid),
        permit=_read_permit(mapping(status, "permit"), ref.uid),
        latch=_read_latch(mapping(status, "killSwitch")) or Latch(),
        status=status,
    )


def _read_spec(raw: Manifest) -> tuple[TradingBotSpec | None, str, str]:
    try:
        spec = TradingBotSpec.model_validate(dict(mapping(raw, "spec")))
        return spec, "", digest_spec(spec)
    except ValidationError as error:
        return None, _explain(error), ""
    except _UNREADABLE as error:
        return None, f"spec cannot be read ({type(error).__name__})", ""


def _explain(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [
        f"spec{''.join(f'.{part}' for part in problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in found[:_MAX_REPORTED_ERRORS]
    ]
    more = len(found) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more else "")


def _read_kill_switch(raw: Manifest) -> KillSwitchView:
    switch = mapping(raw, "spec", "killSwitch")
    try:
        action = StopAction(text(switch, "action"))
    except ValueError:
        action = StopAction.CANCEL_ORDERS
    return KillSwitchView(
        engaged=switch.get("engaged", False) not in (False, None),
        action=action,
        reason=text(switch, "reason"),
        rearm=text(switch, "rearm"),
    )


def _read_trader(part: Mapping[str, Any], uid: str) -> TraderReport | None:
    if not uid or part.get("uid") != uid:
        return None  # a late write for an earlier bot of this name
    return TraderReport(
        mode=_read_mode(part.get("mode")),
        state=text(part, "state"),
        heartbeat_ns=parse_time_ns(part.get("heartbeatAt")),
        config=_read_part(ConfigReport, part, "config"),
        latch=_read_latch(mapping(part, "latch")),
        has_books=number(part, "epoch") > 0,
        limit_quote=_read_decimal(part.get("limit")),
        open_positions=_read_count(part, "openPositions"),
        open_orders=_read_count(part, "openOrders"),
        # A trader that does not know the field yet has no live orders that could be unresolved.
        unresolved_orders=_read_count(part, "unresolvedOrders") if "unresolvedOrders" in part else 0,
        preflight=_read_part(Preflight, part, "preflight"),
        credentials=_read_part(CredentialsReport, part, "credentials"),
        last_reconciliation=_read_part(ReconciliationReport, part, "reconciliation"),
        drain=_read_part(DrainReport, part, "drain"),
        left_behind=tuple(each for each in sequence(part, "leftBehind") if isinstance(each, str)),
        template=text(part, "template"),
        account=text(part, "account", "fingerprint"),
    )


_Part = TypeVar("_Part", bound=ApiModel)


def _read_part(model: type[_Part], report: Mapping[str, Any], name: str) -> _Part | None:
    part = report.get(name)
    try:
        return model.model_validate(part) if isinstance(part, Mapping) else None
    except _UNREADABLE:
        return None


_Word = TypeVar("_Word", bound=StrEnum)


def _read_enum(words: type[_Word], value: object, otherwise: _Word) -> _Word:
    return words(value) if isinstance(value, str) and value in set(words) else otherwise


def _read_mode(value: object) -> Mode | None:
    return Mode(value) if isinstance(value, str) and value in set(Mode) else None


def _read_decimal(value: object) -> Decimal | None:
    try:
        return Decimal(value) if isinstance(value, str) else None
    except ArithmeticError:
        return None


def _read_count(report: Mapping[str, Any], name: str) -> int | None:
    value = report.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read_permit(part: Mapping[str, Any], uid: str) -> Permit | None:
    try:
        permit = Permit.model_validate(part) if part else None
    except _UNREADABLE:
        return None
    return permit if permit is not None and permit.uid == uid else None


def _read_latch(part: Mapping[str, Any]) -> Latch | None:
    if not part:
        return None
    try:
        return Latch.model_validate(part)
    except _UNREADABLE:
        # A latch that cannot be read in whole is still a latch, unless it says that it is none.
        if part.get("state") == LatchState.ARMED:
            return Latch()
        return Latch(state=LatchState.STOPPING, id=text(part, "id"), source=text(part, "source"))
