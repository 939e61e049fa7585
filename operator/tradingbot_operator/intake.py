"""SHELL. Where all that is seen comes in, from watches and lists: into the store, and its bot into the queue.

News has its bot looked at now. A list without news is a reminder, and one that failed keeps its back-off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tradingbot_operator import kinds
from tradingbot_operator.health import Health
from tradingbot_operator.kinds import Key, Kind
from tradingbot_operator.manifest import Manifest, name_of, namespace_of
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.plan.halts import has_expired, matches
from tradingbot_operator.queue import KeyedQueue
from tradingbot_operator.store import News, Store, bot_key


class Intake:
    def __init__(
        self,
        store: Store,
        queue: KeyedQueue,
        health: Health,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        now_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._queue = queue
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._now_ns = now_ns

    def see(self, kind: Kind, manifest: Manifest, *, is_gone: bool) -> None:
        """One watch event. An echo of what we wrote ourselves is no news."""
        self._health.saw_event(self._clock())
        self._health.watches.saw(kind, manifest)
        self._metrics.watched(kind.plural)
        if kind == kinds.HALT:
            self._see_halt(manifest, is_gone=is_gone)
            return
        is_news = self._store.remove(kind, manifest) if is_gone else self._store.put(kind, manifest)
        key = bot_key(kind, manifest)
        if is_news and key is not None:
            self._queue.add(key)

    def see_list(self, kind: Kind, news: Sequence[News], *, namespace: str | None) -> None:
        """What a list has brought that no watch had."""
        self._health.watches.listed(kind, namespace, news, self._clock())
        if kind == kinds.HALT:
            for each in news:
                there = self._store.halt(name_of(each.manifest))
                self._enqueue_matched((each.manifest,), asks=there)
            return
        for each in news:
            if (key := bot_key(kind, each.manifest)) is not None:
                self._queue.add(key)

    def _see_halt(self, halt: Manifest, *, is_gone: bool) -> None:
        """Bots that it matches, and that it has matched before: those may be released now."""
        if not self._store.is_news(kinds.HALT, halt):
            return
        before = self._store.halt(name_of(halt))
        if is_gone:
            self._store.remove(kinds.HALT, halt)
        else:
            self._store.put(kinds.HALT, halt)
        # One that was never seen before it went has asked all the same. One that was seen has been heard, or waits.
        asks = halt if not is_gone or before is None else None
        self._enqueue_matched((halt,) if before is None else (halt, before), asks=asks)

    def _enqueue_matched(self, halts: Sequence[Manifest], *, asks: Manifest | None) -> None:
        """One pass over the bots. `asks`: what they are latched by, though it may be gone when they are looked at."""
        asking = asks if asks is not None and not has_expired(asks, self._now_ns()) else None
        for bot in self._store.bots():
            if not any(matches(bot, halt) for halt in halts):
                continue
            key = Key(namespace_of(bot), name_of(bot))
            if asking is not None and matches(bot, asking):
                self._store.ask(key, asking)
            self._queue.add(key)

    def see_all(self) -> None:
        """After everything was listed: each bot is looked at again, changed or not."""
        for key in self._store.bot_keys():
            self._queue.remind(key)
