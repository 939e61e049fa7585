"""SHELL. The key in use, taken from the files of a mounted directory. Secret -> here -> gateway, recovery, status.

A changed pair is taken without a restart: a client is made with the new one and checked, and only then the old one is
let go, with its calls under way answered. A pair that fails its check changes nothing but the status.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from tradingbot_api.spec import Network
from tradingbot_api.status import CredentialsReport
from tradingbot_trader.clock import Clock
from tradingbot_trader.control.keys import (
    FILES,
    MAX_BYTES,
    KeyReason,
    Keys,
    Verdict,
    judge,
    judge_answer,
    parse_keys,
)
from tradingbot_trader.control.timestamps import rfc3339
from tradingbot_trader.venues.account import AccountPort, AccountView, Answer, KeyPermissions, VenueSaid

_log = structlog.get_logger("credentials")
_NS = 1_000_000_000
POLL_SECONDS = 5.0
"""How often the files are read. The kubelet itself needs up to about a minute to bring a changed Secret."""
RECHECK_SECONDS = 60.0
"""A pair that was refused is checked again so often: its permissions may have been corrected at the venue."""
REVIEW_SECONDS = 3600.0
"""How often the permissions of the pair in use are read again: somebody may have switched withdrawals on."""


class BuildAccount(Protocol):
    def __call__(self, *, api_key: str, api_secret: str, on_answer: Callable[[Answer], None]) -> AccountPort:
        """A client with that pair. `on_answer` is told of each of its answers that is no success."""
        ...


Shown = tuple[AccountView, KeyPermissions]
Check = Callable[[AccountPort], Awaitable[Shown]]
"""What is asked of the venue about one pair. Raises VenueSaid."""


async def look_up(account: AccountPort) -> Shown:
    return await account.account(), await account.key_permissions()


async def _ask_at_once(check: Check, account: AccountPort) -> Shown:
    return await check(account)


@dataclass(frozen=True, slots=True)
class _InUse:
    keys: Keys
    account: AccountPort
    account_id: str
    since_ns: int


class KeyRing:
    def __init__(
        self,
        folder: Path,
        *,
        build: BuildAccount,
        is_key_refused: Callable[[Answer], bool],
        network: Network,
        clock: Clock,
        ask: Callable[[Check, AccountPort], Awaitable[Shown]] = _ask_at_once,
        account_id: str = "",
        first_seen_ns: Callable[[str, int], int] = lambda _fingerprint, now_ns: now_ns,
    ) -> None:
        """`account_id`: the account of the book, if known: a key of another one is refused from the start.

        `ask` carries out a check when the venue's rate limits and its word allow it.
        `first_seen_ns` answers when a fingerprint was first seen, given the present time: a store may remember it.
        """
        self._folder, self._build, self._is_key_refused = folder, build, is_key_refused
        self._network, self._clock, self._ask = network, clock, ask
        self._account_id, self._first_seen_ns = account_id, first_seen_ns
        self._in_use: _InUse | None = None
        self._problem = "the credentials have not been read yet"
        self._told = Verdict(KeyReason.CHECKING, self._problem)
        self._on_change: Callable[[], None] = lambda: None
        self._refused: Keys | None = None
        self._next_try_ns = self._next_recheck_ns = 0

    @property
    def account(self) -> AccountPort | None:
        """With the newest pair that passed its check; None before the first. Ask again for each call."""
        return self._in_use.account if self._in_use else None

    @property
    def account_id(self) -> str:
        """The venue's name of the account; empty until it has told it."""
        return self._in_use.account_id if self._in_use else ""

    @property
    def problem(self) -> str:
        """Why no key can be used; empty when one can."""
        return self._problem

    def report(self) -> CredentialsReport:
        in_use = self._in_use
        return CredentialsReport(
            ready=not self._problem,
            fingerprint=in_use.keys.fingerprint if in_use else "",
            since=rfc3339(in_use.since_ns) if in_use else None,
            reason=self._told.reason.value,
            message=self._told.message,
        )

    async def run(self, on_change: Callable[[], None]) -> None:
        """Reads and checks until cancelled; `on_change` is called when what can be asked here has changed."""
        self._on_change = on_change
        try:
            while True:
                await self.look()
                await self._clock.sleep(POLL_SECONDS)
        finally:
            if self._in_use is not None:
                await self._in_use.account.close()

    async def look(self) -> None:
        """Once: read the files, and take what is new in them."""
        is_stable, found = self._read()
        if not is_stable:
            return  # being written: the next look sees it whole
        if found is None:
            self._miss()
        elif self._in_use is None or found != self._in_use.keys:
            if found != self._refused or self._is_due(self._next_try_ns):
                await self._try(found)
        else:
            self._refused = None  # whatever was told of another pair is over
            if not self._problem:
                self._tell(Verdict(KeyReason.ACCEPTED))
        if self._in_use is not None and self._is_due(self._next_recheck_ns):
            await self._recheck(self._in_use)

    def _miss(self) -> None:
        missing = f"{' and '.join(FILES)} are not in the mounted Secret, or hold no key{self._kept()}"
        if self._in_use is None:
            self._problem = missing
        self._tell(Verdict(KeyReason.CREDENTIALS_MISSING, missing))

    async def _try(self, keys: Keys) -> None:
        """A candidate is used only after its check; until then, and if it fails, all is as before."""
        account = self._build(
            api_key=keys.api_key, api_secret=keys.api_secret, on_answer=lambda answer: self._hear(keys, answer)
        )
        verdict, account_id = Verdict(KeyReason.CHECK_FAILED), ""
        try:
            verdict, account_id = await self._check(account)
        finally:
            if not verdict.is_accepted:
                await account.close()
        if not verdict.is_accepted:
            self._refuse(keys, verdict)
            return
        now_ns = self._clock.now_ns()
        old, self._refused, self._problem = self._in_use, None, ""
        self._next_recheck_ns = self._after(REVIEW_SECONDS)
        self._in_use = _InUse(keys, account, account_id, self._first_seen_ns(keys.fingerprint, now_ns))
        self._tell(verdict)
        if old is not None:
            await old.account.close()  # ends when the calls that it has under way are answered

    async def _recheck(self, in_use: _InUse) -> None:
        """The pair in use: soon after the venue refused it, else now and then, because its permissions may change."""
        had_problem = bool(self._problem)
        verdict, _ = await self._check(in_use.account)
        if verdict.is_accepted and self._problem and not had_problem:
            return  # refused while it was asked: that is the newer word, and it is asked again at the next look
        if verdict.is_accepted:
            self._problem = ""
            self._tell(verdict)
        elif verdict.reason is not KeyReason.CHECK_FAILED and not self._problem:
            self._problem = f"the key {in_use.keys.fingerprint} may not be used any more: {verdict.message}"
            self._tell(Verdict(verdict.reason, self._problem))
        seconds = RECHECK_SECONDS if self._problem else REVIEW_SECONDS
        self._next_recheck_ns = self._after(max(seconds, verdict.patience_seconds))

    async def _check(self, account: AccountPort) -> tuple[Verdict, str]:
        expected = self.account_id or self._account_id
        try:
            view, permissions = await self._ask(look_up, account)
        except VenueSaid as said:
            return judge_answer(said.answer, is_key_refused=self._is_key_refused(said.answer)), ""
        return judge(view, permissions, network=self._network, account_id=expected), view.account_id

    def _refuse(self, keys: Keys, verdict: Verdict) -> None:
        self._refused = keys
        seconds = POLL_SECONDS if verdict.reason is KeyReason.CHECK_FAILED else RECHECK_SECONDS
        self._next_try_ns = self._after(max(seconds, verdict.patience_seconds))
        message = f"the key {keys.fingerprint} is refused: {verdict.message}{self._kept()}"
        if self._in_use is None:
            self._problem = message
        self._tell(Verdict(verdict.reason, message))

    def _kept(self) -> str:
        if self._in_use is None:
            return ""
        name = f"the key {self._in_use.keys.fingerprint}"
        return f"; {name} stays in use" if not self._problem else f"; {name} cannot be used either"

    def _hear(self, keys: Keys, answer: Answer) -> None:
        """Of a client of ours. Candidates and keys that were let go are no news."""
        if self._in_use is None or self._in_use.keys != keys or self._problem or not self._is_key_refused(answer):
            return
        self._problem = f"the venue does not take the key {keys.fingerprint} any more: {answer}"
        self._next_recheck_ns = 0
        self._tell(Verdict(KeyReason.CREDENTIALS_REJECTED, f"{self._problem}; put a new one into the Secret"))

    def _tell(self, verdict: Verdict) -> None:
        """Once a change."""
        if verdict == self._told:
            return
        self._told = verdict
        fingerprint = self._in_use.keys.fingerprint if self._in_use else ""
        _log.info("credentials", reason=verdict.reason.value, message=verdict.message, in_use=fingerprint)
        self._on_change()

    def _after(self, seconds: float) -> int:
        return self._clock.monotonic_ns() + int(seconds * _NS)

    def _is_due(self, at_ns: int) -> bool:
        return self._clock.monotonic_ns() >= at_ns

    def _read(self) -> tuple[bool, Keys | None]:
        """Both files, twice. A Secret's volume swaps a symlink: a swap between two reads shows in the second pair."""
        first = self._read_once()
        return first == self._read_once(), None if first is None else parse_keys(first)

    def _read_once(self) -> tuple[bytes, ...] | None:
        contents = []
        for name in FILES:
            try:
                with (self._folder / name).open("rb") as file:
                    contents.append(file.read(MAX_BYTES + 1))
            except OSError:
                return None
        return tuple(contents)
