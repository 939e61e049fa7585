"""`killall` on the Binance simulator with a fault script: what it says is what the venue's own book says."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.killall import Desk, own_id
from tradingbot_sandbox.venues.process import VenueProcess, running_venue

DEADLINE_SECONDS = 60
LOST = ("lose-answer", {})
UNSENT = ("lose-request", {})
BUSY = ("server-error", {"status": 503, "code": -1008})
BUSY_AND_DONE = ("server-error", {"status": 504, "html": True, "accepted": True})
THROTTLED = ("rate-limited", {"retry_after_seconds": 1})
BANNED = ("banned", {"retry_after_seconds": 1})
CUT = ("truncate-answer", {"dies": True})
GARBAGE = ("garbage-answer", {})
LIE = ("reject", {"code": -2011})
SKEWED = ("reject", {"code": -1021})
ALL = (LOST, UNSENT, BUSY, BUSY_AND_DONE, THROTTLED, BANNED, CUT, GARBAGE, SKEWED)


@pytest.fixture(scope="module")
def serving() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "12", "--symbols", "BTCUSDT,ETHUSDT"]) as process:
        yield process


@pytest.fixture
def venue(serving: VenueProcess) -> Iterator[VenueProcess]:
    yield serving
    serving.remove_fault()


@pytest.fixture
def desk(venue: VenueProcess, tmp_path: Path) -> Desk:
    return Desk.open(venue, tmp_path, {"USDT": "10000", "BTC": "1"})


def hits(venue: VenueProcess) -> int:
    return sum(int(rule["hits"]) for rule in venue.faults())


@pytest.mark.parametrize("fault", [*ALL, LIE], ids=lambda fault: "-".join(map(str, (fault[0], *fault[1].values()))))
def test_cancels_that_go_wrong_are_repeated_until_each_is_proved(desk: Desk, fault: tuple[str, dict[str, Any]]) -> None:
    effect, fields = fault
    for operation in ("cancel", "cancel-all"):
        desk.venue.add_fault(effect, when={"operation": operation, "count": 2}, **fields)
    orders = {desk.buy(own_id(1)), desk.buy(), desk.buy()}
    done = desk.killall()
    assert (done.code, desk.open_ids()) == (0, set()), done.stderr
    assert done.results == dict.fromkeys(orders, "Cancelled")
    assert hits(desk.venue) >= 1


@pytest.mark.parametrize("operation", ["open-orders", "query"])
@pytest.mark.parametrize("fault", [LOST, BUSY, THROTTLED, GARBAGE, SKEWED], ids=lambda fault: fault[0] + str(fault[1]))
def test_questions_that_go_wrong_are_asked_again(desk: Desk, operation: str, fault: tuple[str, dict[str, Any]]) -> None:
    effect, fields = fault
    # The answer of a cancel is lost, too: then the question about the order is needed.
    desk.venue.add_fault("lose-answer", when={"operation": "cancel", "count": 1})
    desk.venue.add_fault(effect, when={"operation": operation, "count": 2}, **fields)
    order = desk.buy(own_id(1))
    done = desk.killall("--own")
    assert (done.code, desk.open_ids(), done.results) == (0, set(), {order: "Cancelled"}), done.stderr
    assert hits(desk.venue) == 3


def test_order_that_cannot_be_cancelled_is_told_with_the_venues_reason(desk: Desk) -> None:
    stuck, taken = desk.buy(own_id(1)), desk.buy(symbol="ETHUSDT", quantity="0.01")
    for operation in ("cancel", "cancel-all"):
        when = {"operation": operation, "symbol": "BTCUSDT"}
        desk.venue.add_fault("server-error", when=when, status=503, code=-1008)
    done = desk.killall("--timeout=3")
    assert (done.code, desk.open_ids()) == (2, {stuck})
    assert done.results == {stuck: "Left", taken: "Cancelled"}
    reason = next(each["reason"] for each in done.view["orders"] if each["orderId"] == stuck)
    assert "HTTP 503 -1008" in reason
    assert "cluster-gone.md" in done.stderr


def test_without_a_list_nothing_was_tried(desk: Desk) -> None:
    order = desk.buy()
    desk.venue.add_fault("server-error", when={"operation": "open-orders"}, status=502, html=True)
    done = desk.killall("--timeout=2")
    assert (done.code, done.stdout, desk.open_ids()) == (1, "", {order})
    assert "HTTP 502" in done.stderr


def test_closed_orders_are_not_proved_closed_without_a_list(desk: Desk) -> None:
    """The first list comes, and no other."""
    order = desk.buy()
    desk.venue.add_fault("server-error", when={"operation": "open-orders", "nth": 2, "count": 100_000}, status=500)
    done = desk.killall("--timeout=3")
    assert (done.code, desk.open_ids()) == (2, set())
    assert done.view["nothingOpen"] is False
    assert done.results == {order: "Cancelled"}


def test_ban_that_outlasts_the_time_ends_the_run_at_once(desk: Desk) -> None:
    order = desk.buy()
    number = desk.venue.add_fault("banned", when={"operation": "cancel"}, retry_after_seconds=3600)
    before = desk.venue.requests()
    done = desk.killall("--timeout=60")
    assert (done.code, done.results, desk.open_ids()) == (2, {order: "Left"}, {order})
    assert "silence" in done.view["problem"]
    assert [rule["hits"] for rule in desk.venue.faults() if rule["rule"] == number] == [1]
    after = desk.venue.requests()
    assert after["GET /api/v3/openOrders"] - before.get("GET /api/v3/openOrders", 0) == 1, "the first look, and no more"


@pytest.mark.parametrize("milliseconds", [-90_000, 90_000])
def test_clock_that_is_wrong_is_no_obstacle(desk: Desk, milliseconds: int) -> None:
    desk.venue.add_fault("clock-skew", milliseconds=milliseconds)
    order = desk.buy()
    done = desk.killall()
    assert (done.code, done.results, desk.open_ids()) == (0, {order: "Cancelled"}, set())


def test_revoked_key_is_told_with_what_to_do(desk: Desk) -> None:
    order = desk.buy()
    desk.venue.revoke_key(desk.key[0])
    done = desk.killall("--timeout=30")
    assert (done.code, done.stdout, desk.open_ids()) == (1, "", {order})
    assert "does not take this key" in done.stderr
    assert "-2015" in done.stderr
    assert "revoke the key there" in done.stderr


def test_key_that_may_not_trade_leaves_each_order_with_the_reason(venue: VenueProcess, tmp_path: Path) -> None:
    desk = Desk.open(venue, tmp_path, {"USDT": "1000"}, permissions={"enableSpotAndMarginTrading": False})
    order = desk.buy()
    done = desk.killall("--timeout=30")
    assert (done.code, done.results, desk.open_ids()) == (2, {order: "Left"}, {order})
    assert "-2015" in done.view["orders"][0]["reason"]
    assert "does not take this key" in done.view["problem"]


def test_venue_that_cannot_be_reached_is_an_error_of_its_own(desk: Desk) -> None:
    done = desk.killall("--timeout=1", "--rest-url=http://127.0.0.1:9/api/v3")
    assert (done.code, done.stdout) == (1, "")
    assert "not sent" in done.stderr


def test_orders_that_appear_meanwhile_are_cancelled_and_told(desk: Desk) -> None:
    """A trader that still runs."""
    order = desk.buy(own_id(1))
    placed: list[str] = []

    def trade_on() -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while order in desk.open_ids() and time.monotonic() < deadline:
            time.sleep(0.02)
        placed.append(desk.buy(own_id(2)))

    trader = threading.Thread(target=trade_on)
    trader.start()
    done = desk.killall("--settle=3")
    trader.join()
    assert (done.code, desk.open_ids()) == (0, set())
    assert done.results == {order: "Cancelled", placed[0]: "Cancelled"}
    assert "revoke its key" in done.view["notes"][0]
