"""SHELL. Moves what is old from the store into archives, so that the volume does not fill. Run by book/store.py.

Plan (read, compress) -> the file, durable -> one transaction that names the file, takes the rows away and says so in
the audit. A crash before the transaction leaves a file that nobody names: `sweep` removes it, if all that it holds is
still in the store. What has to stay known of archived rows is kept: the ledger up to there, the keys of the fills, the
last trade id of each symbol, how many there were.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from tradingbot_trader.book import archive as files
from tradingbot_trader.book import audit, rows
from tradingbot_trader.book.archive import Archive, ArchiveKind
from tradingbot_trader.book.checkpoint import Checkpoint, fill_digest
from tradingbot_trader.book.disk import TEMPORARY_SUFFIX, Disk
from tradingbot_trader.book.ledger import FillKey, Ledger
from tradingbot_trader.orders.order import BookName, Fill

DAY_NS = 86_400 * 1_000_000_000
_KEYS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "order": ("orders", ("book", "client_order_id")),
    "event": ("order_events", ("book", "client_order_id", "sequence")),
    "fill": ("fills", ("sequence", "book", "venue", "account", "symbol", "trade_id")),
}
"""By the kind of a book archive's line: its table, and what identifies the row."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what stays in the store itself. Archives are kept for ever: nothing here deletes them."""

    audit_ns: int = 52 * 7 * DAY_NS
    """52 weeks of audit (DESIGN, "Store")."""
    book_ns: int = 90 * DAY_NS
    """90 days of orders and fills (DESIGN, "Store"): of an order since its last change, of a fill since its trade."""
    records: int = 500
    """As many lines make a file: some 0.3 MB before compression, 15 to 35 ms of the event loop (seen)."""
    patience_ns: int = 7 * DAY_NS
    """Fewer lines wait so much longer, so that a quiet bot gets a file a week and not one an hour."""


@dataclass(frozen=True, slots=True)
class Move:
    """One bounded piece of work: a file, and what then leaves the store. Without an archive: only the checkpoint."""

    archive: Archive | None
    content: bytes = b""
    order_ids: tuple[str, ...] = ()
    fills: Mapping[int, Fill] = field(default_factory=dict)
    """By their number in the store."""
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By book and name: what counts of all times must not forget."""
    checkpoint: Checkpoint | None = None


def plan(connection: sqlite3.Connection, retention: Retention, now_ns: int) -> Move | None:
    """What is due now, at most `retention.records` lines of it (or one order); None when nothing is."""
    move = _plan_audit(connection, retention, now_ns)
    for book in BookName:
        move = move or _plan_book(connection, book, retention, now_ns)
    return move


def apply(connection: sqlite3.Connection, move: Move, *, now_ns: int) -> None:
    """Inside a transaction, after the file has become durable."""
    if move.checkpoint is not None:
        _put_checkpoint(connection, move.checkpoint)
    if move.archive is None:
        return
    row = rows.archive_row(move.archive) | {"archived_ns": now_ns}
    names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO archives ({names}) VALUES ({marks})", row)  # noqa: S608  our own names
    if move.archive.kind is ArchiveKind.AUDIT:
        span = (move.archive.first_sequence, move.archive.last_sequence)
        connection.execute("DELETE FROM audit WHERE sequence BETWEEN ? AND ?", span)
    else:
        _remove_orders(connection, move)
    connection.executemany(
        "INSERT INTO archived_counts (book, name, number) VALUES (?, ?, ?) "
        "ON CONFLICT (book, name) DO UPDATE SET number = number + excluded.number",
        [(book, name, number) for (book, name), number in move.counts.items()],
    )


def read_checkpoint(connection: sqlite3.Connection, book: BookName) -> Checkpoint | None:
    row = connection.execute("SELECT * FROM checkpoints WHERE book = ?", (book,)).fetchone()
    return None if row is None else Checkpoint.from_json(row["ledger"], row["fill_sequence"], row["last_order"])


def next_fill_sequence(connection: sqlite3.Connection) -> int:
    """Larger than that of any fill that there ever was, archived ones included."""
    sql = "SELECT max(coalesce((SELECT max(sequence) FROM fills), 0), coalesce(max(fill_sequence), 0)) FROM checkpoints"
    return int(connection.execute(sql).fetchone()[0]) + 1


def sweep(connection: sqlite3.Connection, folder: Path, disk: Disk) -> None:
    """Remove what a crash between the file and its transaction left. What the store does not hold is never touched:
    an older copy of the store may stand beside newer archives."""
    place = folder / files.FOLDER_NAME
    if not place.is_dir():
        return
    known = {row["name"] for row in connection.execute("SELECT name FROM archives")}
    for path in sorted(place.iterdir()):
        name = path.name.removesuffix(TEMPORARY_SUFFIX)
        is_half = name != path.name
        if files.NAME.fullmatch(name) and (is_half or (name not in known and _is_superfluous(connection, path))):
            disk.remove(path)


def _plan_audit(connection: sqlite3.Connection, retention: Retention, now_ns: int) -> Move | None:
    cutoff_ns = now_ns - retention.audit_ns
    found = connection.execute("SELECT * FROM audit ORDER BY sequence LIMIT ?", (retention.records,))
    records = [rows.read_audit(row) for row in takewhile(lambda row: row["time_ns"] < cutoff_ns, found)]
    if not records or (len(records) < retention.records and records[0].time_ns >= cutoff_ns - retention.patience_ns):
        return None
    content = files.compress(audit.write_line(record) for record in records)
    first, last = records[0].sequence, records[-1]
    archive = Archive(
        name=f"audit-{first:012d}-{last.sequence:012d}.jsonl.gz",
        kind=ArchiveKind.AUDIT,
        book="",
        records=len(records),
        first_sequence=first,
        last_sequence=last.sequence,
        last_hash=last.hash,
        sha256=files.digest(content),
    )
    counts = Counter((record.book, f"audit/{record.kind}") for record in records)
    return Move(archive, content, counts=counts)


def _plan_book(connection: sqlite3.Connection, book: BookName, retention: Retention, now_ns: int) -> Move | None:
    cutoff_ns = now_ns - retention.book_ns
    before = read_checkpoint(connection, book) or Checkpoint.empty(book)
    sql = "SELECT * FROM fills WHERE book = ? AND sequence > ? ORDER BY sequence LIMIT ?"
    found = connection.execute(sql, (book, before.fill_sequence, retention.records))
    counted = list(takewhile(lambda row: row["event_time_ns"] < cutoff_ns, found))
    counted_to = counted[-1]["sequence"] if counted else before.fill_sequence
    orders, lines = _old_orders(connection, book, cutoff_ns, counted_to, retention.records)
    loose = _fills_without_order(connection, book, counted_to, retention.records)
    fills = {row["sequence"]: rows.read_fill(row) for row in (*loose, *_fills_of(connection, book, orders))}
    oldest_ns = min((*(row["updated_ns"] for row in orders), *(row["event_time_ns"] for row in loose)), default=now_ns)
    lines += [_line("fill", row) for row in loose]
    is_due = len(lines) >= retention.records or oldest_ns < cutoff_ns - retention.patience_ns
    if not is_due:
        # Many fills of one order that is not over: count them, so that the next look sees what comes after them.
        is_stuck = len(counted) == retention.records
        return Move(None, checkpoint=_advance(before, counted, counted_to)) if is_stuck else None
    content = files.compress(lines)
    number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM archives").fetchone()[0]
    digest = files.digest(content)
    archive = Archive(
        name=f"{book}-{number:06d}-{digest[:12]}.jsonl.gz",
        kind=ArchiveKind.BOOK,
        book=book.value,
        records=len(lines),
        first_sequence=min(fills, default=0),
        last_sequence=max(fills, default=0),
        last_hash="",
        sha256=digest,
    )
    order_ids = tuple(row["client_order_id"] for row in orders)
    return Move(
        archive,
        content,
        order_ids=order_ids,
        fills=fills,
        counts={(book.value, "orders"): len(orders)},
        checkpoint=_advance(before, counted, counted_to).with_orders(order_ids),
    )


def _advance(before: Checkpoint, counted: Sequence[sqlite3.Row], counted_to: int) -> Checkpoint:
    """The checkpoint after these fills, each of which the store has once."""
    ledger = Ledger.restore(before.ledger)
    for row in counted:
        ledger.apply(rows.read_fill(row))
    return Checkpoint(ledger.state(), counted_to, before.last_order)


def _old_orders(
    connection: sqlite3.Connection, book: BookName, cutoff_ns: int, counted_to: int, limit: int
) -> tuple[list[sqlite3.Row], list[str]]:
    """Orders that have ended and whose fills are all counted, oldest first, and their lines; at most `limit` of these,
    but one whole order at least."""
    orders: list[sqlite3.Row] = []
    lines: list[str] = []
    found = connection.execute(
        "SELECT * FROM orders WHERE book = ? AND created_ns < ? AND updated_ns < ? AND is_settled = 1 AND NOT EXISTS ("
        "SELECT 1 FROM fills WHERE fills.book = orders.book AND fills.client_order_id = orders.client_order_id "
        "AND fills.sequence > ?) ORDER BY created_ns, rowid",
        (book, cutoff_ns, cutoff_ns, counted_to),
    )
    for order in found:
        key = (book, order["client_order_id"])
        events = connection.execute(
            "SELECT * FROM order_events WHERE book = ? AND client_order_id = ? ORDER BY sequence", key
        )
        its_lines = [_line("order", order), *(_line("event", row) for row in events)]
        its_lines += [_line("fill", row) for row in _fills_of(connection, book, [order])]
        if lines and len(lines) + len(its_lines) > limit:
            break
        orders.append(order)
        lines += its_lines
    return orders, lines


def _fills_of(connection: sqlite3.Connection, book: BookName, orders: Sequence[sqlite3.Row]) -> Iterator[sqlite3.Row]:
    sql = "SELECT * FROM fills WHERE book = ? AND client_order_id = ? ORDER BY sequence"
    for order in orders:
        yield from connection.execute(sql, (book, order["client_order_id"]))


def _fills_without_order(
    connection: sqlite3.Connection, book: BookName, counted_to: int, limit: int
) -> list[sqlite3.Row]:
    sql = (
        "SELECT * FROM fills WHERE book = ? AND sequence <= ? AND NOT EXISTS (SELECT 1 FROM orders "
        "WHERE orders.book = fills.book AND orders.client_order_id = fills.client_order_id) ORDER BY sequence LIMIT ?"
    )
    return connection.execute(sql, (book, counted_to, limit)).fetchall()


def _remove_orders(connection: sqlite3.Connection, move: Move) -> None:
    book = move.archive.book if move.archive else ""
    keys = [(book, order_id) for order_id in move.order_ids]
    digests = [(fill_digest(fill.book, FillKey.of(fill)),) for fill in move.fills.values()]
    connection.executemany("INSERT INTO archived_fills (key) VALUES (?)", digests)
    connection.executemany("DELETE FROM order_events WHERE book = ? AND client_order_id = ?", keys)
    connection.executemany("DELETE FROM fills WHERE sequence = ?", [(sequence,) for sequence in move.fills])
    connection.executemany("DELETE FROM orders WHERE book = ? AND client_order_id = ?", keys)
    for fill in move.fills.values():
        if fill.trade_id.isdecimal():
            connection.execute(
                "INSERT INTO archived_trades (book, venue, account, symbol, last_trade_id) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (book, venue, account, symbol) DO UPDATE SET last_trade_id = excluded.last_trade_id "
                "WHERE CAST(excluded.last_trade_id AS INTEGER) > CAST(last_trade_id AS INTEGER)",
                (book, fill.venue, fill.account, fill.symbol, fill.trade_id),
            )


def _put_checkpoint(connection: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    connection.execute(
        "INSERT INTO checkpoints (book, fill_sequence, ledger, last_order) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (book) DO UPDATE SET fill_sequence = excluded.fill_sequence, ledger = excluded.ledger, "
        "last_order = excluded.last_order",
        (checkpoint.ledger.book, checkpoint.fill_sequence, checkpoint.to_json(), checkpoint.last_order),
    )


def _is_superfluous(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the store still has every record of the file."""
    try:
        lines = list(files.read_unnamed(path))
        if path.name.startswith("audit-"):
            wanted = [("SELECT 1 FROM audit WHERE sequence = ? AND hash = ?", _audit_key(line)) for line in lines]
        else:
            wanted = [_row_key(line) for line in lines]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all(connection.execute(sql, key).fetchone() is not None for sql, key in wanted)


def _audit_key(line: str) -> tuple[Any, ...]:
    record = audit.read_line(line)
    return (record.sequence, record.hash)


def _row_key(line: str) -> tuple[str, tuple[Any, ...]]:
    raw = json.loads(line)
    table, names = _KEYS[raw["kind"]]
    terms = " AND ".join(f"{name} = ?" for name in names)
    return f"SELECT 1 FROM {table} WHERE {terms}", tuple(raw["row"][name] for name in names)  # noqa: S608  our own names


def _line(kind: str, row: sqlite3.Row) -> str:
    return audit.canonical_json({"kind": kind, "row": dict(row)})
