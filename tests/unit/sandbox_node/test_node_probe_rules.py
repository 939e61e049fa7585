"""Probes: what they ask, and what their answers add up to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.node.probe_rules import (
    Exec,
    HttpGet,
    Probe,
    TcpSocket,
    Verdict,
    parse_action,
    parse_probes,
    resolve_port,
)

PORTS = [{"name": "http", "containerPort": 8080}, {"containerPort": 9090}]


def probe(*, success: int = 1, failure: int = 3) -> Probe:
    return Probe("readiness", Exec(("x",)), success_threshold=success, failure_threshold=failure)


def verdicts(answers: str, settings: Probe) -> str:
    """`+`, `-` and `?` for each answer of `+` and `-`."""
    verdict, seen = Verdict(), ""
    for answer in answers:
        verdict = verdict.observe(answer == "+", settings)
        seen += {True: "+", False: "-", None: "?"}[verdict.passed]
    return seen


@pytest.mark.parametrize(
    ("answers", "success", "failure", "expected"),
    [
        ("+", 1, 3, "+"),
        ("---", 1, 3, "??-"),
        ("+--+---", 1, 3, "++++++-"),
        ("-+-+", 2, 2, "????"),
        ("++--++", 2, 2, "?++--+"),
        ("--+", 1, 1, "--+"),
    ],
)
def test_verdict_changes_only_after_its_threshold(answers: str, success: int, failure: int, expected: str) -> None:
    assert verdicts(answers, probe(success=success, failure=failure)) == expected


@given(st.text(alphabet="+-", max_size=40), st.integers(1, 5), st.integers(1, 5))
def test_verdict_is_that_of_the_last_full_streak(answers: str, success: int, failure: int) -> None:
    seen = verdicts(answers, probe(success=success, failure=failure))
    for end in range(1, len(answers) + 1):
        head = answers[:end]
        last_good, last_bad = head.rfind("+" * success), head.rfind("-" * failure)
        last_good += success if last_good >= 0 else 0
        last_bad += failure if last_bad >= 0 else 0
        expected = "?" if max(last_good, last_bad) < 0 else "+" if last_good > last_bad else "-"
        assert seen[end - 1] == expected


def test_http_probe_has_its_named_port_and_headers() -> None:
    raw = {"httpGet": {"port": "http", "path": "readyz", "httpHeaders": [{"name": "X-A", "value": "b"}]}}
    assert parse_action(raw, PORTS) == HttpGet("http", None, 8080, "/readyz", (("X-A", "b"),))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"tcpSocket": {"port": 9090}}, TcpSocket(None, 9090)),
        ({"tcpSocket": {"port": "http", "host": "127.0.0.1"}}, TcpSocket("127.0.0.1", 8080)),
        ({"exec": {"command": ["a", "b"]}}, Exec(("a", "b"))),
        ({"httpGet": {"port": 1, "scheme": "HTTPS"}}, HttpGet("https", None, 1, "/")),
    ],
)
def test_other_actions(raw: dict[str, Any], expected: object) -> None:
    assert parse_action(raw, PORTS) == expected


def test_unknown_port_name_is_an_error_and_a_number_as_text_is_not() -> None:
    assert resolve_port("81", PORTS) == 81
    with pytest.raises(KeyError):
        resolve_port("https", PORTS)


def test_defaults_are_those_of_the_api() -> None:
    (parsed,) = parse_probes({"livenessProbe": {"exec": {"command": ["x"]}}})
    assert (parsed.initial_delay_seconds, parsed.period_seconds, parsed.timeout_seconds) == (0, 10, 1)
    assert (parsed.success_threshold, parsed.failure_threshold, parsed.grace_seconds) == (1, 3, None)
