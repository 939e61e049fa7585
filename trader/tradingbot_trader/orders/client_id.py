"""PURE. The client order id: says whose order it is, of which run, and that nobody mistyped it. Made before the intent.

32 lowercase hex characters, the longest form that every venue takes (exchanges.md): bot 10, epoch 8, sequence 8,
checksum 6. An empty store never repeats an id, because the epoch is at least the Unix time in seconds (book/store.py).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

BOT_LENGTH = 10
MAX_EPOCH = 2**32 - 1
"""8 hex digits: as Unix seconds, until the year 2106."""
MAX_SEQUENCE = 2**32 - 1
_BOT = re.compile(r"[0-9a-f]{10}")
_WHOLE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ClientOrderId:
    """What an id says."""

    bot: str
    epoch: int
    sequence: int

    def __str__(self) -> str:
        return build_client_order_id(self.bot, self.epoch, self.sequence)


def hash_bot(installation: str, namespace: str, name: str) -> str:
    """The first 10 characters of each id of this bot. The installation keeps two clusters on one account apart."""
    parts = "\0".join((installation, namespace, name))  # Kubernetes names hold no NUL, so no two bots share the text
    return hashlib.sha256(parts.encode()).hexdigest()[:BOT_LENGTH]


def build_client_order_id(bot: str, epoch: int, sequence: int) -> str:
    if not _BOT.fullmatch(bot):
        raise ValueError(f"{bot!r} is not the hash of a bot (10 lowercase hex characters)")
    if not 0 <= epoch <= MAX_EPOCH:
        raise ValueError(f"epoch {epoch} does not fit into 8 hex digits")
    if not 0 <= sequence <= MAX_SEQUENCE:
        raise ValueError(f"sequence {sequence} does not fit into 8 hex digits")
    body = f"{bot}{epoch:08x}{sequence:08x}"
    return body + _checksum(body)


def parse_client_order_id(text: str) -> ClientOrderId:
    """ValueError for anything that `build_client_order_id` did not make."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a client order id of ours: it is not 32 lowercase hex characters")
    body, checksum = text[:26], text[26:]
    if _checksum(body) != checksum:
        raise ValueError(f"{text!r} is not a client order id of ours: its checksum does not fit")
    return ClientOrderId(body[:10], int(body[10:18], 16), int(body[18:], 16))


def is_own(text: str, bot: str) -> bool:
    """Whether this bot, in any of its runs, made the id."""
    try:
        return parse_client_order_id(text).bot == bot
    except ValueError:
        return False


class ClientOrderIds:
    """Hands out the ids of one run, each once."""

    def __init__(self, bot: str, epoch: int) -> None:
        self.bot = bot
        self._epoch = epoch
        self._sequence = 0

    def take(self) -> str:
        self._sequence += 1
        return build_client_order_id(self.bot, self._epoch, self._sequence)


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:6]
