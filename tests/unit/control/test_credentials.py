from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from support.virtual import START_NS, VirtualClock, run
from tradingbot_api.spec import Network
from tradingbot_trader.control.credentials import POLL_SECONDS, RECHECK_SECONDS, REVIEW_SECONDS, Check, KeyRing, Shown
from tradingbot_trader.control.keys import KeyReason, Keys
from tradingbot_trader.venues.account import AccountPort, AccountView, Answer, KeyPermissions, VenueSaid
from tradingbot_trader.venues.binance_account import is_key_refused

SAFE = KeyPermissions(can_trade=True, can_withdraw=False, can_transfer=False)
DEAD = Answer(True, 401, "-2015", "Invalid API-key, IP, or permissions for action.")
AWAY = Answer(True, 503, "", "away")


def pair() -> Keys:
    return Keys(secrets.token_hex(32), secrets.token_hex(32))


@dataclass
class Account:
    """What the venue says about one pair; a part of AccountPort."""

    keys: Keys
    view: AccountView = field(default_factory=lambda: AccountView("7", True, {}))
    permissions: KeyPermissions = SAFE
    refusal: Answer | None = None
    on_answer: Callable[[Answer], None] = lambda _: None
    may_close: asyncio.Event = field(default_factory=asyncio.Event)
    is_closed: bool = False
    checks: int = 0

    async def account(self) -> AccountView:
        self.checks += 1
        await asyncio.sleep(0)
        if self.refusal is not None:
            self.on_answer(self.refusal)
            raise VenueSaid(self.refusal)
        return self.view

    async def key_permissions(self) -> KeyPermissions:
        return self.permissions

    async def close(self) -> None:
        await self.may_close.wait()
        self.is_closed = True


class World:
    """A mounted Secret, as the kubelet writes it, and a venue."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder, self.clock = folder, VirtualClock()
        self.accounts: dict[Keys, Account] = {}
        self.built: list[Keys] = []
        self.changes = 0
        self._versions = 0
        values: dict[str, Any] = {"network": Network.MAINNET, "clock": self.clock, "is_key_refused": is_key_refused}
        self.ring = KeyRing(folder, build=self._build, **values | changes)

    def _build(self, *, api_key: str, api_secret: str, on_answer: Callable[[Answer], None]) -> Any:
        keys = Keys(api_key, api_secret)
        self.built.append(keys)
        account = self.accounts.setdefault(keys, Account(keys))
        account.on_answer = on_answer
        return account

    def mount(self, keys: Keys, **changes: Any) -> Account:
        """A new version of the volume, swapped in at once by its symlink; what the venue says of it."""
        self._versions += 1
        version = self.folder / f"..{self._versions}"
        version.mkdir()
        (version / "apiKey").write_text(keys.api_key)
        (version / "apiSecret").write_text(keys.api_secret)
        link = self.folder / "..data.new"
        link.symlink_to(version.name)
        link.rename(self.folder / "..data")
        for name in ("apiKey", "apiSecret"):
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        account = self.accounts.setdefault(keys, Account(keys))
        account.may_close.set()
        for name, value in changes.items():
            setattr(account, name, value)
        return account

    def on_change(self) -> None:
        self.changes += 1

    async def take(self, keys: Keys, **changes: Any) -> Account:
        account = self.mount(keys, **changes)
        await self.ring.look()
        return account

    @property
    def reason(self) -> str:
        return self.ring.report().reason


def test_missing_files_are_waited_for_and_said(tmp_path: Path) -> None:
    async def test() -> None:
        world, keys = World(tmp_path), pair()
        running = asyncio.ensure_future(world.ring.run(world.on_change))
        await asyncio.sleep(3 * POLL_SECONDS)
        assert (world.reason, world.ring.account) == (KeyReason.CREDENTIALS_MISSING, None)
        assert "apiKey and apiSecret are not in the mounted Secret" in world.ring.problem
        assert world.changes == 1, "said once"
        account = world.mount(keys)
        await asyncio.sleep(POLL_SECONDS)
        assert world.ring.account is account
        assert (world.ring.problem, world.ring.account_id, world.changes) == ("", "7", 2)
        report = world.ring.report()
        assert (report.ready, report.fingerprint, report.reason) == (True, keys.fingerprint, KeyReason.ACCEPTED)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert account.is_closed

    run(test())


def test_rotated_pair_is_checked_and_then_taken(tmp_path: Path) -> None:
    async def test() -> None:
        world, first, second = World(tmp_path), pair(), pair()
        old = await world.take(first)
        old.may_close.clear()
        new = world.mount(second)
        looking = asyncio.ensure_future(world.ring.look())
        assert world.ring.account is old, "until the new one has passed"
        await asyncio.sleep(1)
        assert world.ring.account is new
        assert (old.is_closed, looking.done()) == (False, False), "its calls under way are not cut off"
        old.may_close.set()
        await looking
        assert old.is_closed
        assert world.ring.report().fingerprint == second.fingerprint
        assert world.built == [first, second]

    run(test())


def test_pair_that_fails_its_check_changes_nothing_but_the_status(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], KeyReason]] = [
        ({"refusal": DEAD}, KeyReason.CREDENTIALS_REJECTED),
        (
            {"refusal": Answer(True, 400, "-1022", "Signature for this request is not valid.")},
            KeyReason.CREDENTIALS_REJECTED,
        ),
        ({"refusal": AWAY}, KeyReason.CHECK_FAILED),
        ({"permissions": KeyPermissions(True, True, False)}, KeyReason.TOO_POWERFUL),
        ({"permissions": KeyPermissions(True, False, True)}, KeyReason.TOO_POWERFUL),
        ({"permissions": KeyPermissions(True, None, None)}, KeyReason.PERMISSIONS_UNREADABLE),
        ({"permissions": KeyPermissions(False, False, False)}, KeyReason.CANNOT_TRADE),
        ({"view": AccountView("8", True, {})}, KeyReason.OTHER_ACCOUNT),
    ]

    async def test() -> None:
        for number, (changes, reason) in enumerate(cases):
            folder = tmp_path / str(number)
            folder.mkdir()
            world, first, second = World(folder), pair(), pair()
            old = await world.take(first)
            new = await world.take(second, **changes)
            assert world.ring.account is old
            assert (old.is_closed, new.is_closed) == (False, True)
            report = world.ring.report()
            assert (report.ready, report.fingerprint, report.reason) == (True, first.fingerprint, reason)
            assert f"the key {second.fingerprint} is refused" in report.message
            assert f"the key {first.fingerprint} stays in use" in report.message
            assert world.ring.problem == ""

    run(test())


def test_first_pair_that_fails_is_not_used_at_all(tmp_path: Path) -> None:
    async def test() -> None:
        world, keys = World(tmp_path, account_id="9"), pair()
        await world.take(keys)
        assert (world.reason, world.ring.account, world.ring.account_id) == (KeyReason.OTHER_ACCOUNT, None, "")
        assert keys.fingerprint in world.ring.problem
        assert not world.ring.report().ready

    run(test())


def test_refused_pair_is_tried_again_after_a_while_or_when_it_changes(tmp_path: Path) -> None:
    async def test() -> None:
        world, keys = World(tmp_path), pair()
        account = await world.take(keys, permissions=KeyPermissions(True, True, False))
        await asyncio.sleep(RECHECK_SECONDS / 2)
        await world.ring.look()
        assert account.checks == 1
        account.permissions, account.is_closed = SAFE, False
        await asyncio.sleep(RECHECK_SECONDS / 2)
        await world.ring.look()
        assert (account.checks, world.reason) == (2, KeyReason.ACCEPTED)
        await world.take(pair(), refusal=DEAD)
        assert world.reason == KeyReason.CREDENTIALS_REJECTED
        await world.take(pair())
        assert world.reason == KeyReason.ACCEPTED, "at once, as it is another pair"

    run(test())


def test_venue_that_cannot_be_asked_is_asked_again_soon(tmp_path: Path) -> None:
    async def test() -> None:
        world, keys = World(tmp_path), pair()
        account = await world.take(keys, refusal=AWAY)
        account.refusal, account.is_closed = None, False
        await asyncio.sleep(POLL_SECONDS)
        await world.ring.look()
        assert world.reason == KeyReason.ACCEPTED

    run(test())


def test_refused_pair_that_is_taken_back_is_forgotten(tmp_path: Path) -> None:
    async def test() -> None:
        world, first = World(tmp_path), pair()
        old = await world.take(first)
        await world.take(pair(), refusal=DEAD)
        world.mount(first)
        await world.ring.look()
        assert (world.reason, world.ring.account, old.checks) == (KeyReason.ACCEPTED, old, 1)

    run(test())


def test_files_that_go_away_leave_the_key_in_use(tmp_path: Path) -> None:
    async def test() -> None:
        world, keys = World(tmp_path), pair()
        account = await world.take(keys)
        (tmp_path / "apiKey").unlink()
        await world.ring.look()
        assert (world.ring.account, world.ring.problem) == (account, "")
        assert world.reason == KeyReason.CREDENTIALS_MISSING
        assert world.ring.report().ready

    run(test())


def test_pair_that_changes_while_it_is_read_is_left_for_the_next_look(tmp_path: Path) -> None:
    """A swap between the two files would join a new id with an old secret."""

    class Torn(KeyRing):
        torn = True

        def _read_once(self) -> tuple[bytes, ...] | None:
            contents = super()._read_once()
            if contents is not None and self.torn:
                self.torn = False
                return (contents[0], b"the old secret")
            return contents

    async def test() -> None:
        world, keys = World(tmp_path), pair()
        ring = Torn(
            tmp_path, build=world._build, is_key_refused=is_key_refused, network=Network.SANDBOX, clock=world.clock
        )
        world.mount(keys)
        await ring.look()
        assert world.built == []
        await ring.look()
        assert world.built == [keys]

    run(test())


def test_dead_key_in_use_is_a_problem_until_it_works_again(tmp_path: Path) -> None:
    async def test() -> None:
        world, keys = World(tmp_path), pair()
        account = await world.take(keys)
        account.on_answer(Answer(True, 400, "-2010", "Account has insufficient balance for requested action."))
        assert world.ring.problem == ""
        account.refusal = DEAD
        account.on_answer(DEAD)
        assert "-2015" in world.ring.problem
        assert (world.reason, world.ring.report().ready) == (KeyReason.CREDENTIALS_REJECTED, False)
        assert world.ring.account is account, "a cancel may still be tried with it"
        await world.ring.look()
        assert world.ring.problem
        asked = account.checks
        await asyncio.sleep(POLL_SECONDS)
        await world.ring.look()
        assert account.checks == asked, "a venue bans who keeps on asking with a dead key"
        account.refusal = None
        await asyncio.sleep(RECHECK_SECONDS)
        await world.ring.look()
        assert (world.ring.problem, world.reason) == ("", KeyReason.ACCEPTED)

    run(test())


def test_dead_key_is_replaced_by_a_good_one(tmp_path: Path) -> None:
    async def test() -> None:
        world = World(tmp_path)
        old = await world.take(pair())
        old.refusal = DEAD
        old.on_answer(DEAD)
        bad = await world.take(pair(), permissions=KeyPermissions(True, True, True))
        assert (world.ring.account, bad.is_closed) == (old, True)
        assert world.ring.problem, "what is refused heals nothing"
        new = await world.take(pair())
        assert (world.ring.account, world.ring.problem) == (new, "")
        old.on_answer(DEAD)
        assert world.ring.problem == "", "late news of the key that was let go"

    run(test())


def test_word_of_the_venue_counts_until_a_check_says_otherwise(tmp_path: Path) -> None:
    """An order's answer: the account itself may still be read with the key."""

    async def test() -> None:
        world = World(tmp_path)
        account = await world.take(pair())
        account.on_answer(DEAD)
        assert "HTTP 401 -2015" in world.ring.problem
        await world.ring.look()
        assert (world.ring.problem, account.checks) == ("", 2)

    run(test())


def test_word_that_comes_while_the_key_is_checked_is_the_newer_one(tmp_path: Path) -> None:
    async def test() -> None:
        world = World(tmp_path)
        account = await world.take(pair())
        await asyncio.sleep(REVIEW_SECONDS)
        looking = asyncio.ensure_future(world.ring.look())
        await asyncio.sleep(0)
        assert account.checks == 2, "it is asked, and has not answered"
        account.on_answer(DEAD)
        await looking
        assert "-2015" in world.ring.problem
        await world.ring.look()
        assert (world.ring.problem, account.checks) == ("", 3)

    run(test())


def test_checks_are_carried_out_where_they_are_told_to(tmp_path: Path) -> None:
    """In the queue of everything that asks the venue, and with the pair that is checked."""

    async def test() -> None:
        asked: list[object] = []

        async def ask(check: Check, account: AccountPort) -> Shown:
            asked.append(account)
            return await check(account)

        world = World(tmp_path, ask=ask)
        first = await world.take(pair())
        second = await world.take(pair(), refusal=AWAY)
        await asyncio.sleep(REVIEW_SECONDS)
        await world.ring.look()
        assert asked == [first, second, second, first]
        assert (first.checks, second.checks) == (2, 2)

    run(test())


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (Answer(True, 429, "-1003", "Too many requests.", retry_after_seconds=30.0), 30),
        (Answer(True, 418, "-1003", "Way too many requests.", retry_after_seconds=259_200.0), 259_200),
        (Answer(True, 503, "", "maintenance", retry_after_seconds=3_600.0), 60),
    ],
    ids=["429", "418", "503"],
)
def test_venue_that_asks_for_patience_is_given_it_and_a_proxy_a_minute(
    tmp_path: Path, answer: Answer, seconds: int
) -> None:
    async def test() -> None:
        world = World(tmp_path)
        account = await world.take(pair(), refusal=answer)
        account.refusal = None
        await asyncio.sleep(seconds - 1)
        await world.ring.look()
        assert (account.checks, world.reason) == (1, KeyReason.CHECK_FAILED)
        await asyncio.sleep(1)
        await world.ring.look()
        assert (account.checks, world.reason) == (2, KeyReason.ACCEPTED)

    run(test())


def test_age_of_a_key_counts_from_when_it_was_first_seen(tmp_path: Path) -> None:
    async def test() -> None:
        asked: list[tuple[str, int]] = []

        def first_seen_ns(fingerprint: str, now_ns: int) -> int:
            asked.append((fingerprint, now_ns))
            return now_ns - 86_400 * 10**9

        world, keys = World(tmp_path, first_seen_ns=first_seen_ns), pair()
        await world.take(keys)
        assert asked == [(keys.fingerprint, START_NS)]
        assert world.ring.report().since == "2025-12-31T00:00:00.000000Z"

    run(test())


def test_no_secret_is_in_any_log_status_or_repr(tmp_path: Path) -> None:
    async def test() -> None:
        world, pairs = World(tmp_path), [pair() for _ in range(4)]
        shown: list[str] = []
        with capture_logs() as logs:
            for keys, changes in zip(
                pairs,
                ({}, {"refusal": DEAD}, {"permissions": KeyPermissions(True, True, True)}, {"refusal": AWAY}),
                strict=True,
            ):
                await world.take(keys, **changes)
                shown += [repr(world.ring), str(world.ring.report()), world.ring.problem, repr(keys)]
            world.accounts[pairs[0]].on_answer(DEAD)
            shown += [str(vars(world.ring)), str(logs)]
        assert len(logs) == 5
        for keys in pairs:
            for text in shown:
                assert keys.api_key not in text
                assert keys.api_secret not in text

    structlog.reset_defaults()
    run(test())
