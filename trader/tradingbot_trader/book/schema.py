"""PURE. The store's tables, as the statements that lead from each version to the next. Run by book/store.py.

Forward only: a statement that was released is never edited, a change is a new version. Amounts are TEXT decimals in the
one form of `format_decimal`, times are integer UTC nanoseconds, and what is about money has `book` in its key. Latches,
configurations and permits are about the bot: a stop on paper must still hold when the pod is swapped for a live one.
"""

from __future__ import annotations

APPLICATION_ID = 0x74626F74
"""`tbot`, in SQLite's header: tells our file from any other database."""

VERSION_1 = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE orders (
        book TEXT NOT NULL, client_order_id TEXT NOT NULL, epoch INTEGER NOT NULL,
        symbol TEXT NOT NULL, side TEXT NOT NULL, type TEXT NOT NULL, time_in_force TEXT NOT NULL,
        purpose TEXT NOT NULL, quantity_base TEXT NOT NULL, price TEXT NOT NULL, created_ns INTEGER NOT NULL,
        reason TEXT NOT NULL,
        state TEXT NOT NULL, filled_base TEXT NOT NULL, is_settled INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
        PRIMARY KEY (book, client_order_id)
    ) STRICT""",
    "CREATE INDEX orders_unsettled ON orders (book) WHERE is_settled = 0",
    "CREATE INDEX orders_created ON orders (book, created_ns)",
    """CREATE TABLE fills (
        sequence INTEGER PRIMARY KEY,
        book TEXT NOT NULL, venue TEXT NOT NULL, account TEXT NOT NULL, symbol TEXT NOT NULL, trade_id TEXT NOT NULL,
        client_order_id TEXT NOT NULL, side TEXT NOT NULL, price TEXT NOT NULL, quantity_base TEXT NOT NULL,
        fee_asset TEXT NOT NULL, fee_amount TEXT NOT NULL, event_time_ns INTEGER NOT NULL, is_maker INTEGER NOT NULL,
        UNIQUE (book, venue, account, symbol, trade_id)
    ) STRICT""",
    """CREATE TABLE order_events (
        book TEXT NOT NULL, client_order_id TEXT NOT NULL, sequence INTEGER NOT NULL,
        state TEXT NOT NULL, at_ns INTEGER NOT NULL, venue_order_id TEXT NOT NULL, filled_base TEXT NOT NULL,
        reason TEXT NOT NULL, fill_sequence INTEGER REFERENCES fills (sequence),
        PRIMARY KEY (book, client_order_id, sequence),
        FOREIGN KEY (book, client_order_id) REFERENCES orders (book, client_order_id)
    ) STRICT""",
    """CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, kind TEXT NOT NULL, book TEXT NOT NULL,
        epoch INTEGER NOT NULL, data TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX audit_kind ON audit (kind, book)",
    """CREATE TABLE latches (
        id TEXT PRIMARY KEY, book TEXT NOT NULL, is_active INTEGER NOT NULL, latch TEXT NOT NULL,
        created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE configs (
        sequence INTEGER PRIMARY KEY, uid TEXT NOT NULL, generation INTEGER NOT NULL, digest TEXT NOT NULL,
        spec TEXT NOT NULL, accepted_ns INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE permits (
        sequence INTEGER PRIMARY KEY, permit TEXT NOT NULL, accepted_ns INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE counters (
        book TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (book, name)
    ) STRICT, WITHOUT ROWID""",
)

VERSION_2 = (
    "ALTER TABLE orders ADD COLUMN stop_price TEXT",
    "CREATE INDEX orders_state ON orders (book, state, updated_ns)",
    "CREATE INDEX fills_order ON fills (book, client_order_id)",
    "CREATE INDEX events_fill ON order_events (fill_sequence)",  # else each fill that is deleted scans all events
    "CREATE INDEX events_venue_order ON order_events (book, venue_order_id) WHERE venue_order_id <> ''",
    # The account of a live book: what was there before the bot, and what a person moved since.
    """CREATE TABLE baselines (
        book TEXT NOT NULL, asset TEXT NOT NULL, amount TEXT NOT NULL, recorded_ns INTEGER NOT NULL,
        PRIMARY KEY (book, asset)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE adjustments (
        id TEXT PRIMARY KEY, book TEXT NOT NULL, asset TEXT NOT NULL, amount TEXT NOT NULL, reason TEXT NOT NULL,
        who TEXT NOT NULL, recorded_ns INTEGER NOT NULL, is_applied INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX adjustments_book ON adjustments (book, asset)",
    # What was moved into files (book/archiver.py), and what has to be known of it without opening them.
    """CREATE TABLE archives (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, book TEXT NOT NULL,
        records INTEGER NOT NULL, first_sequence INTEGER NOT NULL, last_sequence INTEGER NOT NULL,
        last_hash TEXT NOT NULL, sha256 TEXT NOT NULL, archived_ns INTEGER NOT NULL
    ) STRICT""",
    "CREATE TABLE archived_fills (key BLOB PRIMARY KEY) STRICT, WITHOUT ROWID",
    """CREATE TABLE archived_counts (
        book TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (book, name)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE archived_trades (
        book TEXT NOT NULL, venue TEXT NOT NULL, account TEXT NOT NULL, symbol TEXT NOT NULL,
        last_trade_id TEXT NOT NULL, PRIMARY KEY (book, venue, account, symbol)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE checkpoints (
        book TEXT PRIMARY KEY, fill_sequence INTEGER NOT NULL, ledger TEXT NOT NULL, last_order TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (VERSION_1, VERSION_2)
"""Entry n leads from version n to version n + 1."""
SCHEMA_VERSION = len(MIGRATIONS)
