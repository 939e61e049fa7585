"""SHELL. Around each reconciliation: follows the drills of bots (plan/drill.py), and writes one record of each.

What is known of a drill that is under way is in memory alone: a successor sees what is still to be seen. A record that
cannot be written stops nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from tradingbot_api.labels import drill_review_name
from tradingbot_operator import kinds
from tradingbot_operator.errors import Conflict, Refused, Transient
from tradingbot_operator.kinds import Key
from tradingbot_operator.kube import KubeApi
from tradingbot_operator.manifest import Manifest, name_of, namespace_of, text, uid_of
from tradingbot_operator.plan import drill as rules
from tradingbot_operator.plan.drill import Drill
from tradingbot_operator.plan.view import read_bot
from tradingbot_operator.store import Store
from tradingbot_operator.timestamps import SECOND_NS

log = structlog.get_logger(__name__)

Reconcile = Callable[[Key], Awaitable[float | None]]


class DrillRecorder:
    def __init__(self, api: KubeApi, store: Store, *, namespaces: Sequence[str], now_ns: Callable[[], int]) -> None:
        """`namespaces` empty: all of the cluster."""
        self._api = api
        self._store = store
        self._scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._now_ns = now_ns
        self._is_listed = False
        self._is_refused = False
        """Said once, not with each re-list."""
        self._looked_at: set[Key] = set()
        self._drills: dict[Key, Drill] = {}
        self._recorded: set[tuple[str, str]] = set()
        """Namespace and name of each record."""
        self._passed_ns: dict[Key, int] = {}
        """When each bot's last drill that was passed ended."""

    async def list_records(self) -> None:
        """Once; again after it failed, or when a record is there that was not known. No bot waits for it: the API
        server takes no second record of a drill either."""
        if self._is_listed:
            return
        try:
            listings = [await self._api.list(kinds.REVIEW, scope) for scope in self._scopes]
        except Refused as error:
            if not self._is_refused:
                log.error(
                    "drills are not recorded",
                    error=str(error),
                    hint="give the operator list and create on tradingreviews (the chart's role does)",
                )
            self._is_refused = True
            return
        except Transient as error:
            log.warning("records of drills not listed", error=str(error))
            return
        self._is_listed, self._is_refused = True, False
        for review in (review for listing in listings if listing is not None for review in listing.items):
            self._recorded.add((namespace_of(review), name_of(review)))
            self._take(review)

    def around(self, reconcile: Reconcile) -> Reconcile:
        """The same, and the bot's drill with it."""

        async def reconcile_and_record(key: Key) -> float | None:
            self._follow(key)  # first: this very report of the bot, before the store has a newer one
            waits = [await reconcile(key), await self._record(key)]
            return min((each for each in waits if each is not None), default=None)

        return reconcile_and_record

    def ages_seconds(self) -> dict[tuple[str, str], float]:
        """How long ago the last passed drill of each bot that is there ended."""
        now_ns = self._now_ns()
        return {
            (key.namespace, key.name): max(now_ns - passed_ns, 0) / SECOND_NS
            for key, passed_ns in self._passed_ns.items()
            if (bot := self._store.bot(key)) is not None and rules.is_about(bot, passed_ns)
        }

    def _follow(self, key: Key) -> None:
        bot = self._store.bot(key)
        is_first_look = key not in self._looked_at
        if bot is None:
            self._looked_at.discard(key)
            self._drills.pop(key, None)
            return
        self._looked_at.add(key)
        known = self._drills.get(key)
        if known is not None and known.bot_uid != uid_of(bot):
            log.warning("drill not recorded: its bot is gone", drill=known.id)
            del self._drills[key]
            known = None
        drill_id = rules.read_drill_id(bot)
        is_new = bool(drill_id) and (known is None or known.id != drill_id) and not self._is_recorded(key, drill_id)
        if known is None and not is_new:
            return
        view, now_ns = read_bot(bot), self._now_ns()
        is_begun = is_new and rules.is_under_way(view, drill_id)
        if known is not None:
            self._drills[key] = rules.supersede(known, drill_id) if is_begun else rules.follow(known, view, now_ns)
        elif is_begun:
            self._drills[key] = rules.begin(view, drill_id, now_ns, is_first_look=is_first_look)

    async def _record(self, key: Key) -> float | None:
        """In how many seconds its time is up."""
        drill, bot, now_ns = self._drills.get(key), self._store.bot(key), self._now_ns()
        if drill is None or bot is None or uid_of(bot) != drill.bot_uid:
            return None
        judged = rules.judge(drill, now_ns)
        if judged is None:
            return (rules.deadline_ns(drill) - now_ns) / SECOND_NS + 0.001
        review = rules.build_review(drill, read_bot(bot), *judged, now_ns)
        if not self._is_recorded(key, drill.id):
            await self._write(key, drill, review)
        del self._drills[key]
        self._follow(key)  # the next one, where that has begun already
        return None if key not in self._drills else 0.0

    async def _write(self, key: Key, drill: Drill, review: Manifest) -> None:
        """Transient: it is tried again."""
        told = {"drill": drill.id, "verdict": text(review, "spec", "verdict")}
        try:
            if self._is_refused:
                raise Refused("list tradingreviews", "which drills are recorded is not known", status=403)
            written = await self._api.create(kinds.REVIEW, review)
        except Conflict:
            self._is_listed = False  # somebody has recorded it: what counts is what stands there
        except Refused as error:
            log.error("drill not recorded", **told, error=str(error))
        else:
            self._take(written)
            log.info("drill recorded", **told, review=name_of(review))
        self._recorded.add((key.namespace, name_of(review)))

    def _take(self, review: Manifest) -> None:
        passed_ns = rules.read_passed_ns(review)
        if passed_ns is not None:
            key = Key(namespace_of(review), text(review, "spec", "bot"))
            self._passed_ns[key] = max(passed_ns, self._passed_ns.get(key, 0))

    def _is_recorded(self, key: Key, drill_id: str) -> bool:
        return (key.namespace, drill_review_name(key.name, drill_id)) in self._recorded
