"""The command line of the simulators."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tradingbot_sandbox.market.replay import RecordedMarket
from tradingbot_sandbox.market.synthetic import SyntheticMarket
from tradingbot_sandbox.venues.cli import build_market, parse_address, parse_speed, parse_symbols, venue

ONE = Fraction(1)


def test_address_is_host_and_port() -> None:
    assert parse_address("127.0.0.1:8080") == ("127.0.0.1", 8080)
    assert parse_address("[::1]:0") == ("::1", 0)


@pytest.mark.parametrize("text", ["8080", ":8080", "localhost:", "localhost:http", "localhost:70000"])
def test_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        parse_address(text)


@pytest.mark.parametrize("text", ["0", "-1", "fast", "NaN", "Infinity", "1001"])
def test_speed_is_above_zero(text: str) -> None:
    with pytest.raises(ValueError, match="above 0"):
        parse_speed(text)


def test_speed_is_exact() -> None:
    assert parse_speed("0.1") == Fraction(1, 10)


def test_default_market_is_synthetic_with_three_symbols() -> None:
    market = build_market("synthetic", speed=ONE, loop=True, seed=1, symbols=None)
    assert isinstance(market, SyntheticMarket)
    assert [i.symbol for i in market.instruments] == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]


@pytest.mark.parametrize("prefix", ["", "recording:"])
def test_path_names_a_recording(tmp_path: Path, recording_lines: list[str], prefix: str) -> None:
    path = tmp_path / "market.jsonl"
    path.write_text("\n".join(recording_lines))
    market = build_market(f"{prefix}{path}", speed=ONE, loop=True, seed=1, symbols=parse_symbols("BTCUSDT"))
    assert isinstance(market, RecordedMarket)


@pytest.mark.parametrize(
    ("market", "symbols", "words"),
    [
        ("/nowhere/file", None, "cannot read the recording"),
        ("synthetic", ("NOPE/USDT",), "no synthetic market for NOPE/USDT"),
    ],
)
def test_market_that_cannot_be_played_is_refused_with_a_reason(
    market: str, symbols: tuple[str, ...] | None, words: str
) -> None:
    with pytest.raises(click.ClickException, match=words):
        build_market(market, speed=ONE, loop=True, seed=1, symbols=symbols)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--listen=8080", "expected HOST:PORT"),
        ("--start=later", "expected immediately"),
        ("--speed=0", "above 0"),
        ("--symbols=XX", "quote currency"),
    ],
)
def test_wrong_option_says_what_is_expected(option: str, words: str) -> None:
    result = CliRunner().invoke(venue, ["binance", option])
    assert result.exit_code == 2
    assert words in result.output


def test_help_names_every_market(make_replay: Callable[..., RecordedMarket]) -> None:
    assert make_replay().kind == "recording"
    output = CliRunner().invoke(venue, ["binance", "--help"]).output
    assert "synthetic" in output
    assert "first-subscription" in output
