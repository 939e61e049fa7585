"""A store in a folder of its own, opened as the trader does. Property tests search as long as they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from tests.unit.orders.builders import NOW_NS

from tradingbot_trader.book.store import Identity, Store
from tradingbot_trader.orders.order import BookName

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
IDENTITY = Identity(installation="i-1", namespace="desk-a", name="btc-trend", venue="binance", network="Sandbox")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "volume"


@pytest.fixture
def open_store(folder: Path) -> Iterator[Callable[..., Store]]:
    """Opens the store of that folder; what a test leaves open is closed after it."""
    opened: list[Store] = []

    def open_one(**changes: Any) -> Store:
        values = {"book": BookName.PAPER, "account": "paper", "now_ns": NOW_NS}
        store = Store.open(folder, changes.pop("identity", IDENTITY), **values | changes)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    """Open, with its epoch begun."""
    made = open_store()
    made.begin_epoch(0, NOW_NS)
    return made
