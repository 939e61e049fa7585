"""`tradingbot-trader killall` as a process, on an account at the simulated Binance that the test fills with orders."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from tradingbot_sandbox.venues.process import VenueProcess
from tradingbot_trader.orders.client_id import build_client_order_id, hash_bot

INSTALLATION, NAMESPACE, NAME = "test", "desk", "btc"
BOT = hash_bot(INSTALLATION, NAMESPACE, NAME)
OTHER_BOT = hash_bot(INSTALLATION, NAMESPACE, "eth")
ENDED_SECONDS = 120
"""A run that takes longer hangs."""
OPEN = ("NEW", "PARTIALLY_FILLED")


def own_id(sequence: int, *, bot: str = BOT) -> str:
    return build_client_order_id(bot, 1_767_225_600, sequence)


@dataclass(frozen=True, slots=True)
class Done:
    """What a run left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def view(self) -> dict[str, Any]:
        view: dict[str, Any] = json.loads(self.stdout)
        return view

    @property
    def results(self) -> dict[str, str]:
        return {each["orderId"]: each["result"] for each in self.view["orders"]}

    @property
    def sale(self) -> dict[str, Any]:
        (sale,) = self.view["sales"]
        return dict(sale)


@dataclass(slots=True)
class Desk:
    """An account, a key of it in a folder, and orders far from the market, which rest."""

    venue: VenueProcess
    uid: int
    folder: Path
    key: tuple[str, str] = field(default=("", ""), repr=False)

    @classmethod
    def open(cls, venue: VenueProcess, folder: Path, balances: Mapping[str, str], **key: Any) -> Desk:
        desk = cls(venue, venue.open_account(balances), folder)
        desk.key = venue.issue_key(desk.uid, **key)
        for name, text in zip(("apiKey", "apiSecret"), desk.key, strict=True):
            (folder / name).write_text(text + "\n")
        return desk

    def price(self, symbol: str) -> Decimal:
        url = f"{self.venue.rest_url}/ticker/price?symbol={symbol}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  http only
            return Decimal(json.load(answer)["price"])

    def buy(self, client_id: str = "", *, symbol: str = "BTCUSDT", quantity: str = "0.001") -> str:
        return self._rest(symbol, client_id, side="BUY", quantity=quantity, factor="0.98")

    def offer(self, client_id: str = "", *, symbol: str = "BTCUSDT", quantity: str = "0.001") -> str:
        return self._rest(symbol, client_id, side="SELL", quantity=quantity, factor="1.02")

    def stop(self, client_id: str = "", *, symbol: str = "BTCUSDT", quantity: str = "0.001") -> str:
        """A stop-loss that sells below the market."""
        price = (self.price(symbol) * Decimal("0.97")).quantize(Decimal("1.00"))
        return self._place(
            symbol,
            client_id,
            side="SELL",
            type="STOP_LOSS_LIMIT",
            timeInForce="GTC",
            quantity=quantity,
            stopPrice=str(price),
            price=str(price - 10),
        )

    def _rest(self, symbol: str, client_id: str, *, side: str, quantity: str, factor: str) -> str:
        price = (self.price(symbol) * Decimal(factor)).quantize(Decimal("1.00"))
        return self._place(
            symbol, client_id, side=side, type="LIMIT", timeInForce="GTC", quantity=quantity, price=str(price)
        )

    def _place(self, symbol: str, client_id: str, **parameters: str) -> str:
        named = {"newClientOrderId": client_id} if client_id else {}
        return str(self.venue.order_by_hand(self.uid, symbol=symbol, **parameters, **named)["orderId"])

    def truth(self) -> dict[str, Any]:
        return self.venue.account(self.uid)

    def open_ids(self) -> set[str]:
        """What rests at the venue, by its own book."""
        return {str(each["orderId"]) for each in self.truth()["orders"] if each["status"] in OPEN}

    def total(self, asset: str) -> Decimal:
        balance = self.truth()["balances"].get(asset, {"free": "0", "locked": "0"})
        return Decimal(balance["free"]) + Decimal(balance["locked"])

    def killall(self, *words: str, answer: str | None = None, output: str = "json") -> Done:
        """One run. `answer`: what a person types; None: --yes."""
        command = [sys.executable, "-m", "tradingbot_trader", "killall", "--exchange=binance", "--network=Sandbox"]
        command += [f"--keys={self.folder}", f"--rest-url={self.venue.rest_url}", "-o", output]
        command += ["--settle=0.3", *(["--yes"] if answer is None else []), *words]
        ended = subprocess.run(
            command, input=answer or "", capture_output=True, text=True, timeout=ENDED_SECONDS, check=False
        )
        for secret in self.key:
            assert secret not in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr, ended.stderr
        return Done(ended.returncode, ended.stdout, ended.stderr)
