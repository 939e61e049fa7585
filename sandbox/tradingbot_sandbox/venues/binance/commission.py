"""What a fill costs, and which asset pays it. PURE.

0.1 %, taken from what the fill brought in: the base asset of a buy, the quote asset of a sell. An account that pays in
BNB pays 25 % less, while it has enough of it and BNB has a price here; else the whole from what came in (Binance's
page "Commission FAQ"). Which way Binance rounds the eighth decimal is [unverified]: up, here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

from tradingbot_sandbox.market.world import Board
from tradingbot_sandbox.venues.binance.accounts import Account

RATE = Decimal("0.001")
BNB_DISCOUNT = Decimal("0.25")
_UNIT = Decimal("0.00000001")


@dataclass(frozen=True, slots=True)
class Commission:
    amount: Decimal
    asset: str


def charge_commission(
    account: Account,
    received: str,
    received_amount: Decimal,
    quote: str,
    quote_amount: Decimal,
    boards: Mapping[str, Board],
) -> Commission:
    """Take it from the account, which already has what the fill brought in."""
    if account.pays_in_bnb:
        price = _bnb_price(quote, boards)
        if price:
            amount = (quote_amount / price * RATE * (1 - BNB_DISCOUNT)).quantize(_UNIT, ROUND_UP)
            if account.balances.free("BNB") >= amount:
                account.balances.remove("BNB", amount)
                return Commission(amount, "BNB")
    amount = (received_amount * RATE).quantize(_UNIT, ROUND_UP)
    account.balances.remove(received, amount)
    return Commission(amount, received)


def _bnb_price(quote: str, boards: Mapping[str, Board]) -> Decimal | None:
    """BNB in the quote asset, by its last trade. None: it is not traded here."""
    if quote == "BNB":
        return Decimal(1)
    board = boards.get(f"BNB/{quote}")
    return None if board is None else board.last_price
