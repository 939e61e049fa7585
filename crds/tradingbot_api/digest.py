"""PURE. The digest of the risk-relevant spec: what a permit and a signature speak for.

`v1:` and the SHA-256 of the canonical form: decimals and durations normalised, fields at their default left out,
sets sorted, keys sorted, no blanks. Defaults of v1 are frozen with it: a changed default is a v2, and a trader
supports every version that was ever released. Golden vectors: tests/unit/api/digest_vectors.json.
"""

from __future__ import annotations

import hashlib
import json
import re
from decimal import Decimal
from typing import Any

from tradingbot_api.decimal import format_decimal
from tradingbot_api.spec import TradingBotSpec

RISK_RELEVANT = ("exchange", "symbols", "strategy", "capital", "risk", "credentials", "reconciliation")
VERSION_1 = "v1"
_NUMBER = re.compile(r"^-?[0-9]{1,40}(\.[0-9]{1,40})?$", re.ASCII)
"""What a string must look like to be read as a number. No exponent: "1e999999999" written out would be a gigabyte."""


def canonical_form(spec: TradingBotSpec) -> str:
    """The exact text that is hashed."""
    whole = spec.model_dump(by_alias=True, mode="json", exclude_defaults=True, include=set(RISK_RELEVANT))
    whole["symbols"] = sorted(whole["symbols"])
    whole["capital"].pop("stage", None)  # the stage is what a permit grants, not what it is granted for
    if parameters := whole["strategy"].get("parameters"):
        whole["strategy"]["parameters"] = {key: _canonical_parameter(value) for key, value in parameters.items()}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest_spec(spec: TradingBotSpec) -> str:
    """`v1:` and 64 hex digits."""
    return f"{VERSION_1}:{hashlib.sha256(canonical_form(spec).encode()).hexdigest()}"


def _canonical_parameter(value: Any) -> Any:
    """Strategies read 5, 5.0 and "5" as the same number, so they are the same to whoever signs."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return format_decimal(Decimal(value)) if _NUMBER.fullmatch(value) else value
    if isinstance(value, int | float):
        number = Decimal(str(value))
        return format_decimal(number) if number.is_finite() else str(value)
    if isinstance(value, list):
        return [_canonical_parameter(item) for item in value]
    if isinstance(value, dict):
        return {key: _canonical_parameter(item) for key, item in value.items()}
    return value
