"""Reads the parameters of a REST request as Binance does, and refuses what it would refuse. PURE."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from tradingbot_sandbox.venues.binance import errors

_SYMBOL = re.compile(r"[A-Z0-9\-_.]{1,20}")
_NUMBER = re.compile(r"[0-9]{1,20}")
_DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_CLIENT_ID = re.compile(r"[a-zA-Z0-9\-_]{1,36}")
_PLACES = 8
"""No asset has more decimals."""


class Query:
    """The parameters that were sent. Each is read once by whoever needs it; `check_all_read` refuses the rest."""

    def __init__(self, pairs: Sequence[tuple[str, str]], symbols: Mapping[str, str]) -> None:
        self._values = dict(pairs)
        self._symbols = symbols
        self._read: set[str] = set()
        if len(self._values) != len(pairs):
            raise errors.duplicate_parameter()

    def text(self, name: str) -> str | None:
        self._read.add(name)
        value = self._values.get(name)
        if value == "":
            raise errors.empty_parameter(name)
        return value

    def integer(self, name: str) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        if not _NUMBER.fullmatch(value):
            raise errors.illegal_characters(name, errors.NUMBER_RANGE)
        return int(value)

    def decimal(self, name: str) -> Decimal | None:
        value = self.text(name)
        if value is None:
            return None
        if not _DECIMAL.fullmatch(value):
            raise errors.illegal_characters(name, errors.DECIMAL_RANGE)
        if len(value.partition(".")[2].rstrip("0")) > _PLACES:
            raise errors.too_precise(name)
        return Decimal(value)

    def flag(self, name: str) -> bool:
        """`true` or `false`; what is not sent is false."""
        value = self.text(name)
        if value not in (None, "true", "false"):
            raise errors.illegal_characters(name, errors.BOOLEAN_RANGE)
        return value == "true"

    def client_id(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not _CLIENT_ID.fullmatch(value):
            raise errors.illegal_characters(name, errors.CLIENT_ID_RANGE)
        return value

    def limit(self, *, default: int, most: int) -> int:
        """How many rows. More than the most are cut to it, as Binance does."""
        value = self.integer("limit")
        if value is None:
            return default
        if value < 1:
            raise errors.invalid_parameter("limit")
        return min(value, most)

    def symbol(self) -> str:
        """The unified name of the mandatory parameter `symbol`."""
        symbol = self.optional_symbol()
        if symbol is None:
            raise errors.mandatory_parameter("symbol")
        return symbol

    def optional_symbol(self) -> str | None:
        value = self.text("symbol")
        if value is None:
            return None
        if not _SYMBOL.fullmatch(value):
            raise errors.illegal_characters("symbol", errors.SYMBOL_RANGE)
        return self._known(value)

    def symbols(self) -> list[str] | None:
        """The unified names of `symbols`, a JSON array."""
        value = self.text("symbols")
        if value is None:
            return None
        try:
            names = json.loads(value)
        except ValueError:
            names = None
        if (
            not isinstance(names, list)
            or not names
            or not all(isinstance(n, str) and _SYMBOL.fullmatch(n) for n in names)
        ):
            raise errors.illegal_characters("symbols", errors.SYMBOLS_RANGE)
        if len(set(names)) != len(names):
            raise errors.duplicate_symbols()
        return [self._known(name) for name in names]

    def one_or_many(self) -> str | list[str] | None:
        """`symbol` or `symbols`, not both."""
        one, many = self.optional_symbol(), self.symbols()
        if one is not None and many is not None:
            raise errors.invalid_combination()
        return many if one is None else one

    def check_all_read(self) -> None:
        unread = self._values.keys() - self._read
        if unread and not self._read:
            raise errors.too_many_parameters(len(self._values))
        if unread:
            raise errors.unread_parameters(len(self._values) - len(unread), len(self._values))

    def _known(self, name: str) -> str:
        symbol = self._symbols.get(name)
        if symbol is None:
            raise errors.invalid_symbol()
        return symbol
