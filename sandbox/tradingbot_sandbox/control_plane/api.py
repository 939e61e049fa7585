"""SHELL: a small client of the API server for the sandbox itself and for tests: JSON over HTTPS, nothing cached."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tradingbot_sandbox.supervisor.component import Tls

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: dict[str, Any]

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class ApiClient:
    """One identity: the certificate of `tls`, or a bearer token."""

    url: str
    tls: Tls
    token: str | None = None

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, content_type: str = "application/json"
    ) -> Answer:
        address = urlsplit(self.url)
        context = ssl.create_default_context(cafile=str(self.tls.ca))
        if self.token is None and self.tls.certificate is not None:
            context.load_cert_chain(self.tls.certificate, self.tls.key)
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": "tradingbot-sandbox"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, timeout=TIMEOUT_SECONDS, context=context
        )
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return Answer(response.status, json.loads(response.read()))
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def create(self, path: str, body: Mapping[str, Any]) -> Answer:
        return self.request("POST", path, body)

    def merge(self, path: str, body: Mapping[str, Any]) -> Answer:
        return self.request("PATCH", path, body, content_type="application/merge-patch+json")

    def delete(self, path: str) -> Answer:
        return self.request("DELETE", path)
