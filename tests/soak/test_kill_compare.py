"""The verdict of the harness: a played case is right, and each lie about it is noticed."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from support.kill.cases import Case
from support.kill.harness import Played, judge, play
from support.kill.nursery import Nursery
from tradingbot_api.status import AuditHead
from tradingbot_sandbox.venues.process import VenueProcess

pytestmark = pytest.mark.soak
Raw = dict[str, Any]


@pytest.fixture(scope="module")
def played(venue: VenueProcess, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Played:
    case = Case("commit:end:after", "market", "kept")
    return play(case, venue, nursery, tmp_path_factory.mktemp("compare") / "case")


def test_books_that_agree_have_no_difference(played: Played) -> None:
    assert judge(played) == []
    entries = [order for order in played.truth["orders"] if order["side"] == "BUY"]
    assert len(entries) == 2, "one before the kill and one after"
    assert played.truth["trades"]


def _take_order_twice(truth: Raw) -> None:
    truth["acceptedByClientId"][truth["orders"][0]["clientOrderId"]] = 2


def _add_trade(truth: Raw) -> None:
    truth["trades"].append(truth["trades"][0] | {"id": 1})


def _forget_trade(truth: Raw) -> None:
    del truth["trades"][0]


def _change(name: str, value: str) -> Callable[[Raw], None]:
    def change(truth: Raw) -> None:
        truth["trades"][0][name] = value

    return change


def _leave_open(truth: Raw) -> None:
    truth["orders"][0]["status"] = "NEW"


def _fill_less(truth: Raw) -> None:
    truth["orders"][0]["executedQty"] = "0.00001"


def _forget_order(truth: Raw) -> None:
    del truth["orders"][0]


def _add_stranger(truth: Raw) -> None:
    truth["orders"].append(truth["orders"][0] | {"clientOrderId": "web_1"})


def _lose_money(truth: Raw) -> None:
    truth["balances"]["USDT"]["free"] = "1"


def _lock_money(truth: Raw) -> None:
    truth["balances"]["USDT"]["locked"] = "1"


LIES = {
    "taken twice": (_take_order_twice, "P1: the venue took order"),
    "a trade more": (_add_trade, "P2: trade"),
    "a trade less": (_forget_trade, "P2: trade"),
    "another price": (_change("price", "1"), "P2: trade"),
    "another quantity": (_change("qty", "1"), "P2: trade"),
    "another fee": (_change("commission", "1"), "P2: trade"),
    "another fee asset": (_change("commissionAsset", "BNB"), "P2: trade"),
    "an open order": (_leave_open, "was left NEW at the venue"),
    "filled less": (_fill_less, "here, FILLED 0.00001 there"),
    "an order less": (_forget_order, "the venue has never seen it"),
    "a stranger's order": (_add_stranger, "whose id is not this bot's"),
    "money less": (_lose_money, "USDT do not add up"),
    "money locked": (_lock_money, "USDT are still locked"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_of_the_venue_is_noticed(played: Played, lie: str) -> None:
    change, words = LIES[lie]
    truth = copy.deepcopy(played.truth)
    change(truth)
    assert any(words in each for each in judge(replace(played, truth=truth)))


def test_a_head_that_is_not_in_the_chain_is_noticed(played: Played) -> None:
    heads = [*played.heads, AuditHead(sequence=1, hash="0" * 64)]
    assert any("record 1 was published" in each for each in judge(replace(played, heads=heads)))


def test_another_opening_balance_is_noticed(played: Played) -> None:
    with sqlite3.connect(played.store / "store.db") as connection:
        connection.execute("UPDATE baselines SET amount = '9999' WHERE asset = 'USDT'")
    connection.close()
    try:
        assert any("recorded were 9999" in each for each in judge(played))
    finally:
        with sqlite3.connect(played.store / "store.db") as connection:
            connection.execute("UPDATE baselines SET amount = '10000' WHERE asset = 'USDT'")
        connection.close()
