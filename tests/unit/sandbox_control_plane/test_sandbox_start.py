"""A start that loses a race for a port is made again with another one."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tradingbot_sandbox.control_plane.components import Layout
from tradingbot_sandbox.control_plane.control_plane import PORT_ATTEMPTS, start_on_free_ports
from tradingbot_sandbox.control_plane.ports import HOST, Ports
from tradingbot_sandbox.supervisor.component import Component, HealthCheck
from tradingbot_sandbox.supervisor.errors import AddressInUse, ComponentFailed
from tradingbot_sandbox.supervisor.group import ComponentGroup, SystemClock
from tradingbot_sandbox.supervisor.health import HttpProber

SERVER = """
import http.server, sys
class Server(http.server.HTTPServer):
    allow_reuse_address = True
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Start:
    """Makes a group of one server, after `lost` times somebody else was faster at its port."""

    def __init__(self, folder: Path, ports: Ports, *, lost: int) -> None:
        self.folder = folder
        self.ports = ports
        self.lost = lost
        self.rivals: list[socket.socket] = []
        self.tried: list[int] = []
        self.groups: list[ComponentGroup] = []

    def __call__(self) -> tuple[Layout, ComponentGroup]:
        port = self.ports.take(["server"])["server"]
        if len(self.tried) < self.lost:
            rival = socket.socket()
            rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            rival.bind((HOST, port))
            rival.listen()
            self.rivals.append(rival)
        self.tried.append(port)
        argv = (sys.executable, "-S", "-c", SERVER, str(port))
        server = Component("server", argv, (HealthCheck(f"http://{HOST}:{port}/"),), after=())
        # A rival that listens and never answers must not be taken for our server.
        group = ComponentGroup(
            [server], logs=self.folder, directory=self.folder, prober=HttpProber(0.2), clock=SystemClock()
        )
        self.groups.append(group)
        return Layout(self.folder, {"server": port}), group


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[Ports]:
    with Ports(tmp_path / "ports.json") as ports:
        yield ports


def run(start: Start, ports: Ports) -> Layout:
    try:
        layout, _ = start_on_free_ports(start, ports, timeout_seconds=20)
    finally:
        for group in start.groups:
            group.stop()
        for rival in start.rivals:
            rival.close()
    return layout


def test_first_port_is_kept_when_nobody_wants_it(tmp_path: Path, ports: Ports) -> None:
    start = Start(tmp_path, ports, lost=0)
    layout = run(start, ports)
    assert start.tried == [layout.ports["server"]]


def test_other_port_is_chosen_when_somebody_was_faster(tmp_path: Path, ports: Ports) -> None:
    start = Start(tmp_path, ports, lost=2)
    layout = run(start, ports)
    assert len(set(start.tried)) == 3
    assert layout.ports["server"] == start.tried[-1]


def test_start_gives_up_after_a_few_lost_races(tmp_path: Path, ports: Ports) -> None:
    start = Start(tmp_path, ports, lost=PORT_ATTEMPTS)
    with pytest.raises(AddressInUse, match="server ended with status 1"):
        run(start, ports)
    assert len(start.tried) == PORT_ATTEMPTS


def test_other_failures_are_not_tried_again(tmp_path: Path, ports: Ports) -> None:
    made: list[int] = []

    def make() -> tuple[Layout, ComponentGroup]:
        made.append(1)
        broken = Component("broken", ("/bin/sh", "-c", "exit 1"), (HealthCheck(f"http://{HOST}:1/"),))
        group = ComponentGroup([broken], logs=tmp_path, directory=tmp_path, prober=HttpProber(), clock=SystemClock())
        return Layout(tmp_path, {}), group

    with pytest.raises(ComponentFailed, match="broken ended with status 1"):
        start_on_free_ports(make, ports, timeout_seconds=20)
    assert made == [1]
