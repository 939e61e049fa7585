"""Runs a simulator as a process of its own and knows when it serves: for tests and for whoever starts a sandbox.

SHELL.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_POLL_SECONDS = 0.02
_STOP_SECONDS = 10.0


class VenueNotServingError(RuntimeError):
    """The simulator ended, or did not serve in time; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class VenueProcess:
    """A simulator that serves."""

    address: str
    pid: int
    log_path: Path

    @property
    def rest_url(self) -> str:
        return f"http://{self.address}/api/v3"

    @property
    def stream_url(self) -> str:
        return f"ws://{self.address}/ws"

    def state(self) -> dict[str, Any]:
        """What the simulator tells about itself."""
        with urllib.request.urlopen(f"http://{self.address}/sandbox/state", timeout=10) as answer:
            state: dict[str, Any] = json.load(answer)
        return state

    def burst(self, *, trades: int, symbol: str) -> None:
        """Make it emit so many extra trades at once."""
        url = f"http://{self.address}/sandbox/burst?trades={trades}&symbol={symbol}"
        request = urllib.request.Request(url, method="POST")
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 - http only

    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged so far, whole lines only."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines(keepends=True) if line.endswith("\n")]


@contextmanager
def running_venue(
    name: str, options: Sequence[str] = (), *, host: str = "127.0.0.1", serving_seconds: float = 60.0
) -> Iterator[VenueProcess]:
    """Start `venue NAME OPTIONS` on a free port, wait until it serves, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="venue-") as folder:
        address_path, log_path = Path(folder) / "address", Path(folder) / "log"
        command = [sys.executable, "-m", "tradingbot_sandbox.venues", name, "--listen", f"{host}:0"]
        with log_path.open("wb") as log:
            process = subprocess.Popen([*command, "--address-file", str(address_path), *options], stderr=log)
        try:
            address = _wait_for_address(process, address_path, log_path, serving_seconds)
            yield VenueProcess(address, process.pid, log_path)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_address(process: subprocess.Popen[bytes], path: Path, log_path: Path, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            what = "did not serve in time" if process.returncode is None else f"ended with {process.returncode}"
            raise VenueNotServingError(f"the simulator {what}: {log_path.read_text()[-2000:]}")
        time.sleep(_POLL_SECONDS)
    return path.read_text().strip()
