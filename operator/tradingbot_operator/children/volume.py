"""PURE. The volume with the bot's orders, fills and audit. It outlives the bot: a bot made again finds its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tradingbot_operator.children.metadata import BotRef, build_object
from tradingbot_operator.children.platform import Platform
from tradingbot_operator.kinds import VOLUME
from tradingbot_operator.manifest import Manifest, mapping, sequence, text
from tradingbot_operator.quantity import parse_quantity


def build_volume(bot: BotRef, platform: Platform, *, size: str, observed: Mapping[str, Any] | None) -> Manifest:
    """No owner reference: labels alone, adopted by the bot's name.

    What cannot change once it is made (class, access mode) follows the volume that exists, whatever the settings say by
    now, and its size never shrinks.
    """
    access_modes, storage_class = [platform.storage_access_mode], platform.storage_class
    if observed is not None:
        access_modes = list(sequence(observed, "spec", "accessModes")) or access_modes
        storage_class = text(observed, "spec", "storageClassName")
        size = _larger(size, text(observed, "spec", "resources", "requests", "storage"))
    spec: Manifest = {"accessModes": access_modes, "resources": {"requests": {"storage": size}}}
    # An empty name in a claim is no default: it asks for a volume without a class. Only what exists may say so.
    if storage_class or "storageClassName" in mapping(observed, "spec"):
        spec["storageClassName"] = storage_class
    return build_object(VOLUME, bot, owned=False) | {"spec": spec}


def _larger(asked: str, present: str) -> str:
    have = parse_quantity(present)
    want = parse_quantity(asked)
    return present if have is not None and (want is None or have >= want) else asked
