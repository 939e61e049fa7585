"""SHELL: free ports on loopback, kept for us from the moment they are chosen."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from pathlib import Path

from tradingbot_sandbox.supervisor.state import write_atomic

HOST = "127.0.0.1"


class Ports:
    """Ports by purpose, each held by a socket that is bound and does not listen.

    Linux lets a server with SO_REUSEADDR (every Go and asyncio server sets it) listen on a port that such a socket
    only binds, while nobody is given that port by chance, also not between a crash and the restart. It stops no
    program that insists on the very port; then the server says "address already in use", and other ports are chosen.

    The file remembers the ports from one run to the next: addresses that users wrote down stay true if they can.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._held: dict[str, socket.socket] = {}

    def take(self, names: Iterable[str]) -> dict[str, int]:
        """One port for each purpose: the one of the last run when it is free, else any."""
        remembered = self._remembered()
        for name in names:
            if name not in self._held:
                self._held[name] = (hold(remembered[name]) if name in remembered else None) or hold_any()
        ports = {name: int(held.getsockname()[1]) for name, held in self._held.items()}
        write_atomic(self._file, json.dumps(remembered | ports))
        return ports

    def close(self) -> None:
        for held in self._held.values():
            held.close()
        self._held.clear()

    def __enter__(self) -> Ports:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _remembered(self) -> dict[str, int]:
        try:
            ports: dict[str, int] = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        return ports


def hold(port: int) -> socket.socket | None:
    """A socket that holds this port; None when another process listens on it."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((HOST, port))
    except OSError:
        held.close()
        return None
    return held


def hold_any() -> socket.socket:
    held = hold(0)
    if held is None:
        raise OSError("no free port on 127.0.0.1")
    return held
