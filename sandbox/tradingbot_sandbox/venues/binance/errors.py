"""Binance's error answers: code and text as its page "Error codes" gives them. PURE.

The codes are documented; which of several texts of a code an endpoint uses is [unverified] unless it says so.
"""

from __future__ import annotations

SYMBOL_RANGE = "^[A-Z0-9-_.]{1,20}$"
SYMBOLS_RANGE = '^\\\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\\\]$'
NUMBER_RANGE = "^[0-9]{1,20}$"
DECIMAL_RANGE = "^([0-9]{1,20})(\\.[0-9]{1,20})?$"
CLIENT_ID_RANGE = "^[a-zA-Z0-9-_]{1,36}$"
BOOLEAN_RANGE = "^(true|false)$"


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


def too_many_orders(limit: int, per: str, retry_after_seconds: int) -> ApiError:
    text = f"Too many new orders; current limit is {limit} orders per {per}."
    return ApiError(-1015, text, http_status=429, retry_after_seconds=retry_after_seconds)


def unsupported_operation() -> ApiError:
    return ApiError(-1020, "This operation is not supported.")


def too_old() -> ApiError:
    return ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")


def too_far_ahead() -> ApiError:
    return ApiError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")


def invalid_signature() -> ApiError:
    return ApiError(-1022, "Signature for this request is not valid.")


def filter_failure(name: str) -> ApiError:
    return ApiError(-1013, f"Filter failure: {name}")


def invalid_amount(what: str) -> ApiError:
    """For a `quantity`, `price` or `stop price` of zero."""
    return ApiError(-1013, f"Invalid {what}.")


def one_of_two(first: str, second: str) -> ApiError:
    return ApiError(-1102, f"Param '{first}' or '{second}' must be sent, but both were empty/null!")


def too_large(name: str, most: str) -> ApiError:
    return ApiError(-1102, f"'{name}' contains unexpected value. Cannot be greater than {most}.")


def not_required(name: str) -> ApiError:
    return ApiError(-1106, f"Parameter '{name}' sent when not required.")


def too_precise(name: str) -> ApiError:
    return ApiError(-1111, f"Parameter '{name}' has too much precision.")


def invalid_time_in_force() -> ApiError:
    return ApiError(-1115, "Invalid timeInForce.")


def invalid_order_type() -> ApiError:
    return ApiError(-1116, "Invalid orderType.")


def invalid_side() -> ApiError:
    return ApiError(-1117, "Invalid side.")


def more_than_a_day() -> ApiError:
    return ApiError(-1127, "More than 24 hours between startTime and endTime.")


def invalid_json() -> ApiError:
    return ApiError(-1135, "Invalid JSON Request")


def invalid_cancel_restrictions() -> ApiError:
    return ApiError(-1145, "Invalid cancelRestrictions")


def order_rejected(text: str) -> ApiError:
    return ApiError(-2010, text)


INSUFFICIENT_BALANCE = "Account has insufficient balance for requested action."
DUPLICATE_ORDER = "Duplicate order sent."
WOULD_TAKE = "Order would immediately match and take."
WOULD_TRIGGER = "Order would trigger immediately."
MARKET_CLOSED = "Market is closed."
MAY_NOT_TRADE = "This account may not place or cancel orders."
NO_LIQUIDITY = "Order book liquidity is less than `LOT_SIZE` filter minimum quantity."


def unknown_order() -> ApiError:
    """The answer to a cancel."""
    return ApiError(-2011, "Unknown order sent.")


def cancel_restricted() -> ApiError:
    return ApiError(-2011, "Order was not canceled due to cancel restrictions.")


def no_such_order() -> ApiError:
    """The answer to a query."""
    return ApiError(-2013, "Order does not exist.")


def malformed_key() -> ApiError:
    return ApiError(-2014, "API-key format invalid.", http_status=401)


def rejected_key() -> ApiError:
    """Unknown, revoked, from the wrong address, or without the permission."""
    return ApiError(-2015, "Invalid API-key, IP, or permissions for action.", http_status=401)


def subscription_active() -> ApiError:
    return ApiError(-2035, "User Data Stream subscription already active.")


def subscription_inactive() -> ApiError:
    return ApiError(-2036, "User Data Stream subscription not active.")


def wrong_client_id() -> ApiError:
    return ApiError(-2039, "Client order ID is not correct for this order ID.")
