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
from support.kill.child import GO, INSTALLATION, KILLED, LOG, NAMESPACE, PASSED, STATUS, Orders
from support.kill.compare import Known, find_differences
from support.kill.nursery import Nursery, Running
from tradingbot_api.status import AuditHead
from tradingbot_sandbox.venues.process import VenueProcess
from tradingbot_trader.orders.client_id import hash_bot

OPENING = {"USDT": "10000", "BTC": "1"}
KILL_SECONDS = 90.0
"""From the start to the point: the market may have to come to an order that rests."""
SETTLE_SECONDS = 150.0
"""From the start until the trader trades again: 66 s and three scans for an order that never arrived (doubt.py)."""
ORDER_SECONDS = 60.0
"""From the leave to order until the venue has the order."""
END_SECONDS = 30.0
"""After SIGTERM; it drains for 10 s at most."""
POLL_SECONDS = 0.05
TELLING = ("state", "stateReasons", "unresolvedOrders", "preflight", "reconciliation", "latch", "breakers")
VENUE_OPTIONS = ("--market", "synthetic", "--start", "immediately", "--symbols", "BTCUSDT", "--weight-limit", "1000000")
"""All traders of a run ask from one address."""


class CaseFailed(AssertionError):  # noqa: N818  named by consequence
    """A promise was broken, or the case could not be played. The message says what, and what was seen."""


@dataclass(frozen=True, slots=True)
class Played:
    case: Case
    seconds: float
    store: Path
    bot: str
    heads: list[AuditHead]
    """Of the audit, as the lives have published them."""
    truth: dict[str, Any]
    """The venue's own account."""


@dataclass(slots=True)
class _Stage:
    """What one case has to itself."""

    case: Case
    folder: Path
    name: str
    uid: int
    keys: Path
    rules: list[int]
    settle_seconds: float = SETTLE_SECONDS

    @property
    def bot(self) -> str:
        return hash_bot(INSTALLATION, NAMESPACE, self.name)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def life_folder(self, number: int) -> Path:
        return self.folder / f"life-{number}"


def play(
    case: Case, venue: VenueProcess, nursery: Nursery, folder: Path, *, settle_seconds: float = SETTLE_SECONDS
) -> Played:
    """Raises CaseFailed. Venue and books are compared even if the case went wrong before."""
    began = time.monotonic()
    with _staged(case, venue, folder) as stage:
        stage.settle_seconds = settle_seconds
        heads: list[AuditHead] = []
        problem = ""
        try:
            for number, life in enumerate(case.lives, start=1):
                if life.loses_volume:
                    shutil.rmtree(stage.store)
                    heads.clear()
                status = _live(stage, number, life, venue, nursery)
                if (head := status.get("auditHead")) is not None:
                    heads.append(AuditHead.model_validate(head))
        except CaseFailed as failed:
            problem = str(failed)
        played = Played(case, time.monotonic() - began, stage.store, stage.bot, heads, venue.account(stage.uid))
        differences = judge(played)
        if problem or differences:
            words = [problem or "venue and ledger differ", *(f"- {each}" for each in differences), *_describe(stage)]
            raise CaseFailed(f"{case}: " + "\n".join(words))
        return played


def judge(played: Played) -> list[str]:
    """How venue and books differ, in words."""
    known = Known(
        bot=played.bot,
        opening={asset: Decimal(amount) for asset, amount in OPENING.items()},
        heads=played.heads,
        has_lost_store=played.case.loses_volume,
    )
    return find_differences(played.truth, played.store, known)


@contextmanager
def _staged(case: Case, venue: VenueProcess, folder: Path) -> Iterator[_Stage]:
    uid = venue.open_account(OPENING)
    keys = folder / "keys"
    keys.mkdir(parents=True)
    for name, secret in zip(("apiKey", "apiSecret"), venue.issue_key(uid), strict=True):
        (keys / name).write_text(secret)
    stage = _Stage(case, folder, re.sub(r"[^a-z0-9]+", "-", f"{case}-{uid}"), uid, keys, [])
    try:
        for rule in case.rules:
            when: dict[str, object] = {"operation": rule.operation, "client_id": stage.bot}
            if not case.has_to_fill:  # of those that are tried, whichever it is that fills
                when["nth"] = 1
            stage.rules.append(venue.add_fault(rule.effect, when=when, **dict(rule.fields)))
        yield stage
    finally:
        _heal(stage, venue)


def _heal(stage: _Stage, venue: VenueProcess) -> None:
    """Nothing goes wrong at the venue any more."""
    while stage.rules:
        venue.remove_fault(stage.rules.pop())


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
            waits_for_go=not life.point,
            parameters={"kind": case.kind, "near": int(case.has_to_fill), "expires": case.expires_after_candles},
        )
    )
    if life.point:
        _await_kill(stage, number, life, running)
    else:
        _settle(stage, number, running)
        _trade_again(stage, number, running, venue)
        _stop(stage, number, running)
    return _read_status(folder)


def _await_kill(stage: _Stage, number: int, life: Life, running: Running) -> None:
    killed = stage.life_folder(number) / KILLED
    has_ended = running.wait(KILL_SECONDS)
    if has_ended and running.exit_code == -9 and killed.exists() and killed.read_text() == life.point:
        return
    how = f"it ended with {running.exit_code}" if has_ended else f"it still lived after {KILL_SECONDS:g} s"
    raise _failed(running, f"life {number} never passed {life.point}: {how}", _read_status(stage.life_folder(number)))


def _settle(stage: _Stage, number: int, running: Running) -> None:
    """It finds its way back to trading by itself."""
    folder = stage.life_folder(number)
    _until(lambda: running.exit_code is not None or _is_settled(_read_status(folder)), stage.settle_seconds)
    if running.exit_code is not None or not _is_settled(_read_status(folder)):
        raise _failed(
            running,
            f"life {number} did not find its way back in {stage.settle_seconds:g} s",
            _read_status(stage.life_folder(number)),
        )


def _trade_again(stage: _Stage, number: int, running: Running, venue: VenueProcess) -> None:
    """One more order: with an id that the venue has never seen."""
    _heal(stage, venue)
    before = _count_entries(venue, stage.uid)
    (stage.life_folder(number) / GO).touch()
    if not _until(lambda: _count_entries(venue, stage.uid) > before, ORDER_SECONDS):
        raise _failed(running, f"life {number} did not trade again", _read_status(stage.life_folder(number)))


def _count_entries(venue: VenueProcess, uid: int) -> int:
    return sum(order["side"] == "BUY" for order in venue.account(uid)["orders"])


def _stop(stage: _Stage, number: int, running: Running) -> None:
    running.terminate()
    if not running.wait(END_SECONDS) or running.exit_code != 0:
        raise _failed(
            running,
            f"after SIGTERM life {number} ended with {running.exit_code}",
            _read_status(stage.life_folder(number)),
        )


def _failed(running: Running, what: str, status: dict[str, Any]) -> CaseFailed:
    """What it said of itself when it failed: after its end it says that it has ended."""
    running.terminate()
    running.wait(END_SECONDS)
    return CaseFailed(f"{what}; it said {json.dumps({name: status.get(name) for name in TELLING})}")


def _is_settled(status: dict[str, Any]) -> bool:
    return (
        status.get("reconciliation", {}).get("result") == "Passed"
        and status.get("unresolvedOrders") == 0
        and status.get("state") == "Active"
    )


def _read_status(folder: Path) -> dict[str, Any]:
    path = folder / STATUS
    if not path.exists():
        return {}
    status: dict[str, Any] = json.loads(path.read_text())
    return status


def _describe(stage: _Stage) -> Iterator[str]:
    """What a person would look at next."""
    for number in range(1, len(stage.case.lives) + 1):
        folder = stage.life_folder(number)
        if not folder.exists():
            return
        passed = (folder / PASSED).read_text().split() if (folder / PASSED).exists() else []
        yield f"life {number} passed {', '.join(dict.fromkeys(passed)) or 'no point'}"
        log = (folder / LOG).read_text(errors="replace").splitlines() if (folder / LOG).exists() else []
        yield from (f"  {line}" for line in log[-25:])


def _until(look: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
