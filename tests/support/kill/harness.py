"""Plays one case: an account at the simulator, a trader that is killed, its next life, and the comparison."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from support.kill.cases import Case, Life
from support.kill.child import INSTALLATION, KILLED, LOG, NAMESPACE, PASSED, STATUS, Orders
from support.kill.compare import find_differences
from support.kill.nursery import Nursery, Running
from tradingbot_api.status import AuditHead
from tradingbot_sandbox.venues.process import VenueProcess
from tradingbot_trader.orders.client_id import hash_bot

OPENING = {"USDT": "10000", "BTC": "1"}
KILL_SECONDS = 90.0
"""From the start to the point: the market may have to come to an order that rests."""
SETTLE_SECONDS = 150.0
"""From the start until the trader trades again: 66 s and three scans for an order that never arrived (doubt.py)."""
END_SECONDS = 30.0
"""After SIGTERM; it drains for 10 s at most."""
POLL_SECONDS = 0.05
VENUE_OPTIONS = ("--market", "synthetic", "--start", "immediately", "--symbols", "BTCUSDT", "--weight-limit", "1000000")
"""All traders of a run ask from one address."""


class CaseFailed(AssertionError):  # noqa: N818  named by consequence
    """A promise was broken, or the case could not be played. The message says what, and what was seen."""


@dataclass(frozen=True, slots=True)
class Played:
    case: Case
    seconds: float
    orders: int
    trades: int


@dataclass(slots=True)
class _Stage:
    """What one case has to itself."""

    case: Case
    folder: Path
    name: str
    uid: int
    keys: Path
    rules: list[int]

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def life_folder(self, number: int) -> Path:
        return self.folder / f"life-{number}"


def play(case: Case, venue: VenueProcess, nursery: Nursery, folder: Path) -> Played:
    """Raises CaseFailed."""
    began = time.monotonic()
    with _staged(case, venue, folder) as stage:
        heads: list[AuditHead] = []
        for number, life in enumerate(case.lives, start=1):
            if life.loses_volume:
                shutil.rmtree(stage.store)
                heads.clear()
            status = _live(stage, number, life, venue, nursery)
            if (head := status.get("auditHead")) is not None:
                heads.append(AuditHead.model_validate(head))
        truth = venue.account(stage.uid)
        differences = find_differences(
            truth,
            stage.store,
            bot=hash_bot(INSTALLATION, NAMESPACE, stage.name),
            opening={asset: Decimal(amount) for asset, amount in OPENING.items()},
            heads=heads,
        )
        if differences:
            raise CaseFailed("\n".join([f"{case}: venue and ledger differ", *differences, *_describe(stage)]))
        return Played(case, time.monotonic() - began, len(truth["orders"]), len(truth["trades"]))


@contextmanager
def _staged(case: Case, venue: VenueProcess, folder: Path) -> Iterator[_Stage]:
    uid = venue.open_account(OPENING)
    keys = folder / "keys"
    keys.mkdir(parents=True)
    for name, secret in zip(("apiKey", "apiSecret"), venue.issue_key(uid), strict=True):
        (keys / name).write_text(secret)
    stage = _Stage(case, folder, re.sub(r"[^a-z0-9]+", "-", f"{case}-{uid}"), uid, keys, [])
    bot = hash_bot(INSTALLATION, NAMESPACE, stage.name)
    try:
        for rule in case.rules:
            when = {"operation": rule.operation, "client_id": bot, "nth": 1}
            stage.rules.append(venue.add_fault(rule.effect, when=when, **dict(rule.fields)))
        yield stage
    finally:
        for number in stage.rules:
            venue.remove_fault(number)


def _live(stage: _Stage, number: int, life: Life, venue: VenueProcess, nursery: Nursery) -> dict[str, Any]:
    """One life, to its end; what the trader said last of itself."""
    case, folder = stage.case, stage.life_folder(number)
    folder.mkdir()
    running = nursery.start(
        Orders(
            folder=str(folder),
            store=str(stage.store),
            keys=str(stage.keys),
            name=stage.name,
            address=venue.address,
            uid=stage.uid,
            rule=stage.rules[0] if stage.rules else 0,
            point=life.point,
            may_order=life.may_order,
            parameters={"kind": case.kind, "near": int(case.has_to_fill), "expires": 2 if case.has_to_expire else 0},
        )
    )
    if life.point:
        _await_kill(stage, number, life, running)
    else:
        _settle(stage, number, running)
    return _read_status(folder)


def _await_kill(stage: _Stage, number: int, life: Life, running: Running) -> None:
    killed = stage.life_folder(number) / KILLED
    has_ended = running.wait(KILL_SECONDS)
    if has_ended and running.exit_code == -9 and killed.exists() and killed.read_text() == life.point:
        return
    how = f"it ended with {running.exit_code}" if has_ended else f"it still lived after {KILL_SECONDS:g} s"
    _end(running)
    text = f"{stage.case}: life {number} never passed {life.point}: {how}"
    raise CaseFailed("\n".join([text, *_describe(stage)]))


def _settle(stage: _Stage, number: int, running: Running) -> None:
    """It finds its way back to trading by itself, and ends in order."""
    folder = stage.life_folder(number)
    is_settled = _until(lambda: running.exit_code is not None or _is_settled(_read_status(folder)), SETTLE_SECONDS)
    if not is_settled or running.exit_code is not None:
        _end(running)
        text = f"{stage.case}: life {number} did not find its way back to trading within {SETTLE_SECONDS:g} s"
        raise CaseFailed("\n".join([text, *_describe(stage)]))
    running.terminate()
    if not running.wait(END_SECONDS) or running.exit_code != 0:
        code = running.exit_code
        _end(running)
        raise CaseFailed("\n".join([f"{stage.case}: after SIGTERM life {number} ended with {code}", *_describe(stage)]))


def _is_settled(status: dict[str, Any]) -> bool:
    return (
        status.get("reconciliation", {}).get("result") == "Passed"
        and status.get("unresolvedOrders") == 0
        and status.get("state") == "Active"
    )


def _end(running: Running) -> None:
    """Of a case that has failed: an orderly end, so that its log is whole."""
    running.terminate()
    running.wait(END_SECONDS)


def _read_status(folder: Path) -> dict[str, Any]:
    path = folder / STATUS
    if not path.exists():
        return {}
    status: dict[str, Any] = json.loads(path.read_text())
    return status


def _describe(stage: _Stage) -> Iterator[str]:
    """What a person would look at first."""
    for number in range(1, len(stage.case.lives) + 1):
        folder = stage.life_folder(number)
        if not folder.exists():
            return
        passed = (folder / PASSED).read_text().split() if (folder / PASSED).exists() else []
        status = _read_status(folder)
        wanted = ("state", "stateReasons", "unresolvedOrders", "preflight", "reconciliation", "config", "credentials")
        yield f"life {number} passed {', '.join(dict.fromkeys(passed)) or 'no point'}"
        yield f"  it said {json.dumps({name: status.get(name) for name in wanted})}"
        log = (folder / LOG).read_text(errors="replace").splitlines() if (folder / LOG).exists() else []
        yield from (f"  {line}" for line in log[-25:])


def _until(look: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
