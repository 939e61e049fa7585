"""What a client may say on a stream connection: subscribe, unsubscribe, list, properties. PURE."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")

CommandId = int | str | None


class Method(StrEnum):
    SUBSCRIBE = "SUBSCRIBE"
    UNSUBSCRIBE = "UNSUBSCRIBE"
    LIST = "LIST_SUBSCRIPTIONS"
    SET = "SET_PROPERTY"
    GET = "GET_PROPERTY"


@dataclass(frozen=True, slots=True)
class Command:
    """One request of a client."""

    method: Method
    id: CommandId
    streams: tuple[str, ...] = ()
    combined: bool = False
    """The value that SET_PROPERTY gives."""


class CommandError(Exception):
    """The request is refused with one of Binance's stream error codes; the connection stays."""

    def __init__(self, code: int, message: str, command_id: CommandId = None) -> None:
        super().__init__(message)
        self.body: dict[str, object] = {"error": {"code": code, "msg": message}, "id": command_id}


def parse_command(text: str) -> Command:
    """Read one message. Raises CommandError."""
    try:
        data = json.loads(text)
    except ValueError as error:
        line, column = (error.lineno, error.colno) if isinstance(error, json.JSONDecodeError) else (1, 1)
        raise CommandError(3, f"Invalid JSON: expected value at line {line} column {column}") from error
    if not isinstance(data, dict):
        raise CommandError(3, "Invalid JSON: expected value at line 1 column 1")
    command_id = data.get("id")
    if isinstance(command_id, bool) or not (command_id is None or isinstance(command_id, int | str)):
        raise CommandError(2, "Invalid request: request ID must be an unsigned integer")
    if "method" not in data:
        raise CommandError(2, f"Invalid request: missing field `method` at line 1 column {len(text)}", command_id)
    if data["method"] not in METHODS:
        known = ", ".join(f"`{method}`" for method in METHODS)
        problem = f"Invalid request: unknown variant `{data['method']}`, expected one of {known} at line 1 column 28"
        raise CommandError(2, problem, command_id)
    return _read(Method(data["method"]), data.get("params"), command_id)


def _read(method: Method, params: object, command_id: CommandId) -> Command:
    values = params if isinstance(params, list) else []
    if method in (Method.SUBSCRIBE, Method.UNSUBSCRIBE):
        if not values or not all(isinstance(value, str) for value in values):
            raise CommandError(2, "Invalid request: params must be an array of stream names", command_id)
        return Command(method, command_id, streams=tuple(values))
    if method is Method.LIST:
        if values:
            raise CommandError(2, "Invalid request: too many parameters", command_id)
        return Command(method, command_id)
    if not values or not isinstance(values[0], str):
        raise CommandError(2, "Invalid request: property name must be a string", command_id)
    if values[0] != "combined":
        raise CommandError(0, "Unknown property", command_id)
    if method is Method.GET:
        return Command(method, command_id)
    if len(values) != 2 or not isinstance(values[1], bool):
        raise CommandError(1, "Invalid value type: expected Boolean", command_id)
    return Command(method, command_id, combined=values[1])
