"""Binance's request weight: counted per address and minute, refused above the limit, banned when one goes on. PURE."""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_sandbox.market.events import NS_PER_MS, NS_PER_SECOND
from tradingbot_sandbox.venues.binance.errors import ApiError, banned, too_much_weight

WEIGHT_LIMIT = 6000
"""REQUEST_WEIGHT a minute, as exchangeInfo tells it."""
REFUSALS_BEFORE_BAN = 10
"""So many requests after the first 429 of a minute are answered 429; then comes the ban.

Binance does not publish its own number.
"""
FIRST_BAN_SECONDS = 120
LONGEST_BAN_SECONDS = 3 * 86_400
"""Bans last from two minutes to three days and grow for repeated offenders (its page "Limits")."""

_MINUTE_NS = 60 * NS_PER_SECOND


@dataclass(slots=True)
class _Account:
    minute: int = -1
    used: int = 0
    refusals: int = 0
    bans: int = 0
    banned_until_ns: int = 0


class WeightMeter:
    """The weight that each address has used in the running minute."""

    def __init__(self, limit: int = WEIGHT_LIMIT, *, refusals_before_ban: int = REFUSALS_BEFORE_BAN) -> None:
        self.limit = limit
        self._refusals_before_ban = refusals_before_ban
        self._accounts: dict[str, _Account] = {}

    def used(self, address: str, now_ns: int) -> int:
        account = self._accounts.get(address)
        return account.used if account is not None and account.minute == now_ns // _MINUTE_NS else 0

    def all_used(self, now_ns: int) -> dict[str, int]:
        return {address: self.used(address, now_ns) for address in self._accounts}

    def charge(self, address: str, weight: int, now_ns: int) -> ApiError | None:
        """Count one request. The answer when it must be refused."""
        account = self._accounts.setdefault(address, _Account())
        if now_ns < account.banned_until_ns:
            return self._banned(account, now_ns)
        if account.minute != now_ns // _MINUTE_NS:
            account.minute, account.used, account.refusals = now_ns // _MINUTE_NS, 0, 0
        account.used += weight
        if account.used <= self.limit:
            return None
        account.refusals += 1
        if account.refusals > self._refusals_before_ban:
            seconds = min(FIRST_BAN_SECONDS << account.bans, LONGEST_BAN_SECONDS)
            account.bans += 1
            account.banned_until_ns = now_ns + seconds * NS_PER_SECOND
            return self._banned(account, now_ns)
        return too_much_weight(self.limit, -(-((account.minute + 1) * _MINUTE_NS - now_ns) // NS_PER_SECOND))

    def _banned(self, account: _Account, now_ns: int) -> ApiError:
        left_ns = account.banned_until_ns - now_ns
        return banned(account.banned_until_ns // NS_PER_MS, -(-left_ns // NS_PER_SECOND))
