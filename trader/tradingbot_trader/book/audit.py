"""PURE. The audit's hash chain: each record carries the hash of the one before. Stored by book/store.py with its cause.

The hash is the SHA-256 of the record's canonical JSON without `hash`: sorted keys, no blanks, ASCII. It can be checked
without this program: a line of `audit export` without its `hash`, in that form, has that SHA-256.
Callers hand over typed values of our own; nothing that came from a Secret is ever one of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any

from pydantic import BaseModel

from tradingbot_api.decimal import format_decimal
from tradingbot_api.status import AuditHead

GENESIS = AuditHead(sequence=0, hash="0" * 64)
"""What the first record names as the one before it."""


class AuditKind(StrEnum):
    STARTED = "Started"
    STOPPED = "Stopped"
    STATE_CHANGED = "StateChanged"
    CONFIG_ACCEPTED = "ConfigAccepted"
    CONFIG_REJECTED = "ConfigRejected"
    PERMIT_ACCEPTED = "PermitAccepted"
    LIMITS_CHANGED = "LimitsChanged"
    MODE_CHANGED = "ModeChanged"
    PARAMETERS_CHANGED = "ParametersChanged"
    ORDER_APPROVED = "OrderApproved"
    ORDER_DENIED = "OrderDenied"
    ORDER_EVENT = "OrderEvent"
    ILLEGAL_TRANSITION = "IllegalTransition"
    FILL = "Fill"
    TRIPPED = "Tripped"
    LATCHED = "Latched"
    STOP_COMPLETED = "StopCompleted"
    REARMED = "Rearmed"
    DRAINED = "Drained"
    FEED_GAP = "FeedGap"
    RECONCILED = "Reconciled"
    ADJUSTED = "Adjusted"
    MISMATCH = "Mismatch"
    ORPHAN = "Orphan"
    ADOPTED = "Adopted"
    BREAKER_TRIPPED = "BreakerTripped"
    BREAKER_CLOSED = "BreakerClosed"
    CREDENTIALS_CHANGED = "CredentialsChanged"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    BASELINE_RECORDED = "BaselineRecorded"
    RULES_REFRESHED = "RulesRefreshed"
    ARCHIVED = "Archived"


class Damage(StrEnum):
    """What was done to the trail."""

    CHANGED = "Changed"
    """The record is not what was hashed."""
    MISSING = "Missing"
    """Records before it are gone."""
    DOUBLED = "Doubled"
    """Its number was there before."""
    SWAPPED = "Swapped"
    """It stands before a record that comes first."""
    BROKEN_LINK = "BrokenLink"
    """It names another record before it: that one was replaced, hash and all."""
    CUT_TAIL = "CutTail"
    """The trail ends before the head that was published outside."""
    OTHER_HEAD = "OtherHead"
    """The record at the published head is another one: the trail was written anew."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One line of the trail. `data` is canonical JSON text, kept as it was hashed."""

    sequence: int
    time_ns: int
    kind: str
    book: str
    epoch: int
    data: str
    previous: str
    hash: str

    @property
    def head(self) -> AuditHead:
        return AuditHead(sequence=self.sequence, hash=self.hash)


@dataclass(frozen=True, slots=True)
class Finding:
    """The first damage of a trail."""

    damage: Damage
    sequence: int
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    records: int
    """How many were sound, from the first on."""
    head: AuditHead
    """The last sound record."""
    finding: Finding | None = None

    @property
    def is_sound(self) -> bool:
        return self.finding is None


def build_record(
    previous: AuditHead, *, kind: AuditKind, book: str, epoch: int, time_ns: int, data: Mapping[str, object]
) -> AuditRecord:
    """The record that follows `previous`."""
    text = canonical_json(encode(data))
    sequence = previous.sequence + 1
    digest = _hash(sequence, time_ns, kind.value, book, epoch, text, previous.hash)
    return AuditRecord(sequence, time_ns, kind.value, book, epoch, text, previous.hash, digest)


def canonical_json(value: object) -> str:
    """The one way to write it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def encode(value: object) -> Any:
    """JSON of our own types: decimals as text, enums by value. TypeError for what has no exact form, like a float."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Enum):
        return encode(value.value)
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return format_decimal(value)
    if isinstance(value, BaseModel):
        return encode(value.model_dump(mode="json", by_alias=True))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): encode(item) for key, item in value.items()}
    if isinstance(value, Set):
        return sorted((encode(item) for item in value), key=canonical_json)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [encode(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no exact form in the audit")


def verify(
    records: Iterable[AuditRecord], *, expected_head: AuditHead | None = None, start: AuditHead = GENESIS
) -> Verdict:
    """Walk the trail from `start` (the end of the last archive, else the beginning) and name the first damage."""
    trail = iter(records)
    head, sound = start, 0
    record = next(trail, None)
    while record is not None:
        following = next(trail, None)
        finding = _check(record, head, following)
        if finding is None and expected_head is not None and record.sequence == expected_head.sequence:
            finding = _compare_head(record, expected_head)
        if finding is not None:
            return Verdict(sound, head, finding)
        head, sound, record = record.head, sound + 1, following
    if expected_head is not None and head.sequence < expected_head.sequence:
        text = f"ends at {head.sequence}, the published head is {expected_head.sequence}"
        return Verdict(sound, head, Finding(Damage.CUT_TAIL, head.sequence + 1, text))
    return Verdict(sound, head)


def write_line(record: AuditRecord) -> str:
    """One line of the JSONL export, without its newline."""
    return (
        f'{{"book":{json.dumps(record.book)},"data":{record.data},"epoch":{record.epoch},"hash":{json.dumps(record.hash)},'
        f'"kind":{json.dumps(record.kind)},"previous":{json.dumps(record.previous)},"sequence":{record.sequence},'
        f'"time_ns":{record.time_ns}}}'
    )


def read_line(line: str) -> AuditRecord:
    """A line that `write_line` made; ValueError for any other, down to the byte."""
    raw = json.loads(line)
    try:
        record = AuditRecord(**{**raw, "data": canonical_json(raw["data"])})
    except (TypeError, KeyError) as error:
        raise ValueError("not a record of the audit") from error
    if write_line(record) != line:
        raise ValueError("not in the form in which the audit writes")
    return record


def parse_head(text: str) -> AuditHead:
    """SEQUENCE:HASH, as `status.trader.auditHead` gives the two."""
    sequence, _, digest = text.partition(":")
    if not sequence.isdecimal() or len(digest) != 64:
        raise ValueError(f"{text!r} is not SEQUENCE:HASH, like 1234:<64 hex digits>")
    return AuditHead(sequence=int(sequence), hash=digest)


def _check(record: AuditRecord, head: AuditHead, following: AuditRecord | None) -> Finding | None:
    expected = head.sequence + 1
    if record.sequence != expected:
        return _misplaced(record, expected, following)
    digest = _hash(
        record.sequence, record.time_ns, record.kind, record.book, record.epoch, record.data, record.previous
    )
    if digest != record.hash:
        return Finding(Damage.CHANGED, expected, f"record {expected} is not what was hashed")
    if record.previous != head.hash:
        return Finding(Damage.BROKEN_LINK, expected, f"record {expected} follows another record {head.sequence}")
    return None


def _misplaced(record: AuditRecord, expected: int, following: AuditRecord | None) -> Finding:
    if record.sequence < expected:
        return Finding(Damage.DOUBLED, record.sequence, f"record {record.sequence} comes twice, or again")
    if following is not None and following.sequence < record.sequence:
        text = f"record {record.sequence} stands where {expected} belongs"
        return Finding(Damage.SWAPPED, expected, text)
    gone = f"record {expected} is" if record.sequence == expected + 1 else f"{expected} to {record.sequence - 1} are"
    return Finding(Damage.MISSING, expected, f"{gone} missing")


def _compare_head(record: AuditRecord, expected: AuditHead) -> Finding | None:
    if record.hash == expected.hash:
        return None
    text = f"record {record.sequence} is sound in itself, and not the one whose hash was published"
    return Finding(Damage.OTHER_HEAD, record.sequence, text)


def _hash(sequence: int, time_ns: int, kind: str, book: str, epoch: int, data: str, previous: str) -> str:
    """Of the text of the record; `data` goes in as it stands, so that a flipped byte is never read away."""
    text = (
        f'{{"book":{json.dumps(book)},"data":{data},"epoch":{epoch},"kind":{json.dumps(kind)},'
        f'"previous":{json.dumps(previous)},"sequence":{sequence},"time_ns":{time_ns}}}'
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _key(key: object) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        raise TypeError(f"{type(key).__name__} cannot be a key in the audit")
    return key
