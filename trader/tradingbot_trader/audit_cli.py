"""SHELL. `tradingbot-trader audit verify | export | show`: the audit trail from the outside, beside a running trader.

Exit codes: 0 the trail is sound, or was written; 1 it is damaged, and the first damage is named; 2 it could not be
read, or the command was not understood.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import IO

import click

from tradingbot_api.status import AuditHead
from tradingbot_trader.book import audit as trail
from tradingbot_trader.book.archive import ArchiveDamaged
from tradingbot_trader.book.audit import AuditKind, AuditRecord, Damage, Finding, Verdict
from tradingbot_trader.book.reader import StoreReader, open_reader
from tradingbot_trader.errors import TradingError

DAMAGED = 1
UNREADABLE = 2
SECOND_NS = 1_000_000_000


class _Head(click.ParamType[AuditHead]):
    name = "SEQUENCE:HASH"

    def convert(self, value: str | AuditHead, param: click.Parameter | None, ctx: click.Context | None) -> AuditHead:
        if isinstance(value, AuditHead):
            return value
        try:
            return trail.parse_head(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_store = click.option(
    "--store",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder of the store, /var/lib/tradingbot in the pod.",
)


@click.group()
def audit() -> None:
    """The audit trail: check it, export it, look at it."""


@audit.command()
@click.option(
    "--store",
    "folder",
    type=click.Path(path_type=Path),
    help="The folder of the store, /var/lib/tradingbot in the pod.",
)
@click.option(
    "--jsonl",
    type=click.File("r", encoding="ascii", errors="replace"),
    help="An export instead of a store; - for stdin.",
)
@click.option(
    "--head",
    type=_Head(),
    help="The published head: status.trader.auditHead. Without it, a trail that was cut or written anew looks sound.",
)
def verify(folder: Path | None, jsonl: IO[str] | None, head: AuditHead | None) -> None:
    """Walk the whole trail and name the first damage. Exit code 1 if there is any."""
    if folder is not None and jsonl is None:
        with _reading(folder) as reader:
            verdict = _verify_store(reader, head)
    elif jsonl is not None and folder is None:
        verdict = _verify_lines(jsonl, head)
    else:
        raise click.UsageError("give exactly one of --store and --jsonl")
    if verdict.finding is not None:
        click.echo(f"{verdict.finding.damage}: {verdict.finding.message}", err=True)
        click.echo(f"{verdict.records} records before it are sound", err=True)
        sys.exit(DAMAGED)
    first = verdict.head.sequence - verdict.records + 1
    click.echo(f"{verdict.records} records are sound, from {first} to {verdict.head.sequence}")
    if head is None:
        click.echo("no published head was given: a cut tail would not show")
    elif head.sequence >= first:
        click.echo(f"the published head {head.sequence} is among them")
    else:
        click.echo(f"the published head {head.sequence} lies before them and was not compared")
    click.echo(f"head {verdict.head.sequence}:{verdict.head.hash}")


@audit.command()
@_store
@click.option("--since", "since_sequence", type=click.IntRange(min=1), default=1, help="The first record to write.")
@click.option("--output", type=click.File("w", encoding="ascii"), default="-", help="Where to; stdout by default.")
def export(folder: Path, since_sequence: int, output: IO[str]) -> None:
    """Write the trail as JSON lines, one record a line, in the form that is hashed."""
    with _reading(folder) as reader:
        for record in reader.audit_records(since_sequence=since_sequence):
            click.echo(trail.write_line(record), file=output)


@audit.command()
@_store
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many records.")
@click.option("--kind", type=click.Choice([kind.value for kind in AuditKind]), help="Only records of this kind.")
def show(folder: Path, last: int, kind: str | None) -> None:
    """The newest records, one line each, oldest first."""
    with _reading(folder) as reader:
        found = reader.newest_audit_records(kind=AuditKind(kind) if kind else None)
        chosen = list(islice(found, last))
    for record in reversed(chosen):
        click.echo(_line(record))


def _verify_store(reader: StoreReader, head: AuditHead | None) -> Verdict:
    """Archives and store as one chain."""
    damage: list[Finding] = []

    def read() -> Iterator[AuditRecord]:
        try:
            yield from reader.audit_records()
        except ArchiveDamaged as error:
            damage.append(error.finding)

    return _or_damage(trail.verify(read(), expected_head=head), damage)


def _or_damage(verdict: Verdict, damage: list[Finding]) -> Verdict:
    """What could not be read ends the walk: then the tail is not cut, but unread."""
    if damage and (verdict.finding is None or verdict.finding.damage is Damage.CUT_TAIL):
        return Verdict(verdict.records, verdict.head, damage[0])
    return verdict


def _verify_lines(lines: IO[str], head: AuditHead | None) -> Verdict:
    """An export may start later than the first record; then it is checked from where it starts."""
    damage: list[Finding] = []

    def read() -> Iterator[AuditRecord]:
        for number, line in enumerate(lines, start=1):
            try:
                yield trail.read_line(line.rstrip("\n"))
            except ValueError as error:
                damage.append(Finding(Damage.CHANGED, number, f"line {number}: {error}"))
                return

    records = read()
    first = next(records, None)
    if first is None:
        verdict = trail.verify((), expected_head=head)
    else:
        start = AuditHead(sequence=first.sequence - 1, hash=first.previous) if first.sequence > 1 else trail.GENESIS
        verdict = trail.verify(chain((first,), records), expected_head=head, start=start)
    return _or_damage(verdict, damage)


@contextmanager
def _reading(folder: Path) -> Iterator[StoreReader]:
    """One moment of the store; exit code 2 when it cannot be read."""
    try:
        with open_reader(folder) as reader, reader.snapshot():
            yield reader
    except TradingError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(UNREADABLE)


def _line(record: AuditRecord) -> str:
    at = datetime.fromtimestamp(record.time_ns // SECOND_NS, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    millis = record.time_ns % SECOND_NS // 1_000_000
    return f"{record.sequence} {at}.{millis:03d}Z {record.book} {record.epoch} {record.kind} {record.data}"
