"""Binance's error answers: code and text as its page "Error codes" gives them, here for market data. PURE."""

from __future__ import annotations

SYMBOL_RANGE = "^[A-Z0-9-_.]{1,20}$"
SYMBOLS_RANGE = '^\\\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\\\]$'
NUMBER_RANGE = "^[0-9]{1,20}$"


class ApiError(Exception):
    """An answer `{"code": ..., "msg": ...}`.

    HTTP 400 means that the request was wrong, 429 and 418 that there were too many.
    """

    def __init__(
        self, code: int, message: str, *, http_status: int = 400, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds

    @property
    def body(self) -> dict[str, object]:
        return {"code": self.code, "msg": self.message}


def too_much_weight(limit: int, retry_after_seconds: int) -> ApiError:
    text = (
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
    return ApiError(-1003, text, http_status=429, retry_after_seconds=retry_after_seconds)


def banned(until_ms: int, retry_after_seconds: int) -> ApiError:
    text = (
        f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans."
    )
    return ApiError(-1003, text, http_status=418, retry_after_seconds=retry_after_seconds)


def illegal_characters(name: str, legal: str) -> ApiError:
    return ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def too_many_parameters(received: int) -> ApiError:
    return ApiError(-1101, f"Too many parameters; expected '0' and received '{received}'.")


def duplicate_parameter() -> ApiError:
    return ApiError(-1101, "Duplicate values for a parameter detected.")


def mandatory_parameter(name: str) -> ApiError:
    return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def unread_parameters(read: int, sent: int) -> ApiError:
    return ApiError(-1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.")


def empty_parameter(name: str) -> ApiError:
    return ApiError(-1105, f"Parameter '{name}' was empty.")


def invalid_interval() -> ApiError:
    return ApiError(-1120, "Invalid interval.")


def invalid_symbol() -> ApiError:
    return ApiError(-1121, "Invalid symbol.")


def invalid_combination() -> ApiError:
    return ApiError(-1128, "Combination of optional parameters invalid.")


def invalid_parameter(name: str) -> ApiError:
    return ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")


def invalid_ticker_type() -> ApiError:
    return ApiError(-1139, "Invalid ticker type.")


def duplicate_symbols() -> ApiError:
    return ApiError(-1151, "Symbol is present multiple times in the list.")
