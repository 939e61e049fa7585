"""SHELL. The boundary to what survives a crash: commits and files. Below book/store.py; a simulation brings its own."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Protocol

BUSY_TIMEOUT_SECONDS = 0.25
"""Only a person's own tool can hold SQLite's lock; waiting longer would stop the event loop."""
TEMPORARY_SUFFIX = ".tmp"
"""A file of this suffix was never finished; whoever finds it after a crash may remove it."""
FILE_MODE = 0o640


class Disk(Protocol):
    """What a store asks of its volume."""

    def connect(self, path: Path) -> sqlite3.Connection: ...
    def commit(self, connection: sqlite3.Connection) -> None:
        """Durable when it returns; unknown when it raises."""
        ...

    def save(self, path: Path, content: bytes) -> None:
        """The whole file under its name, durable when it returns; after a crash the whole file or none."""
        ...

    def remove(self, path: Path) -> None:
        """Gives its room back at once. A file that is not there is removed already."""
        ...

    def allocate(self, path: Path, size_bytes: int) -> None:
        """A file of blocks that really are there. OSError (ENOSPC) when there are not so many, and then no file."""
        ...

    def free_bytes(self, folder: Path) -> int: ...


class SqliteDisk:
    def connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_SECONDS)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def commit(self, connection: sqlite3.Connection) -> None:
        connection.execute("COMMIT")

    def save(self, path: Path, content: bytes) -> None:
        save_file(path, content)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def allocate(self, path: Path, size_bytes: int) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            os.posix_fallocate(fd, 0, size_bytes)  # where a file system cannot, the C library writes each block
            os.fsync(fd)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)

    def free_bytes(self, folder: Path) -> int:
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize


def save_file(path: Path, content: bytes) -> None:
    """Written beside its name, made durable, then named: nobody ever sees half of it."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """The name of a new file is as durable as its content only after this."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_full(error: BaseException | None) -> bool:
    """Whether the volume, or its quota, has no room left. SQLite says so by a code or, wrapped, by its cause."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(error, sqlite3.Error):
            code = getattr(error, "sqlite_errorcode", 0)  # unset on an error that SQLite itself did not raise
            if code & 0xFF == sqlite3.SQLITE_FULL or "disk is full" in str(error):
                return True
        error = error.__cause__
    return False
