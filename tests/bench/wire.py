"""SHELL. A relay between a trader and its venue, which notes when a request's first bytes come by, and may hold them.

In the bench's own loop where the trader is another process; as a program of its own (`python -m bench.wire`) where the
trader shares the bench's interpreter, so that neither slows the other down.
"""
# ruff: noqa: T201  a program: what it sees goes to stdout

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 16
_REQUEST = re.compile(rb"^(GET|POST|PUT|DELETE) ([^ ?]+)")
"""One request at a time is on a connection, so that each begins a read of ours."""
DEADLINE_SECONDS = 30.0


async def pass_on(_what: str) -> None:
    """Holds no request."""


async def pass_back(_what: str, _answer: bytes) -> None:
    """Holds no answer."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request's first bytes."""

    at_ns: int
    """Monotonic."""
    what: str
    """Method and path."""
    is_new: bool
    """The first one of its connection."""


@dataclass
class Wire:
    """`address` is where the trader is told to find its venue."""

    target: str
    """HOST:PORT of the venue."""
    on_request: Callable[[Seen], None] = lambda _seen: None
    """Told of each request."""
    hold: Callable[[str], Awaitable[None]] = pass_on
    """Called with method and path before a request goes on; while it waits, nothing of that connection goes on."""
    hold_answer: Callable[[str, bytes], Awaitable[None]] = pass_back
    """The same with the first bytes of its answer, before these go back."""
    address: str = ""
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def _serve(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        ends = [near_out]
        try:
            first = await near.read(CHUNK_BYTES)
            self._note(first, is_new=True)  # before the connection behind ours: that one is no part of the trader's way
            host, _, port = self.target.rpartition(":")
            far, far_out = await asyncio.open_connection(host, int(port))
            ends.append(far_out)
            asked: list[str] = []
            await asyncio.gather(self._forth(first, near, far_out, asked), self._back(far, near_out, asked))
        except OSError:
            pass  # one of the two has gone, and so the other one is told
        finally:
            for end in ends:
                end.close()

    def _note(self, data: bytes, *, is_new: bool) -> None:
        if what := _request(data):
            self.on_request(Seen(time.monotonic_ns(), what, is_new))

    async def _forth(
        self, data: bytes, near: asyncio.StreamReader, far_out: asyncio.StreamWriter, asked: list[str]
    ) -> None:
        while data:
            if what := _request(data):
                asked.append(what)
                await self.hold(what)
            far_out.write(data)
            await far_out.drain()
            data = await near.read(CHUNK_BYTES)
            self._note(data, is_new=False)
        far_out.close()

    async def _back(self, far: asyncio.StreamReader, near_out: asyncio.StreamWriter, asked: list[str]) -> None:
        while data := await far.read(CHUNK_BYTES):
            if asked:
                await self.hold_answer(asked.pop(0), data)
            near_out.write(data)
            await near_out.drain()
        near_out.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, HOST, 0)
        self.address = f"{HOST}:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            for task in list(self._connections):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)


def _request(data: bytes) -> str:
    found = _REQUEST.match(data)
    return f"{found[1].decode()} {found[2].decode()}" if found else ""


@dataclass(frozen=True, slots=True)
class WireProcess:
    """The program."""

    address: str
    lines: asyncio.StreamReader

    async def first(self, what: str, *, after_ns: int) -> Seen:
        """The first request of that method and path, of those after a moment."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while line := await self.lines.readline():
                seen = Seen(**json.loads(line))
                if seen.what == what and seen.at_ns >= after_ns:
                    return seen
        raise RuntimeError("the wire has ended; its log says why")


@asynccontextmanager
async def wire_process(target: str) -> AsyncIterator[WireProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.wire", target, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the wire was started without pipes")
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            address = json.loads(await process.stdout.readline())
        yield WireProcess(address, process.stdout)
    finally:
        process.terminate()
        await process.wait()


async def main(target: str) -> None:
    """Until it is ended: its address, then a line for each request."""
    wire = Wire(target, on_request=lambda seen: print(json.dumps(asdict(seen)), flush=True))
    async with wire.serving():
        print(json.dumps(wire.address), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
