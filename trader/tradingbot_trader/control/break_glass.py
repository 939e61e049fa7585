"""SHELL. The file that stops a bot with no API server at all. What it says is judged in latch.py."""

from __future__ import annotations

from pathlib import Path

FILE_NAME = "STOP"
"""In the state folder. It stops the bot for as long as it is there, and latches."""
_MOST_CHARACTERS = 512


def read_file(folder: Path) -> str | None:
    """None while there is no such file. One that cannot be read stops as an empty one does."""
    try:
        return (folder / FILE_NAME).read_text(errors="replace")[:_MOST_CHARACTERS]
    except FileNotFoundError:
        return None
    except OSError:
        return ""
