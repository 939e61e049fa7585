"""Health checks over HTTP: what counts as well, and what is said otherwise."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tradingbot_sandbox.supervisor.component import HealthCheck
from tradingbot_sandbox.supervisor.health import HttpProber, node_complaint


class Server(http.server.ThreadingHTTPServer):
    """Answers each path `/STATUS` with that status."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: Any) -> None:
        """Nothing: a test's output is its own."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "complaint"), [(200, ""), (204, ""), (500, "/500 answers 500"), (403, "/403 answers 403")]
)
def test_only_success_is_healthy(server: Server, status: int, complaint: str) -> None:
    assert HttpProber().complaint(HealthCheck(f"{server.url}/{status}")) == complaint


def test_nobody_listens_yet() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        check = HealthCheck(f"http://127.0.0.1:{held.getsockname()[1]}/")
        assert HttpProber().complaint(check) == "does not listen yet"


def test_silence_is_a_complaint_and_does_not_hang() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        check = HealthCheck(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert HttpProber(timeout_seconds=0.05).complaint(check) == "does not answer within 0.05 s"


def node(**ready: str) -> bytes:
    conditions = [{"type": "MemoryPressure", "status": "False"}]
    return json.dumps(
        {"status": {"conditions": [*conditions, {"type": "Ready", **ready}] if ready else conditions}}
    ).encode()


def test_ready_node_is_healthy() -> None:
    assert node_complaint(node(status="True")) == ""


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (
            node(status="Unknown", reason="NodeStatusUnknown", message="stopped posting"),
            "not Ready: NodeStatusUnknown stopped",
        ),
        (node(status="False"), "not Ready"),
        (node(), "no condition Ready"),
        (b'{"status": {"conditions": null}}', "no condition Ready"),
        (b"<html>", "not JSON"),
    ],
)
def test_any_other_node_is_not(body: bytes, complaint: str) -> None:
    assert complaint in node_complaint(body)
