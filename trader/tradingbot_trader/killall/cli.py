"""SHELL. `tradingbot-trader killall`: cancels what is open on an account, for the day on which the cluster is gone.

Exit codes: 0 all that was asked is proved; 2 something is left, each with its reason; 1 it could not be tried.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NoReturn

import click

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader import log
from tradingbot_trader.clock import Clock, SystemClock
from tradingbot_trader.control.keys import FILES, MAX_BYTES, Keys, parse_keys
from tradingbot_trader.killall.plan import NOT_TRIED, Report, SaleAsked, Scope
from tradingbot_trader.killall.run import SETTLE_SECONDS, CouldNotTry, Killer
from tradingbot_trader.killall.sale import Market
from tradingbot_trader.killall.text import build_view, describe_sale, render, render_tables
from tradingbot_trader.orders.client_id import ClientOrderIds, hash_bot
from tradingbot_trader.orders.gateway import AnswerPolicy
from tradingbot_trader.venues.binance_outcomes import TABLE, back_off_seconds, is_order_count
from tradingbot_trader.venues.port import AddressRefused, UnsupportedExchange

TIMEOUT_SECONDS = 120.0
COLLAR_PERCENT = "2"
SLICE_QUOTE = "1000"
POLICY = AnswerPolicy(table=TABLE, back_off_seconds=back_off_seconds, is_order_count=is_order_count)
_ASSET = re.compile(r"[A-Z0-9]{1,20}")
_SYMBOL = re.compile(r"[A-Z0-9._-]{2,20}")
_NS = 1_000_000_000


class _NotUnderstood(click.UsageError):
    exit_code = NOT_TRIED


class _Command(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Arguments that cannot be understood mean that nothing was tried; click's own 2 means something else here."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise _NotUnderstood(error.format_message(), ctx) from error


class _Amount(click.ParamType[Decimal]):
    name = "DECIMAL"

    def __init__(self, most: str = "") -> None:
        self._most = Decimal(most) if most else None

    def convert(self, value: str | Decimal, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        number = _positive(str(value))
        if number is None or (self._most is not None and number > self._most):
            most = f", at most {self._most}" if self._most else ""
            self.fail(f"{value!r} is not a number above 0{most}", param, ctx)
        return number


class _Holding(click.ParamType[tuple[str, Decimal]]):
    name = "ASSET=QUANTITY"

    def convert(
        self, value: str | tuple[str, Decimal], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Decimal]:
        if isinstance(value, tuple):
            return value
        asset, _, text = value.partition("=")
        number = _positive(text)
        if not _ASSET.fullmatch(asset) or number is None:
            self.fail(f"{value!r} is not ASSET=QUANTITY, like BTC=0.01", param, ctx)
        return asset, number


class _Symbols(click.ParamType[tuple[str, ...]]):
    name = "SYMBOL,SYMBOL"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(part.strip().replace("/", "").upper() for part in value.split(",")))
        if bad := [name for name in names if not _SYMBOL.fullmatch(name)]:
            self.fail(f"{bad[0]!r} is not a market like BTC/USDT or BTCUSDT", param, ctx)
        return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person asked for."""

    scope: Scope
    sales: tuple[SaleAsked, ...]
    market: Market
    about: Mapping[str, Any]
    timeout_seconds: float
    settle_seconds: float
    is_dry_run: bool
    is_confirmed: bool
    is_json: bool


@click.command(cls=_Command)
@click.option("--exchange", required=True, type=click.Choice([each.value for each in ExchangeId]))
@click.option("--network", required=True, type=click.Choice([each.value for each in Network]))
@click.option(
    "--keys",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder with the files apiKey and apiSecret, of a key that may trade.",
)
@click.option("--own", is_flag=True, help="Only orders with a client order id of ours; others are left alone.")
@click.option("--installation", help="With --own, --namespace and --name: only orders of this one bot.")
@click.option("--namespace", help="Namespace of that bot.")
@click.option("--name", help="Name of that bot.")
@click.option("--symbols", type=_Symbols(), default=(), help="Only orders on these markets, like BTC/USDT,ETH/USDT.")
@click.option("--keep-protective", is_flag=True, help="Leave stop-losses of ours that rest at the venue.")
@click.option(
    "--sell",
    "holdings",
    type=_Holding(),
    multiple=True,
    help="Sell this much, after the cancels, like BTC=0.01. May be given for several assets. Nothing else is sold.",
)
@click.option("--quote", default="USDT", show_default=True, help="What it is sold for.")
@click.option(
    "--collar-percent",
    type=_Amount("50"),
    default=COLLAR_PERCENT,
    show_default=True,
    help="How far below the last price it may be sold, at most; fixed when the sale begins.",
)
@click.option(
    "--slice-quote", type=_Amount(), default=SLICE_QUOTE, show_default=True, help="About how much one order is worth."
)
@click.option("--dry-run", is_flag=True, help="List what would be cancelled and sold; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=TIMEOUT_SECONDS,
    show_default=True,
    help="Seconds for the first look, and again for the work.",
)
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=SETTLE_SECONDS,
    show_default=True,
    help="Seconds between the two lists that prove that nothing is open.",
)
@click.option("--rest-url", help="The venue's REST address, for networks Sandbox and Testnet.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def killall(
    *,
    exchange: str,
    network: str,
    folder: Path,
    own: bool,
    installation: str | None,
    namespace: str | None,
    name: str | None,
    symbols: tuple[str, ...],
    keep_protective: bool,
    holdings: tuple[tuple[str, Decimal], ...],
    quote: str,
    collar_percent: Decimal,
    slice_quote: Decimal,
    dry_run: bool,
    yes: bool,
    timeout: float,
    settle: float,
    rest_url: str | None,
    output: str,
) -> None:
    """Cancel all open orders of an account at the venue, without Kubernetes and without any state.

    Spot orders of the key's own account. Nothing is sold but what --sell names. Traders that still run are not stopped
    by it: revoke the key for that.

    Exit codes: 0 all that was asked is proved, 2 something is left, 1 it could not be tried.
    """
    log.configure(namespace="", name="killall", level="warning")
    bot = _bot(own=own, parts=(installation, namespace, name))
    clock = SystemClock()
    scope = Scope(own_only=own, bot=bot, keep_protective=keep_protective, symbols=symbols)
    keys = _read_keys(folder)
    order = Order(
        scope=scope,
        sales=_sales(holdings, quote.upper()),
        market=Market(collar_percent=collar_percent, slice_quote=slice_quote, take_id=_ids(clock)),
        about={
            "exchange": exchange,
            "network": network,
            "keyFingerprint": keys.fingerprint,
            "scope": {"own": own, "bot": bot, "symbols": list(symbols), "keepProtective": keep_protective},
        },
        timeout_seconds=timeout,
        settle_seconds=settle,
        is_dry_run=dry_run,
        is_confirmed=yes,
        is_json=output == "json",
    )
    sys.exit(asyncio.run(_run(order, ExchangeId(exchange), Network(network), keys, rest_url, clock)))


async def _run(
    order: Order, exchange: ExchangeId, network: Network, keys: Keys, rest_url: str | None, clock: Clock
) -> int:
    from tradingbot_trader.venues.ccxt_killer import build_killer  # after --help: it costs a second

    try:
        venue = build_killer(exchange, network, keys=keys, clock=clock, rest_url=rest_url)
    except (AddressRefused, UnsupportedExchange) as error:
        _fail(str(error))
    stopping = asyncio.Event()
    killer = Killer(
        venue, clock, POLICY, order.scope, tell=_tell, stopping=stopping, settle_seconds=order.settle_seconds
    )
    try:
        return await _work(killer, order, stopping)
    except CouldNotTry as error:
        _fail(f"nothing could be tried: {error}\n{_ADVICE}")
    finally:
        await venue.close()


_ADVICE = (
    "If the venue does not take the key, or cannot be reached from here: cancel by hand on the venue's own site, and "
    "revoke the key there. The runbook is docs/runbooks/cluster-gone.md."
)


async def _work(killer: Killer, order: Order, stopping: asyncio.Event) -> int:
    await killer.look(order.timeout_seconds)
    if order.is_dry_run or not order.is_confirmed:
        quoted = [await killer.quote(each, order.market, order.timeout_seconds) for each in order.sales]
        preview = build_view(killer.report(quoted), order.about, is_dry_run=True)
        if order.is_dry_run:
            return _show(preview, order)
        _ask_person(preview, [describe_sale(each) for each in quoted])
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):  # from here on a break ends with a report
        loop.add_signal_handler(number, stopping.set)
    report: Report = await killer.kill(order.sales, order.market, order.timeout_seconds)
    code = _show(build_view(report, order.about), order)
    if code:
        _tell(_ADVICE)
    return code


def _show(view: Mapping[str, Any], order: Order) -> int:
    click.echo(json.dumps(view, indent=2) if order.is_json else render(view))
    return int(view["exitCode"])


def _ask_person(preview: Mapping[str, Any], sales: list[str]) -> None:
    orders = [each for each in preview["orders"] if each["result"] == "Open"]
    click.echo(render_tables(preview), err=True)
    lines = [f"cancel {len(orders)} open orders, and what appears meanwhile", *sales]
    question = f"{preview['exchange']} {preview['network']}, key {preview['keyFingerprint']}: " + "; ".join(lines) + "?"
    try:
        is_wanted = click.confirm(question, err=True)
    except click.Abort:
        is_wanted = False
    if not is_wanted:
        _fail("not confirmed: nothing was cancelled or sold")


def _bot(*, own: bool, parts: tuple[str | None, str | None, str | None]) -> str:
    if not any(parts):
        return ""
    installation, namespace, name = parts
    if not own or not (installation and namespace and name):
        _fail("one bot is named by --own, --installation, --namespace and --name together")
    return hash_bot(installation, namespace, name)


def _sales(holdings: tuple[tuple[str, Decimal], ...], quote: str) -> tuple[SaleAsked, ...]:
    assets = [asset for asset, _ in holdings]
    if len(set(assets)) < len(assets):
        _fail("an asset is named twice by --sell: say the whole quantity once")
    if quote in assets or not _ASSET.fullmatch(quote):
        _fail(f"{quote} cannot be sold for {quote}: correct --quote")
    return tuple(SaleAsked(asset, quantity, f"{asset}/{quote}") for asset, quantity in holdings)


def _ids(clock: Clock) -> Callable[[], str]:
    """Of a bot that exists nowhere else and never again: no bot takes these orders for its own, and two runs in one
    second do not meet."""
    bot = hash_bot("killall", secrets.token_hex(16), "killall")
    return ClientOrderIds(bot, clock.now_ns() // _NS).take


def _read_keys(folder: Path) -> Keys:
    contents = []
    for file_name in FILES:
        try:
            with (folder / file_name).open("rb") as file:
                contents.append(file.read(MAX_BYTES + 1))
        except OSError as error:
            _fail(f"the key cannot be read: {folder / file_name}: {error.strerror}")
    keys = parse_keys(tuple(contents))
    if keys is None:
        _fail(f"{' and '.join(FILES)} in {folder} hold no key")
    return keys


def _positive(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and number > 0 else None


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _fail(text: str) -> NoReturn:
    click.echo(f"error: {text}", err=True)
    sys.exit(NOT_TRIED)
