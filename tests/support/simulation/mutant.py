"""An edited copy of the trader's package, to show that a test finds what it is for. The product is never touched."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
Edit = tuple[str, str, str]
"""File, what stands there once, and what stands there instead."""


def build_mutant(folder: Path, edits: Iterable[Edit]) -> Path:
    """`folder`, which holds the copy now: it goes first on PYTHONPATH."""
    package = folder / "tradingbot_trader"
    shutil.copytree(ROOT / "trader" / "tradingbot_trader", package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, before, after in edits:
        path = package / name
        text = path.read_text()
        assert text.count(before) == 1, f"{name} has changed: {before!r} stands there {text.count(before)} times"
        path.write_text(text.replace(before, after))
    return folder
