"""SHELL. A local copy of some objects of the API server: list, then watch, resumed where it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Literal

import structlog

from .errors import ApiError, ApiUnreachable, Expired
from .kube import KubeApi

Json = dict[str, Any]
Change = Literal["set", "gone"]
log = structlog.get_logger()

WATCH_SECONDS = 120.0
"""How long one watch request lasts. A watch that died without a word hides a change for at most this and 10 s."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0


class Reflector:
    def __init__(
        self,
        api: KubeApi,
        path: str,
        on_change: Callable[[Change, Json], None],
        *,
        field_selector: str = "",
    ) -> None:
        """`on_change` is called for every object that is new, changed or gone, the first list's objects included."""
        self._api = api
        self._path = path
        self._on_change = on_change
        self._query = {"fieldSelector": field_selector} if field_selector else {}
        self._version = ""
        """Where the next watch begins; empty: list first."""
        self.objects: dict[str, Json] = {}
        """By uid: an object that was made anew under the same name is another one."""
        self.synced = asyncio.Event()
        """Set when the first list has arrived."""

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = clock()
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Expired:
                self._version = ""
            except ApiUnreachable as error:
                log.info("watch_interrupted", path=self._path, error=str(error), pause_seconds=pause)
            except ApiError as error:
                # The server is there and says no: it may be another one, which never knew our place in its history.
                log.info("watch_refused", path=self._path, error=str(error), pause_seconds=pause)
                self._version = ""
            if clock() - began > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
                continue
            # A server that ends every watch at once must not be asked in a busy loop.
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _list(self) -> None:
        answer = await self._api.get(self._path, self._query)
        kind = answer["kind"].removesuffix("List")
        listed = {item["metadata"]["uid"]: item for item in answer["items"]}
        for uid in [uid for uid in self.objects if uid not in listed]:
            self._remove(uid)
        for item in listed.values():
            # The items of a list carry neither apiVersion nor kind.
            self._set({"apiVersion": answer["apiVersion"], "kind": kind} | item)
        self._version = str(answer["metadata"]["resourceVersion"])
        self.synced.set()

    async def _watch(self) -> None:
        query = self._query | {"resourceVersion": self._version}
        async with aclosing(self._api.watch(self._path, query, WATCH_SECONDS)) as events:
            async for event in events:
                item = event["object"]
                self._version = item["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self.objects[item["metadata"]["uid"]] = item
                    self._remove(item["metadata"]["uid"])
                elif event["type"] != "BOOKMARK":
                    self._set(item)

    def _set(self, item: Json) -> None:
        before = self.objects.get(item["metadata"]["uid"])
        if before and before["metadata"]["resourceVersion"] == item["metadata"]["resourceVersion"]:
            return
        self.objects[item["metadata"]["uid"]] = item
        self._on_change("set", item)

    def _remove(self, uid: str) -> None:
        self._on_change("gone", self.objects.pop(uid))
