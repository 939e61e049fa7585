"""The chain through archives and store: each kind of damage is found at its place, whichever file it is in."""

from __future__ import annotations

import gzip
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.book.history import EAGER, LATER_NS, archive_all
from tests.unit.orders.builders import NOW_NS

from tradingbot_trader.audit_cli import audit
from tradingbot_trader.book import archive
from tradingbot_trader.book.archive import FOLDER_NAME, Archive, ArchiveDamaged, ArchiveKind
from tradingbot_trader.book.audit import GENESIS, AuditKind, AuditRecord, build_record, write_line
from tradingbot_trader.book.reader import FILE_NAME
from tradingbot_trader.book.store import Store

Open = Callable[..., Store]


@pytest.fixture
def head(open_store: Open) -> str:
    """A trail of 30 decisions in three archives and the rest in the store."""
    store = open_store(retention=EAGER)
    store.begin_epoch(0, NOW_NS)
    for number in range(30):
        with store.transaction(NOW_NS + number) as tx:
            tx.put_audit(AuditKind.FILL if number % 2 else AuditKind.ORDER_EVENT, {"number": number})
    archive_all(store)
    with store.transaction(LATER_NS) as tx:
        tx.put_audit(AuditKind.STARTED, {"number": 30})
    result = f"{store.audit_head.sequence}:{store.audit_head.hash}"
    store.close()
    return result


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(audit, [str(arg) for arg in args])


def path_of(folder: Path, first: int) -> Path:
    (found,) = (folder / FOLDER_NAME).glob(f"audit-{first:012d}-*.jsonl.gz")
    return found


def edit(path: Path, change: Callable[[list[bytes]], list[bytes]], folder: Path | None = None) -> None:
    """As an intruder who knows the format would: the file compressed anew and, with `folder`, its digest put right."""
    lines = change(gzip.decompress(path.read_bytes()).splitlines(keepends=True))
    path.write_bytes(gzip.compress(b"".join(lines), mtime=0))
    if folder is not None:
        sql = f"UPDATE archives SET sha256 = '{archive.digest(path.read_bytes())}' WHERE name = '{path.name}'"  # noqa: S608  of a test
        execute(folder, sql)


def execute(folder: Path, sql: str) -> None:
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_chain_is_one_through_archives_and_store(folder: Path, head: str) -> None:
    assert len(list((folder / FOLDER_NAME).iterdir())) == 3
    result = run("verify", "--store", folder, "--head", head)
    assert result.exit_code == 0, result.output
    assert "34 records are sound, from 1 to 34" in result.stdout
    assert "the published head 34 is among them" in result.stdout


def test_head_that_was_published_before_the_archive_is_compared_in_it(folder: Path, head: str) -> None:
    assert head
    lines = run("export", "--store", folder).stdout.splitlines()
    fifth = [line.split('"hash":"')[1][:64] for line in lines][4]
    assert run("verify", "--store", folder, "--head", f"5:{fifth}").exit_code == 0
    other = run("verify", "--store", folder, "--head", f"5:{'0' * 64}")
    assert (other.exit_code, "OtherHead: record 5" in other.stderr) == (1, True)


def test_export_and_show_read_through_archives(folder: Path, head: str, tmp_path: Path) -> None:
    target = tmp_path / "audit.jsonl"
    assert run("export", "--store", folder, "--output", target).exit_code == 0
    assert "34 records" in run("verify", "--jsonl", target, "--head", head).stdout
    since = run("export", "--store", folder, "--since", "15").stdout.splitlines()
    assert len(since) == 20
    shown = run("show", "--store", folder, "--last", "4", "--kind", "Fill").stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["24", "26", "28", "30"]
    everything = run("show", "--store", folder, "--last", "100").stdout.splitlines()
    assert [line.split()[0] for line in everything] == [str(number) for number in range(1, 35)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda lines: [*lines[:4], lines[4].replace(b'"number":14', b'"number":15'), *lines[5:]],
            "Changed: record 15",
        ),
        (lambda lines: lines[:4] + lines[5:], "Missing: record 15"),
        (lambda lines: lines[:5] + lines[4:], "Doubled: record 15"),
        (lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]], "Swapped: record 16 stands where 15 belongs"),
        (lambda lines: lines[1:], "Missing: record 11"),
        (lambda lines: lines[:8], "Missing: 19 to 20"),
        (lambda _lines: [], "Missing: 11 to 20"),
        (lambda lines: [*lines[:4], b"nonsense\n", *lines[5:]], "Changed: archive audit-000000000011"),
        (lambda lines: [*lines[:4], b"\xff\n", *lines[5:]], "Changed: archive audit-000000000011"),
    ],
)
def test_edited_archive_is_located_even_with_its_digest_put_right(
    folder: Path, head: str, change: Callable[[list[bytes]], list[bytes]], words: str
) -> None:
    edit(path_of(folder, 11), change, folder)
    result = run("verify", "--store", folder, "--head", head)
    assert result.exit_code == 1, result.output
    assert words in result.stderr


def test_archive_whose_digest_is_another_is_damage_although_each_record_is_sound(folder: Path, head: str) -> None:
    path = path_of(folder, 11)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=7))
    result = run("verify", "--store", folder, "--head", head)
    assert result.exit_code == 1
    assert "digest" in result.stderr


def test_missing_archive_is_named_with_what_it_held(folder: Path, head: str) -> None:
    path_of(folder, 11).unlink()
    result = run("verify", "--store", folder, "--head", head)
    assert result.exit_code == 1
    assert "Missing: 11 to 20 are missing: there is no archive audit-000000000011-000000000020" in result.stderr
    assert "10 records before it are sound" in result.stderr
    assert run("export", "--store", folder).exit_code == 2


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM archives WHERE first_sequence = 1", "Missing: 1 to 10"),
        ("DELETE FROM archives", "Missing: 1 to 30"),
        ("DELETE FROM audit WHERE sequence = 31", "Missing: record 31"),
        ("DELETE FROM audit WHERE sequence = 34", "CutTail: ends at 33, the published head is 34"),
        ("DELETE FROM audit", "CutTail: ends at 30"),
        ("UPDATE audit SET data = '{}' WHERE sequence = 32", "Changed: record 32"),
    ],
)
def test_damage_at_the_seam_between_archives_and_store_is_located(
    folder: Path, head: str, sql: str, words: str
) -> None:
    execute(folder, sql)
    result = run("verify", "--store", folder, "--head", head)
    assert result.exit_code == 1
    assert words in result.stderr


def trail(length: int) -> list[AuditRecord]:
    records: list[AuditRecord] = []
    for number in range(length):
        previous = records[-1].head if records else GENESIS
        data = {"number": number, "why": "x" * (number % 7)}
        records.append(
            build_record(previous, kind=AuditKind.FILL, book="paper", epoch=7, time_ns=NOW_NS + number, data=data)
        )
    return records


WHOLE = trail(60)
CONTENT = archive.compress(write_line(record) for record in WHOLE)


def described(content: bytes) -> Archive:
    return Archive(
        name="audit-000000000001-000000000060.jsonl.gz",
        kind=ArchiveKind.AUDIT,
        book="",
        records=60,
        first_sequence=1,
        last_sequence=60,
        last_hash=WHOLE[-1].hash,
        sha256=archive.digest(content),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volume")
    (folder / FOLDER_NAME).mkdir()
    return folder


def read(place: Path, content: bytes) -> tuple[list[AuditRecord], ArchiveDamaged | None]:
    one = described(CONTENT)
    (place / FOLDER_NAME / one.name).write_bytes(content)
    found: list[AuditRecord] = []
    try:
        found.extend(archive.read_audit(place, one))
    except ArchiveDamaged as damage:
        return found, damage
    return found, None


def test_archive_is_read_back_as_it_was_written(place: Path) -> None:
    assert read(place, CONTENT) == (WHOLE, None)
    assert archive.compress(write_line(record) for record in WHOLE) == CONTENT


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 7))
@example(index=2956, bit=3)  # a record behind the damage is readable, and names a number that stands before it
def test_flipped_bit_of_the_compressed_file_is_found_and_what_stands_before_it_is_read(
    place: Path, index: int, bit: int
) -> None:
    damaged = bytearray(CONTENT)
    damaged[index] ^= 1 << bit
    found, damage = read(place, bytes(damaged))
    assert damage is not None
    before = zlib.decompressobj(wbits=31).decompress(CONTENT[: index - index % archive.PIECE_BYTES]).count(b"\n")
    assert found[:before] == WHOLE[:before]
    assert damage.finding.sequence > before


@given(st.integers(0, len(CONTENT) - 1))
def test_cut_file_is_found(place: Path, length: int) -> None:
    _, damage = read(place, CONTENT[:length])
    assert damage is not None


@given(st.binary(min_size=1, max_size=40))
def test_appended_bytes_are_found(place: Path, more: bytes) -> None:
    _, damage = read(place, CONTENT + more)
    assert damage is not None
