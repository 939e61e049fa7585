"""SHELL. What every stream of ours needs of ccxt's websocket client, whatever it carries. Between ccxt and an adapter.

The class of the exchange is extended; its package is not imported here.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

_HANG_UP_SECONDS = 1.0
"""How long a connection that is given up may take to say goodbye. A dead peer never answers."""
Handle = Callable[[Any], None]
"""Takes one frame of a websocket."""


def lined(exchange_class: type[Any]) -> type[Any]:
    class Lined(exchange_class):  # type: ignore[misc]  # ccxt is loaded at run time, and has no types
        _dials: Sequence[asyncio.Task[Any]] = ()
        _pause_seconds = 0.0
        """What the venue asked for when it refused to be dialled."""

        def intercept(self, handle: Handle) -> Handle:
            """What takes the frames of a new connection, instead of ccxt's own handler."""
            return handle

        def client(self, url: str) -> Any:
            is_new = url not in (self.clients or {})
            client = super().client(url)
            if is_new:
                client.open = functools.partial(self._dial, client.open)
                client.handle_message = self.intercept(client.handle_message)
            return client

        def on_error(self, client: Any, error: Exception) -> None:
            self._pause_seconds = client.last_retry_after or 0.0
            super().on_error(client, error)

        async def hang_up(self) -> None:
            clients = list((self.clients or {}).values())
            endings = [_close(each) for each in clients]
            for dial in self._dials:
                dial.cancel()
            await asyncio.gather(*endings, *self._dials, return_exceptions=True)
            self.session = None

        async def _dial(self, dial: Callable[..., Awaitable[None]], *arguments: Any) -> None:
            """ccxt starts this and keeps no hold of it: a dial that hangs would connect after we have hung up."""
            task = asyncio.current_task()
            self._dials = [*self._dials, *([task] if task else [])]
            await dial(*arguments)

    return Lined


async def _close(client: Any) -> None:
    async with asyncio.timeout(_HANG_UP_SECONDS):
        await client.close()
