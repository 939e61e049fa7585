"""SHELL. Takes a spec or refuses it with a reason; what was taken last stays in force. From the watch to the desk."""
# ruff: noqa: N818  named by consequence, not by the word Error (STYLE)

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from tradingbot_api.conditions import ConfigReason
from tradingbot_api.digest import digest_spec
from tradingbot_api.spec import ExchangeId, Network, TradingBotSpec
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.risk.limits import build_limits, limits_below_venue_minimum
from tradingbot_trader.risk.observed import Costs
from tradingbot_trader.strategy.base import InvalidParameters, Parameters, Strategy, UnknownStrategy, load_strategy
from tradingbot_trader.venues.port import MarketDataPort, UnknownSymbol, VenueRefused

MAX_MESSAGE = 1_000


class ConfigRefused(Exception):
    """The spec cannot be traded. Asking again brings the same answer until somebody changes it."""

    def __init__(self, reason: ConfigReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message[:MAX_MESSAGE]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A spec that was taken, with everything that was looked up for it."""

    uid: str
    generation: int
    digest: str
    spec: TradingBotSpec
    strategy: Strategy
    parameters: Parameters
    instruments: Mapping[str, Instrument]


class Configurator:
    """Accepts for one pod: its venue and network are fixed by its arguments."""

    def __init__(
        self,
        port: MarketDataPort,
        *,
        exchange: ExchangeId,
        network: Network,
        costs: Costs,
        find_strategy: Callable[[str], Strategy] = load_strategy,
    ) -> None:
        self._port, self._find_strategy = port, find_strategy
        self._exchange, self._network, self._costs = exchange, network, costs

    @property
    def venue(self) -> str:
        return self._exchange.value

    async def accept(
        self, spec: TradingBotSpec, *, uid: str, generation: int, also: Collection[str] = ()
    ) -> Configuration:
        """Raises ConfigRefused; VenueUnavailable when the venue does not answer. `also` names symbols that are held
        or traded now: their rules are kept at hand, whatever the new spec says."""
        asked = spec.exchange
        if (asked.id, asked.network) != (self._exchange, self._network):
            raise ConfigRefused(
                ConfigReason.EXCHANGE_CHANGED,
                f"this pod trades {self._exchange} on {self._network}, the spec asks for {asked.id} on "
                f"{asked.network}: the operator replaces the pod",
            )
        try:
            strategy = self._find_strategy(spec.strategy.name)
            parameters = strategy.parse_parameters(spec.strategy.parameters)
        except UnknownStrategy as error:
            raise ConfigRefused(ConfigReason.UNKNOWN_STRATEGY, str(error)) from error
        except InvalidParameters as error:
            raise ConfigRefused(ConfigReason.INVALID_STRATEGY_PARAMETERS, str(error)) from error
        instruments = await self.load_rules([*spec.symbols, *(symbol for symbol in also if symbol not in spec.symbols)])
        self._check_limits(spec, instruments)
        return Configuration(uid, generation, digest_spec(spec), spec, strategy, parameters, instruments)

    async def load_rules(self, symbols: Sequence[str]) -> Mapping[str, Instrument]:
        """What the venue says of these symbols now. Raises as `accept` does."""
        try:
            return await self._port.load_instruments(symbols)
        except (UnknownSymbol, VenueRefused) as error:
            raise ConfigRefused(ConfigReason.UNKNOWN_SYMBOL, str(error)) from error

    def _check_limits(self, spec: TradingBotSpec, instruments: Mapping[str, Instrument]) -> None:
        limit = spec.capital.find_stage(spec.capital.stage).limit
        limits = build_limits(spec.risk, granted_quote=limit, stage_quote=limit)
        for symbol in spec.symbols:
            instrument = instruments[symbol]
            denial = limits_below_venue_minimum(limits, instrument, self._costs)
            if denial is not None:
                raise ConfigRefused(
                    ConfigReason.LIMITS_BELOW_VENUE_MINIMUM,
                    f"{symbol} needs entries of {denial.observed} {instrument.quote} at least, the limits allow "
                    f"{denial.limit}: raise risk.maxOrderNotional, risk.maxPositionPercent or the stage's limit",
                )


def parse_spec(raw: object) -> TradingBotSpec:
    """The spec of an object; ConfigRefused names each field that is wrong."""
    try:
        return TradingBotSpec.model_validate(raw)
    except ValidationError as error:
        problems = (
            f"{'.'.join(['spec', *map(str, problem['loc'])])}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise ConfigRefused(ConfigReason.INVALID_SPEC, "; ".join(problems)) from error
