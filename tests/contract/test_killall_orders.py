"""`killall` on the Binance simulator: which orders it takes, which it leaves, and what it says of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.killall import INSTALLATION, NAME, NAMESPACE, OTHER_BOT, Desk, own_id
from tradingbot_sandbox.venues.process import VenueProcess, running_venue

ONE_BOT = ("--own", f"--installation={INSTALLATION}", f"--namespace={NAMESPACE}", f"--name={NAME}")
BAD_CHECKSUM = own_id(9)[:-1] + ("0" if own_id(9)[-1] != "0" else "1")


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "11", "--symbols", "BTCUSDT,ETHUSDT"]) as process:
        yield process


@pytest.fixture
def desk(venue: VenueProcess, tmp_path: Path) -> Desk:
    return Desk.open(venue, tmp_path, {"USDT": "10000", "BTC": "1", "ETH": "5"})


def test_everything_that_is_open_is_cancelled_and_nothing_is_sold(desk: Desk) -> None:
    every = {
        desk.buy(own_id(1)),
        desk.buy("by-hand-1"),
        desk.offer(),
        desk.stop(own_id(2)),
        desk.buy(symbol="ETHUSDT", quantity="0.01"),
    }
    assert desk.open_ids() == every
    done = desk.killall()
    assert done.code == 0, done.stderr
    assert done.results == dict.fromkeys(every, "Cancelled")
    assert desk.open_ids() == set()
    assert done.view["nothingOpen"] is True
    assert done.view["sales"] == []
    assert [desk.total(asset) for asset in ("USDT", "BTC", "ETH")] == [10000, 1, 5]


def test_empty_account_is_proved_empty(desk: Desk) -> None:
    done = desk.killall()
    assert (done.code, done.view["orders"], done.view["nothingOpen"]) == (0, [], True)


def test_own_leaves_the_orders_of_others_and_near_misses(desk: Desk) -> None:
    ours = {desk.buy(own_id(1)), desk.buy(own_id(2, bot=OTHER_BOT)), desk.stop(own_id(3))}
    others = {desk.buy("by-hand-1"), desk.buy(BAD_CHECKSUM), desk.buy(own_id(4).upper()), desk.stop()}
    done = desk.killall("--own")
    assert (done.code, desk.open_ids()) == (0, others)
    assert done.results == dict.fromkeys(ours, "Cancelled")


def test_one_bot_is_taken_and_its_neighbours_stay(desk: Desk) -> None:
    its, others = desk.buy(own_id(1)), {desk.buy(own_id(1, bot=OTHER_BOT)), desk.buy("by-hand-1")}
    done = desk.killall(*ONE_BOT)
    assert (done.code, done.results, desk.open_ids()) == (0, {its: "Cancelled"}, others)


def test_symbols_limit_what_is_taken(desk: Desk) -> None:
    taken, left = desk.buy(), desk.buy(symbol="ETHUSDT", quantity="0.01")
    done = desk.killall("--symbols=btc/usdt")
    assert (done.code, done.results, desk.open_ids()) == (0, {taken: "Cancelled"}, {left})


def test_market_that_does_not_exist_is_no_proof_of_anything(desk: Desk) -> None:
    left = desk.buy()
    done = desk.killall("--symbols=BTCUSDD")
    assert (done.code, desk.open_ids()) == (1, {left})
    assert "Invalid symbol" in done.stderr


def test_keep_protective_keeps_our_stops_and_no_other_order(desk: Desk) -> None:
    kept = desk.stop(own_id(1))
    taken = {desk.stop("by-hand-stop"), desk.buy(own_id(2)), desk.offer(own_id(3))}
    done = desk.killall("--keep-protective")
    assert (done.code, desk.open_ids()) == (0, {kept})
    assert done.results == dict.fromkeys(taken, "Cancelled") | {kept: "Kept"}


def test_dry_run_lists_and_sends_nothing_that_changes_anything(desk: Desk) -> None:
    order, stop = desk.buy(), desk.stop(own_id(1))
    before = desk.venue.requests()
    done = desk.killall("--dry-run", "--keep-protective", "--sell=BTC=0.002")
    assert (done.code, done.results, desk.open_ids()) == (0, {order: "Open", stop: "Kept"}, {order, stop})
    assert done.sale["result"] == "WouldSell"
    after = desk.venue.requests()
    changed = {name for name in after if after[name] != before.get(name)}
    assert {name.split()[0] for name in changed} == {"GET"}


def test_nothing_happens_without_a_yes(desk: Desk) -> None:
    order = desk.buy()
    for answer in ("", "n\n"):
        done = desk.killall("--sell=BTC=0.01", answer=answer)
        assert (done.code, desk.open_ids(), desk.total("BTC")) == (1, {order}, 1)
        assert "not confirmed" in done.stderr


def test_yes_on_the_terminal_is_asked_with_what_will_happen(desk: Desk) -> None:
    desk.buy()
    done = desk.killall("--sell=BTC=0.01", answer="y\n")
    assert (done.code, desk.open_ids()) == (0, set())
    assert "cancel 1 open orders" in done.stderr
    assert "sell 0.01 BTC on BTC/USDT at " in done.stderr


def test_table_says_how_it_ended(desk: Desk) -> None:
    order = desk.buy(own_id(1))
    done = desk.killall(output="table")
    assert done.code == 0
    line = next(line for line in done.stdout.splitlines() if order in line)
    assert "Cancelled" in line
    assert done.stdout.splitlines()[-1] == "proved: the venue shows no open order of this scope"


def test_many_orders_of_one_market_go_with_one_request(desk: Desk) -> None:
    orders = {desk.buy() for _ in range(12)}
    before = desk.venue.requests()
    done = desk.killall()
    assert (done.code, done.results) == (0, dict.fromkeys(orders, "Cancelled"))
    after = desk.venue.requests()
    assert after["DELETE /api/v3/openOrders"] - before.get("DELETE /api/v3/openOrders", 0) == 1
    assert after.get("DELETE /api/v3/order", 0) == before.get("DELETE /api/v3/order", 0)


@pytest.mark.parametrize(
    "words",
    [
        ("--sell=BTC",),
        ("--sell=BTC=-1",),
        ("--sell=BTC=NaN",),
        ("--sell=BTC=1", "--sell=BTC=2"),
        ("--sell=USDT=1",),
        ("--collar-percent=0",),
        ("--collar-percent=51",),
        ("--timeout=0",),
        ("--own", f"--name={NAME}"),
        ONE_BOT[1:],
        ("--network=Mainnet",),
        ("--exchange=kraken",),
        ("--no-such-option",),
        ("--keys=/nowhere",),
    ],
    ids=" ".join,
)
def test_arguments_that_make_no_sense_try_nothing(desk: Desk, words: tuple[str, ...]) -> None:
    order = desk.buy()
    before = desk.venue.requests()
    done = desk.killall(*words)
    assert (done.code, desk.open_ids()) == (1, {order})
    assert done.stderr.strip()
    assert desk.venue.requests() == before
