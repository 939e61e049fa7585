"""What one decision costs: the numbers of the moment for sizing, then every limit, as the desk asks for them. PURE.

The engine is as full as it gets: it remembers 600 entries, holds two positions and has three orders open.
"""

from __future__ import annotations

import time
from decimal import Decimal

from tests.unit.orders import builders

from bench.figure import Figure, percentile
from bench.setting import Setting
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import OrderState
from tradingbot_trader.risk.engine import MAX_ENTRIES_REMEMBERED, RiskEngine
from tradingbot_trader.risk.limits import FOR_ENTRIES
from tradingbot_trader.risk.observed import TrustedPrice

SAMPLES = 5_000
BETWEEN_NS = 6 * builders.SECOND_NS
"""Ten orders a minute, the default of maxOrdersPerMinute."""


async def measure(_setting: Setting) -> list[Figure]:
    engine = build_engine()
    limits = builders.limits(granted="10000", stage="10000", maxDailyNotional="5000000", cooldownAfterLoss="1s")
    took_us: list[float] = []
    own_us: list[float] = []
    for number in range(MAX_ENTRIES_REMEMBERED + SAMPLES):
        now_ns = builders.NOW_NS + number * BETWEEN_NS
        price = TrustedPrice(Decimal(100), now_ns)
        conditions = builders.conditions(
            now_ns=now_ns, limits=limits, price=price, opening_cash_quote=Decimal(100_000), clock_skew_ns=1_000_000
        )
        intent = builders.intent(f"{number:032x}", created_ns=now_ns)
        own_ns, began_ns = time.thread_time_ns(), time.perf_counter_ns()
        engine.observe(intent.symbol, conditions)
        decision = engine.decide(intent, conditions)
        took_us.append((time.perf_counter_ns() - began_ns) / 1e3)
        own_us.append((time.thread_time_ns() - own_ns) / 1e3)
        if not decision.is_approved:
            raise RuntimeError(f"the measured decision was refused: {decision.denials}")
        engine.apply(builders.event(OrderState.DENIED, client_order_id=intent.client_order_id))
    took_us, own_us = took_us[MAX_ENTRIES_REMEMBERED:], own_us[MAX_ENTRIES_REMEMBERED:]
    return [
        Figure(
            name="risk-check",
            what=f"one approval: observe, then {len(FOR_ENTRIES)} limits on an engine full of history",
            value=percentile(took_us, 50),
            unit="us",
            samples=len(took_us),
            p50=percentile(took_us, 50),
            p99=percentile(took_us, 99),
            detail={f"own_cpu_p{each}_us": round(percentile(own_us, each), 1) for each in (50, 99)},
        )
    ]


def build_engine() -> RiskEngine:
    resting = [
        Order(builders.intent(f"{each:032x}", symbol=symbol))
        for each, symbol in enumerate((builders.BTC, builders.ETH, "SOL/USDT"), start=1 << 64)
    ]
    held = [builders.fill(f"T{each}", symbol=symbol) for each, symbol in enumerate((builders.BTC, builders.ETH))]
    return builders.engine(fills=held, orders=resting)
