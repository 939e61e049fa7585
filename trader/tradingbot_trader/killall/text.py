"""PURE. What `killall` shows: one view of its report, as JSON for programs and as tables for people. After run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tradingbot_api.decimal import format_decimal
from tradingbot_trader.killall.plan import LEFT, PROVED, ZERO, Report, Sale, Target, is_of
from tradingbot_trader.venues.killer import RestingOrder

KEPT = "Kept"
OPEN = "Open"
"""Of a dry run: would be cancelled."""
LEFT_OPEN = "Left"
_ORDERS = ("symbol", "orderId", "clientOrderId", "own", "kind", "quantity", "filled", "price", "result", "reason")
_SALES = ("asset", "symbol", "asked", "sold", "received", "unresolved", "lastPrice", "lowestPrice", "result", "reason")
_DONE, _NOT_DONE, _UNKNOWN, _WOULD, _WOULD_NOT = "Sold", "Left", "Unknown", "WouldSell", "WouldNotSell"


def build_view(report: Report, about: Mapping[str, Any], *, is_dry_run: bool = False) -> dict[str, Any]:
    """Decimals as strings, nothing secret. `about` says which account and what was asked for."""
    targets = sorted(report.targets, key=lambda each: each.order.key)
    orders = [_target(each, is_dry_run=is_dry_run) for each in targets]
    orders += [_order(each) | {"result": KEPT, "reason": _KEPT_REASON} for each in report.kept]
    return {
        **about,
        "dryRun": is_dry_run,
        "nothingOpen": report.is_proved,
        "exitCode": dry_run_code(report) if is_dry_run else report.exit_code,
        "orders": orders,
        "sales": [_sale(each, is_dry_run=is_dry_run) for each in report.sales],
        "notes": list(report.notes),
        "problem": report.problem,
    }


def dry_run_code(report: Report) -> int:
    """Something that was named cannot be sold, or not all of it."""
    return LEFT if any(sale.reason for sale in report.sales) else PROVED


def render(view: Mapping[str, Any]) -> str:
    """Tables, and a last line that says how it ended."""
    return "\n\n".join(part for part in (render_tables(view), _conclude(view)) if part)


def render_tables(view: Mapping[str, Any]) -> str:
    parts = [_table(_ORDERS, view["orders"]), _table(_SALES, view["sales"])]
    parts += [f"note: {note}" for note in view["notes"]]
    return "\n\n".join(part for part in parts if part)


def _conclude(view: Mapping[str, Any]) -> str:
    if view["dryRun"]:
        return "dry run: nothing was cancelled or sold"
    left = sum(each["result"] == LEFT_OPEN for each in view["orders"])
    unsold = sum(each["result"] != _DONE for each in view["sales"])
    if view["exitCode"] == PROVED:
        last = "proved: the venue shows no open order of this scope"
        last += ", and all sales are done" if view["sales"] else ""
    else:
        problems = [f"{left} orders are not proved closed"] * bool(left)
        problems += ["the list of open orders could not be read twice"] * (not view["nothingOpen"] and not left)
        problems += [f"{unsold} sales are not done"] * bool(unsold)
        last = "LEFT: " + ", ".join(problems) + (f" ({view['problem']})" if view["problem"] else "")
    return last


_KEPT_REASON = "a protective stop of ours"


def _target(target: Target, *, is_dry_run: bool) -> dict[str, Any]:
    if is_dry_run:
        return _order(target.order) | {"result": OPEN, "reason": ""}
    if target.is_closed and target.ending is not None:
        return _order(target.order) | {"result": target.ending.value, "reason": ""}
    ended = f"by its own answer it is {target.ending}, and the list still shows it" if target.ending else ""
    reason = ended or target.reason or "no cancel was tried: the time was over"
    return _order(target.order) | {"result": LEFT_OPEN, "reason": reason}


def _order(order: RestingOrder) -> dict[str, Any]:
    return {
        "symbol": order.symbol,
        "orderId": order.venue_order_id,
        "clientOrderId": order.client_order_id,
        "own": is_of(order.client_order_id),
        "kind": order.kind,
        "quantity": _text(order.quantity_base),
        "filled": _text(order.filled_base),
        "price": _text(order.price),
    }


def _sale(sale: Sale, *, is_dry_run: bool) -> dict[str, Any]:
    if is_dry_run:
        result = _WOULD_NOT if sale.reason else _WOULD
    else:
        result = _DONE if sale.is_done else _UNKNOWN if sale.unresolved_base else _NOT_DONE
    return {
        "asset": sale.asked.asset,
        "symbol": sale.asked.symbol,
        "asked": _text(sale.asked.quantity_base),
        "sold": _text(sale.sold_base),
        "received": _text(sale.received_quote),
        "averagePrice": _text(sale.received_quote / sale.sold_base if sale.sold_base else None),
        "unresolved": _text(sale.unresolved_base),
        "lastPrice": _text(sale.reference_price),
        "lowestPrice": _text(sale.floor_price),
        "orders": list(sale.orders),
        "result": result,
        "reason": "" if result == _DONE else sale.reason,
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format_decimal(value)


def _table(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    cells = [[name.upper() for name in names], *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join(_join(line, widths) for line in cells)


def _join(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(cells, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else str(value)


def describe_sale(sale: Sale) -> str:
    """One line for the question before it happens."""
    what = f"sell {format_decimal(sale.asked.quantity_base)} {sale.asked.asset} on {sale.asked.symbol}"
    if sale.floor_price is not None:
        last = format_decimal(sale.reference_price or ZERO)
        what += f" at {format_decimal(sale.floor_price)} or more (last price {last})"
    return f"{what}; {sale.reason}" if sale.reason else what
