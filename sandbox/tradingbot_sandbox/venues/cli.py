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
from tradingbot_sandbox.venues.binance.connection import ConnectionLimits
from tradingbot_sandbox.venues.binance.exchange import Exchange
from tradingbot_sandbox.venues.binance.server import Server
from tradingbot_sandbox.venues.binance.weights import WEIGHT_LIMIT, WeightMeter
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
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info")
def binance(
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
    log_level: str,
) -> None:
    """Binance spot: public REST and streams, until SIGTERM or Ctrl-C."""
    configure_log(log_level)
    log = structlog.get_logger().bind(venue="binance")
    clock = SystemClock()
    played = build_market(market, speed=speed, loop=play == "loop", seed=seed, symbols=symbols)
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

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        server = Server(exchange, clock=clock, log=log, limits=limits)
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


def _write_whole(path: Path, text: str) -> None:
    """Whoever waits for the file never sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)
