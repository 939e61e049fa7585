"""The audit's chain: each kind of damage is found at its place, and a cut tail against the published head."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import NOW_NS, intent

from tradingbot_api.status import AuditHead, Latch
from tradingbot_trader.book.audit import (
    GENESIS,
    AuditKind,
    AuditRecord,
    Damage,
    build_record,
    encode,
    parse_head,
    read_line,
    verify,
    write_line,
)


def trail(length: int) -> list[AuditRecord]:
    records: list[AuditRecord] = []
    for number in range(length):
        records.append(
            build_record(
                records[-1].head if records else GENESIS,
                kind=AuditKind.ORDER_APPROVED,
                book="paper",
                epoch=7,
                time_ns=NOW_NS + number,
                data={"number": number, "price": Decimal("100.50"), "why": 'grüß "dich"'},
            )
        )
    return records


WHOLE = trail(8)
FIELDS = ("time_ns", "kind", "book", "epoch", "data", "previous", "hash")


def test_sound_trail_is_sound_with_and_without_its_head() -> None:
    assert verify(WHOLE).is_sound
    verdict = verify(WHOLE, expected_head=WHOLE[-1].head)
    assert (verdict.is_sound, verdict.records, verdict.head) == (True, 8, WHOLE[-1].head)
    assert verify([]).is_sound


def test_head_that_was_published_earlier_is_compared_where_it_was() -> None:
    assert verify(WHOLE, expected_head=WHOLE[3].head).is_sound
    other = AuditHead(sequence=4, hash="0" * 64)
    finding = verify(WHOLE, expected_head=other).finding
    assert finding is not None
    assert (finding.damage, finding.sequence) == (Damage.OTHER_HEAD, 4)


@given(st.integers(0, 7), st.sampled_from(FIELDS), st.data())
def test_flipped_byte_is_located(index: int, field: str, data: st.DataObject) -> None:
    record = WHOLE[index]
    value = getattr(record, field)
    if isinstance(value, int):
        damaged = replace(record, **{field: value ^ (1 << data.draw(st.integers(0, 40)))})
    else:
        place = data.draw(st.integers(0, len(value) - 1))
        flipped = chr(ord(value[place]) ^ (1 << data.draw(st.integers(0, 6))))
        damaged = replace(record, **{field: value[:place] + flipped + value[place + 1 :]})
    finding = verify([*WHOLE[:index], damaged, *WHOLE[index + 1 :]]).finding
    assert finding is not None
    assert (finding.damage, finding.sequence) == (Damage.CHANGED, index + 1)


@given(st.integers(0, 7), st.integers(1, 8))
def test_dropped_records_are_located(start: int, count: int) -> None:
    rest = WHOLE[:start] + WHOLE[start + count :]
    finding = verify(rest, expected_head=WHOLE[-1].head).finding
    assert finding is not None
    is_tail = start + count >= len(WHOLE)
    assert (finding.damage, finding.sequence) == (Damage.CUT_TAIL if is_tail else Damage.MISSING, start + 1)


@given(st.integers(0, 7), st.integers(0, 7))
def test_doubled_record_is_located(index: int, later: int) -> None:
    place = max(index, later) + 1
    finding = verify([*WHOLE[:place], WHOLE[index], *WHOLE[place:]]).finding
    assert finding is not None
    assert (finding.damage, finding.sequence) == (Damage.DOUBLED, index + 1)


@given(st.integers(0, 6), st.integers(1, 7))
def test_swapped_records_are_located(first: int, distance: int) -> None:
    second = min(first + distance, 7)
    swapped = list(WHOLE)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    finding = verify(swapped).finding
    assert finding is not None
    assert (finding.damage, finding.sequence) == (Damage.SWAPPED, first + 1)


def test_replaced_record_with_a_hash_of_its_own_breaks_the_link() -> None:
    forged = build_record(
        WHOLE[2].head, kind=AuditKind.FILL, book="paper", epoch=7, time_ns=NOW_NS, data={"number": "forged"}
    )
    finding = verify([*WHOLE[:3], forged, *WHOLE[4:]]).finding
    assert finding is not None
    assert (finding.damage, finding.sequence) == (Damage.BROKEN_LINK, 5)


def test_cut_tail_is_found_only_against_the_published_head() -> None:
    assert verify(WHOLE[:5]).is_sound
    finding = verify(WHOLE[:5], expected_head=WHOLE[-1].head).finding
    assert finding is not None
    assert (finding.damage, finding.sequence) == (Damage.CUT_TAIL, 6)


def test_trail_that_was_written_anew_is_found_against_the_published_head() -> None:
    forged = trail(9)[1:]
    anew: list[AuditRecord] = []
    for record in forged:
        previous = anew[-1].head if anew else GENESIS
        data = json.loads(record.data)
        anew.append(build_record(previous, kind=AuditKind(record.kind), book="paper", epoch=7, time_ns=1, data=data))
    assert verify(anew).is_sound
    finding = verify(anew, expected_head=WHOLE[-1].head).finding
    assert finding is not None
    assert finding.damage is Damage.OTHER_HEAD


def test_trail_may_start_at_the_end_of_an_archive() -> None:
    assert verify(WHOLE[3:], start=WHOLE[2].head).is_sound
    finding = verify(WHOLE[3:], start=WHOLE[1].head).finding
    assert finding is not None
    assert finding.damage is Damage.MISSING


def test_line_is_read_back_and_hashes_to_its_hash_without_this_program() -> None:
    line = write_line(WHOLE[3])
    assert read_line(line) == WHOLE[3]
    raw = json.loads(line)
    digest = raw.pop("hash")
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == digest


@pytest.mark.parametrize(
    "line",
    ["", "[]", "{}", "nonsense", '{"data":{}}', write_line(WHOLE[0]) + " ", write_line(WHOLE[0]).replace(":7", ": 7")],
)
def test_line_in_any_other_form_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_line(line)


def test_duplicate_key_in_a_line_is_refused() -> None:
    line = write_line(WHOLE[0])
    with pytest.raises(ValueError, match="form"):
        read_line(line.replace('"number":0', '"number":9,"number":0'))


def test_our_own_types_have_one_form() -> None:
    data: Any = encode(
        {
            "intent": intent(),
            "latch": Latch(id="L1"),
            "kinds": {AuditKind.FILL, AuditKind.STARTED},
            "many": (Decimal("1.500"), None, True),
        }
    )
    assert data["intent"]["quantity_base"] == "0.1"
    assert data["latch"]["id"] == "L1"
    assert data["kinds"] == ["Fill", "Started"]
    assert data["many"] == ["1.5", None, True]


@pytest.mark.parametrize("value", [0.1, b"bytes", object(), {1: "x"}])
def test_what_has_no_exact_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="audit"):
        encode({"value": value})


def test_head_is_read_as_status_gives_it() -> None:
    assert parse_head(f"12:{'a' * 64}") == AuditHead(sequence=12, hash="a" * 64)
    for text in ("", "12", "12:short", f"x:{'a' * 64}"):
        with pytest.raises(ValueError, match="SEQUENCE:HASH"):
            parse_head(text)
