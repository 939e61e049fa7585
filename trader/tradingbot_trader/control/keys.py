"""PURE. Which key of an exchange may be used, and how it is told. Between the files of a Secret and the account."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from tradingbot_api.spec import Network
from tradingbot_trader.venues.account import AccountView, Answer, KeyPermissions

FILES = ("apiKey", "apiSecret")
"""Each a file of that name in the mounted directory."""
MAX_BYTES = 16_384
"""A file that is longer holds no key."""
SERVER_ERROR_SECONDS = 60.0
"""The longest that a check waits after an error of the venue's servers, whatever they ask for."""
_UNREADABLE_ALLOWED = frozenset({Network.TESTNET, Network.SANDBOX})
"""No real money, and Binance's testnet has no permissions to read."""


class KeyReason(StrEnum):
    """`status.trader.credentials.reason`."""

    ACCEPTED = "Accepted"
    CHECKING = "CheckingCredentials"
    CREDENTIALS_MISSING = "CredentialsMissing"
    CREDENTIALS_REJECTED = "CredentialsRejected"
    """The venue does not take the key, or its secret."""
    CANNOT_TRADE = "KeyCannotTrade"
    TOO_POWERFUL = "KeyTooPowerful"
    """It may withdraw or transfer: whoever takes it takes the money."""
    PERMISSIONS_UNREADABLE = "KeyPermissionsUnreadable"
    OTHER_ACCOUNT = "KeyOfAnotherAccount"
    CHECK_FAILED = "KeyCheckFailed"
    """The venue could not be asked: the check is made again."""


@dataclass(frozen=True, slots=True)
class Keys:
    """One pair. Neither half is ever shown."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """First 12 hex digits of the SHA-256 of the key's id."""
        return hashlib.sha256(self.api_key.encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        return f"Keys({self.fingerprint})"


@dataclass(frozen=True, slots=True)
class Verdict:
    reason: KeyReason
    message: str = ""
    """What a person does about it."""
    patience_seconds: float = field(default=0.0, compare=False)
    """How long the venue asked not to be asked again."""

    @property
    def is_accepted(self) -> bool:
        return self.reason is KeyReason.ACCEPTED


def parse_keys(contents: tuple[bytes, ...]) -> Keys | None:
    """None for what cannot be a pair: empty, too long, or not text. A last line break is no part of a key."""
    try:
        api_key, api_secret = (content.decode().strip() for content in contents)
    except UnicodeDecodeError:
        return None
    if not api_key or not api_secret or any(len(content) > MAX_BYTES for content in contents):
        return None
    # It goes into a header as it is: a line break in it would make another header.
    return Keys(api_key, api_secret) if api_key.isascii() and api_key.isprintable() and " " not in api_key else None


def judge(view: AccountView, permissions: KeyPermissions, *, network: Network, account_id: str) -> Verdict:
    """Whether a key that authenticates may be used. `account_id` is the account that the book belongs to, if known."""
    if account_id and view.account_id != account_id:
        return Verdict(KeyReason.OTHER_ACCOUNT, "it belongs to another account: make a key of the account in use")
    if not view.can_trade:
        return Verdict(KeyReason.CANNOT_TRADE, "the account may not trade at present: ask the venue")
    if not permissions.can_trade:
        return Verdict(KeyReason.CANNOT_TRADE, "it may not trade: switch spot trading on for it at the venue")
    powers = {"withdraw": permissions.can_withdraw, "transfer": permissions.can_transfer}
    held = [name for name, is_held in powers.items() if is_held]
    if held:
        message = f"it may {' and '.join(held)}: switch that off for it at the venue, or make a key without"
        return Verdict(KeyReason.TOO_POWERFUL, message)
    if None in powers.values() and network not in _UNREADABLE_ALLOWED:
        message = "the venue does not tell whether it may withdraw or transfer: such a key is not used on this network"
        return Verdict(KeyReason.PERMISSIONS_UNREADABLE, message)
    return Verdict(KeyReason.ACCEPTED)


def judge_answer(answer: Answer, *, is_key_refused: bool) -> Verdict:
    """Of a check that got no success."""
    if is_key_refused:
        return Verdict(KeyReason.CREDENTIALS_REJECTED, f"the venue does not take it: {answer}")
    seconds = answer.retry_after_seconds or 0.0
    if answer.http_status >= 500:  # a proxy's word, perhaps of an hour: without a key not even a cancel leaves
        seconds = min(seconds, SERVER_ERROR_SECONDS)
    message = f"the venue could not be asked, which is tried again: {answer}"
    return Verdict(KeyReason.CHECK_FAILED, message, patience_seconds=seconds)
