"""SHELL: asks a component over HTTP whether it is well."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from tradingbot_sandbox.supervisor.component import HealthCheck, Tls

TIMEOUT_SECONDS = 2.0
"""For connecting and for each read: a stopped process accepts connections and says nothing."""


class HttpProber:
    """Performs health checks one after the other, and keeps the TLS settings it has loaded."""

    def __init__(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._contexts: dict[Tls, ssl.SSLContext] = {}

    def complaint(self, check: HealthCheck) -> str:
        """What is wrong, in a few words; empty when nothing is."""
        address = urlsplit(check.url)
        host, port = address.hostname or "", address.port
        connection: http.client.HTTPConnection
        try:
            if check.tls is None:
                connection = http.client.HTTPConnection(host, port, timeout=self._timeout_seconds)
            else:
                connection = http.client.HTTPSConnection(
                    host, port, timeout=self._timeout_seconds, context=self._context(check.tls)
                )
            try:
                connection.request("GET", address.path + (f"?{address.query}" if address.query else ""))
                answer = connection.getresponse()
                body = answer.read()
            finally:
                connection.close()
        except ConnectionRefusedError:
            return "does not listen yet"
        except TimeoutError:
            return f"does not answer within {self._timeout_seconds:g} s"
        except (OSError, http.client.HTTPException) as error:
            return f"{address.path}: {error}"
        if not 200 <= answer.status < 300:
            return f"{address.path} answers {answer.status}"
        if check.ready_node:
            return node_complaint(body)
        return ""

    def _context(self, tls: Tls) -> ssl.SSLContext:
        if tls not in self._contexts:
            context = ssl.create_default_context(cafile=str(tls.ca))
            if tls.certificate is not None:
                context.load_cert_chain(tls.certificate, tls.key)
            self._contexts[tls] = context
        return self._contexts[tls]


def node_complaint(body: bytes) -> str:
    """Reads a Node object: empty when its condition Ready is True."""
    try:
        node: dict[str, Any] = json.loads(body)
    except ValueError:
        return "the API server's answer is not JSON"
    for condition in node.get("status", {}).get("conditions") or []:
        if condition.get("type") == "Ready":
            if condition.get("status") == "True":
                return ""
            return f"the Node is not Ready: {condition.get('reason', '')} {condition.get('message', '')}".strip()
    return "the Node has no condition Ready yet"
