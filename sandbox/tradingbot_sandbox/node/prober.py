"""SHELL. One question to a container: HTTP, TCP or a command. What the answers add up to is in `probe_rules.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from .probe_rules import Action, HttpGet, TcpSocket
from .process import OUTPUT_LIMIT, Command, run_to_end

Answer = tuple[bool, str]
"""Whether it passed, and what to say if it did not."""


class Prober:
    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, action: Action, timeout_seconds: float, pod_ip: str, command: Command, scratch: Path) -> Answer:
        """`command` gives an exec its environment and folder; its words are those of the action."""
        if isinstance(action, HttpGet):
            return await self._http(action, timeout_seconds, pod_ip)
        if isinstance(action, TcpSocket):
            return await _tcp(action.host or pod_ip, action.port, timeout_seconds)
        return await _exec(command, timeout_seconds, scratch)

    async def _http(self, action: HttpGet, timeout_seconds: float, pod_ip: str) -> Answer:
        if self._session is None:
            # A fresh connection each time, no proxy, no check of certificates: as the kubelet asks.
            connector = aiohttp.TCPConnector(force_close=True, ssl=False, limit=0)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        url = f"{action.scheme}://{action.host or pod_ip}:{action.port}{action.path}"
        headers = {"User-Agent": "kube-probe/process-node", "Accept": "*/*"} | dict(action.headers)
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            async with self._session.get(url, headers=headers, timeout=timeout, allow_redirects=False) as response:
                await response.content.read(OUTPUT_LIMIT)
                if 200 <= response.status < 400:
                    return True, ""
                return False, f"HTTP probe failed with statuscode: {response.status}"
        except TimeoutError:
            return False, f'Get "{url}": no answer within {timeout_seconds:g} s'
        except aiohttp.ClientConnectorError as error:
            return False, f'Get "{url}": {error.strerror or error}'
        except (aiohttp.ClientError, OSError) as error:
            return False, f'Get "{url}": {error}'


async def _tcp(host: str, port: int, timeout_seconds: float) -> Answer:
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return False, f"dial tcp {host}:{port}: no answer within {timeout_seconds:g} s"
    except OSError as error:
        return False, f"dial tcp {host}:{port}: {error.strerror}"
    writer.close()
    return True, ""


async def _exec(command: Command, timeout_seconds: float, scratch: Path) -> Answer:
    try:
        status, output = await run_to_end(command, timeout_seconds, scratch)
    except OSError as error:
        return False, f"{command.argv[0]}: {error.strerror}"
    if status is None:
        return False, f"command {_words(command.argv)} timed out after {timeout_seconds:g} s"
    return status == 0, output.strip()


def _words(argv: Sequence[str]) -> str:
    return repr(" ".join(argv))
