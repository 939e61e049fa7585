"""PURE. The trader's identity towards the API server."""

from __future__ import annotations

from tradingbot_operator.children.metadata import BotRef, build_object
from tradingbot_operator.kinds import SERVICE_ACCOUNT
from tradingbot_operator.manifest import Manifest


def build_service_account(bot: BotRef) -> Manifest:
    # The trader's pod asks for its token itself; no other pod gets one by merely naming the account.
    return build_object(SERVICE_ACCOUNT, bot) | {"automountServiceAccountToken": False}
