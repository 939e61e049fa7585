"""What went wrong, by what the node does next.

NodeError
|- ApiError                the API server answered no
|  |- NotFound             the object is gone, or was replaced by another of its name
|  |- Conflict             somebody else was faster; look again
|  `- Expired              the watch's place is too old; list again
|- ApiUnreachable          no answer; try again after a pause
|- StartProblem            the container cannot start now: `reason` is what its waiting state says
`- NodeUnusable            the node itself cannot run: say why and exit
"""

# ruff: noqa: N818  named by consequence, not by the word Error (STYLE)

from __future__ import annotations


class NodeError(Exception):
    """Whatever this package raises on purpose."""


class ApiError(NodeError):
    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class Expired(ApiError):
    pass


class ApiUnreachable(NodeError):
    pass


class StartProblem(NodeError):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class NodeUnusable(NodeError):
    pass
