"""PURE. What all children of a bot have in common: name, labels, owner."""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_api import API_VERSION
from tradingbot_api.labels import child_labels, child_name
from tradingbot_operator.kinds import BOT, Kind
from tradingbot_operator.manifest import Manifest


@dataclass(frozen=True, slots=True)
class BotRef:
    """Which bot; the uid tells it from another one that had the same name."""

    namespace: str
    name: str
    uid: str

    @property
    def child_name(self) -> str:
        return child_name(self.name)


def build_object(kind: Kind, bot: BotRef, *, owned: bool = True) -> Manifest:
    """The head of a child's manifest. `owned`: it goes with the bot (the garbage collector sees to that)."""
    metadata: Manifest = {
        "name": bot.child_name,
        "namespace": bot.namespace,
        "labels": child_labels(bot.name),
    }
    if owned:
        metadata["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": BOT.name,
                "name": bot.name,
                "uid": bot.uid,
                "controller": True,
                # A foreground deletion of the bot waits until its trader is gone.
                "blockOwnerDeletion": True,
            }
        ]
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
