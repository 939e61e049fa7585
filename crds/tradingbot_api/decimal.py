"""PURE. Decimal strings of the API: money, quantities and percentages, exact from YAML to the ledger.

Floats and int-or-string are not taken: 0.1 has no exact float, and a digest would have to know that 5 is "5".
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

PATTERN = r"^(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?$"
"""At most 9 decimals, because the API server's `quantity()` rounds the tenth up (seen on Kubernetes 1.36)."""
MAX_LENGTH = 25
REPORTED_PATTERN = r"^-?[0-9]{1,30}(\.[0-9]{1,30})?$"
"""For what the programs report: a result may be negative, and a fee carries more decimals than a limit."""
REPORTED_MAX_LENGTH = 64
_SPEC = re.compile(PATTERN)


def format_decimal(value: Decimal) -> str:
    """The one way to write a value: no exponent, no trailing zeros, no negative zero."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _parse_spec(value: object) -> Decimal:
    if isinstance(value, Decimal):
        value = format_decimal(value)
    if not isinstance(value, str):
        raise ValueError('write it as a quoted decimal string, like "12.5"')
    if len(value) > MAX_LENGTH or not _SPEC.fullmatch(value):
        raise ValueError(f'{value!r} is not a decimal string like "12.5" (at most 15 digits, and 9 after the point)')
    return Decimal(value)


def _parse_reported(value: object) -> Decimal:
    if not isinstance(value, str | Decimal):
        raise ValueError("expected a decimal string")
    try:
        return Decimal(value)
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is not a decimal string") from error


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("must be greater than 0")
    return value


def _percent(value: Decimal) -> Decimal:
    if not 0 < value <= 100:
        raise ValueError("must be greater than 0 and at most 100")
    return value


def _schema(*rules: dict[str, str]) -> WithJsonSchema:
    schema: dict[str, Any] = {"type": "string", "pattern": PATTERN, "maxLength": MAX_LENGTH}
    return WithJsonSchema(schema | ({"x-kubernetes-validations": list(rules)} if rules else {}))


# Stands before each quantity(): its error on an old value that is no decimal would refuse every patch, a kill included,
# because the API server lets an unchanged value pass a rule that is false, but not a rule that fails.
IS_DECIMAL = "isQuantity(self)"
# The pattern alone would refuse a sign or a letter with nothing but a regular expression for a message.
POSITIVE_RULE = {
    "rule": "!self.startsWith('-') && self.matches('[1-9]')",
    "message": 'must be greater than 0: a decimal string without a sign, like "50" or "12.5"',
}
_WRITE = PlainSerializer(format_decimal, return_type=str)
_READ = BeforeValidator(_parse_spec)

NonNegative = Annotated[
    Decimal,
    _READ,
    _WRITE,
    _schema(
        {"rule": "!self.startsWith('-')", "message": 'must be 0 or more: a decimal string without a sign, like "0.5"'}
    ),
]
Positive = Annotated[
    Decimal,
    _READ,
    AfterValidator(_positive),
    _WRITE,
    _schema(POSITIVE_RULE),
]
Percent = Annotated[
    Decimal,
    _READ,
    AfterValidator(_percent),
    _WRITE,
    _schema(
        {
            "rule": f"{POSITIVE_RULE['rule']} && {IS_DECIMAL} && quantity(self).compareTo(quantity('100')) <= 0",
            "message": 'must be greater than 0 and at most 100: a percentage without the sign, like "2.5"',
        }
    ),
]
Reported = Annotated[
    Decimal,
    BeforeValidator(_parse_reported),
    _WRITE,
    WithJsonSchema({"type": "string", "pattern": REPORTED_PATTERN, "maxLength": REPORTED_MAX_LENGTH}),
]
