"""Accounts, their API keys, and all that ever happened to them: the ground truth for tests. PURE, but for fresh keys.

Flow: `Accounts.open` and `issue_key` -> auth finds the key of a request -> the trading desk writes orders and trades.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal

from tradingbot_sandbox.venues.balances import Balances
from tradingbot_sandbox.venues.binance.order_count import OrderCount
from tradingbot_sandbox.venues.matching import Order, Side

_FIRST_UID = 350_000_001


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPermissions:
    """What a key may do, as `GET /sapi/v1/account/apiRestrictions` tells it. The defaults are a careful bot's."""

    enable_reading: bool = True
    enable_spot_and_margin_trading: bool = True
    enable_withdrawals: bool = False
    enable_internal_transfer: bool = False
    enable_margin: bool = False
    enable_futures: bool = False
    permits_universal_transfer: bool = False
    enable_vanilla_options: bool = False
    enable_fix_api_trade: bool = False
    enable_fix_read_only: bool = False
    enable_portfolio_margin_trading: bool = False

    @property
    def wire(self) -> dict[str, bool]:
        """By Binance's names."""
        return {_camel(f.name): getattr(self, f.name) for f in fields(self)}

    @classmethod
    def parse(cls, given: Mapping[str, object]) -> KeyPermissions:
        """Out of Binance's names. Raises ValueError for a name or a value that is none."""
        names = {_camel(f.name): f.name for f in fields(cls)}
        for name, value in given.items():
            if name not in names or not isinstance(value, bool):
                raise ValueError(f"{name}: expected true or false for one of {', '.join(names)}")
        return cls(**{names[name]: bool(value) for name, value in given.items()})


@dataclass(slots=True, kw_only=True)
class ApiKey:
    """One key. A revoked one stays known here, and is refused like one that never was."""

    api_key: str
    api_secret: str = field(repr=False)
    account: Account = field(repr=False)
    permissions: KeyPermissions
    addresses: frozenset[str] = frozenset()
    """The client addresses from which it is accepted. Empty: from everywhere (`ipRestrict` is then false)."""
    created_ns: int = 0
    is_revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTrade:
    """One fill, as `GET /api/v3/myTrades` tells it."""

    symbol: str
    trade_id: int
    order: Order
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    commission: Decimal
    commission_asset: str
    time_ns: int
    is_maker: bool

    @property
    def is_buyer(self) -> bool:
        return self.order.side is Side.BUY


@dataclass(slots=True, kw_only=True, eq=False)
class Account:
    """One person's account, over all symbols. Orders and trades are in the order in which they came about."""

    uid: int
    balances: Balances
    pays_in_bnb: bool = False
    """Commissions are taken from BNB, with the discount, while there is enough of it."""
    may_trade: bool = True
    orders: list[Order] = field(default_factory=list)
    trades: list[AccountTrade] = field(default_factory=list)
    transfers: list[tuple[str, Decimal]] = field(default_factory=list)
    """Asset and amount of each deposit, opening balances included; a withdrawal is negative."""
    accepted: Counter[str] = field(default_factory=Counter)
    """How many orders were accepted for each client order id: more than one is a double order."""
    count: OrderCount = field(default_factory=OrderCount)
    updated_ns: int = 0
    _maybe_open: list[Order] = field(default_factory=list)

    def add_order(self, order: Order) -> None:
        self.orders.append(order)
        self._maybe_open.append(order)
        self.accepted[order.client_id] += 1

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Oldest first."""
        self._maybe_open = [o for o in self._maybe_open if o.state.is_open]
        return [o for o in self._maybe_open if symbol in (None, o.symbol)]

    def orders_of(self, symbol: str) -> list[Order]:
        return [o for o in self.orders if o.symbol == symbol]

    def trades_of(self, symbol: str) -> list[AccountTrade]:
        return [t for t in self.trades if t.symbol == symbol]


def fresh_token() -> str:
    """A key or a secret in the form of Binance's: 64 letters and digits."""
    return secrets.token_hex(32)


class Accounts:
    """Every account of one simulator, and every key."""

    def __init__(self, *, token: Callable[[], str] = fresh_token) -> None:
        self._token = token
        self._accounts: dict[int, Account] = {}
        self._keys: dict[str, ApiKey] = {}

    def open(
        self,
        balances: Mapping[str, Decimal | str] | None = None,
        *,
        uid: int | None = None,
        pays_in_bnb: bool = False,
    ) -> Account:
        """A new account with these amounts, by asset."""
        opening = {asset: Decimal(amount) for asset, amount in (balances or {}).items()}
        uid = uid if uid is not None else max(self._accounts, default=_FIRST_UID - 1) + 1
        if uid in self._accounts:
            raise ValueError(f"account {uid} exists already")
        account = Account(uid=uid, balances=Balances(opening), pays_in_bnb=pays_in_bnb, transfers=list(opening.items()))
        self._accounts[uid] = account
        return account

    def __getitem__(self, uid: int) -> Account:
        return self._accounts[uid]

    @property
    def all(self) -> tuple[Account, ...]:
        return tuple(self._accounts.values())

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """Those that are in force."""
        return tuple(key for key in self._keys.values() if not key.is_revoked)

    def issue_key(
        self,
        account: Account,
        *,
        permissions: KeyPermissions | None = None,
        addresses: Iterable[str] = (),
        now_ns: int = 0,
    ) -> ApiKey:
        """A new key for the account, beside those that it has."""
        key = ApiKey(
            api_key=self._token(),
            api_secret=self._token(),
            account=account,
            permissions=permissions or KeyPermissions(),
            addresses=frozenset(addresses),
            created_ns=now_ns,
        )
        self._keys[key.api_key] = key
        return key

    def find_key(self, api_key: str) -> ApiKey | None:
        """The key if it is in force."""
        key = self._keys.get(api_key)
        return None if key is None or key.is_revoked else key

    def revoke(self, api_key: str) -> None:
        """It is refused from now on. Raises KeyError for a key that never was."""
        self._keys[api_key].is_revoked = True

    def set_permissions(self, api_key: str, permissions: KeyPermissions) -> None:
        """Raises KeyError for a key that never was."""
        self._keys[api_key].permissions = permissions


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
