from __future__ import annotations

import hashlib
import secrets

import pytest

from tradingbot_api.spec import Network
from tradingbot_trader.control.keys import MAX_BYTES, KeyReason, Keys, judge, judge_answer, parse_keys
from tradingbot_trader.venues.account import AccountView, Answer, KeyPermissions

SAFE = KeyPermissions(can_trade=True, can_withdraw=False, can_transfer=False)
UNREADABLE = KeyPermissions(can_trade=True, can_withdraw=None, can_transfer=None)


def view(account_id: str = "7", *, can_trade: bool = True) -> AccountView:
    return AccountView(account_id, can_trade, {})


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        (SAFE, KeyReason.ACCEPTED),
        (KeyPermissions(False, False, False), KeyReason.CANNOT_TRADE),
        (KeyPermissions(True, True, False), KeyReason.TOO_POWERFUL),
        (KeyPermissions(True, False, True), KeyReason.TOO_POWERFUL),
        (KeyPermissions(True, None, True), KeyReason.TOO_POWERFUL),
        (KeyPermissions(True, True, None), KeyReason.TOO_POWERFUL),
    ],
)
@pytest.mark.parametrize("network", list(Network))
def test_key_may_trade_and_nothing_more(permissions: KeyPermissions, expected: KeyReason, network: Network) -> None:
    assert judge(view(), permissions, network=network, account_id="").reason is expected


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Network.MAINNET, KeyReason.PERMISSIONS_UNREADABLE),
        (Network.TESTNET, KeyReason.ACCEPTED),
        (Network.SANDBOX, KeyReason.ACCEPTED),
    ],
)
@pytest.mark.parametrize(
    "permissions", [UNREADABLE, KeyPermissions(True, False, None), KeyPermissions(True, None, False)]
)
def test_permissions_that_nobody_can_read_are_taken_where_no_money_is(
    network: Network, expected: KeyReason, permissions: KeyPermissions
) -> None:
    assert judge(view(), permissions, network=network, account_id="").reason is expected


def test_key_of_another_account_is_refused_before_anything_else() -> None:
    assert judge(view("8"), SAFE, network=Network.SANDBOX, account_id="7").reason is KeyReason.OTHER_ACCOUNT
    assert judge(view("7"), SAFE, network=Network.SANDBOX, account_id="7").is_accepted


def test_account_that_may_not_trade_is_no_reason_to_trade() -> None:
    verdict = judge(view(can_trade=False), SAFE, network=Network.SANDBOX, account_id="")
    assert verdict.reason is KeyReason.CANNOT_TRADE


def test_too_powerful_key_is_told_by_what_it_may_do() -> None:
    verdict = judge(view(), KeyPermissions(True, True, True), network=Network.MAINNET, account_id="")
    assert "withdraw and transfer" in verdict.message


def test_refused_key_is_told_from_a_venue_that_cannot_be_asked() -> None:
    refused = Answer(True, 401, "-2015", "Invalid API-key")
    assert judge_answer(refused, is_key_refused=True).reason is KeyReason.CREDENTIALS_REJECTED
    assert judge_answer(Answer(False, text="refused"), is_key_refused=False).reason is KeyReason.CHECK_FAILED


@pytest.mark.parametrize(
    "contents",
    [
        (b"", b"s"),
        (b"k", b""),
        (b" \n", b"s"),
        (b"\xff", b"s"),
        (b"k", b"\xff"),
        (b"k" * (MAX_BYTES + 1), b"s"),
        (b"k", b"s" * (MAX_BYTES + 1)),
        (b"k\r\nX-Evil: 1", b"s"),
        (b"k k", b"s"),
        ("schl\u00fcssel".encode(), b"s"),
    ],
)
def test_what_cannot_be_a_pair_is_none(contents: tuple[bytes, bytes]) -> None:
    assert parse_keys(contents) is None


def test_last_line_break_of_a_file_is_no_part_of_the_key() -> None:
    assert parse_keys((b"k\n", b" s\r\n")) == Keys("k", "s")
    pem = b"-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n"
    assert parse_keys((b"k", pem)) == Keys("k", pem.decode().strip())


def test_pair_shows_its_fingerprint_alone() -> None:
    keys = Keys(secrets.token_hex(32), secrets.token_hex(32))
    assert keys.fingerprint == hashlib.sha256(keys.api_key.encode()).hexdigest()[:12]
    for shown in (repr(keys), str(keys), f"{keys}"):
        assert shown == f"Keys({keys.fingerprint})"
