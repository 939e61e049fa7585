"""SHELL. Builds the live execution on Binance: account, keys, outcome table, rate budget. For __main__."""

from __future__ import annotations

import random as system_random
from collections.abc import Callable
from pathlib import Path

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader.control.credentials import Check, KeyRing, Shown
from tradingbot_trader.execution import Surroundings
from tradingbot_trader.live import LiveExecution
from tradingbot_trader.orders.budget import RateBudget
from tradingbot_trader.orders.gateway import AnswerPolicy
from tradingbot_trader.orders.outcome import Action
from tradingbot_trader.session import BuildLive
from tradingbot_trader.venues import binance
from tradingbot_trader.venues.account import AccountPort, Answer, Operation
from tradingbot_trader.venues.account_stream import Connect
from tradingbot_trader.venues.binance_outcomes import TABLE, back_off_seconds, is_order_count
from tradingbot_trader.venues.ccxt_account import AccountHooks, Accounts
from tradingbot_trader.venues.port import Addresses
from tradingbot_trader.venues.transport import Transport

CHECK_WEIGHT = 40
"""Of a look at a key: Binance counts 20 for the account, which is read again where no permissions are told."""


def build_live(
    exchange: ExchangeId,
    network: Network,
    addresses: Addresses,
    keys_dir: Path,
    *,
    transport: Transport | None = None,
    connect: Connect | None = None,
    random: Callable[[], float] = system_random.random,
    budget: RateBudget | None = None,
) -> BuildLive:
    """`transport` and `connect` stand in for the network. Raises UnsupportedExchange or AddressRefused when called."""

    budget = budget or RateBudget()

    def build(around: Surroundings) -> LiveExecution:

        def symbol_of(venue_symbol: str) -> str:
            """An own order is never known by the venue's name: its fills would be another market's. All our markets are
            quoted in the bot's currency; what is left is other people's."""
            engine, configuration = around.desk.engine, around.configuration()
            ordered = (order.intent.symbol for order in engine.orders.values())
            for symbol in (*around.instruments, *engine.ledger.positions, *ordered):
                if binance.venue_symbol(symbol) == venue_symbol:
                    return symbol
            currency = configuration.spec.capital.currency if configuration is not None else ""
            base = venue_symbol.removesuffix(currency)
            return f"{base}/{currency}" if currency and base not in ("", venue_symbol) else venue_symbol

        accounts = Accounts(
            exchange,
            network,
            clock=around.clock,
            symbol_of=symbol_of,
            rest_url=addresses.rest_url,
            stream_url=addresses.stream_url,
            account_url=addresses.account_url,
            hooks=AccountHooks(on_headers=lambda headers: budget.observe_headers(headers, around.clock.now_ns())),
            transport=transport,
            connect=connect,
            random=random,
        )
        store = around.desk.store

        async def ask(check: Check, account: AccountPort) -> Shown:
            return await execution.gateway.ask(check, weight=CHECK_WEIGHT, account=account)

        keys = KeyRing(
            keys_dir,
            build=accounts.build,
            ask=ask,
            is_key_refused=_is_key_refused,
            network=network,
            clock=around.clock,
            account_id=store.read_meta(f"account/{store.book}") or "",
            first_seen_ns=lambda fingerprint, now_ns: _first_seen_ns(around, fingerprint, now_ns),
        )
        execution = LiveExecution(
            around,
            keys,
            policy=AnswerPolicy(table=TABLE, back_off_seconds=back_off_seconds, is_order_count=is_order_count),
            budget=budget,
            claim_account=lambda account_id: store.claim_account(account_id, around.clock.now_ns()),
        )
        return execution

    return build


def _first_seen_ns(around: Surroundings, fingerprint: str, now_ns: int) -> int:
    """`credentials.maxAge` counts from here, over restarts."""
    name, store = f"key.{fingerprint}.first_seen_ns", around.desk.store
    known = store.counters(store.book).get(name)
    if known is None:
        around.desk.record(lambda tx: tx.put_counters({name: str(now_ns)}))
    return now_ns if known is None else int(known)


def _is_key_refused(answer: Answer) -> bool:
    """Whatever was asked with it: that the account may not place orders, only an order is told."""
    return any(TABLE.classify(each, answer).action is Action.HALT_CREDENTIALS for each in Operation)
