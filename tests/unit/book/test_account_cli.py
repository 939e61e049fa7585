"""`account show | adjust | reconcile`: what they print, and the exit code that a script can rely on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.unit.book.history import trade
from tests.unit.orders.builders import NOW_NS

from tradingbot_trader.__main__ import main
from tradingbot_trader.book import requests
from tradingbot_trader.book.account import Adjustment
from tradingbot_trader.book.requests import FOLDER_NAME, Answer, Request, RequestKind
from tradingbot_trader.book.store import Store
from tradingbot_trader.orders.order import BookName

LIVE = BookName.LIVE
ADJUST = ["--asset", "USDT", "--amount", "-100", "--reason", "weekly withdrawal"]
Open = Callable[..., Store]


@pytest.fixture
def live(open_store: Open) -> Store:
    store = open_store(book=LIVE, account="a")
    store.begin_epoch(0, NOW_NS)
    return store


def run(command: str, *args: str | Path) -> Result:
    return CliRunner().invoke(main, ["account", command, *(str(arg) for arg in args)])


@contextmanager
def trader(folder: Path, respond: Callable[[Request], Answer]) -> Iterator[list[Request]]:
    """Answers as the session does, in a thread: a loop that waits for a request, until the test is over."""
    seen: list[Request] = []
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(0.01):
            for request in requests.pending(folder):
                seen.append(request)
                requests.answer(folder, request, respond(request))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


def left(folder: Path) -> list[str]:
    return [path.name for path in (folder / FOLDER_NAME).iterdir()]


def test_adjustment_is_handed_to_the_trader_and_its_answer_printed(live: Store, folder: Path) -> None:
    assert live.book is LIVE
    with trader(folder, lambda _: Answer(is_done=True, message="recorded -100 USDT")) as seen:
        result = run("adjust", "--store", folder, "--book", "live", *ADJUST, "--who", "ops")
    assert (result.exit_code, result.stdout) == (0, "recorded -100 USDT\n"), result.output
    (request,) = seen
    assert (request.kind, request.asset, request.amount, request.reason, request.who, request.book) == (
        RequestKind.ADJUST,
        "USDT",
        Decimal(-100),
        "weekly withdrawal",
        "ops",
        LIVE,
    )
    assert left(folder) == []


def test_refusal_exits_3_with_its_reason(live: Store, folder: Path) -> None:
    assert live.book is LIVE
    with trader(folder, lambda _: Answer(is_done=False, message="this trader runs the paper book")):
        result = run("adjust", "--store", folder, *ADJUST)
    assert result.exit_code == 3
    assert "refused: this trader runs the paper book" in result.stderr


def test_nobody_answering_exits_4_and_says_what_becomes_of_the_request(live: Store, folder: Path) -> None:
    assert live.book is LIVE
    result = run("adjust", "--store", folder, *ADJUST, "--timeout", "0")
    assert result.exit_code == 4
    (request,) = requests.pending(folder)
    assert f"request {request.id} will be taken when the trader runs" in result.stderr


def test_request_is_taken_back_on_timeout_if_asked(live: Store, folder: Path) -> None:
    assert live.book is LIVE
    result = run("reconcile", "--store", folder, "--timeout", "0", "--cancel-on-timeout")
    assert result.exit_code == 4
    assert "nothing changes" in result.stderr
    assert left(folder) == []


def test_request_that_the_trader_has_taken_is_not_said_to_be_taken_back(live: Store, folder: Path) -> None:
    assert live.book is LIVE
    is_over = threading.Event()

    def take() -> None:
        while not is_over.wait(0.01) and not requests.pending(folder):
            pass

    thread = threading.Thread(target=take)
    thread.start()
    result = run("adjust", "--store", folder, *ADJUST, "--timeout", "2", "--cancel-on-timeout")
    is_over.set()
    thread.join()
    assert result.exit_code == 4
    assert "took request" in result.stderr
    assert "taken back" not in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["adjust", "--asset", "USDT", "--amount", "x", "--reason", "r"],
        ["adjust", "--asset", "USDT", "--amount", "0", "--reason", "r"],
        ["adjust", "--asset", "usdt", "--amount", "1", "--reason", "r"],
        ["adjust", "--asset", "USDT", "--amount", "1", "--reason", ""],
        ["adjust", "--asset", "USDT", "--amount", "1"],
        ["adjust", "--book", "paper", *ADJUST],
        ["reconcile", "--book", "paper"],
        ["reconcile", "--timeout", "-1"],
        ["show", "--book", "other"],
    ],
)
def test_command_that_is_not_understood_exits_2_and_asks_for_nothing(
    live: Store, folder: Path, args: list[str]
) -> None:
    assert live.book is LIVE
    result = run(args[0], "--store", folder, *args[1:])
    assert result.exit_code == 2, result.output
    assert not (folder / FOLDER_NAME).exists()


def test_store_that_is_not_there_exits_2(folder: Path) -> None:
    for args in (["show"], ["adjust", *ADJUST], ["reconcile"]):
        result = run(args[0], "--store", folder, *args[1:])
        assert result.exit_code == 2
        assert "there is no store" in result.stderr
    assert not folder.exists()


def test_folder_that_cannot_take_a_request_exits_2(live: Store, folder: Path) -> None:
    assert live.book is LIVE
    (folder / FOLDER_NAME).write_text("a file where the folder should be")
    result = run("reconcile", "--store", folder)
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


REPORT = {
    "result": "Failed",
    "message": "USDT: venue 900",
    "deltas": [{"asset": "USDT", "venue": "900", "local": "1000", "delta": "-100"}],
    "orphans": ["order 7"],
    "adopted": [],
}


def test_report_of_a_reconciliation_is_printed(live: Store, folder: Path) -> None:
    assert live.book is LIVE
    answer = Answer(is_done=True, message="Failed: USDT: venue 900", data=REPORT)
    with trader(folder, lambda _: answer) as seen:
        table = run("reconcile", "--store", folder)
        raw = run("reconcile", "--store", folder, "-o", "json")
    assert (table.exit_code, raw.exit_code) == (0, 0)
    assert [request.kind for request in seen] == [RequestKind.RECONCILE] * 2
    assert table.stdout.splitlines() == [
        "Failed: USDT: venue 900",
        "ASSET  VENUE  LOCAL  DELTA",
        "USDT   900    1000   -100",
        "orphans: order 7",
    ]
    assert json.loads(raw.stdout) == REPORT


def fill_in(store: Store) -> None:
    """1000 USDT and 1 BNB before the bot; 0.1 BTC bought for 10 and fees of 0.0001 BNB and USDT; 100 withdrawn."""
    with store.transaction(NOW_NS) as tx:
        tx.put_baseline({"USDT": Decimal(1000), "BNB": Decimal(1)})
    trade(store, 1)
    one = Adjustment("1" * 32, LIVE, "USDT", Decimal(-100), "weekly", "ops")
    with store.transaction(NOW_NS) as tx:
        tx.put_adjustment(one)
        tx.put_adjustment(Adjustment("2" * 32, LIVE, "USDT", Decimal(7), "asked for", "ops", is_applied=False))


def test_show_says_what_should_be_at_the_venue(live: Store, folder: Path) -> None:
    fill_in(live)
    result = run("show", "--store", folder)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "ASSET BASELINE ADJUSTED FILLS EXPECTED" in lines
    assert "BNB 1 0 -0.0001 0.9999" in lines
    assert "BTC 0 0 0.1 0.1" in lines
    assert "USDT 1000 -100 -10.0001 889.9999" in lines
    assert "BTC/USDT 0.1 10.0001 0" in lines
    assert "USDT -100 ops weekly yes" in lines
    assert "USDT 7 ops asked for no" in lines


def test_show_as_json_is_exact_text(live: Store, folder: Path) -> None:
    fill_in(live)
    view = json.loads(run("show", "--store", folder, "-o", "json").stdout)
    assert view["hasBaseline"] is True
    assert view["balances"][2] == {
        "asset": "USDT",
        "baseline": "1000",
        "adjusted": "-100",
        "fills": "-10.0001",
        "expected": "889.9999",
    }
    assert [each["isApplied"] for each in view["adjustments"]] == [True, False]
    assert view["positions"][0]["quantityBase"] == "0.1"


def test_show_without_a_baseline_expects_nothing(live: Store, folder: Path) -> None:
    trade(live, 1)
    result = run("show", "--store", folder)
    assert "no opening baseline is recorded yet" in result.stdout
    view = json.loads(run("show", "--store", folder, "-o", "json").stdout)
    assert {each["expected"] for each in view["balances"]} == {None}


def test_show_writes_nothing(live: Store, folder: Path) -> None:
    before = live.audit_head
    assert run("show", "--store", folder, "--book", "paper").exit_code == 0
    assert live.audit_head == before
    assert not (folder / FOLDER_NAME).exists()
