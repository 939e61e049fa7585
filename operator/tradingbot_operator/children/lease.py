"""PURE. The Lease that the trader holds while it may trade."""

from __future__ import annotations

from tradingbot_operator.children.metadata import BotRef, build_object
from tradingbot_operator.kinds import LEASE
from tradingbot_operator.manifest import Manifest


def build_lease(bot: BotRef) -> Manifest:
    """Without a spec: that is the trader's, and a field that we never apply is never fought about."""
    return build_object(LEASE, bot)
