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
from collections.abc import Iterator, Mapping, Sequence
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

    @property
    def private_rest_url(self) -> str:
        """Where signed requests of `/sapi/v1` go; those of `/api/v3` go to `rest_url`."""
        return f"http://{self.address}/sapi/v1"

    @property
    def session_url(self) -> str:
        """The WebSocket API, with the user data stream."""
        return f"ws://{self.address}/ws-api/v3"

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

    def open_account(self, balances: Mapping[str, str], *, pays_in_bnb: bool = False) -> int:
        """A new account with these amounts; its uid."""
        opened = self._control("POST", "accounts", {"balances": dict(balances), "paysInBnb": pays_in_bnb})
        return int(opened["uid"])

    def accounts(self) -> list[dict[str, Any]]:
        """The ground truth of every account."""
        accounts: list[dict[str, Any]] = self._control("GET", "accounts")["accounts"]
        return accounts

    def account(self, uid: int) -> dict[str, Any]:
        """The ground truth: balances, transfers, orders, trades, and how many orders each client id has."""
        return self._control("GET", f"accounts/{uid}")

    def issue_key(
        self, uid: int, *, permissions: Mapping[str, bool] | None = None, addresses: Sequence[str] = ()
    ) -> tuple[str, str]:
        """A new key and its secret. `permissions` by Binance's names; what is not named is a careful bot's."""
        wanted = {"permissions": dict(permissions or {}), "addresses": list(addresses)}
        key = self._control("POST", f"accounts/{uid}/keys", wanted)
        return str(key["apiKey"]), str(key["apiSecret"])

    def revoke_key(self, api_key: str) -> None:
        self._control("POST", "keys/revoke", {"apiKey": api_key})

    def set_permissions(self, api_key: str, permissions: Mapping[str, bool]) -> None:
        self._control("POST", "keys/permissions", {"apiKey": api_key, "permissions": dict(permissions)})

    def transfer(self, uid: int, asset: str, amount: str) -> None:
        """A deposit, or with a negative amount a withdrawal."""
        self._control("POST", f"accounts/{uid}/transfers", {"asset": asset, "amount": amount})

    def order_by_hand(self, uid: int, **parameters: str) -> dict[str, Any]:
        """A person places an order on the account: the parameters of Binance's `POST /api/v3/order`."""
        return self._control("POST", f"accounts/{uid}/orders", parameters)

    def requests(self) -> dict[str, int]:
        """REST requests that came, by method and path."""
        return self._control("GET", "requests")

    def _control(self, method: str, path: str, given: Mapping[str, object] | None = None) -> dict[str, Any]:
        body = None if given is None else json.dumps(given).encode()
        request = urllib.request.Request(f"http://{self.address}/sandbox/{path}", data=body, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http only
            told: dict[str, Any] = json.load(answer)
        return told

    def faults(self) -> list[dict[str, Any]]:
        """Its fault rules, each with how often it matched (`seen`) and how often it was hit (`hits`)."""
        rules: list[dict[str, Any]] = self._faults("GET")["rules"]
        return rules

    def add_fault(self, effect: str, *, when: Mapping[str, object] | None = None, **fields: object) -> int:
        """One more rule, from now on; its number. The words are those of faults_rules."""
        rule = {"when": dict(when or {}), "what": {"effect": effect, **fields}}
        (number,) = self._faults("POST", body=json.dumps(rule).encode())["added"]
        return int(number)

    def remove_fault(self, number: int | None = None) -> None:
        """Take one rule away, or all of them."""
        self._faults("DELETE", "" if number is None else f"/{number}")

    def _faults(self, method: str, path: str = "", *, body: bytes | None = None) -> dict[str, Any]:
        url = f"http://{self.address}/sandbox/faults{path}"
        request = urllib.request.Request(url, data=body, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http only
            told: dict[str, Any] = json.load(answer)
        return told

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
