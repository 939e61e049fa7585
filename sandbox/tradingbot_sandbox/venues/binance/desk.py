"""The trading desk: takes orders in, keeps the accounts' money right, and tells them what happened. PURE.

Flow: private REST (or a person, by hand) -> `place` / `cancel` -> matching -> fills and ends back here -> balances,
trades, user data streams. One request or market event is one transaction: its execution reports come first, in the
order in which things happened, then one `outboundAccountPosition` (so Binance's page "MARKET orders" shows it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Protocol

from tradingbot_sandbox.market.events import Level, MarketEvent
from tradingbot_sandbox.market.intervals import MINUTE_NS
from tradingbot_sandbox.market.world import Board
from tradingbot_sandbox.venues.balances import NotEnoughError
from tradingbot_sandbox.venues.binance import errors, filters, reports
from tradingbot_sandbox.venues.binance.accounts import Account, Accounts, AccountTrade
from tradingbot_sandbox.venues.binance.commission import charge_commission
from tradingbot_sandbox.venues.binance.errors import ApiError
from tradingbot_sandbox.venues.binance.order_count import MAKER_CREDIT, TAKER_CREDIT
from tradingbot_sandbox.venues.binance.order_request import OrderRequest
from tradingbot_sandbox.venues.binance.rules import SymbolRules
from tradingbot_sandbox.venues.binance.user_streams import UserStreams
from tradingbot_sandbox.venues.matching import Match, Matching, Order, OrderState, OrderType

ZERO = Decimal(0)
UNIT = Decimal("0.00000001")
"""Binance keeps every amount with eight decimals."""
_FIRST_ORDER_ID = 1_000_001
_FIRST_EXECUTION_ID = 1


class PrintTrade(Protocol):
    """Makes a fill of ours a trade of the market, seen by all. Gives its id."""

    def __call__(self, symbol: str, price: Decimal, quantity: Decimal, *, buyer_is_maker: bool, now_ns: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Placed:
    """An order that was accepted, and what it took at once."""

    order: Order
    trades: tuple[AccountTrade, ...]
    count_headers: dict[str, str]


class TradingDesk:
    """All accounts' orders on one venue."""

    def __init__(
        self,
        boards: Mapping[str, Board],
        accounts: Accounts,
        rules: Mapping[str, SymbolRules],
        streams: UserStreams,
        print_trade: PrintTrade,
    ) -> None:
        self.matching = Matching(boards, self)
        self._boards = boards
        self._accounts = accounts
        self._rules = rules
        self._streams = streams
        self._print_trade = print_trade
        self._order_ids: Counter[str] = Counter()
        self._cancel_ids = 0
        self._execution_id = _FIRST_EXECUTION_ID - 1
        self._touched: dict[Account, dict[str, None]] = {}

    def check(self, account: Account, request: OrderRequest, now_ns: int) -> None:
        """All that can be refused without the matching engine: what `POST /api/v3/order/test` does."""
        filters.check(
            request,
            self._rules[request.symbol],
            average_price=lambda: average_price(self._boards[request.symbol], now_ns),
            open_orders=account.open_orders(request.symbol),
        )

    def place(self, account: Account, request: OrderRequest, now_ns: int) -> Placed:
        """Take one order in. Raises ApiError; then there is no order."""
        if not account.may_trade:
            raise errors.order_rejected(errors.MAY_NOT_TRADE)
        self.check(account, request, now_ns)
        account.count.check(now_ns)
        order = self._new_order(account, request, now_ns)
        refusal = self._find_refusal(account, order)
        if refusal is not None:
            raise self._refuse(account, order, refusal, now_ns)
        account.add_order(order)
        account.count.add(now_ns)
        count_headers = account.count.headers(now_ns)
        first_trade = len(account.trades)
        if not order.type.is_conditional:
            order.working_ns = now_ns
        self._report(account, order, OrderState.NEW.value, now_ns)
        self._touch(account, order)
        self.matching.accept(order, now_ns)
        self._settle(now_ns)
        trades = tuple(trade for trade in account.trades[first_trade:] if trade.order is order)
        return Placed(order, trades, count_headers)

    def cancel(self, account: Account, order: Order, now_ns: int, *, cancel_id: str | None = None) -> str:
        """Take an open order out. Gives the cancel's own client id."""
        if cancel_id is None:
            self._cancel_ids += 1
            cancel_id = f"cancel{self._cancel_ids:016d}"
        self.matching.cancel(order, now_ns)
        self._release(account, order)
        self._report(account, order, OrderState.CANCELED.value, now_ns, cancel_id=cancel_id)
        self._touch(account, order)
        self._settle(now_ns)
        return cancel_id

    def transfer(self, account: Account, asset: str, amount: Decimal, now_ns: int) -> None:
        """A deposit, or with a negative amount a withdrawal. Raises NotEnoughError."""
        if amount < 0:
            account.balances.remove(asset, -amount)
        else:
            account.balances.add(asset, amount)
        account.transfers.append((asset, amount))
        self._streams.publish(account.uid, reports.balance_update(asset, amount, now_ns))
        self._touched.setdefault(account, {})[asset] = None
        self._settle(now_ns)

    def on_event(self, event: MarketEvent, now_ns: int) -> None:
        """The market moved."""
        self.matching.on_event(event)
        if self._touched:
            self._settle(now_ns)

    def on_triggered(self, order: Order, planned: list[Level], now_ns: int) -> bool:
        """That a report NEW tells of it, and that a missing amount is taken from what is free, is [unverified]."""
        account = self._accounts[order.account]
        if order.side.is_buy and not order.type.has_price:
            missing = _cost(planned) - order.locked
            if missing > 0:
                _, quote = assets_of(order.symbol)
                if account.balances.free(quote) < missing:
                    return False
                account.balances.lock(quote, missing)
                order.locked += missing
        self._report(account, order, OrderState.NEW.value, now_ns)
        return True

    def on_match(self, match: Match) -> None:
        order, account = match.order, self._accounts[match.order.account]
        quote_quantity = (match.price * match.quantity).quantize(UNIT, ROUND_DOWN)
        order.filled_quote += quote_quantity
        base, quote = assets_of(order.symbol)
        paid, received = (quote, base) if order.side.is_buy else (base, quote)
        paid_amount, received_amount = (
            (quote_quantity, match.quantity) if order.side.is_buy else (match.quantity, quote_quantity)
        )
        account.balances.remove_locked(paid, paid_amount)
        order.locked -= paid_amount
        account.balances.add(received, received_amount)
        self._release(account, order, keep=_needed(order))
        commission = charge_commission(account, received, received_amount, quote, quote_quantity, self._boards)
        trade = AccountTrade(
            symbol=order.symbol,
            trade_id=self._print_trade(
                order.symbol,
                match.price,
                match.quantity,
                buyer_is_maker=order.side.is_buy == match.is_maker,
                now_ns=match.time_ns,
            ),
            order=order,
            price=match.price,
            quantity=match.quantity,
            quote_quantity=quote_quantity,
            commission=commission.amount,
            commission_asset=commission.asset,
            time_ns=match.time_ns,
            is_maker=match.is_maker,
        )
        account.trades.append(trade)
        if order.filled_base == match.quantity:
            account.count.credit(MAKER_CREDIT if match.is_maker else TAKER_CREDIT, match.time_ns)
        self._report(account, order, "TRADE", match.time_ns, trade=trade)
        self._touch(account, order, commission.asset)

    def on_end(self, order: Order, now_ns: int) -> None:
        account = self._accounts[order.account]
        self._release(account, order)
        self._report(account, order, OrderState.EXPIRED.value, now_ns)
        self._touch(account, order)

    def _new_order(self, account: Account, request: OrderRequest, now_ns: int) -> Order:
        number = self._order_ids[request.symbol]
        self._order_ids[request.symbol] += 1
        order_id = _FIRST_ORDER_ID + number
        order = Order(
            symbol=request.symbol,
            order_id=order_id,
            client_id=request.client_id or f"auto{order_id:018d}",
            account=account.uid,
            side=request.side,
            type=request.type,
            time_in_force=request.time_in_force,
            quantity=request.quantity,
            price=request.price,
            stop_price=request.stop_price,
            quote_quantity=request.quote_quantity,
            created_ns=now_ns,
            updated_ns=now_ns,
        )
        if order.quote_quantity:
            order.quantity = sum((quantity for _, quantity in self.matching.plan(order)), ZERO)
        return order

    def _find_refusal(self, account: Account, order: Order) -> str | None:
        """What the matching engine has against the order. None: the money for it is put aside, and it is taken."""
        if not self._rules[order.symbol].is_trading:
            return errors.MARKET_CLOSED
        if any(other.client_id == order.client_id for other in account.open_orders(order.symbol)):
            return errors.DUPLICATE_ORDER
        if order.type is OrderType.LIMIT_MAKER and self.matching.would_take(order.symbol, order.side, order.price):
            return errors.WOULD_TAKE
        if order.type.is_conditional and self.matching.would_trigger(
            order.type, order.side, order.symbol, order.stop_price
        ):
            return errors.WOULD_TRIGGER
        if not order.quantity:
            return errors.NO_LIQUIDITY
        base, quote = assets_of(order.symbol)
        needed = self._wanted(order)
        try:
            account.balances.lock(quote if order.side.is_buy else base, needed)
        except NotEnoughError:
            return errors.INSUFFICIENT_BALANCE
        order.locked = needed
        return None

    def _wanted(self, order: Order) -> Decimal:
        """What must be put aside before the order is taken.

        That a stop-loss that buys needs its quantity at the stop price is [unverified].
        """
        if not order.side.is_buy:
            return order.quantity
        if order.type is OrderType.MARKET:
            return _cost(self.matching.plan(order))
        return (order.quantity * (order.price or order.stop_price)).quantize(UNIT, ROUND_UP)

    def _refuse(self, account: Account, order: Order, text: str, now_ns: int) -> ApiError:
        """Tell of it, when the reason is one that a report can tell.

        That such a refusal is reported at all is [unverified]; the reasons are documented.
        """
        reason = _REPORTED_REASONS.get(text)
        if reason is not None:
            order.state = OrderState.REJECTED
            self._report(account, order, OrderState.REJECTED.value, now_ns, reject_reason=reason)
        return errors.order_rejected(text)

    def _release(self, account: Account, order: Order, *, keep: Decimal = ZERO) -> None:
        """Give back what the order does not need any more."""
        spare = order.locked - keep
        if spare > 0:
            base, quote = assets_of(order.symbol)
            account.balances.unlock(quote if order.side.is_buy else base, spare)
            order.locked = keep

    def _report(
        self,
        account: Account,
        order: Order,
        execution: str,
        now_ns: int,
        *,
        trade: AccountTrade | None = None,
        cancel_id: str | None = None,
        reject_reason: str = "NONE",
    ) -> None:
        self._execution_id += 1
        report = reports.execution_report(
            order,
            execution=execution,
            execution_id=self._execution_id,
            now_ns=now_ns,
            trade=trade,
            cancel_id=cancel_id,
            reject_reason=reject_reason,
        )
        self._streams.publish(account.uid, report)

    def _touch(self, account: Account, order: Order, *others: str) -> None:
        self._touched.setdefault(account, {}).update(dict.fromkeys((*assets_of(order.symbol), *others)))

    def _settle(self, now_ns: int) -> None:
        """The end of a transaction: each account hears of the balances that it may have changed."""
        touched, self._touched = self._touched, {}
        for account, assets in touched.items():
            account.updated_ns = now_ns
            self._streams.publish(account.uid, reports.account_position(account, assets, now_ns))


_REPORTED_REASONS = {
    errors.INSUFFICIENT_BALANCE: "INSUFFICIENT_BALANCES",
    errors.WOULD_TRIGGER: "STOP_PRICE_WOULD_TRIGGER_IMMEDIATELY",
    errors.WOULD_TAKE: "WOULD_MATCH_IMMEDIATELY",
}


def assets_of(symbol: str) -> tuple[str, str]:
    """`BTC/USDT`: base BTC, quote USDT."""
    base, _, quote = symbol.partition("/")
    return base, quote


def average_price(board: Board, now_ns: int) -> Decimal:
    """The volume-weighted average of five minutes, by which the filters judge."""
    window = board.chart.window(now_ns - 5 * MINUTE_NS, now_ns)
    return window.volume_quote / window.volume_base if window.volume_base else board.last_price


def _cost(planned: list[Level]) -> Decimal:
    return sum(((price * quantity).quantize(UNIT, ROUND_DOWN) for price, quantity in planned), ZERO)


def _needed(order: Order) -> Decimal:
    """What must stay put aside after a fill."""
    if not order.state.is_open:
        return ZERO
    if not order.side.is_buy:
        return order.remaining
    if not order.type.has_price:
        return order.locked
    return (order.remaining * order.price).quantize(UNIT, ROUND_UP)
