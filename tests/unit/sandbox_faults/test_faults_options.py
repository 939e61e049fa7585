"""`--faults FILE` of the simulators' command line."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tradingbot_sandbox.venues.cli import build_faults, venue

NOW_NS = 1_760_000_000_000_000_000


def test_rules_of_the_file_are_in_the_script(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"what": {"effect": "lose-answer"}}, {"what": {"effect": "waf-block"}}]')
    script = build_faults(path, seed=1, now_ns=NOW_NS)
    assert [rule["what"] for rule in script.report(NOW_NS)] == [{"effect": "lose-answer"}, {"effect": "waf-block"}]


def test_no_file_is_an_empty_script() -> None:
    assert build_faults(None, seed=1, now_ns=NOW_NS).report(NOW_NS) == []


@pytest.mark.parametrize(("text", "words"), [("[", "not JSON"), ('{"what": {"effect": "boom"}}', "rule.what.effect")])
def test_wrong_file_is_refused_with_its_name_and_the_field(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    with pytest.raises(click.ClickException, match=words) as refused:
        build_faults(path, seed=1, now_ns=NOW_NS)
    assert str(path) in refused.value.message


def test_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(venue, ["binance", f"--faults={tmp_path / 'none.json'}"])
    assert result.exit_code == 2
    assert "--faults" in result.output
