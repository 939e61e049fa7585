"""What an account holds, free and put aside for its open orders. PURE, and of no venue's words.

No asset is ever made or lost here but by `add` and `remove`; a call that would leave less than nothing is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

ZERO = Decimal(0)


class NotEnoughError(ValueError):
    """The account does not hold so much."""


class Balances:
    """Amounts by asset."""

    def __init__(self, opening: Mapping[str, Decimal] | None = None) -> None:
        self._free: dict[str, Decimal] = {}
        self._locked: dict[str, Decimal] = {}
        for asset, amount in (opening or {}).items():
            self.add(asset, amount)

    @property
    def assets(self) -> tuple[str, ...]:
        """Every asset that was ever held."""
        return tuple(self._free)

    def free(self, asset: str) -> Decimal:
        return self._free.get(asset, ZERO)

    def locked(self, asset: str) -> Decimal:
        return self._locked.get(asset, ZERO)

    def total(self, asset: str) -> Decimal:
        return self.free(asset) + self.locked(asset)

    def totals(self) -> dict[str, Decimal]:
        """Free and locked together, without what is zero."""
        return {asset: self.total(asset) for asset in self._free if self.total(asset)}

    def add(self, asset: str, amount: Decimal) -> None:
        self._free[asset] = _at_least_zero(asset, self.free(asset) + _amount(amount))

    def remove(self, asset: str, amount: Decimal) -> None:
        """Out of what is free."""
        self._free[asset] = _at_least_zero(asset, self.free(asset) - _amount(amount))

    def lock(self, asset: str, amount: Decimal) -> None:
        self.remove(asset, amount)
        self._locked[asset] = self.locked(asset) + amount

    def unlock(self, asset: str, amount: Decimal) -> None:
        self.remove_locked(asset, amount)
        self.add(asset, amount)

    def remove_locked(self, asset: str, amount: Decimal) -> None:
        """Out of what is put aside: an order was paid for."""
        self._locked[asset] = _at_least_zero(asset, self.locked(asset) - _amount(amount))


def _amount(amount: Decimal) -> Decimal:
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{amount}: an amount is a number of at least zero")
    return amount


def _at_least_zero(asset: str, amount: Decimal) -> Decimal:
    if amount < 0:
        raise NotEnoughError(f"{asset}: {-amount} are missing")
    return amount
