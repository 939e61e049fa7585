"""What was seen: the newest version of each bot and child that a watch, a list or our own write has shown.

Watch, list and the answers to our writes overtake each other. Resource versions decide what is newer, so that an old
list does not bring back what is gone, and an old event does not hide what we have just written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tradingbot_api.labels import BOT as BOT_LABEL
from tradingbot_api.labels import MANAGED_BY, OPERATOR_MANAGER, child_name
from tradingbot_operator import kinds
from tradingbot_operator.kinds import Key, Kind
from tradingbot_operator.manifest import Manifest, mapping, name_of, namespace_of, resource_version_of, text

_Place = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class News:
    """What a list shows, and nothing had shown before it."""

    manifest: Manifest
    """As listed, or as it was last seen if it is gone."""
    version: int
    """The change is no newer than that."""


@dataclass(slots=True)
class _Shelf:
    """All objects of one kind."""

    seen: dict[_Place, Manifest]
    gone: dict[_Place, int]
    """The version at which an object went, until a newer list has confirmed it."""
    listed: dict[str | None, int]
    """By namespace, None for all: what is older than the last list and not in it is not there any more."""


class Store:
    def __init__(self) -> None:
        self._shelves = {kind: _Shelf({}, {}, {}) for kind in (kinds.BOT, kinds.HALT, *kinds.CHILDREN)}
        self._unknown = set(kinds.OPTIONAL)
        """Kinds that the API server does not have, as far as the last list shows."""
        self._asked: dict[Key, dict[str, Manifest]] = {}
        """Halts that have matched a bot, by name, until that bot was reconciled with them: they may be gone by then."""

    def put(self, kind: Kind, manifest: Manifest) -> bool:
        """Whether it is news."""
        shelf, place, version = self._shelves[kind], _place(manifest), resource_version_of(manifest)
        if version and version <= _known_version(shelf, place):
            return False
        shelf.seen[place] = _slim(manifest)
        shelf.gone.pop(place, None)
        return True

    def remove(self, kind: Kind, manifest: Manifest) -> bool:
        """Whether it was there. `manifest` as it was when it went."""
        shelf, place, version = self._shelves[kind], _place(manifest), resource_version_of(manifest)
        seen = shelf.seen.get(place)
        if seen is not None and version and resource_version_of(seen) > version:
            return False  # made again since
        shelf.gone[place] = max(version, resource_version_of(seen))
        return shelf.seen.pop(place, None) is not None

    def replace(self, kind: Kind, manifests: Iterable[Manifest], *, version: int, namespace: str | None) -> list[News]:
        """A whole list as of `version`, of one namespace or of all (None)."""
        self._unknown.discard(kind)
        shelf = self._shelves[kind]
        listed = {_place(manifest): manifest for manifest in manifests}
        news = [
            News(manifest, resource_version_of(manifest)) for manifest in listed.values() if self.put(kind, manifest)
        ]
        vanished = [
            place
            for place, seen in shelf.seen.items()
            if place not in listed and namespace in (None, place[0]) and resource_version_of(seen) <= version
        ]
        news += [News(shelf.seen.pop(place), version) for place in vanished]
        shelf.listed[namespace] = max(version, shelf.listed.get(namespace, 0))
        shelf.gone = {
            place: at for place, at in shelf.gone.items() if at > version or namespace not in (None, place[0])
        }
        return news

    def forget(self, kind: Kind) -> None:
        """The API server has no such kind: its objects went with it."""
        self._unknown.add(kind)
        self._shelves[kind] = _Shelf({}, {}, {})

    def bot(self, key: Key) -> Manifest | None:
        return self._shelves[kinds.BOT].seen.get((key.namespace, key.name))

    def children(self, key: Key) -> dict[Kind, Manifest | None]:
        """What is known under the children's derived names; a child without our labels is not known here.

        A kind that the API server does not have is not in it.
        """
        place = (key.namespace, child_name(key.name))
        return {kind: self._shelves[kind].seen.get(place) for kind in kinds.CHILDREN if kind not in self._unknown}

    def is_news(self, kind: Kind, manifest: Manifest) -> bool:
        """Whether that version, there or gone, is newer than all that was seen of it."""
        version = resource_version_of(manifest)
        return not version or version > _known_version(self._shelves[kind], _place(manifest))

    def halts(self) -> tuple[Manifest, ...]:
        return tuple(self._shelves[kinds.HALT].seen.values())

    def halt(self, name: str) -> Manifest | None:
        return self._shelves[kinds.HALT].seen.get(("", name))

    def ask(self, key: Key, halt: Manifest) -> None:
        self._asked.setdefault(key, {})[name_of(halt)] = halt

    def asked(self, key: Key) -> tuple[Manifest, ...]:
        return tuple(self._asked.get(key, {}).values())

    def heard(self, key: Key, halts: Iterable[Manifest]) -> None:
        """The bot was reconciled with these, which have not asked anew since."""
        asked = self._asked.get(key, {})
        for halt in halts:
            if asked.get(name_of(halt)) is halt:
                del asked[name_of(halt)]
        if not asked:
            self._asked.pop(key, None)

    def bots_of_account(self, fingerprint: str) -> list[Manifest]:
        """Those that trade that account of the venue, or are permitted to; none for an empty fingerprint."""
        bots = self._shelves[kinds.BOT].seen.values()
        paths = (("status", "trader", "account", "fingerprint"), ("status", "permit", "account"))
        return [bot for bot in bots if fingerprint and any(text(bot, *path) == fingerprint for path in paths)]

    def bots(self) -> Iterable[Manifest]:
        return self._shelves[kinds.BOT].seen.values()

    def bot_keys(self) -> list[Key]:
        return [Key(*place) for place in self._shelves[kinds.BOT].seen]


def bot_key(kind: Kind, manifest: Manifest) -> Key | None:
    """Which bot an object is about; None for a halt, and for a child that does not say."""
    if kind == kinds.BOT:
        return Key(*_place(manifest))
    if kind == kinds.HALT:
        return None  # it is about many
    bot = text(mapping(manifest, "metadata", "labels"), BOT_LABEL)
    return Key(namespace_of(manifest), bot) if bot else None


def is_ours_by_label(manifest: Manifest) -> bool:
    """Whether lists and watches of children show it."""
    return mapping(manifest, "metadata", "labels").get(MANAGED_BY) == OPERATOR_MANAGER


def _place(manifest: Manifest) -> _Place:
    return namespace_of(manifest), name_of(manifest)


def _known_version(shelf: _Shelf, place: _Place) -> int:
    seen = shelf.seen.get(place)
    if seen is not None:
        return resource_version_of(seen)
    return max(shelf.gone.get(place, 0), shelf.listed.get(None, 0), shelf.listed.get(place[0], 0))


def _slim(manifest: Manifest) -> Manifest:
    """Without managedFields, which are half of the bytes and decide nothing here."""
    metadata = {key: value for key, value in mapping(manifest, "metadata").items() if key != "managedFields"}
    return manifest | {"metadata": metadata}
