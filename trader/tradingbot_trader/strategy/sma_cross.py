"""PURE. `sma-cross`: long while the fast average of closes is above the slow one, unless the market has run too far.

An entry is asked for at the candle whose close takes the fast simple moving average above the slow one, and not at all
when the relative strength index is at or above `rsiOverbought` then. The exit comes when the fast average falls below
the slow one; averages that are equal change nothing. Simple moving average: the arithmetic mean of the last n closes.
Relative strength index: J. Welles Wilder, "New Concepts in Technical Trading Systems", 1978, section VI; the first
averages are means of n changes, later ones (previous x (n - 1) + change) / n, and RSI = 100 x gain / (gain + loss).

Arithmetic is decimal with PRECISION digits. Sums are exact: no drift, however long the bot runs. Wilder's averages are
rounded at the last of these digits, and the index is given with INDEX_PRECISION of them, so that this rounding never
decides: an index of 60 is 60, and not 59.99...9.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Annotated, Self

from pydantic import Field, model_validator

from tradingbot_trader.market.events import Candle
from tradingbot_trader.strategy.base import BaseStrategy, Number, Parameters, Target, Whole

PRECISION = 50
INDEX_PRECISION = 30
_CONTEXT = Context(prec=PRECISION, rounding=ROUND_HALF_EVEN)
_INDEX_CONTEXT = Context(prec=INDEX_PRECISION, rounding=ROUND_HALF_EVEN)
RSI_MEMORY = 10
"""Warm-up in periods of the RSI: what the first averages were weighs (1 - 1/n)^(10 n), less than 0.005 %, after it."""
NEUTRAL_RSI = Decimal(50)
"""Of a market without a change: Wilder's formula has no answer there."""
ZERO = Decimal(0)
HUNDRED = Decimal(100)


class SmaCrossParameters(Parameters):
    fast: Annotated[Whole, Field(ge=1, le=999)]
    """Candles of the fast average."""
    slow: Annotated[Whole, Field(ge=2, le=1_000)]
    """Candles of the slow average; more than `fast`."""
    rsi_period: Annotated[Whole, Field(ge=0, le=100)] = 14
    """Candles of the relative strength index; 0 switches the filter off."""
    rsi_overbought: Annotated[Number, Field(gt=0, le=100)] = Decimal(70)
    """No entry at or above this index."""
    entry_offset_percent: Annotated[Number, Field(ge=0, lt=100)] = ZERO
    """0 takes what is offered. More rests the entry as a limit order this far below the last close."""
    entry_expires_after_candles: Annotated[Whole, Field(ge=1, le=100_000)] | None = None
    """A resting entry is given up after so many candles. Without it, it rests until the exit."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"parameter fast ({self.fast}) must be less than slow ({self.slow})")
        if self.entry_expires_after_candles is not None and not self.entry_offset_percent:
            raise ValueError(
                "parameter entryExpiresAfterCandles needs an entryOffsetPercent above 0: nothing would rest"
            )
        return self


@dataclass(frozen=True, slots=True)
class SmaCrossState:
    closes: tuple[Decimal, ...] = ()
    """The newest `slow` closes, oldest first."""
    fast_sum: Decimal = ZERO
    slow_sum: Decimal = ZERO
    changes: int = 0
    """How many changes the RSI has seen, as far as it needs to know."""
    gain: Decimal = ZERO
    """Average gain; its sum while the first `rsiPeriod` changes come."""
    loss: Decimal = ZERO
    is_above: bool | None = None
    """Which average was last above the other; None before there are two."""


class SmaCross(BaseStrategy[SmaCrossParameters, SmaCrossState]):
    name = "sma-cross"
    parameters_class = SmaCrossParameters

    def warmup_candles(self, parameters: SmaCrossParameters) -> int:
        return max(parameters.slow, RSI_MEMORY * parameters.rsi_period) + 1

    def initial_state(self, parameters: SmaCrossParameters) -> SmaCrossState:  # noqa: ARG002  all begin alike
        return SmaCrossState()

    def on_candle(
        self, parameters: SmaCrossParameters, state: SmaCrossState, candle: Candle
    ) -> tuple[SmaCrossState, Target | None]:
        with localcontext(_CONTEXT):
            state = _add_change(_add_close(state, candle.close, parameters), state, candle.close, parameters)
            if len(state.closes) < parameters.slow:
                return state, None
            difference = state.fast_sum * parameters.slow - state.slow_sum * parameters.fast
            is_above = difference > 0 if difference else state.is_above
            if is_above is state.is_above:
                return state, None
            was_above, state = state.is_above, replace(state, is_above=is_above)
            if not is_above:
                return state, Target(ZERO, reason=_describe("below", parameters, state))
            if was_above is None or _is_overbought(parameters, state):
                return state, None
            return state, Target(
                Decimal(1),
                limit_offset_percent=parameters.entry_offset_percent or None,
                expires_after_candles=parameters.entry_expires_after_candles,
                reason=_describe("above", parameters, state),
            )


def rsi(parameters: SmaCrossParameters, state: SmaCrossState) -> Decimal | None:
    """The index now; None while it has not seen enough, or is switched off."""
    if not parameters.rsi_period or state.changes < parameters.rsi_period:
        return None
    movement = _CONTEXT.add(state.gain, state.loss)
    if not movement:
        return NEUTRAL_RSI
    return _INDEX_CONTEXT.divide(_CONTEXT.multiply(HUNDRED, state.gain), movement)


def _add_close(state: SmaCrossState, close: Decimal, parameters: SmaCrossParameters) -> SmaCrossState:
    closes = state.closes
    out_of_fast = closes[-parameters.fast] if len(closes) >= parameters.fast else ZERO
    out_of_slow = closes[0] if len(closes) == parameters.slow else ZERO
    return replace(
        state,
        closes=(*closes, close)[-parameters.slow :],
        fast_sum=state.fast_sum + close - out_of_fast,
        slow_sum=state.slow_sum + close - out_of_slow,
    )


def _add_change(
    state: SmaCrossState, before: SmaCrossState, close: Decimal, parameters: SmaCrossParameters
) -> SmaCrossState:
    period = parameters.rsi_period
    if not period or not before.closes:
        return state
    change = close - before.closes[-1]
    gain, loss = max(change, ZERO), max(-change, ZERO)
    if state.changes >= period:
        return replace(
            state,
            gain=(state.gain * (period - 1) + gain) / period,
            loss=(state.loss * (period - 1) + loss) / period,
        )
    divisor = period if state.changes == period - 1 else 1
    return replace(
        state,
        changes=state.changes + 1,
        gain=(state.gain + gain) / divisor,
        loss=(state.loss + loss) / divisor,
    )


def _is_overbought(parameters: SmaCrossParameters, state: SmaCrossState) -> bool:
    """An index that is not known yet does not let an entry through."""
    if not parameters.rsi_period:
        return False
    index = rsi(parameters, state)
    return index is None or index >= parameters.rsi_overbought


def _describe(where: str, parameters: SmaCrossParameters, state: SmaCrossState) -> str:
    fast, slow = state.fast_sum / parameters.fast, state.slow_sum / parameters.slow
    index = rsi(parameters, state)
    text = f"SMA {parameters.fast} ({fast:.8g}) is {where} SMA {parameters.slow} ({slow:.8g})"
    return text if index is None else f"{text}, RSI {index:.1f}"
