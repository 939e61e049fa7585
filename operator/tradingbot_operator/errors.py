"""PURE. What went wrong, by what the operator does next.

OperatorError
|- ApiError                  the API server did not do what we asked
|  |- Refused               403, 404 of a kind, 405, 422: stays so until a person changes something; said in a condition
|  |- Conflict              409: what we saw is old; look again
|  `- Transient             429, 5xx, no connection: the same again after a back-off
`- NotConfigured            a setting or a file is missing: the process ends, the message says which
"""

# ruff: noqa: N818  named by consequence, not by the word Error (STYLE)

from __future__ import annotations


class OperatorError(Exception):
    """Root of the tree; its `reason` labels the error metric."""

    reason = "Unknown"


class NotConfigured(OperatorError):
    reason = "NotConfigured"


class ApiError(OperatorError):
    """One request that failed. `what` says which: verb and object."""

    def __init__(self, what: str, message: str, *, status: int = 0) -> None:
        super().__init__(f"{what}: {message}")
        self.what = what
        self.message = message
        self.status = status


class Refused(ApiError):
    reason = "Refused"


class Conflict(ApiError):
    reason = "Conflict"


class Transient(ApiError):
    reason = "Transient"

    def __init__(self, what: str, message: str, *, status: int = 0, retry_after_seconds: float = 0.0) -> None:
        super().__init__(what, message, status=status)
        self.retry_after_seconds = retry_after_seconds
        """The server's own wish; 0 when it has none."""


def classify(what: str, message: str, *, status: int, retry_after_seconds: float = 0.0) -> ApiError:
    """The error for a status code of the API server; 0 is a connection that failed."""
    if status == 409:
        return Conflict(what, message, status=status)
    # 401 heals by itself: the token on disk is refreshed, and the next request reads it.
    if status in {0, 401, 408, 429} or status >= 500:
        return Transient(what, message, status=status, retry_after_seconds=retry_after_seconds)
    return Refused(what, message, status=status)
