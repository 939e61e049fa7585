"""SHELL. The Secrets and ConfigMaps that pods of this node name: each is watched while a pod uses it, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from .errors import ApiUnreachable
from .kube import KubeApi, core_path
from .reflector import Change, Reflector

Json = dict[str, Any]
Key = tuple[str, str, str]
"""(`secrets` or `configmaps`, namespace, name)."""
FIRST_LIST_SECONDS = 10.0


class _Watched:
    def __init__(self, reflector: Reflector, task: asyncio.Task[None]) -> None:
        self.reflector = reflector
        self.task = task
        self.users: dict[str, Callable[[], None]] = {}


class References:
    def __init__(self, api: KubeApi, spawn: Callable[[Any], asyncio.Task[None]]) -> None:
        self._api = api
        self._spawn = spawn
        self._watched: dict[Key, _Watched] = {}

    def hold(self, user: str, keys: Iterable[Key], on_change: Callable[[], None]) -> None:
        """`user` (a pod's uid) needs these from now on; `on_change` is called when one of them changes."""
        for key in keys:
            if key not in self._watched:
                self._watched[key] = self._watch(key)
            self._watched[key].users[user] = on_change

    def release(self, user: str) -> None:
        for key, watched in list(self._watched.items()):
            watched.users.pop(user, None)
            if not watched.users:
                watched.task.cancel()
                del self._watched[key]

    async def ready(self, user: str) -> None:
        """Waits until everything that `user` holds has been looked up once."""
        try:
            async with asyncio.timeout(FIRST_LIST_SECONDS):
                for watched in list(self._watched.values()):
                    if user in watched.users:
                        await watched.reflector.synced.wait()
        except TimeoutError as error:
            raise ApiUnreachable("the API server has not answered for the pod's Secrets and ConfigMaps") from error

    def lookup(self, kind: str, namespace: str, name: str) -> Json | None:
        watched = self._watched.get((kind, namespace, name))
        return next(iter(watched.reflector.objects.values()), None) if watched else None

    def _watch(self, key: Key) -> _Watched:
        kind, namespace, name = key

        def tell(_change: Change, _item: Json) -> None:
            for on_change in list(self._watched[key].users.values()) if key in self._watched else []:
                on_change()

        reflector = Reflector(self._api, core_path(kind, namespace), tell, field_selector=f"metadata.name={name}")
        return _Watched(reflector, self._spawn(reflector.run()))
