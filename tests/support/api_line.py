"""One connection to the API server that stays open: for tests that ask hundreds of times, a handshake each is too
dear."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tradingbot_sandbox.control_plane.api import Answer, ApiClient


class Line:
    """The administrator's; `request` is as that of `ApiClient`."""

    def __init__(self, admin: ApiClient) -> None:
        address = urlsplit(admin.url)
        context = ssl.create_default_context(cafile=str(admin.tls.ca))
        assert admin.tls.certificate is not None
        context.load_cert_chain(admin.tls.certificate, admin.tls.key)
        self._connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, timeout=30, context=context
        )

    def close(self) -> None:
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        headers = {"Accept": accept, "Content-Type": content_type}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self._connection.getresponse()
        return Answer(response.status, json.loads(response.read()))

    def get(self, path: str, *, accept: str = "application/json") -> Answer:
        return self.request("GET", path, accept=accept)

    def create(self, path: str, body: Mapping[str, Any]) -> Answer:
        return self.request("POST", path, body)

    def merge(self, path: str, body: Mapping[str, Any]) -> Answer:
        return self.request("PATCH", path, body, content_type="application/merge-patch+json")

    def delete(self, path: str) -> Answer:
        return self.request("DELETE", path)
