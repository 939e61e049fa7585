"""SHELL. Service account tokens, bound to their pod, by TokenRequest; each is replaced before it expires."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog

from .clock import Clock
from .errors import ApiError, ApiUnreachable, StartProblem
from .kube import KubeApi, core_path
from .payload import TokenRequest
from .timestamps import NS, from_rfc3339

Json = dict[str, Any]
log = structlog.get_logger()
RETRY_NS = 5 * NS
LONGEST_LIFE_NS = 24 * 3600 * NS
"""The kubelet replaces a token after a day, however long it may live."""


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    renew_ns: int


class Tokens:
    def __init__(self, api: KubeApi, clock: Clock, renewal_fraction: float) -> None:
        self._api = api
        self._clock = clock
        self._fraction = renewal_fraction
        self._held: dict[tuple[str, TokenRequest], _Token] = {}

    async def get(self, pod: Json, request: TokenRequest) -> str:
        """The token of this pod for this audience, a new one if it is due. An old one stays while no new one can be
        had; StartProblem if there is none at all."""
        key = (pod["metadata"]["uid"], request)
        held = self._held.get(key)
        now = self._clock.now_ns()
        if held is not None and now < held.renew_ns:
            return held.value
        try:
            self._held[key] = await self._request(pod, request, now)
        except (ApiError, ApiUnreachable) as error:
            log.warning("token_not_renewed", pod=pod["metadata"]["name"], error=str(error))
            if held is None:
                raise StartProblem("FailedMount", f"failed to fetch token: {error}") from error
            self._held[key] = _Token(held.value, now + RETRY_NS)
        return self._held[key].value

    def renew_ns(self, uid: str) -> int | None:
        """When the first of this pod's tokens is due."""
        return min((token.renew_ns for (owner, _), token in self._held.items() if owner == uid), default=None)

    def forget(self, uid: str) -> None:
        for key in [key for key in self._held if key[0] == uid]:
            del self._held[key]

    async def _request(self, pod: Json, request: TokenRequest, now: int) -> _Token:
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName") or "default"
        body: Json = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [request.audience] if request.audience else [],
                "expirationSeconds": request.expiration_seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                },
            },
        }
        answer = await self._api.create(core_path("serviceaccounts", metadata["namespace"], account, "token"), body)
        life = min(from_rfc3339(answer["status"]["expirationTimestamp"]) - now, LONGEST_LIFE_NS)
        return _Token(answer["status"]["token"], now + int(life * self._fraction))
