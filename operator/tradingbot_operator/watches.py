"""PURE state: whether each watch still shows what happens, proved by what the lists show beside it.

A list brings an object that is newer than all that was seen -> suspicion: the event may still be under way. When it has
not come after the grace -> proof: that watch is dead, although its connection may look alive. A quiet watch is not
suspected: nobody can tell it from a dead one, and nothing is missed by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tradingbot_operator import kinds
from tradingbot_operator.kinds import Kind
from tradingbot_operator.manifest import Manifest, name_of, namespace_of, resource_version_of
from tradingbot_operator.store import News


@dataclass(frozen=True, slots=True, order=True)
class WatchId:
    """One request: a kind, in one namespace or in all (empty)."""

    plural: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.plural} in {self.namespace}" if self.namespace else self.plural


@dataclass(frozen=True, slots=True)
class _Suspicion:
    version: int
    """The watch should have come so far."""
    since: float


@dataclass(slots=True)
class _Watch:
    is_open: bool = False
    """The API server has answered it, once at least."""
    suspicions: dict[tuple[str, str], _Suspicion] = field(default_factory=dict)
    """By namespace and name of the object."""
    dead_since: float | None = None
    missed: str = ""
    """What it did not show, for a person."""
    cut_at: float = 0.0
    is_reopened: bool = False
    """It was answered again since it was cut."""

    @property
    def is_waited_for(self) -> bool:
        return self.dead_since is not None and not self.is_reopened


class Watches:
    def __init__(self, namespaces: Sequence[str], *, grace_seconds: float) -> None:
        """`namespaces` empty: all of the cluster. `grace_seconds`: for so long an event may be under way."""
        self._is_everywhere = not namespaces
        self._grace_seconds = grace_seconds
        self._watches = {
            WatchId(kind.plural, namespace): _Watch() for kind in kinds.WATCHED for namespace in (namespaces or ("",))
        }

    @property
    def ids(self) -> Iterable[WatchId]:
        return self._watches.keys()

    def expect(self, kind: Kind) -> None:
        """That kind, of the whole cluster, is watched as well."""
        self._watches[WatchId(kind.plural, "")] = _Watch()

    def opened(self, watch_id: WatchId) -> None:
        """The API server has begun to answer it, for the first time or anew."""
        watch = self._watches[watch_id]
        watch.is_open = watch.is_reopened = True

    def saw(self, kind: Kind, manifest: Manifest) -> None:
        """An event came through. It proves that the watch has passed everything up to that version."""
        watch = self._find(kind, namespace_of(manifest))
        if watch is None:
            return
        watch.dead_since = None
        version, place = resource_version_of(manifest), (namespace_of(manifest), name_of(manifest))
        watch.suspicions = {
            suspected: suspicion
            for suspected, suspicion in watch.suspicions.items()
            if suspected != place and suspicion.version > version
        }

    def listed(self, kind: Kind, namespace: str | None, news: Sequence[News], now: float) -> None:
        """`news`: what a list has shown first. What came before the watch was opened is not its fault."""
        watch = self._find(kind, namespace or "")
        if watch is None or not watch.is_open:
            return
        for each in news:
            place = (namespace_of(each.manifest), name_of(each.manifest))
            watch.suspicions.setdefault(place, _Suspicion(each.version, now))
        if watch.is_reopened and not watch.suspicions:
            watch.dead_since = None

    def judge(self, now: float) -> list[WatchId]:
        """Those that have to be opened anew: proved dead now, or not answered since they were cut."""
        dead = []
        for watch_id, watch in self._watches.items():
            overdue = [place for place, each in watch.suspicions.items() if self._is_over(each.since, now)]
            if overdue:
                watch.missed = "/".join(overdue[0])
                watch.suspicions = {}
                watch.dead_since = now if watch.dead_since is None else watch.dead_since
            if overdue or (watch.is_waited_for and self._is_over(watch.cut_at, now)):
                watch.is_reopened, watch.cut_at = False, now
                dead.append(watch_id)
        return dead

    def next_judgement_at(self) -> float | None:
        """When the next grace ends, if nothing comes; None when there is none."""
        since = [each.since for watch in self._watches.values() for each in watch.suspicions.values()]
        since += [watch.cut_at for watch in self._watches.values() if watch.is_waited_for]
        return min(since) + self._grace_seconds if since else None

    def _is_over(self, since: float, now: float) -> bool:
        return now >= since + self._grace_seconds

    @property
    def are_open(self) -> bool:
        return all(watch.is_open for watch in self._watches.values())

    @property
    def are_dead(self) -> bool:
        """Some of them."""
        return any(watch.dead_since is not None for watch in self._watches.values())

    def why_dead(self, now: float) -> str:
        """Empty while none is proved dead."""
        return "; ".join(
            f"the watch of {watch_id} is dead: it did not show {watch.missed}, which a list did "
            f"({now - watch.dead_since:.0f} s ago); it is being opened anew"
            for watch_id, watch in self._watches.items()
            if watch.dead_since is not None
        )

    def _find(self, kind: Kind, namespace: str) -> _Watch | None:
        """None for a kind that is only listed."""
        is_of_cluster = self._is_everywhere or kind == kinds.HALT
        return self._watches.get(WatchId(kind.plural, "" if is_of_cluster else namespace))
