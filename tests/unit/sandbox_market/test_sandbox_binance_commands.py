"""What a client says on a stream connection."""

from __future__ import annotations

import json

import pytest

from tradingbot_sandbox.venues.binance.commands import Command, CommandError, Method, parse_command


@pytest.mark.parametrize(
    ("message", "command"),
    [
        (
            {"method": "SUBSCRIBE", "params": ["a@trade", "b@depth"], "id": 1},
            Command(Method.SUBSCRIBE, 1, ("a@trade", "b@depth")),
        ),
        ({"method": "UNSUBSCRIBE", "params": ["a@trade"], "id": "x1"}, Command(Method.UNSUBSCRIBE, "x1", ("a@trade",))),
        ({"method": "LIST_SUBSCRIPTIONS", "id": None}, Command(Method.LIST, None)),
        ({"method": "SET_PROPERTY", "params": ["combined", True], "id": 5}, Command(Method.SET, 5, combined=True)),
        ({"method": "GET_PROPERTY", "params": ["combined"], "id": 2}, Command(Method.GET, 2)),
    ],
)
def test_command_is_read(message: dict[str, object], command: Command) -> None:
    assert parse_command(json.dumps(message)) == command


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("nonsense", 3, "Invalid JSON: expected value at line 1 column 1"),
        ("[]", 3, "Invalid JSON"),
        ('{"id": 1}', 2, "missing field `method`"),
        ('{"method": "SHOUT", "id": 1}', 2, "unknown variant `SHOUT`, expected one of `SUBSCRIBE`"),
        ('{"method": "SUBSCRIBE", "params": ["a"], "id": 1.5}', 2, "request ID must be an unsigned integer"),
        ('{"method": "SUBSCRIBE", "params": [1], "id": 1}', 2, "stream names"),
        ('{"method": "SUBSCRIBE", "id": 1}', 2, "stream names"),
        ('{"method": "LIST_SUBSCRIPTIONS", "params": ["a"], "id": 1}', 2, "too many parameters"),
        ('{"method": "GET_PROPERTY", "id": 1}', 2, "property name must be a string"),
        ('{"method": "GET_PROPERTY", "params": ["colour"], "id": 1}', 0, "Unknown property"),
        ('{"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}', 1, "expected Boolean"),
    ],
)
def test_wrong_command_is_refused_in_binances_words(text: str, code: int, words: str) -> None:
    with pytest.raises(CommandError) as refused:
        parse_command(text)
    error = refused.value.body["error"]
    assert isinstance(error, dict)
    assert error["code"] == code
    assert words in error["msg"]


def test_refusal_repeats_the_id_of_the_command() -> None:
    with pytest.raises(CommandError) as refused:
        parse_command('{"method": "SHOUT", "id": 9}')
    assert refused.value.body["id"] == 9
