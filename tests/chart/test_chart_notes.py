"""NOTES.txt: what the platform engineer reads after the installation, and can paste."""

from __future__ import annotations

import re
import textwrap

import pytest
import yaml

from support.chart import DIGEST, VENUE
from tradingbot_api.objects import TradingBot


def example_bot(notes: str) -> dict:
    """The object between `<<BOT` and `BOT`."""
    return yaml.safe_load(textwrap.dedent(re.search(r"<<BOT\n(.*?)\n *BOT\n", notes, re.DOTALL)[1]))


@pytest.mark.parametrize(
    ("values", "namespace"), [({}, "default"), ({"watch": {"namespaces": ["desk-a", "desk-b"]}}, "desk-a")]
)
def test_example_bot_is_valid_and_in_a_namespace_that_is_served(chart, values, namespace):
    bot = example_bot(chart.render_notes(values))
    assert bot["metadata"].pop("namespace") == namespace
    TradingBot.model_validate({"spec": bot["spec"]})


def test_notes_say_which_bots_are_served_and_under_which_installation(chart):
    assert "all namespaces" in chart.render_notes()
    notes = chart.render_notes({"watch": {"namespaces": ["desk-a", "desk-b"]}, "installation": "tokyo"})
    assert "bots in desk-a, desk-b" in notes
    assert "tokyo" in notes


def test_notes_say_which_test_venues_are_known(chart):
    assert "Sandbox or Testnet wait" in chart.render_notes()
    assert "binance/sandbox" in chart.render_notes({"exchanges": {"binance": {"sandbox": VENUE}}})


def test_notes_warn_of_what_was_left_out(chart):
    notes = chart.render_notes({"crds": {"enabled": False}, "rbac": {"create": False}})
    assert "crds.enabled=false" in notes
    assert "rbac.create=false" in notes


def test_notes_say_what_uninstalling_leaves_behind(chart):
    assert "Uninstalling removes no bot" in chart.render_notes()


def test_example_bot_trades_on_the_test_venue_where_there_is_one(chart):
    assert example_bot(chart.render_notes())["spec"]["exchange"]["network"] == "Mainnet"
    notes = chart.render_notes({"exchanges": {"binance": {"sandbox": VENUE}}})
    assert example_bot(notes)["spec"]["exchange"]["network"] == "Sandbox"


def test_notes_ask_for_the_digest_of_the_traders_image_until_it_is_given(chart):
    assert "set trader.image.digest" in chart.render_notes()
    assert "set trader.image.digest" not in chart.render_notes(
        {"trader": {"image": {"repository": "x", "digest": DIGEST}}}
    )


def test_notes_name_the_roles_that_the_chart_makes(chart):
    for role in ("approver", "promoter", "on-duty"):
        assert f"--clusterrole=tradingbot-{role} " in chart.render_notes()
        assert f"tradingbot-{role}" not in chart.render_notes({"rbac": {"people": False}})


def test_notes_say_when_and_where_drills_run(chart):
    assert "drills:" not in chart.render_notes()
    drill = {"enabled": True, "schedule": "7 5 * * *", "namespaces": ["desk-a"], "selector": "drill=yes"}
    assert "7 5 * * * (Etc/UTC), bots in desk-a with drill=yes" in chart.render_notes({"drill": drill})
