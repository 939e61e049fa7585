"""SHELL. Where all that is seen comes in, from watches and lists: into the store, and its bot into the queue.

News has its bot looked at now. A list without news is a reminder, and one that failed keeps its back-off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tradingbot_operator.health import Health
from tradingbot_operator.kinds import Kind
from tradingbot_operator.manifest import Manifest
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.queue import KeyedQueue
from tradingbot_operator.store import News, Store, bot_key


class Intake:
    def __init__(
        self, store: Store, queue: KeyedQueue, health: Health, metrics: Metrics, *, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._queue = queue
        self._health = health
        self._metrics = metrics
        self._clock = clock

    def see(self, kind: Kind, manifest: Manifest, *, is_gone: bool) -> None:
        """One watch event. An echo of what we wrote ourselves is no news."""
        self._health.saw_event(self._clock())
        self._health.watches.saw(kind, manifest)
        self._metrics.watched(kind.plural)
        is_news = self._store.remove(kind, manifest) if is_gone else self._store.put(kind, manifest)
        key = bot_key(kind, manifest)
        if is_news and key is not None:
            self._queue.add(key)

    def see_list(self, kind: Kind, news: Sequence[News], *, namespace: str | None) -> None:
        """What a list has brought that no watch had."""
        self._health.watches.listed(kind, namespace, news, self._clock())
        for each in news:
            if (key := bot_key(kind, each.manifest)) is not None:
                self._queue.add(key)

    def see_all(self) -> None:
        """After everything was listed: each bot is looked at again, changed or not."""
        for key in self._store.bot_keys():
            self._queue.remind(key)
