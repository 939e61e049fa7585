"""PURE. Which program an image name stands for, and which others its command may name."""

from __future__ import annotations

BESIDE = {"tradingbot-operator": ("kubectl-tradingbot",)}
"""What the Dockerfile puts beside an image's own program."""


def program_name(image: str) -> str:
    """`registry:5000/team/tradingbot-trader:0.1.0@sha256:...` -> `tradingbot-trader`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def programs_of(image: str) -> tuple[str, ...]:
    """Its own first."""
    own = program_name(image)
    return (own, *BESIDE.get(own, ()))
