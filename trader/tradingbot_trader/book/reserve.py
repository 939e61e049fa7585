"""SHELL. The reserve: room beside the store that is given up when the volume is full. Between store and disk.

A full volume means no new risk, but cancels still go out, and they, the fills and a stop have to be written down.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tradingbot_trader.book.disk import Disk

RESERVE_NAME = "store.reserve"
RESERVE_BYTES = 4 * 1024 * 1024
"""An order event with its fill and its two audit records costs 62 KiB of SQLite's log (seen, 4 KiB pages), so this
records 66 of them even if the log has to grow for each: more than the orders that a bot has open. Mostly it does not:
the log is used again from its beginning after 1,000 pages."""


class Reserve:
    """One file. It is there: not spent."""

    def __init__(self, folder: Path, disk: Disk, *, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = folder / RESERVE_NAME
        self._disk = disk
        self._size_bytes = size_bytes
        self.is_spent = not self._is_whole()

    def release(self) -> None:
        """Give the room to whoever has to write now."""
        self.is_spent = True
        with suppress(OSError):  # nothing that can be done about it would help
            self._disk.remove(self._path)

    def refill(self) -> None:
        """Make it again when there is room for it twice: with the last free blocks, the next commit would fail."""
        if not self.is_spent:
            return
        with suppress(OSError):
            if self._disk.free_bytes(self._path.parent) >= 2 * self._size_bytes:
                self._disk.allocate(self._path, self._size_bytes)
                self.is_spent = False

    def _is_whole(self) -> bool:
        try:
            return self._path.stat().st_size == self._size_bytes
        except OSError:
            return False
