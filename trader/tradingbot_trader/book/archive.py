"""SHELL. An archive: a compressed file of records that left the store, and how it is read. Made by book/archiver.py.

A gzip file of JSON lines, below `archives/` beside the store; `zcat` reads it. The store and the audit (kind Archived)
carry the digest of the file; the records of the audit in it are the beginning of the chain that goes on in the store.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tradingbot_trader.book import audit
from tradingbot_trader.book.audit import AuditRecord, Damage, Finding
from tradingbot_trader.errors import TradingError

FOLDER_NAME = "archives"
NAME = re.compile(r"(?:audit-\d{12}-\d{12}|(?:paper|live)-\d{6}-[0-9a-f]{12})\.jsonl\.gz")
"""Of a finished archive; the number of a book's archive is its row, the letters are the beginning of its digest."""
PIECE_BYTES = 256
"""Read in pieces as small as this, so that what stands before a damaged byte is still read, and the damage located."""


class ArchiveKind(StrEnum):
    AUDIT = "audit"
    """Records of the chain, first and last by their sequence."""
    BOOK = "book"
    """Orders that have ended, with their events and fills; first and last are numbers of fills."""


class ArchiveDamaged(TradingError):  # noqa: N818  named by what it says (STYLE)
    """A file is not what was written. The finding says where."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Archive:
    """One file, as the store knows it."""

    name: str
    kind: ArchiveKind
    book: str
    """Empty for the audit: the chain is of both books."""
    records: int
    first_sequence: int
    last_sequence: int
    last_hash: str
    """Of the last record; empty for a book."""
    sha256: str
    """Of the file, as `sha256sum` prints it."""

    def to_data(self) -> dict[str, object]:
        """For the audit."""
        return {
            "archive": self.name,
            "kind": self.kind,
            "book": self.book,
            "records": self.records,
            "firstSequence": self.first_sequence,
            "lastSequence": self.last_sequence,
            "lastHash": self.last_hash,
            "sha256": self.sha256,
        }


def compress(lines: Iterable[str]) -> bytes:
    """The same lines always give the same file: no time and no name in its header."""
    text = "".join(f"{line}\n" for line in lines)
    return gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_audit(folder: Path, archive: Archive) -> Iterator[AuditRecord]:
    """Its part of the chain, as far as it can be read; then ArchiveDamaged, unless the file is what was written."""
    expected = archive.first_sequence
    try:
        for line in read_lines(folder, archive):
            yield audit.read_line(line)
            expected += 1  # counted: a damaged record may name any number
    except FileNotFoundError as error:
        text = f"{expected} to {archive.last_sequence} are missing: there is no archive {archive.name}"
        raise ArchiveDamaged(Finding(Damage.MISSING, expected, text)) from error
    except (OSError, ValueError) as error:
        text = f"archive {archive.name}, from record {expected}: {error}"
        raise ArchiveDamaged(Finding(Damage.CHANGED, expected, text)) from error


def read_book(folder: Path, archive: Archive) -> list[dict[str, Any]]:
    """Its lines; ArchiveDamaged when the file is not what was written."""
    try:
        return [json.loads(line) for line in read_lines(folder, archive)]
    except (OSError, ValueError) as error:
        text = f"archive {archive.name} cannot be read: {error}"
        raise ArchiveDamaged(Finding(Damage.CHANGED, archive.first_sequence, text)) from error


def read_lines(folder: Path, archive: Archive) -> Iterator[str]:
    """ValueError after the last good line when the file is damaged; OSError when it cannot be read."""
    return read_unnamed(folder / FOLDER_NAME / archive.name, sha256=archive.sha256)


def read_unnamed(path: Path, *, sha256: str = "") -> Iterator[str]:
    """The lines of a file; of one that no store names, without a digest to compare with."""
    inflate = zlib.decompressobj(wbits=31)  # 31: gzip, with its checksum
    found = hashlib.sha256()
    rest = b""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            found.update(piece)
            try:
                rest += inflate.decompress(piece)
            except zlib.error as error:
                raise ValueError(f"not what was compressed: {error}") from error
            *lines, rest = rest.split(b"\n")
            yield from (line.decode("ascii") for line in lines)  # UnicodeDecodeError is a ValueError
    if not inflate.eof or inflate.unused_data or rest:
        raise ValueError("it does not end where it ended")
    if sha256 and found.hexdigest() != sha256:
        raise ValueError("its digest is not the one that was recorded")
