"""SHELL. `tradingbot-trader account show | adjust | reconcile`: the account as the bot sees it, and what people moved.

`show` reads the store. The others hand a request to the running trader (book/requests.py) and wait for its answer.
Exit codes: 0 done; 2 the command was not understood, or the store could not be used; 3 refused, with the reason;
4 nobody answered in time.
"""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import click
from pydantic import ValidationError

from tradingbot_api.decimal import format_decimal
from tradingbot_trader.book import requests
from tradingbot_trader.book.account import add_by_asset
from tradingbot_trader.book.audit import encode
from tradingbot_trader.book.reader import FILE_NAME, StoreReader, open_reader
from tradingbot_trader.book.requests import Answer, Request, RequestKind, Unanswered
from tradingbot_trader.errors import TradingError
from tradingbot_trader.orders.order import BookName
from tradingbot_trader.orders.reconcile import ledger_effect

UNUSABLE = 2
REFUSED = 3
UNANSWERED = 4
TIMEOUT_SECONDS = 30.0
"""The trader looks for requests every second or so; a reconciliation asks the venue a few questions."""

_store = click.option(
    "--store",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder of the store, /var/lib/tradingbot in the pod.",
)
_book = click.option(
    "--book",
    type=click.Choice([each.value for each in BookName]),
    default=BookName.LIVE.value,
    show_default=True,
)
_output = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
_who = click.option("--who", help="Your name, for the record.  [default: the user that runs this]")
_timeout = click.option(
    "--timeout", type=click.FloatRange(min=0), default=TIMEOUT_SECONDS, show_default=True, help="Seconds to wait."
)
_cancel = click.option("--cancel-on-timeout", is_flag=True, help="Take the request back when nobody has taken it.")


@click.group()
def account() -> None:
    """The account: what the bot expects there, and what a person moved in or out."""


@account.command()
@_store
@_book
@_output
def show(folder: Path, book: str, output: str) -> None:
    """Baseline, adjustments, positions, and the balance that should be there. Reads beside a running trader."""
    try:
        with open_reader(folder) as reader, reader.snapshot():
            view = _view(reader, BookName(book))
    except TradingError as error:
        _fail(f"error: {error}", UNUSABLE)
    click.echo(json.dumps(encode(view), indent=2) if output == "json" else _render(view))


@account.command()
@_store
@_book
@click.option("--asset", required=True, help="Like USDT.")
@click.option("--amount", required=True, help="What was added; what was taken away is negative, like -100.")
@click.option("--reason", required=True, help="For the record, like 'weekly withdrawal'.")
@_who
@_timeout
@_cancel
def adjust(
    *,
    folder: Path,
    book: str,
    asset: str,
    amount: str,
    reason: str,
    who: str | None,
    timeout: float,
    cancel_on_timeout: bool,
) -> None:
    """Record a deposit or a withdrawal, so that the account agrees with the books again. Moves no money."""
    request = _build(RequestKind.ADJUST, book, who, asset=asset, amount=amount, reason=reason)
    answer = _ask(folder, request, timeout=timeout, cancel_on_timeout=cancel_on_timeout)
    click.echo(answer.message)


@account.command()
@_store
@_book
@_output
@_who
@_timeout
@_cancel
def reconcile(
    *, folder: Path, book: str, output: str, who: str | None, timeout: float, cancel_on_timeout: bool
) -> None:
    """Let the trader compare its books with the venue now, and print its report."""
    request = _build(RequestKind.RECONCILE, book, who)
    answer = _ask(folder, request, timeout=timeout, cancel_on_timeout=cancel_on_timeout)
    if output == "json":
        click.echo(json.dumps(answer.data, indent=2))
        return
    click.echo(answer.message)
    deltas = [each for each in answer.data.get("deltas", []) if isinstance(each, dict)]
    if deltas:
        click.echo(_table(("asset", "venue", "local", "delta"), deltas))
    for name in ("orphans", "adopted"):
        for each in answer.data.get(name, []):
            click.echo(f"{name}: {each}")


def _view(reader: StoreReader, book: BookName) -> dict[str, Any]:
    ledger, baseline, adjusted = reader.ledger(book), reader.baseline(book), reader.adjusted(book)
    effect = ledger_effect(ledger)
    parts: Mapping[str, Mapping[str, Decimal]] = {"baseline": baseline or {}, "adjusted": adjusted, "fills": effect}
    expected = add_by_asset(*parts.values())
    return {
        "book": book,
        "hasBaseline": baseline is not None,
        "balances": [
            {"asset": asset}
            | {name: part.get(asset, Decimal(0)) for name, part in parts.items()}
            | {"expected": None if baseline is None else amount}
            for asset, amount in expected.items()
        ],
        "adjustments": [
            {
                "id": each.id,
                "asset": each.asset,
                "amount": each.amount,
                "reason": each.reason,
                "who": each.who,
                "recordedNs": each.recorded_ns,
                "isApplied": each.is_applied,
            }
            for each in reader.adjustments(book)
        ],
        "positions": [
            {
                "symbol": each.symbol,
                "quantityBase": each.quantity_base,
                "costQuote": each.cost_quote,
                "realizedQuote": each.realized_quote,
            }
            for each in ledger.positions.values()
        ],
    }


def _render(view: Mapping[str, Any]) -> str:
    parts = [f"book {view['book']}"]
    if not view["hasBaseline"]:
        parts.append("no opening baseline is recorded yet: what should be at the venue is not known")
    parts.append(_table(("asset", "baseline", "adjusted", "fills", "expected"), view["balances"]))
    if view["positions"]:
        parts.append(_table(("symbol", "quantityBase", "costQuote", "realizedQuote"), view["positions"]))
    if view["adjustments"]:
        parts.append(_table(("asset", "amount", "who", "reason", "isApplied"), view["adjustments"]))
    return "\n\n".join(part for part in parts if part)


def _table(names: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    cells = [[name.upper() for name in names], *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def _cell(value: object) -> str:
    if isinstance(value, Decimal):
        return format_decimal(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _build(kind: RequestKind, book: str, who: str | None, **about: str) -> Request:
    if book == BookName.PAPER:
        raise click.UsageError("the paper book has no account at a venue: there is nothing to compare or adjust")
    values = {"id": requests.new_id(), "kind": kind, "book": book, "who": who or _user(), "created_ns": time.time_ns()}
    try:
        return Request.model_validate(values | about)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(each) for each in first["loc"])
        raise click.UsageError(f"--{place}: {first['msg']}" if place else str(first["msg"])) from error


def _ask(folder: Path, request: Request, *, timeout: float, cancel_on_timeout: bool) -> Answer:
    if not (folder / FILE_NAME).is_file():
        _fail(f"error: there is no store in {folder}", UNUSABLE)
    try:
        requests.put(folder, request)
    except OSError as error:
        _fail(f"error: the request cannot be written: {error}", UNUSABLE)
    try:
        answer = requests.await_answer(
            folder,
            request,
            timeout_seconds=timeout,
            monotonic=time.monotonic,
            sleep=time.sleep,
            tell=lambda text: click.echo(text, err=True),
        )
    except Unanswered as unanswered:
        _fail(_explain(folder, request, unanswered, timeout, is_cancelled=cancel_on_timeout), UNANSWERED)
    if not answer.is_done:
        _fail(f"refused: {answer.message}", REFUSED)
    return answer


def _explain(folder: Path, request: Request, unanswered: Unanswered, timeout: float, *, is_cancelled: bool) -> str:
    if not unanswered.is_taken and is_cancelled and requests.cancel(folder, request):
        return f"nobody answered within {timeout:g} s, and the request was taken back: nothing changes"
    if not unanswered.is_taken and not is_cancelled:
        return f"nobody answered within {timeout:g} s: request {request.id} will be taken when the trader runs"
    return f"the trader took request {request.id} and has not answered within {timeout:g} s: look at `account show`"


def _user() -> str:
    """In a pod a user may have no name."""
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return "unnamed"


def _fail(text: str, code: int) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(code)
