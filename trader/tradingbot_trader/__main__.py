"""Composition root: `tradingbot-trader run` in a pod, `audit` for people."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from importlib.metadata import version
from pathlib import Path

import click

from tradingbot_api.conditions import ConfigReason
from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader import health, log, process
from tradingbot_trader.account_cli import account
from tradingbot_trader.audit_cli import audit
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.control.configuration import ConfigRefused
from tradingbot_trader.control.kube import KubernetesApi
from tradingbot_trader.killall.cli import killall
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.budget import RateBudget
from tradingbot_trader.orders.order import BookName
from tradingbot_trader.session import Session, Settings
from tradingbot_trader.venues.port import Addresses, AddressRefused, MarketDataPort, UnsupportedExchange


@click.group()
@click.version_option(version("tradingbot-operator"), prog_name="tradingbot-trader")
def main() -> None:
    """One trading bot: market, strategy, risk, orders, ledger. Its spec is a TradingBot of the API server."""


main.add_command(account)
main.add_command(audit)
main.add_command(killall)


@main.command()
@click.option("--namespace", required=True, help="Namespace of the TradingBot.")
@click.option("--name", required=True, help="Name of the TradingBot.")
@click.option("--exchange", required=True, type=click.Choice([each.value for each in ExchangeId]))
@click.option("--network", required=True, type=click.Choice([each.value for each in Network]))
@click.option(
    "--book",
    required=True,
    type=click.Choice([each.value for each in BookName]),
    help="What this pod trades: invented money, or an account's.",
)
@click.option("--store", required=True, type=click.Path(path_type=Path), help="Folder of orders, fills and the audit.")
@click.option("--listen", required=True, help="HOST:PORT of /healthz, /readyz and /metrics.")
@click.option(
    "--service-account-dir",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder with the pod's token and ca.crt.",
)
@click.option("--installation", required=True, help="Id of the operator's installation; part of every client order id.")
@click.option("--rest-url", help="The venue's REST address, for networks Sandbox and Testnet.")
@click.option("--stream-url", help="The venue's stream address, for networks Sandbox and Testnet.")
@click.option("--account-url", help="The address of the venue's reports about orders, where it is not the usual one.")
@click.option(
    "--keys-dir",
    type=click.Path(path_type=Path),
    help="Folder with the files apiKey and apiSecret; for the live book, and for it alone.",
)
@click.option("--log-level", default="info", show_default=True)
def run(
    *,
    namespace: str,
    name: str,
    exchange: str,
    network: str,
    book: str,
    store: Path,
    listen: str,
    service_account_dir: Path,
    installation: str,
    rest_url: str | None,
    stream_url: str | None,
    account_url: str | None,
    keys_dir: Path | None,
    log_level: str,
) -> None:
    """Trade, until SIGTERM."""
    log.configure(namespace=namespace, name=name, level=log_level)
    host, _, port_text = listen.rpartition(":")
    if not host or not port_text.isdecimal():
        raise click.UsageError(f"--listen {listen!r} is not HOST:PORT")
    if (keys_dir is None) is not (book == BookName.PAPER.value):
        raise click.UsageError("--keys-dir belongs to --book live, and to it alone")
    addresses = Addresses(rest_url=rest_url, stream_url=stream_url, account_url=account_url)
    settings = Settings(
        namespace=namespace,
        name=name,
        pod=os.environ.get("POD_NAME") or f"{name}-{os.getpid()}",
        template=os.environ.get("POD_TEMPLATE", ""),
        installation=installation,
        exchange=ExchangeId(exchange),
        network=Network(network),
        book=BookName(book),
        store=store,
        version=version("tradingbot-operator"),
    )
    asyncio.run(
        _run(
            settings,
            service_account_dir=service_account_dir,
            host=host.strip("[]"),
            port=int(port_text),
            addresses=addresses,
            keys_dir=keys_dir,
        )
    )


async def _run(
    settings: Settings,
    *,
    service_account_dir: Path,
    host: str,
    port: int,
    addresses: Addresses,
    keys_dir: Path | None,
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    clock, metrics = SystemClock(), Metrics()
    budget = RateBudget()
    market = _build_market(settings, clock, addresses, budget)
    live = None
    if keys_dir is not None:
        from tradingbot_trader.live_binance import build_live  # as the market: it costs a second

        live = build_live(settings.exchange, settings.network, addresses, keys_dir, budget=budget)
    kube = KubernetesApi(namespace=settings.namespace, name=settings.name, service_account_dir=service_account_dir)
    session = Session(
        settings,
        kube=kube,
        port=market,
        clock=clock,
        jitter=random.Random(),  # noqa: S311  jitter, no secret
        metrics=metrics,
        build_live=live,
    )
    loop.add_signal_handler(signal.SIGUSR1, session.stop_by_signal)

    process.settle()
    server = await health.serve(
        host=host, port=port, ready=session.problem, observe=session.observe, registry=metrics.registry
    )
    try:
        await session.run(stopping)
    finally:
        await server.cleanup()
        if not isinstance(market, ConfigRefused):
            await market.close()
        await kube.close()


def _build_market(
    settings: Settings, clock: SystemClock, addresses: Addresses, budget: RateBudget
) -> MarketDataPort | ConfigRefused:
    from tradingbot_trader.venues.ccxt_port import build_market_data  # after --help: it costs a second

    try:
        return build_market_data(
            settings.exchange,
            settings.network,
            clock=clock,
            rest_url=addresses.rest_url,
            stream_url=addresses.stream_url,
            on_rate_limits=budget.learn_limits,
        )
    except (UnsupportedExchange, AddressRefused) as error:
        return ConfigRefused(ConfigReason.UNSUPPORTED_EXCHANGE, str(error))


if __name__ == "__main__":
    sys.exit(main())
