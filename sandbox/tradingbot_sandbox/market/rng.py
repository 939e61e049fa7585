"""Seeded random numbers: the same words give the same stream, in every process and on every day. PURE."""

from __future__ import annotations

import random


def seeded(*words: object) -> random.Random:
    """A generator for one purpose.

    A string seed goes through SHA-512 in Python's `random`, so near seeds are not alike.
    """
    return random.Random("/".join(str(word) for word in words))  # noqa: S311 - an invented market, not a secret
