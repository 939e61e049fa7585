"""SHELL. A program: somebody's hand on a bot's kill switch, and beside it the barest watch of that bot.

A process of its own, so that it shares no interpreter with the trader that it stops. One connection that stays open
patches; another one watches and notes when the line with the patched version has come, and does nothing else with it.
"""
# ruff: noqa: T201  a program: its answers go to stdout

from __future__ import annotations

import asyncio
import http.client
import json
import re
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from tradingbot_sandbox.control_plane.api import ApiClient

DEADLINE_SECONDS = 30.0
WATCH_SECONDS = 3600
MERGE = {"Content-Type": "application/merge-patch+json", "Accept": "application/json"}
_VERSION = re.compile(rb'"resourceVersion":"(\d+)"')


@dataclass(frozen=True, slots=True)
class Told:
    """One patch, by the monotonic clock that all processes of a machine share."""

    sent_ns: int
    accepted_ns: int
    """Status line and headers of the 2xx have been read."""
    event_ns: int
    """The watch has read the line that tells of it."""


class Hand:
    """The program, as the bench holds it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def patch(self, kill_switch: Mapping[str, Any]) -> Told:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the hand was started without pipes")
        self._process.stdin.write(json.dumps(kill_switch).encode() + b"\n")
        async with asyncio.timeout(DEADLINE_SECONDS):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the hand has ended; its log says why")
        return Told(**json.loads(line))


@asynccontextmanager
async def helping_hand(admin: ApiClient, path: str) -> AsyncIterator[Hand]:
    """`path`: of the bot."""
    files = {"ca": str(admin.tls.ca), "certificate": str(admin.tls.certificate), "key": str(admin.tls.key)}
    given = json.dumps({"url": admin.url, "path": path} | files)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.hand", given, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Hand(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


class _Watch:
    """Bytes and the time of each line; what is in it is looked at when somebody asks."""

    def __init__(self, connection: http.client.HTTPSConnection, path: str, version: str) -> None:
        parent, _, name = path.rpartition("/")
        query = f"watch=true&fieldSelector=metadata.name%3D{name}&resourceVersion={version}"
        connection.request("GET", f"{parent}?{query}&timeoutSeconds={WATCH_SECONDS}")
        self._response = connection.getresponse()
        if self._response.status != http.client.OK:
            raise RuntimeError(f"the watch was refused with {self._response.status}")
        self._seen_ns: dict[int, int] = {}
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def seen_ns(self, version: int) -> int:
        with self._news:
            if not self._news.wait_for(lambda: version in self._seen_ns, DEADLINE_SECONDS):
                raise TimeoutError(f"version {version} did not come on the watch")
            return self._seen_ns[version]

    def _read(self) -> None:
        rest = b""
        while data := self._response.read1(1 << 16):
            now_ns = time.monotonic_ns()
            *lines, rest = (rest + data).split(b"\n")
            with self._news:
                for line in lines:
                    if found := _VERSION.search(line):
                        self._seen_ns[int(found[1])] = now_ns
                self._news.notify_all()


def main(given: Mapping[str, str]) -> None:
    """Each line of stdin is a `killSwitch` to patch."""
    patches, watches = _connect(given), _connect(given)
    patches.request("GET", given["path"])
    bot = json.loads(patches.getresponse().read())
    watch = _Watch(watches, given["path"], bot["metadata"]["resourceVersion"])
    for line in sys.stdin:
        body = json.dumps({"spec": {"killSwitch": json.loads(line)}}).encode()
        sent_ns = time.monotonic_ns()
        patches.request("PATCH", given["path"], body, MERGE)
        response = patches.getresponse()
        accepted_ns = time.monotonic_ns()
        answer = json.loads(response.read())
        if response.status != http.client.OK:
            raise RuntimeError(f"the patch was refused: {answer}")
        event_ns = watch.seen_ns(int(answer["metadata"]["resourceVersion"]))
        print(json.dumps(asdict(Told(sent_ns, accepted_ns, event_ns))), flush=True)


def _connect(given: Mapping[str, str]) -> http.client.HTTPSConnection:
    address = urlsplit(given["url"])
    context = ssl.create_default_context(cafile=given["ca"])
    context.load_cert_chain(given["certificate"], given["key"])
    return http.client.HTTPSConnection(address.hostname or "", address.port, context=context)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
