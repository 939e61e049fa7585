"""Ports: free, kept for their purpose, remembered, and given up when somebody else has them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tradingbot_sandbox.control_plane.ports import HOST, Ports


def listen(port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((HOST, port))
    server.listen()
    return server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ports.json"


def test_each_purpose_has_a_port_of_its_own(file: Path) -> None:
    with Ports(file) as ports:
        taken = ports.take(["a", "b", "c"])
    assert len(set(taken.values())) == 3


def test_server_may_listen_on_a_port_that_is_held_and_again_after_it_ended(file: Path) -> None:
    with Ports(file) as ports:
        port = ports.take(["a"])["a"]
        listen(port).close()
        listen(port).close()


def test_nobody_is_given_a_held_port_by_chance(file: Path) -> None:
    with Ports(file) as ports, socket.socket() as stranger:
        port = ports.take(["a"])["a"]
        with pytest.raises(OSError, match="in use"):
            stranger.bind((HOST, port))


def test_ports_are_the_same_after_a_restart(file: Path) -> None:
    with Ports(file) as ports:
        before = ports.take(["a", "b"])
    with Ports(file) as ports:
        assert ports.take(["a", "b"]) == before


def test_port_that_somebody_took_meanwhile_is_replaced_and_the_others_stay(file: Path) -> None:
    with Ports(file) as ports:
        before = ports.take(["a", "b"])
    with listen(before["a"]), Ports(file) as ports:
        after = ports.take(["a", "b"])
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]


def test_purpose_that_is_left_out_once_keeps_its_port(file: Path) -> None:
    with Ports(file) as ports:
        before = ports.take(["a", "venue"])
    with Ports(file) as ports:
        ports.take(["a"])
    with Ports(file) as ports:
        assert ports.take(["a", "venue"]) == before


def test_taking_more_keeps_what_is_held(file: Path) -> None:
    with Ports(file) as ports:
        first = ports.take(["a"])
        both = ports.take(["b"])
    assert both["a"] == first["a"]
    assert set(both) == {"a", "b"}
