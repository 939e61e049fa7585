"""PURE. Which program an image name stands for."""

from __future__ import annotations


def program_name(image: str) -> str:
    """`registry:5000/team/tradingbot-trader:0.1.0@sha256:...` -> `tradingbot-trader`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]
