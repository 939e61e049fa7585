"""SHELL. The file that stops a bot with no API server at all. What it says is judged in latch.py."""

from __future__ import annotations

import os
import stat
from pathlib import Path

FILE_NAME = "STOP"
"""In the state folder. It stops the bot for as long as it is there, and latches."""
_MOST_BYTES = 512


def read_file(folder: Path) -> str | None:
    """None while nothing shows that there is such a file: a disk that cannot even say so stops the bot by another
    cause, which ends with it. One that is there and cannot be read stops as an empty one does."""
    path = folder / FILE_NAME
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return ""  # a pipe would wait for a writer
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    try:
        return os.read(descriptor, _MOST_BYTES).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
