"""PURE. What went wrong, by what the person at the terminal does next.

PluginError
|- Refused               nothing was changed; the message says what to do instead
`- ApiError              the API server did not do what we asked
   |- Forbidden          401, 403: somebody has to grant it, or it has to go another way
   |- NotFound           404: no such object, or the CRDs are not installed
   |- AlreadyThere       409 of a create
   |- Invalid            400, 422: the API server does not take it; also a JSON patch whose `test` fails
   `- Unreachable        no answer, 429, 5xx: the same again may work
"""

# ruff: noqa: N818  named by consequence, not by the word Error (STYLE)

from __future__ import annotations


class PluginError(Exception):
    """Root of the tree; its text is for a person."""


class Refused(PluginError):
    pass


class ApiError(PluginError):
    """One request that failed. `what` says which: verb and object."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(f"{what}: {message}")
        self.what, self.message = what, message


class Forbidden(ApiError):
    pass


class NotFound(ApiError):
    pass


class AlreadyThere(ApiError):
    pass


class Invalid(ApiError):
    pass


class Unreachable(ApiError):
    pass


def classify(what: str, message: str, *, status: int) -> ApiError:
    """The error for a status code of the API server; 0 is a connection that failed."""
    known: dict[int, type[ApiError]] = {
        400: Invalid, 401: Forbidden, 403: Forbidden, 404: NotFound, 409: AlreadyThere, 422: Invalid
    }  # fmt: skip
    return known.get(status, Unreachable)(what, message)
