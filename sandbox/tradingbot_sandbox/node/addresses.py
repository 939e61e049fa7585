"""SHELL. An address of its own for each pod: 127.0.0.0/8 is all loopback on Linux, with nothing to set up."""

from __future__ import annotations

import errno
import hashlib
import socket

from .errors import StartProblem

TRIES = 64


class Addresses:
    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def take(self, uid: str) -> str:
        """The pod's address: the same one for the same pod as long as it is free, so that it survives a restart."""
        for attempt in range(TRIES):
            address = candidate(uid, attempt)
            if address not in self._taken.values() and _can_bind(address):
                self._taken[uid] = address
                return address
        raise StartProblem("FailedCreatePodSandBox", f"none of {TRIES} addresses in 127.0.0.0/8 can be bound")

    def give_back(self, uid: str) -> None:
        self._taken.pop(uid, None)


def candidate(uid: str, attempt: int) -> str:
    """127.x.y.z with x from 16 to 239, and neither first nor last in its last byte: away from 127.0.0.1, from
    127.0.0.53 and 127.0.1.1, which Debian and systemd-resolved use, and from the broadcast address."""
    digest = hashlib.sha256(f"{uid}/{attempt}".encode()).digest()
    return f"127.{16 + digest[0] % 224}.{digest[1]}.{1 + digest[2] % 254}"


def _can_bind(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
