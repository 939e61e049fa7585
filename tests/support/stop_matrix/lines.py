"""The bots' lines to the venue, each of which can be cut for one bot alone: a relay that knows who is calling.

All bots of a sandbox have the same addresses of the venue, and its fault script can name a bot in a request or in an
event of its own, but not in a stream of the market. Each bot also leaves from an address of its own, because the venue
counts requests by address.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
REST, MARKET, ACCOUNT = "rest", "market", "account"
CHUNK_BYTES = 1 << 16
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(eq=False)
class _Call:
    """One connection of a bot, and ours to the venue."""

    owner: str
    line: str
    writers: list[asyncio.StreamWriter] = field(default_factory=list)


class Lines:
    """Serves from a thread of its own, until `close`."""

    def __init__(self, target: str, pids: Callable[[], Mapping[int, str]]) -> None:
        """`target`: HOST:PORT of the venue. `pids`: whose process is which."""
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._pids = pids
        self._calls: set[_Call] = set()
        self._cut: set[tuple[str, str]] = set()
        self._owners: list[str] = []
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.addresses = {line: self._run(self._serve(line)) for line in (REST, MARKET, ACCOUNT)}
        """HOST:PORT of each line, in the venue's stead."""

    def cut(self, owner: str, line: str) -> None:
        """What is open dies, and what is called is not answered."""
        self._run(self._do_cut(owner, line))

    def mend(self, owner: str, line: str) -> None:
        self._run(self._do_mend(owner, line))

    def close(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        done: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(30)

    async def _serve(self, line: str) -> str:
        async def on_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._take(line, reader, writer)

        server = await asyncio.start_server(on_call, HOST, 0)
        self._servers.append(server)
        return f"{HOST}:{server.sockets[0].getsockname()[1]}"

    async def _do_cut(self, owner: str, line: str) -> None:
        self._cut.add((owner, line))
        for call in [each for each in self._calls if (each.owner, each.line) == (owner, line)]:
            _abort(call)

    async def _do_mend(self, owner: str, line: str) -> None:
        self._cut.discard((owner, line))

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for call in self._calls:
            _abort(call)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the turn in which the sockets of what was aborted are closed

    async def _take(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        owner = find_owner(writer.get_extra_info("peername")[1], self._pids())
        call = _Call(owner, line, [writer])
        self._calls.add(call)
        try:
            if (owner, line) in self._cut:
                return
            there = await asyncio.open_connection(*self._target, local_addr=(self._address_of(owner), 0))
            call.writers.append(there[1])
            if (owner, line) in self._cut:
                return
            ways = [asyncio.create_task(_pass(reader, there[1])), asyncio.create_task(_pass(there[0], writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # either side has gone, which the other one is told by the end of its own connection
        finally:
            self._calls.discard(call)
            _abort(call)

    def _address_of(self, owner: str) -> str:
        if owner not in self._owners:
            self._owners.append(owner)
        return f"127.77.0.{self._owners.index(owner) + 1}"


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _abort(call: _Call) -> None:
    for writer in call.writers:
        writer.transport.abort()


def find_owner(port: int, pids: Mapping[int, str]) -> str:
    """Whose connection leaves this machine's port; empty: nobody's of these."""
    inode = _inode_of(port)
    for pid, owner in pids.items():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):  # as above, a descriptor
                    found = _SOCKET.fullmatch(str(entry.readlink()))
                    if found and found[1] == inode:
                        return owner
    return ""


def _inode_of(port: int) -> str:
    """Of the socket that is bound to it here and connected; its own end, not the one that was called."""
    wanted = f":{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(wanted) and words[9] != "0":
            return words[9]
    return "none"
