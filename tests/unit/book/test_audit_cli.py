"""`audit verify | export | show`: what they print, and the exit code that a script can rely on."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.unit.orders.builders import NOW_NS

from tradingbot_trader.audit_cli import audit
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.reader import FILE_NAME
from tradingbot_trader.book.store import Store


@pytest.fixture
def head(store: Store) -> str:
    """The published head of a trail of five records."""
    for number in range(5):
        with store.transaction(NOW_NS + number) as tx:
            tx.put_audit(AuditKind.FILL if number % 2 else AuditKind.ORDER_EVENT, {"number": number})
    return f"{store.audit_head.sequence}:{store.audit_head.hash}"


def run(*args: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(audit, [str(arg) for arg in args], input=stdin)


def damage(folder: Path, sql: str) -> None:
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_sound_trail_exits_0_and_names_its_head(folder: Path, head: str) -> None:
    result = run("verify", "--store", folder, "--head", head)
    assert result.exit_code == 0
    assert "5 records are sound, from 1 to 5" in result.stdout
    assert "the published head 5 is among them" in result.stdout
    assert f"head {head}" in result.stdout


def test_without_a_head_the_answer_says_what_it_did_not_check(folder: Path, head: str) -> None:
    assert head
    assert "a cut tail would not show" in run("verify", "--store", folder).stdout


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE audit SET data = '{\"number\":9}' WHERE sequence = 3", "Changed: record 3"),
        ("DELETE FROM audit WHERE sequence = 2", "Missing: record 2"),
        ("DELETE FROM audit WHERE sequence > 3", "CutTail: ends at 3, the published head is 5"),
    ],
)
def test_damaged_trail_exits_1_and_names_the_first_damage(folder: Path, head: str, sql: str, words: str) -> None:
    damage(folder, sql)
    result = run("verify", "--store", folder, "--head", head)
    assert result.exit_code == 1
    assert words in result.stderr


def test_store_that_is_not_there_exits_2(folder: Path) -> None:
    for command in ("verify", "export", "show"):
        result = run(command, "--store", folder)
        assert result.exit_code == 2
        assert "there is no store" in result.stderr


@pytest.mark.parametrize(
    "args", [["verify"], ["verify", "--store", "x", "--jsonl", "-"], ["verify", "--head", "nonsense"]]
)
def test_command_that_is_not_understood_exits_2(args: list[str]) -> None:
    assert run(*args).exit_code == 2


def test_export_is_json_lines_that_verify_takes(folder: Path, head: str) -> None:
    lines = run("export", "--store", folder).stdout
    assert [json.loads(line)["sequence"] for line in lines.splitlines()] == [1, 2, 3, 4, 5]
    result = run("verify", "--jsonl", "-", "--head", head, stdin=lines)
    assert (result.exit_code, "5 records are sound" in result.stdout) == (0, True)


def test_export_may_start_later_and_is_checked_from_there(folder: Path, head: str) -> None:
    lines = run("export", "--store", folder, "--since", "3").stdout
    result = run("verify", "--jsonl", "-", "--head", head, stdin=lines)
    assert "3 records are sound, from 3 to 5" in result.stdout
    earlier = "2:" + "0" * 64
    assert "lies before them" in run("verify", "--jsonl", "-", "--head", earlier, stdin=lines).stdout


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda lines: lines[:1] + lines[2:], "Missing: record 2"),
        (lambda lines: lines[:3] + lines[2:], "Doubled: record 3"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "Doubled: record 1"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "Swapped: record 3 stands where 2 belongs"),
        (lambda lines: [*lines[:2], lines[2].replace("number", "numbeR"), *lines[3:]], "Changed: record 3"),
        (lambda lines: [*lines[:2], lines[2].replace("number", "number\u00e4"), *lines[3:]], "Changed: line 3"),
        (lambda lines: [*lines[:2], lines[2] + " ", *lines[3:]], "Changed: line 3"),
        (lambda lines: lines[:4], "CutTail"),
        (lambda _lines: [], "CutTail"),
    ],
)
def test_damaged_export_exits_1(folder: Path, head: str, edit: object, words: str) -> None:
    lines = run("export", "--store", folder).stdout.splitlines()
    text = "".join(f"{line}\n" for line in edit(lines))  # type: ignore[operator]  a table of functions
    result = run("verify", "--jsonl", "-", "--head", head, stdin=text)
    assert result.exit_code == 1, result.output
    assert words in result.stderr


def test_export_can_be_written_to_a_file(folder: Path, head: str, tmp_path: Path) -> None:
    assert head
    target = tmp_path / "audit.jsonl"
    assert run("export", "--store", folder, "--output", target).exit_code == 0
    assert run("verify", "--jsonl", target).exit_code == 0


def test_show_prints_the_newest_records_one_line_each(folder: Path, head: str) -> None:
    assert head
    lines = run("show", "--store", folder, "--last", "2").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["4", "5"]
    assert lines[1].startswith("5 2025-10-09T08:53:20.000Z paper ")
    assert lines[1].endswith('OrderEvent {"number":4}')


def test_show_can_be_narrowed_to_a_kind(folder: Path, head: str) -> None:
    assert head
    lines = run("show", "--store", folder, "--kind", "Fill").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["2", "4"]
