"""PURE. What a strategy is, and how one is found. Candles -> this -> targets, which sizing turns into orders.

A strategy is a plug-in of the entry point group `tradingbot.strategies`: a class without arguments whose methods are
functions of their arguments alone. The session keeps one state for each symbol and hands it back with each candle, so
the same candles always give the same targets: on paper, live, in a replay and in a backtest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from enum import StrEnum
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, ClassVar, Generic, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from tradingbot_trader.market.events import Candle

ENTRY_POINT_GROUP = "tradingbot.strategies"


class UnknownStrategy(ValueError):  # noqa: N818  named by consequence (STYLE)
    """No strategy of that name can be used. The message lists those that can."""


class InvalidParameters(ValueError):  # noqa: N818  as above
    """The strategy does not take these parameters. The message names each that is wrong and what would be right."""


class Style(StrEnum):
    """How an order gets there."""

    LIMIT = "Limit"
    """Up to a bound: the slippage's if it takes, its own price if it rests."""
    MARKET = "Market"
    """At whatever price the venue gives, at once."""
    POST_ONLY = "PostOnly"
    """Rests, or is refused; an entry with a `limit_offset_percent`."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a strategy wants to hold of one symbol, from now on and until it says something else."""

    allocation: Decimal
    """0 (hold nothing) to 1 (as much as the limits allow for the symbol)."""
    limit_offset_percent: Decimal | None = None
    """Rest an entry this far below the last price. None: take what is offered. An exit always takes."""
    reason: str = ""
    """For the audit: what the strategy saw."""
    expires_after_candles: int | None = None
    """A resting entry that has not filled after so many candles is to be cancelled, and not asked for again."""
    style: Style = Style.LIMIT

    def __post_init__(self) -> None:
        if not 0 <= self.allocation <= 1:
            raise ValueError(f"allocation {self.allocation} is not between 0 and 1")
        if self.limit_offset_percent is not None and not 0 <= self.limit_offset_percent < 100:
            raise ValueError(f"limit offset {self.limit_offset_percent} percent is not between 0 and 100")
        if self.expires_after_candles is not None and self.expires_after_candles < 1:
            raise ValueError(f"an entry cannot expire after {self.expires_after_candles} candles")
        rests = self.limit_offset_percent is not None
        if (rests and self.style is Style.MARKET) or (not rests and self.style is Style.POST_ONLY):
            raise ValueError(f"style {self.style} and limit offset {self.limit_offset_percent} exclude each other")


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
        return int(value)
    raise ValueError(f"{value!r} is not a whole number like 30")


def _number(value: object) -> Decimal:
    if isinstance(value, float):
        # Decimal(0.1) is not 0.1, and whoever reads the spec would not see which number is traded.
        raise ValueError(f'{value!r} has to be quoted, like "{value}"')
    try:
        if isinstance(value, int | str | Decimal) and not isinstance(value, bool) and len(str(value)) <= 25:
            number = Decimal(value)
            if number.is_finite():
                return number
    except InvalidOperation:
        pass
    raise ValueError(f'{value!r} is not a number like "0.5"')


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number: 30 or "30"."""
Number = Annotated[Decimal, BeforeValidator(_number)]
"""An exact number: 30 or "0.5". YAML's bare 0.5 is a float, and is refused."""


class Parameters(BaseModel):
    """A strategy's own parameters, as in `spec.strategy.parameters`: camelCase, and nothing that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, use_attribute_docstrings=True)


P = TypeVar("P", bound=Parameters)
S = TypeVar("S")


class BaseStrategy(ABC, Generic[P, S]):
    """Subclass this with your parameters and your state; the state is an immutable value."""

    name: ClassVar[str]
    """As in `spec.strategy.name`, and as the entry point is called."""
    parameters_class: ClassVar[type[Parameters]]

    @abstractmethod
    def warmup_candles(self, parameters: P) -> int:
        """How many candles before the present one a decision rests on."""

    @abstractmethod
    def initial_state(self, parameters: P) -> S:
        """Before the first candle."""

    @abstractmethod
    def on_candle(self, parameters: P, state: S, candle: Candle) -> tuple[S, Target | None]:
        """The next state, and the target if it changed.

        Candles come once and in order, those of the warm-up first. Of the targets of the warm-up only the last counts,
        and only when it is 0: a position must be left that would have been left, but an entry that was due some time
        ago is not made up for.
        """

    def parse_parameters(self, raw: Mapping[str, Any]) -> P:
        """Raises InvalidParameters."""
        try:
            parameters: P = self.parameters_class.model_validate(raw)  # type: ignore[assignment]  # P is its class
        except ValidationError as error:
            raise InvalidParameters(f"{self.name}: {'; '.join(self._problems(error))}") from None
        return parameters

    def _problems(self, error: ValidationError) -> Iterable[str]:
        known = [field.alias or name for name, field in self.parameters_class.model_fields.items()]
        for each in error.errors(include_url=False):
            name = ".".join(str(part) for part in each["loc"])
            if each["type"] == "extra_forbidden":
                close = get_close_matches(name, known, n=1)
                hint = f", did you mean {close[0]}?" if close else ""
                yield f"unknown parameter {name}{hint} (it takes {', '.join(sorted(known))})"
            elif each["type"] == "missing":
                yield f"parameter {name} is missing"
            else:
                cause = each.get("ctx", {}).get("error", each["msg"])
                yield f"parameter {name}: {cause}" if name else str(cause)


Strategy: TypeAlias = BaseStrategy[Any, Any]


def load_strategy(name: str, installed: Iterable[EntryPoint] | None = None) -> Strategy:
    """The plug-in of that name, from what is installed beside the trader. Raises UnknownStrategy."""
    found = {each.name: each for each in (entry_points(group=ENTRY_POINT_GROUP) if installed is None else installed)}
    if name not in found:
        raise UnknownStrategy(f"no strategy is called {name}; installed: {', '.join(sorted(found)) or 'none'}")
    try:
        strategy = found[name].load()()
    except Exception as error:
        raise UnknownStrategy(f"strategy {name} is installed but cannot be loaded: {error!r}") from error
    if not isinstance(strategy, BaseStrategy):
        raise UnknownStrategy(f"strategy {name} is installed but is no strategy: {found[name].value}")
    return strategy
