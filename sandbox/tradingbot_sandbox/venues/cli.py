"""`venue ...`: starts an exchange simulator in the foreground. Composition root of the simulators. SHELL."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path

import click
import structlog

from tradingbot_sandbox.market.clock import SystemClock
from tradingbot_sandbox.market.instruments import INSTRUMENTS, split_symbol
from tradingbot_sandbox.market.port import Market, StartPolicy
from tradingbot_sandbox.market.recording import RecordingUnusableError, load_recording
from tradingbot_sandbox.market.replay import RecordedMarket
from tradingbot_sandbox.market.synthetic import SyntheticMarket
from tradingbot_sandbox.market.world import World
from tradingbot_sandbox.venues.binance.accounts import ApiKey
from tradingbot_sandbox.venues.binance.connection import ConnectionLimits
from tradingbot_sandbox.venues.binance.exchange import Exchange
from tradingbot_sandbox.venues.binance.faults import BinanceFaults
from tradingbot_sandbox.venues.binance.rules import venue_name
from tradingbot_sandbox.venues.binance.server import Server
from tradingbot_sandbox.venues.binance.weights import WEIGHT_LIMIT, WeightMeter
from tradingbot_sandbox.venues.faults import FaultScript
from tradingbot_sandbox.venues.faults_json import parse_rules
from tradingbot_sandbox.venues.faults_market import StoppableMarket
from tradingbot_sandbox.venues.faults_rules import FaultRuleError
from tradingbot_sandbox.venues.log import configure_log

SYNTHETIC_SYMBOLS = "BTCUSDT,ETHUSDT,SOLUSDT"


class _Parsed(click.ParamType[object]):
    """An option whose text is parsed by a function that raises ValueError with a message for people."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{text}: expected HOST:PORT; port 0 takes any free one")
    return host.strip("[]"), int(port)


def parse_speed(text: str) -> Fraction:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(0)
    if not value.is_finite() or not 0 < value <= 1000:
        raise ValueError(f"{text}: expected a number above 0, at most 1000")
    return Fraction(value)


def parse_balance(text: str) -> tuple[str, Decimal]:
    asset, equals, amount_text = text.partition("=")
    try:
        amount = Decimal(amount_text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not asset or not equals or not amount.is_finite() or amount < 0:
        raise ValueError(f"{text}: expected ASSET=AMOUNT, like USDT=1000")
    return asset.upper(), amount


def parse_symbols(text: str) -> tuple[str, ...]:
    return tuple(split_symbol(name.strip()) for name in text.split(",") if name.strip())


@click.group()
def venue() -> None:
    """Exchange simulators that speak a venue's own protocol."""


@venue.command()
@click.option("--listen", type=_Parsed("HOST:PORT", parse_address), default="127.0.0.1:0", help="Address; port 0: any.")
@click.option("--market", default="synthetic", help="`synthetic`, or the path of a recording (also `recording:PATH`).")
@click.option("--speed", type=_Parsed("N", parse_speed), default="1", help="So many seconds of the market in one.")
@click.option("--play", type=click.Choice(["once", "loop"]), default="loop", help="What a recording does at its end.")
@click.option(
    "--start",
    type=_Parsed("WHEN", StartPolicy.parse),
    default="immediately",
    help="immediately, first-subscription (to a trade stream) or all-subscriptions:N.",
)
@click.option("--seed", type=int, default=7, help="The synthetic market, and the walk before any market's start.")
@click.option(
    "--symbols", type=_Parsed("A,B", parse_symbols), help=f"Default: {SYNTHETIC_SYMBOLS}, or all that are recorded."
)
@click.option("--address-file", type=click.Path(path_type=Path), help="Gets the bound HOST:PORT once it serves.")
@click.option(
    "--weight-limit", type=click.IntRange(1), default=WEIGHT_LIMIT, help="Request weight a minute and address."
)
@click.option(
    "--client-queue-frames",
    type=click.IntRange(1),
    default=ConnectionLimits().queue_frames,
    help="Then it is too slow.",
)
@click.option(
    "--faults",
    "fault_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON list of fault rules, in force from the start.",
)
@click.option(
    "--balance",
    "balances",
    type=_Parsed("ASSET=AMOUNT", parse_balance),
    multiple=True,
    help="Opens an account that holds this. May be given for several assets.",
)
@click.option("--pay-in-bnb", is_flag=True, help="That account pays its commissions in BNB, while it has any.")
@click.option(
    "--keys-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Gets a fresh key of that account: the files apiKey and apiSecret.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info")
def binance(
    *,
    listen: tuple[str, int],
    market: str,
    speed: Fraction,
    play: str,
    start: StartPolicy,
    seed: int,
    symbols: tuple[str, ...] | None,
    address_file: Path | None,
    weight_limit: int,
    client_queue_frames: int,
    fault_file: Path | None,
    balances: tuple[tuple[str, Decimal], ...],
    pay_in_bnb: bool,
    keys_dir: Path | None,
    log_level: str,
) -> None:
    """Binance spot: REST, streams, and accounts that trade, until SIGTERM or Ctrl-C."""
    configure_log(log_level)
    log = structlog.get_logger().bind(venue="binance")
    clock = SystemClock()
    script = build_faults(fault_file, seed=seed, now_ns=clock.now_ns())
    played: Market = StoppableMarket(
        build_market(market, speed=speed, loop=play == "loop", seed=seed, symbols=symbols),
        lambda symbol, now_ns: script.is_stale(venue_name(symbol), now_ns),
    )
    log.info(
        "market_ready",
        market=played.kind,
        symbols=[i.symbol for i in played.instruments],
        speed=str(speed),
        play=play,
        total=played.position().total,
    )
    exchange = Exchange(
        World(played, seed=seed, now_ns=clock.now_ns()), meter=WeightMeter(weight_limit), start=start, log=log
    )
    limits = ConnectionLimits(queue_frames=client_queue_frames)
    if balances or keys_dir is not None:
        account = exchange.accounts.open(dict(balances), pays_in_bnb=pay_in_bnb)
        log.info("account_opened", uid=account.uid, assets=list(account.balances.assets))
        if keys_dir is not None:
            write_key(keys_dir, exchange.accounts.issue_key(account, now_ns=clock.now_ns()))

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        faults = BinanceFaults(exchange, script, log=log)
        server = Server(exchange, clock=clock, log=log, limits=limits, faults=faults)
        async with server.listening(*listen) as (host, port):
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            if address_file is not None:
                _write_whole(address_file, address + "\n")
            log.info("listening", address=address, rest=f"http://{address}/api/v3", streams=f"ws://{address}/ws")
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({stopping, server.pump}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            log.info("stopping", asked=stop.is_set())

    try:
        asyncio.run(serve())
    except OSError as error:
        raise click.ClickException(f"cannot listen on {listen[0]}:{listen[1]}: {error}") from error


def build_market(market: str, *, speed: Fraction, loop: bool, seed: int, symbols: tuple[str, ...] | None) -> Market:
    """The market that the options name. Raises click.ClickException with what to do."""
    if market == "synthetic":
        wanted = symbols or parse_symbols(SYNTHETIC_SYMBOLS)
        unknown = [name for name in wanted if name not in INSTRUMENTS]
        if unknown:
            raise click.ClickException(
                f"no synthetic market for {', '.join(unknown)}; there is {', '.join(INSTRUMENTS)}"
            )
        return SyntheticMarket([INSTRUMENTS[name] for name in wanted], seed=seed, speed=speed)
    path = Path(market.removeprefix("recording:"))
    try:
        return RecordedMarket(load_recording(path, symbols=symbols), speed=speed, loop=loop)
    except RecordingUnusableError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot read the recording: {error}") from error


def build_faults(path: Path | None, *, seed: int, now_ns: int) -> FaultScript:
    """The script of a file. Raises click.ClickException with what is wrong in it."""
    try:
        rules = () if path is None else parse_rules(path.read_text())
    except (OSError, FaultRuleError) as error:
        raise click.ClickException(f"fault rules {path}: {error}") from error
    return FaultScript(rules, now_ns=now_ns, seed=seed)


def write_key(folder: Path, key: ApiKey) -> None:
    """Both halves of a key as files, in the form of a mounted Secret. Nobody else may read them.

    Raises click.ClickException.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in (("apiKey", key.api_key), ("apiSecret", key.api_secret)):
            part = folder / f".{name}.part"
            part.unlink(missing_ok=True)
            part.touch(mode=0o600)
            part.write_text(text)
            part.replace(folder / name)
    except OSError as error:
        raise click.ClickException(f"cannot write the key into {folder}: {error}") from error


def _write_whole(path: Path, text: str) -> None:
    """Whoever waits for the file never sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)
