"""SHELL. key -> observe -> plan -> finalizer -> apply -> status -> events. It has no rule of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import structlog

from tradingbot_api.conditions import Reason
from tradingbot_api.labels import FINALIZER, child_name
from tradingbot_operator import kinds
from tradingbot_operator.children.platform import Platform
from tradingbot_operator.errors import ApiError, Conflict, Refused
from tradingbot_operator.kinds import Key, Kind
from tradingbot_operator.kube import KubeApi
from tradingbot_operator.manifest import Manifest, mapping, number, text, uid_of
from tradingbot_operator.plan.credentials import is_made
from tradingbot_operator.plan.drift import is_up_to_date
from tradingbot_operator.plan.events import build_event
from tradingbot_operator.plan.guard import GuardReport
from tradingbot_operator.plan.permit import Clearance, find_account_holder
from tradingbot_operator.plan.plan import Observation, Plan, plan
from tradingbot_operator.plan.view import read_bot
from tradingbot_operator.plan.workload import Apply, Problem
from tradingbot_operator.store import Store, is_ours_by_label


class PolicyGuard(Protocol):
    async def check(self, bot: Manifest) -> GuardReport:
        """Whether the admission policies that protect this bot are in force now."""


log = structlog.get_logger(__name__)


class Reconciler:
    def __init__(
        self,
        api: KubeApi,
        store: Store,
        platform: Platform,
        guard: PolicyGuard,
        *,
        now_ns: Callable[[], int],
        instance: str,
    ) -> None:
        """`instance` names this process in Events."""
        self._guard = guard
        self._granting = asyncio.Lock()
        self._generations: dict[Key, tuple[int, int]] = {}
        """The generation of each bot that we know, and since when."""
        self._api = api
        self._store = store
        self._platform = platform
        self._now_ns = now_ns
        self._instance = instance

    async def reconcile(self, key: Key) -> float | None:
        """In how many seconds to look again without being told; None: when something happens."""
        bot = self._store.bot(key)
        if bot is None:
            self._generations.pop(key, None)
            self._store.heard(key, self._store.asked(key))
            return None
        asked = self._store.asked(key)
        seen = Observation(
            bot,
            self._store.children(key),
            generation_age_ns=self._generation_age_ns(key, bot),
            halts=self._store.halts(),
            asked=asked,
        )
        again_in_seconds = await self._reconcile(key, bot, seen)
        self._store.heard(key, asked)  # what failed before this raises, and is done again with them
        return again_in_seconds

    async def _reconcile(self, key: Key, bot: Manifest, seen: Observation) -> float | None:
        observation = await self._confirm(key, seen)
        observation = await self._ask_store(key, observation)
        todo = self._plan(observation)
        if not todo.asks_clearance:
            return await self._carry_through(key, bot, observation, todo)
        # One at a time, from the look at the other bots to the permit: two that ask at once would both get the account.
        async with self._granting:
            observation = replace(observation, clearance=await self._clear(bot))
            return await self._carry_through(key, bot, observation, self._plan(observation))

    async def _carry_through(self, key: Key, bot: Manifest, observation: Observation, todo: Plan) -> float | None:
        refusals: tuple[Problem, ...] = ()
        if todo.finalizer:
            try:
                bot = await self._put_finalizers(key, bot, [FINALIZER])
            except Refused as refused:  # no live pod without it
                refusals = (_describe(refused),)
                todo = replace(todo, applies=tuple(each for each in todo.applies if each.kind != kinds.DEPLOYMENT))
        refusals += await self._carry_out(key, todo)
        if refusals:
            todo = self._plan(replace(observation, refusals=refusals))
        if todo.status is not None:
            written = await self._write_status(key, bot, todo.status)
            if written is None:
                return None
            bot = written
        await self._tell(key, bot, todo)
        if todo.finalizer is False:
            await self._put_finalizers(key, bot, [])
        return todo.requeue_after_seconds

    def _generation_age_ns(self, key: Key, bot: Manifest) -> int:
        generation, now_ns = number(bot, "metadata", "generation"), self._now_ns()
        known, since_ns = self._generations.get(key, (0, now_ns))
        if known != generation:
            self._generations[key] = (generation, now_ns)
            return 0
        return now_ns - since_ns

    def _plan(self, observation: Observation) -> Plan:
        return plan(observation, self._platform, self._now_ns())

    async def _ask_store(self, key: Key, observation: Observation) -> Observation:
        """What External Secrets said last of what it cannot make: its status does not name the key."""
        secret = observation.children.get(kinds.EXTERNAL_SECRET)
        if secret is None or is_made(secret):
            return observation
        try:
            warning = await self._api.find_warning(key.namespace, kinds.EXTERNAL_SECRET, child_name(key.name))
        except ApiError as error:
            log.warning("events not read", bot=str(key), error=str(error))
            return observation
        return replace(observation, store_warning=warning)

    async def _clear(self, bot: Manifest) -> Clearance:
        guard, view = await self._guard.check(bot), read_bot(bot)
        others = self._store.bots_of_account(view.trader.account if view.trader else "")
        return Clearance(guard, find_account_holder(view, (read_bot(other) for other in others)))

    async def _put_finalizers(self, key: Key, bot: Manifest, finalizers: list[str]) -> Manifest:
        """The bot as it is then."""
        try:
            written = await self._api.apply_finalizers(key, finalizers, uid=uid_of(bot))
        except Conflict:
            await self._look_for_bot(key, bot)
            raise
        except Refused:
            if await self._api.get(kinds.BOT, key.namespace, key.name) is None:
                self._store.remove(kinds.BOT, bot)
                return bot  # gone meanwhile
            raise
        self._store.put(kinds.BOT, written)
        log.info("finalizers written", bot=str(key), finalizers=finalizers)
        if mapping(written, "metadata").get("generation") != mapping(bot, "metadata").get("generation"):
            raise Conflict("patch tradingbots", "the spec has changed meanwhile", status=409)
        return written

    async def _confirm(self, key: Key, observation: Observation) -> Observation:
        """What the plan would make because nothing was seen may be there without our labels: then it is not ours."""
        unseen = [apply.kind for apply in self._plan(observation).applies if apply.is_new]
        if not unseen:
            return observation
        children = dict(observation.children)
        for kind in unseen:
            children[kind] = await self._api.get(kind, key.namespace, child_name(key.name))
        return replace(observation, children=children)

    async def _carry_out(self, key: Key, todo: Plan) -> tuple[Problem, ...]:
        """Answers what was refused. A conflict ends the attempt: what we saw is old."""
        for delete in todo.deletes:
            await self._api.delete(delete.kind, delete.namespace, delete.name, uid=delete.uid)
            if (seen := self._store.children(key).get(delete.kind)) is not None:
                self._store.remove(delete.kind, seen)  # not every kind is watched, and a list comes later
            log.info("deleted", bot=str(key), kind=delete.kind.name, object=delete.name)
        refusals: list[Problem] = []
        for apply in todo.applies:
            if apply.kind == kinds.DEPLOYMENT and refusals:
                continue  # it needs what was refused
            try:
                await self._apply(key, apply)
            except Refused as refused:
                if refused.status == 404 and apply.kind in kinds.OPTIONAL:
                    self._store.forget(apply.kind)  # its CRD went between two lists
                    continue
                if not apply.is_new and await self._is_replaced(key, apply):
                    raise Conflict(refused.what, "another object has this name now", status=409) from refused
                log.error("refused", bot=str(key), request=refused.what, error=_first_line(refused))
                refusals.append(_describe(refused))
            except Conflict:
                await self._look_again(key, apply.kind)
                raise
        return tuple(refusals)

    async def _apply(self, key: Key, apply: Apply) -> None:
        applied = await self._api.apply(apply.kind, apply.manifest, force=not apply.is_new)
        self._store.put(apply.kind, applied)
        log.info("applied", bot=str(key), kind=apply.kind.name, created=apply.is_new)
        if not is_up_to_date(apply.manifest, applied):
            # An admission webhook changes what we write, or our comparison is wrong: each resync would write again.
            log.warning("applied object differs from what was asked for", bot=str(key), kind=apply.kind.name)

    async def _look_again(self, key: Key, kind: Kind) -> Manifest | None:
        found = await self._api.get(kind, key.namespace, child_name(key.name))
        if found is not None and is_ours_by_label(found):
            self._store.put(kind, found)
        elif (seen := self._store.children(key).get(kind)) is not None:
            self._store.remove(kind, seen)
        return found

    async def _is_replaced(self, key: Key, apply: Apply) -> bool:
        """The uid that we sent is refused as an invalid value (422) where another object has taken the name."""
        found = await self._look_again(key, apply.kind)
        return found is None or uid_of(found) != uid_of(apply.manifest)

    async def _write_status(self, key: Key, bot: Manifest, status: Manifest) -> Manifest | None:
        """The bot as it is then; None when it is gone."""
        try:
            version = text(bot, "metadata", "resourceVersion")
            written = await self._api.apply_status(key, status, resource_version=version)
        except Conflict:
            await self._look_for_bot(key, bot)
            raise
        except Refused as error:
            if error.status != 404:
                raise
            self._store.remove(kinds.BOT, bot)  # deleted meanwhile
            return None
        self._store.put(kinds.BOT, written)
        log.info("status written", bot=str(key), phase=status["phase"], generation=status["observedGeneration"])
        return written

    async def _look_for_bot(self, key: Key, bot: Manifest) -> None:
        found = await self._api.get(kinds.BOT, key.namespace, key.name)
        if found is None:
            self._store.remove(kinds.BOT, bot)
        else:
            self._store.put(kinds.BOT, found)

    async def _tell(self, key: Key, bot: Manifest, todo: Plan) -> None:
        """After the status, from whose change they follow: an Event that is lost then is not made up for."""
        for event in todo.events:
            manifest = build_event(event, read_bot(bot).ref, instance=self._instance, now_ns=self._now_ns())
            try:
                await self._api.create_event(manifest)
            except ApiError as error:
                log.warning("event not told", bot=str(key), reason=event.reason, error=str(error))


def _describe(refused: Refused) -> Problem:
    return Problem(
        Reason.APPLY_REFUSED,
        f"the API server refused to {refused.what}: {_first_line(refused)}. What is running stays as it is; "
        "the operator tries again with each resync.",
    )


def _first_line(refused: Refused) -> str:
    """Below it the API server may have drawn a whole difference."""
    return refused.message.partition("\n")[0].rstrip(". ")
