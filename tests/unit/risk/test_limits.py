"""Each limit by itself: what passes at the edge, what is denied just beyond it, and with which words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.orders.builders import (
    BTC,
    ETH,
    NOW_NS,
    SECOND_NS,
    conditions,
    engine,
    event,
    fill,
    instrument,
    intent,
    limits,
)

from tradingbot_api.conditions import TradingState
from tradingbot_trader.market.instrument import PriceBand
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import Intent, OrderState, OrderType, Purpose, Side
from tradingbot_trader.risk.engine import Decision, RiskEngine
from tradingbot_trader.risk.limits import (
    DenialReason,
    Limits,
    limits_below_venue_minimum,
    required_entry_quote,
    stricter_of,
)
from tradingbot_trader.risk.observed import Costs, TrustedPrice

R = DenialReason
EXIT = {"purpose": Purpose.EXIT, "quantity_base": Decimal("0.1")}


def decide(order: Intent, desk: RiskEngine | None = None, **changes: Any) -> Decision:
    return (desk or engine()).decide(order, conditions(**changes))


def reasons(order: Intent, desk: RiskEngine | None = None, **changes: Any) -> list[DenialReason]:
    return [denial.reason for denial in decide(order, desk, **changes).denials]


def holding(quantity: str = "0.1", **changes: Any) -> RiskEngine:
    return engine(fills=[fill("held", quantity_base=Decimal(quantity), client_order_id="h" * 32)], **changes)


def test_an_order_within_all_limits_is_approved() -> None:
    assert decide(intent()).is_approved


@pytest.mark.parametrize(
    ("risk", "reason", "observed", "limit"),
    [
        ({"maxOrderNotional": "9.99"}, R.ORDER_NOTIONAL, "10", "9.99"),
        ({"maxPositionPercent": "9.9"}, R.POSITION, "10", "9.9"),
        ({"maxExposurePercent": "9.9"}, R.EXPOSURE, "10", "9.9"),
        ({"maxLeverage": "0.09"}, R.LEVERAGE, "10", "9"),
        ({"maxDailyNotional": "9.99"}, R.DAILY_NOTIONAL, "10", "9.99"),
    ],
)
def test_amount_above_its_limit_is_denied_with_both_values(
    risk: dict[str, str], reason: DenialReason, observed: str, limit: str
) -> None:
    denials = decide(intent(), limits=limits(**risk)).denials
    assert [(d.reason, d.observed, d.limit) for d in denials] == [(reason, observed, limit)]


@pytest.mark.parametrize(
    "risk",
    [
        {"maxOrderNotional": "10"},
        {"maxPositionPercent": "10"},
        {"maxExposurePercent": "10"},
        {"maxLeverage": "0.1"},
        {"maxDailyNotional": "10"},
        {"maxOrdersPerMinute": 1},
        {"maxOpenPositions": 1},
    ],
)
def test_amount_exactly_at_its_limit_passes(risk: dict[str, Any]) -> None:
    assert reasons(intent(), limits=limits(**risk)) == []


def test_position_counts_its_cost_and_its_open_and_unresolved_buys() -> None:
    unresolved = Order(intent("u" * 32), state=OrderState.UNRESOLVED)
    desk = engine(fills=[fill()], orders=[Order(intent("o" * 32)), unresolved])
    denial = decide(intent(), desk, limits=limits(maxPositionPercent="39")).denials[0]
    assert (denial.reason, denial.observed, denial.limit) == (R.POSITION, "40", "39")


def test_exposure_is_cost_and_not_market_value() -> None:
    desk = holding("0.5")
    assert (
        reasons(intent(), desk, price=TrustedPrice(Decimal(101), NOW_NS), limits=limits(maxExposurePercent="60")) == []
    )
    assert desk.exposure_quote == 60


def test_exposure_counts_all_symbols() -> None:
    desk = engine(fills=[fill(symbol=ETH, quantity_base=Decimal("0.95"))])
    assert reasons(intent(), desk) == [R.EXPOSURE, R.LEVERAGE]


def test_buy_that_pays_its_fee_on_top_is_reserved_with_the_fee() -> None:
    desk = engine(costs=Costs(buy_fee_in_quote=True))
    assert reasons(intent(quantity_base=1), desk) == [R.POSITION, R.EXPOSURE, R.LEVERAGE]
    assert reasons(intent(quantity_base=Decimal("0.999")), desk) == []
    assert desk.exposure_quote == Decimal("99.9999")


def test_open_positions_count_what_is_held_or_being_bought_and_no_dust() -> None:
    dust = fill("dust", symbol="SOL/USDT", quantity_base=Decimal("0.0005"))
    desk = engine(fills=[dust], orders=[Order(intent("e" * 32, symbol=ETH))])
    assert reasons(intent(), desk, limits=limits(maxOpenPositions=1)) == [R.OPEN_POSITIONS]
    assert reasons(intent(), desk, limits=limits(maxOpenPositions=2)) == []


def test_adding_to_a_position_opens_none() -> None:
    assert reasons(intent(), holding(), limits=limits(maxOpenPositions=1)) == []


def test_orders_a_minute_count_any_60_seconds() -> None:
    times = [NOW_NS - 60 * SECOND_NS, NOW_NS - 59 * SECOND_NS, NOW_NS - 1]
    assert reasons(intent(), engine(entry_times_ns=times), limits=limits(maxOrdersPerMinute=2)) == [R.ORDERS_PER_MINUTE]
    assert reasons(intent(), engine(entry_times_ns=times), limits=limits(maxOrdersPerMinute=3)) == []


def test_clock_that_went_back_does_not_empty_the_minute() -> None:
    desk = engine(entry_times_ns=[NOW_NS + SECOND_NS] * 2)
    assert reasons(intent(), desk, limits=limits(maxOrdersPerMinute=2)) == [R.ORDERS_PER_MINUTE]


def test_daily_notional_counts_today_and_what_open_orders_may_still_trade() -> None:
    fills = [fill("1", event_time_ns=NOW_NS - 2 * 86_400 * SECOND_NS), fill("2")]
    desk = engine(fills=fills, orders=[Order(intent("o" * 32))])
    denial = decide(intent(), desk, limits=limits(maxDailyNotional="29")).denials[0]
    assert (denial.reason, denial.observed) == (R.DAILY_NOTIONAL, "30")


def test_entry_within_the_cooldown_after_a_loss_is_denied() -> None:
    sold = fill("2", side=Side.SELL, price=90, event_time_ns=NOW_NS - 59 * SECOND_NS)
    bounds = limits(cooldownAfterLoss="1m")
    assert reasons(intent(), engine(fills=[fill(), sold]), limits=bounds) == [R.COOLDOWN]
    later = {"now_ns": NOW_NS + SECOND_NS, "price": TrustedPrice(Decimal(100), NOW_NS + SECOND_NS)}
    assert reasons(intent(), engine(fills=[fill(), sold]), limits=bounds, **later) == []


def test_a_gain_starts_no_cooldown() -> None:
    sold = fill("2", side=Side.SELL, price=110)
    assert reasons(intent(), engine(fills=[fill(), sold]), limits=limits(cooldownAfterLoss="1m")) == []


def test_paper_cash_is_the_opening_and_the_fills_less_open_buys() -> None:
    desk = engine(fills=[fill()], orders=[Order(intent("o" * 32))])
    denial = decide(intent(), desk, opening_cash_quote=Decimal(29)).denials[0]
    assert (denial.reason, denial.observed, denial.limit) == (R.CASH, "10", "9")
    assert reasons(intent(), desk, opening_cash_quote=Decimal(30)) == []


@pytest.mark.parametrize(("age_seconds", "expected"), [(60, []), (61, [R.PRICE_AGE])])
def test_entry_needs_a_fresh_price(age_seconds: int, expected: list[DenialReason]) -> None:
    price = TrustedPrice(Decimal(100), NOW_NS - age_seconds * SECOND_NS)
    assert reasons(intent(), price=price) == expected


def test_entry_without_any_price_is_denied() -> None:
    assert reasons(intent(), price=None) == [R.NO_PRICE]


@pytest.mark.parametrize(("skew_ns", "expected"), [(SECOND_NS, []), (-SECOND_NS - 1, [R.CLOCK_SKEW])])
def test_entry_needs_a_clock_that_agrees_with_the_venues(skew_ns: int, expected: list[DenialReason]) -> None:
    assert reasons(intent(), clock_skew_ns=skew_ns) == expected


@pytest.mark.parametrize("price", ["97.99", "102.01"])
@pytest.mark.parametrize("purpose", [Purpose.ENTRY, Purpose.EXIT])
def test_price_outside_the_collar_is_denied_either_way_and_for_exits_too(price: str, purpose: Purpose) -> None:
    order = intent(price=Decimal(price), purpose=purpose)
    assert reasons(order, holding()) == [R.PRICE_COLLAR]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quantity_base": Decimal("0.1005")}, R.VENUE_FILTER),
        ({"price": Decimal("100.005")}, R.VENUE_FILTER),
        ({"quantity_base": 0}, R.VENUE_FILTER),
        ({"quantity_base": -1}, R.VENUE_FILTER),
        ({"quantity_base": 9001}, R.VENUE_MAXIMUM),
        ({"quantity_base": Decimal("0.049")}, R.VENUE_MINIMUM),
    ],
)
def test_what_the_venue_would_refuse_is_refused_here(changes: dict[str, Any], reason: DenialReason) -> None:
    assert reason in reasons(intent(**changes), limits=limits(granted="1000000", stage="1000000"))


def test_quantity_below_the_venues_smallest_is_denied() -> None:
    desk = engine()
    desk = RiskEngine(desk.ledger, {BTC: instrument(min_quantity_base=Decimal("0.2"))}, costs=Costs())
    assert R.VENUE_MINIMUM in reasons(intent(), desk)


def test_entry_that_a_stop_loss_would_leave_as_dust_is_denied() -> None:
    order = intent(quantity_base=Decimal("0.052"))
    # 5 x 1.005 slippage / (0.98 stop x 0.999 x 0.999 fees x 0.995 slippage) + one step of 0.1
    denial = decide(order).denials[0]
    assert (denial.reason, denial.observed, denial.limit) == (R.LIMITS_BELOW_VENUE_MINIMUM, "5.2", "5.26363973")
    assert reasons(intent(quantity_base=Decimal("0.053"))) == []
    assert reasons(order, holding("0.01")) == []


@pytest.mark.parametrize(
    ("state", "purpose", "passes"),
    [
        (TradingState.ACTIVE, Purpose.ENTRY, True),
        (TradingState.ACTIVE, Purpose.EXIT, True),
        (TradingState.REDUCE_ONLY, Purpose.ENTRY, False),
        (TradingState.REDUCE_ONLY, Purpose.EXIT, True),
        (TradingState.HALTED, Purpose.ENTRY, False),
        (TradingState.HALTED, Purpose.EXIT, False),
        (TradingState.REDUCE_ONLY, Purpose.PROTECT, True),
        (TradingState.HALTED, Purpose.PROTECT, False),
    ],
)
def test_trading_state_lets_pass_what_it_says(state: TradingState, purpose: Purpose, passes: bool) -> None:  # noqa: FBT001  a table
    expected = [] if passes else [R.TRADING_STATE]
    assert reasons(intent(purpose=purpose), holding(), state=state) == expected


def test_exit_passes_where_every_entry_is_denied() -> None:
    sold = fill("2", side=Side.SELL, price=50, quantity_base=Decimal("0.01"))
    desk = engine(fills=[fill(), sold], entry_times_ns=[NOW_NS] * 5)
    hard = limits(
        granted="0",
        maxOrderNotional="1",
        maxOrdersPerMinute=1,
        maxOpenPositions=1,
        maxDailyNotional="1",
        cooldownAfterLoss="1h",
    )
    stale = {"price": TrustedPrice(Decimal(100), NOW_NS - 600 * SECOND_NS), "clock_skew_ns": 9 * SECOND_NS}
    assert reasons(intent(**EXIT | {"quantity_base": Decimal("0.09")}), desk, limits=hard, **stale) == []
    assert len(reasons(intent("e" * 32), desk, limits=hard, **stale)) >= 9


def test_exit_sells_no_more_than_is_held_and_not_being_sold() -> None:
    selling = Order(intent("s" * 32, purpose=Purpose.EXIT, quantity_base=Decimal("0.06")))
    desk = holding("0.15", orders=[selling])
    assert reasons(intent(**EXIT), desk) == [R.NOT_REDUCING]
    assert reasons(intent(**EXIT | {"quantity_base": Decimal("0.09")}), desk) == []


def test_exit_that_buys_and_entry_that_sells_are_denied() -> None:
    assert reasons(intent(**EXIT, side=Side.BUY), holding()) == [R.NOT_REDUCING]
    assert reasons(intent(side=Side.SELL), holding()) == [R.NOT_REDUCING]


def test_contradiction_of_an_order_stops_entries_until_somebody_has_looked() -> None:
    desk = holding()
    desk.adopt(Order(intent("o" * 32)))
    desk.apply(event(OrderState.REJECTED, client_order_id="o" * 32))
    desk.adopt(Order(intent("o" * 32)))
    desk.apply(event(OrderState.PARTIALLY_FILLED, "7", client_order_id="o" * 32))
    assert len(desk.illegal) == 1
    assert R.ILLEGAL_TRANSITION in reasons(intent(), desk)
    assert reasons(intent(**EXIT), desk) == []
    desk.accept_contradictions()
    assert R.ILLEGAL_TRANSITION not in reasons(intent("z" * 32), desk)


def test_limits_are_taken_on_the_smaller_of_permit_and_stage() -> None:
    assert limits(granted="100", stage="50").max_exposure_quote == 50
    assert limits(granted="50", stage="100").max_exposure_quote == 50


def test_stricter_of_takes_each_field_by_itself() -> None:
    permitted = limits(maxOrderNotional="20", maxPriceAge="1m", cooldownAfterLoss="15m", maxDailyNotional="50")
    asked = limits(granted="60", maxOrderNotional="30", maxPriceAge="30s", cooldownAfterLoss="5m")
    both = stricter_of(permitted, asked)
    assert both.granted_quote == 60
    assert both.max_order_notional_quote == 20
    assert both.max_price_age_ns == 30 * SECOND_NS
    assert both.cooldown_after_loss_ns == 15 * 60 * SECOND_NS
    assert both.max_daily_notional_quote == 50
    assert stricter_of(asked, permitted) == both
    assert stricter_of(asked, asked) == asked


def test_limits_without_room_for_any_order_are_noticed_before_the_first() -> None:
    small: Limits = limits(maxOrderNotional="5.1")
    denial = limits_below_venue_minimum(small, instrument(), Costs())
    assert denial is not None
    assert (denial.reason, denial.observed, denial.limit) == (R.LIMITS_BELOW_VENUE_MINIMUM, "5.16363973", "5.1")
    assert limits_below_venue_minimum(limits(maxOrderNotional="5.17"), instrument(), Costs()) is None
    # With a price the lot counts too: at 60,000 one step of 0.001 alone is 60.
    assert limits_below_venue_minimum(limits(maxOrderNotional="20"), instrument(), Costs(), Decimal(60000)) is not None


@pytest.mark.parametrize("stop", ["0.1", "2", "20", "50", "100"])
def test_required_entry_is_at_least_the_minimum_with_stop_fees_and_step(stop: str) -> None:
    required = required_entry_quote(instrument(), limits(stopLossPercent=stop), Costs(), Decimal(100))
    assert required >= 5 * (1 + Decimal(stop) / 100 + Decimal("0.002")) + Decimal("0.1")
    assert required < Decimal("10.3")


def test_protective_stop_may_rest_outside_the_collar_and_sells_no_more_than_is_held() -> None:
    stop = {"purpose": Purpose.PROTECT, "type": OrderType.STOP_LOSS, "price": Decimal(80), "stop_price": Decimal(81)}
    assert reasons(intent(**EXIT | stop), holding()) == []
    assert reasons(intent(**EXIT | stop | {"quantity_base": Decimal("0.2")}), holding()) == [R.NOT_REDUCING]


@pytest.mark.parametrize(
    "changes",
    [
        {"type": OrderType.STOP_LOSS, "stop_price": None},
        {"type": OrderType.LIMIT, "stop_price": Decimal(81)},
        {"type": OrderType.STOP_LOSS, "stop_price": Decimal("81.001")},
    ],
)
def test_stop_price_belongs_to_a_stop_loss_and_lies_on_a_tick(changes: dict[str, Any]) -> None:
    order = intent(**EXIT | {"purpose": Purpose.PROTECT, "price": Decimal(80)} | changes)
    assert reasons(order, holding()) == [R.VENUE_FILTER]


def test_entry_by_a_stop_loss_is_denied() -> None:
    order = intent(type=OrderType.STOP_LOSS, stop_price=Decimal(100))
    assert reasons(order) == [R.NOT_REDUCING]


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"max_notional_quote": Decimal("9.99")}, R.VENUE_MAXIMUM),
        ({"max_price": Decimal("99.99")}, R.VENUE_FILTER),
        ({"buy_band": PriceBand(Decimal("0.9"), Decimal("0.999"))}, R.VENUE_FILTER),
        ({"buy_band": PriceBand(Decimal("1.001"), Decimal("1.1"))}, R.VENUE_FILTER),
        ({"sell_band": PriceBand(Decimal("1.001"), Decimal("1.1"))}, None),
    ],
)
def test_what_the_venues_filters_would_refuse_is_refused_here(
    rules: dict[str, Any], reason: DenialReason | None
) -> None:
    desk = engine(instruments={BTC: instrument(**rules)})
    assert reasons(intent(), desk) == ([reason] if reason else [])
