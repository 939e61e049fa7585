"""SHELL. What this process asks of the interpreter. Called once by the composition root, when everything is loaded."""

from __future__ import annotations

import gc


def settle() -> None:
    """Take what was loaded out of the garbage collector's sight: it stays for the life of the process.

    A full collection walks ccxt's and pydantic's objects, 44 ms of CPU in which no stop would be heard; after this 3 ms
    (`make bench ONLY=burst`, CPython 3.11).
    """
    gc.collect()
    gc.freeze()
