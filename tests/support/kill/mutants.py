"""Edited copies of the trader's package, to see whether the harness finds what is wrong with them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import tradingbot_trader
from support.kill.cases import Case


class NoSuchText(AssertionError):  # noqa: N818  named by consequence (STYLE)
    """The text that a mutant replaces is not there once: the product has changed, and the mutant has to follow."""


@dataclass(frozen=True, slots=True)
class Edit:
    module: str
    """Below the package: orders/recovery.py."""
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    name: str
    edits: tuple[Edit, ...]
    case: Case
    """Which finds it."""
    found: str
    """What the failure says."""

    def __str__(self) -> str:
        return self.name


SEND_AGAIN = """        for order in list(self._desk.engine.orders.values()):
            self._gateway.submit(order.intent, self._clock.now_ns())
"""
MUTANTS = (
    Mutant(
        name="what was on its way is sent again after a restart",
        edits=(
            Edit("orders/recovery.py", "        self._recall()\n", f"        self._recall()\n{SEND_AGAIN}"),
            # It would be held back: the books do not agree yet.
            Edit(
                "orders/gateway.py",
                "            reason = self._hooks.may_place(intent)\n            if",
                '            reason = ""\n            if',
            ),
            Edit("orders/gateway.py", "reason = self._hooks.may_place(intent)  # again", 'reason = ""  # again'),
        ),
        case=Case("order:after-send", "market", "kept"),
        found="P1: the venue took order",
    ),
    Mutant(
        name="fills of the life before are not fetched",
        edits=(
            Edit(
                "venues/binance_orders.py",
                "return tuple(sorted((_trade(each, symbol_of) for each in read.rows(raw)), key=_trade_age))",
                "return ()",
            ),
        ),
        case=Case("commit:fill:before", "market", "kept"),
        found="P2: trade",
    ),
    Mutant(
        name="a lost answer is taken as a refusal",
        edits=(
            Edit(
                "orders/gateway.py",
                "self._emit(order_id, OrderState.UNRESOLVED, str(answer))",
                "self._emit(order_id, OrderState.REJECTED, str(answer))",
            ),
        ),
        case=Case("commit:end:after", "limit", "lost"),
        found="AbsentButSeen",
    ),
    Mutant(
        name="an order leaves before its intent is durable",
        edits=(
            Edit(
                "desk.py",
                "        if not self.record(write):\n            # Not",
                "        self._owed.append(write)\n        if False:\n            # Not",
            ),
            Edit("orders/gateway.py", 'self._emit(order_id, OrderState.SENT, "")', "pass"),
        ),
        case=Case("order:after-send", "market", "kept"),
        found="P1: an order left before its intent was durable",
    ),
)


def plant(mutant: Mutant, folder: Path) -> Path:
    """An edited copy; the folder that it is in is for the front of the import path."""
    package = Path(tradingbot_trader.__file__).parent
    copy = folder / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in mutant.edits:
        module = copy / edit.module
        text = module.read_text()
        if text.count(edit.before) != 1:
            raise NoSuchText(f"{mutant}: {edit.module} holds this {text.count(edit.before)} times: {edit.before}")
        module.write_text(text.replace(edit.before, edit.after))
    return folder
