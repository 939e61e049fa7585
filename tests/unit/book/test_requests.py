"""Requests to the running trader: taken once, answered whole, and nothing else in the folder is touched."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.orders.builders import NOW_NS

from tradingbot_trader.book import requests
from tradingbot_trader.book.requests import FOLDER_NAME, MAX_PENDING, Answer, Request, RequestKind, Unanswered
from tradingbot_trader.book.store import Store
from tradingbot_trader.orders.order import BookName

DONE = Answer(is_done=True, message="recorded", data={"delta": "0"})


def adjust(**changes: Any) -> Request:
    values: dict[str, Any] = {
        "id": requests.new_id(), "kind": "Adjust", "book": "live", "who": "ops", "created_ns": NOW_NS,
        "asset": "USDT", "amount": "-100.50", "reason": "weekly withdrawal",
    }  # fmt: skip
    return Request.model_validate(values | changes)


def reconcile(**changes: Any) -> Request:
    return adjust(kind="Reconcile", asset=None, amount=None, reason=None, **changes)


def files(folder: Path) -> set[str]:
    return {path.name.partition(".")[2] for path in (folder / FOLDER_NAME).iterdir()}


class Hand:
    """A clock that moves only when somebody sleeps, and what happens then."""

    def __init__(self, then: Callable[[], object] = lambda: None, *, after: float = 0.0) -> None:
        self.now = 1000.0
        self.told: list[str] = []
        self._then, self._after = then, 1000.0 + after
        self._is_done = False

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self._after and not self._is_done:
            self._is_done = True
            self._then()

    def wait(self, folder: Path, request: Request, *, timeout: float = 30) -> Answer:
        return requests.await_answer(
            folder,
            request,
            timeout_seconds=timeout,
            monotonic=lambda: self.now,
            sleep=self.sleep,
            tell=self.told.append,
        )


def test_request_is_taken_and_its_answer_comes_back(tmp_path: Path) -> None:
    request = adjust()
    requests.put(tmp_path, request)

    def trade() -> None:
        (taken,) = requests.pending(tmp_path)
        assert taken == request
        requests.answer(tmp_path, taken, DONE)

    hand = Hand(trade, after=12)
    assert hand.wait(tmp_path, request) == DONE
    assert hand.told == ["waiting for the trader: 5 s of 30 s", "waiting for the trader: 10 s of 30 s"]
    assert files(tmp_path) == set()


def test_requests_come_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    for offset in (5, 1, 3):
        requests.put(tmp_path, reconcile(created_ns=NOW_NS + offset))
    assert [each.created_ns - NOW_NS for each in requests.pending(tmp_path)] == [1, 3, 5]


def test_request_that_was_taken_and_not_answered_comes_again_after_a_crash(tmp_path: Path) -> None:
    request = adjust()
    requests.put(tmp_path, request)
    assert requests.pending(tmp_path) == [request]
    assert files(tmp_path) == {"taken.json"}
    assert requests.pending(tmp_path) == [request]
    requests.answer(tmp_path, request, DONE)
    assert requests.pending(tmp_path) == []
    assert files(tmp_path) == {"answer.json"}


def test_crash_between_answer_and_tidying_up_does_not_bring_the_request_again(tmp_path: Path) -> None:
    request = adjust()
    requests.put(tmp_path, request)
    requests.pending(tmp_path)
    taken = tmp_path / FOLDER_NAME / f"{request.id}.taken.json"
    content = taken.read_bytes()
    requests.answer(tmp_path, request, DONE)
    taken.write_bytes(content)
    assert requests.pending(tmp_path) == []
    assert files(tmp_path) == {"answer.json"}


def test_request_is_applied_once_although_the_trader_died_before_it_answered(
    open_store: Callable[..., Store], folder: Path
) -> None:
    request = adjust()
    store = open_store(book=BookName.LIVE, account="a")
    requests.put(folder, request)
    results = []
    for run in range(3):
        store.begin_epoch(0, NOW_NS)
        (taken,) = requests.pending(folder)
        with store.transaction(NOW_NS + run) as tx:
            results.append(tx.put_adjustment(taken.to_adjustment()))
        store.close()
        store = open_store(book=BookName.LIVE, account="a")
    assert results == [True, False, False]
    assert store.adjusted(BookName.LIVE) == {"USDT": Decimal("-100.5")}


def test_request_can_be_taken_back_until_the_trader_has_it(tmp_path: Path) -> None:
    first, second = adjust(), adjust()
    requests.put(tmp_path, first)
    assert requests.cancel(tmp_path, first)
    assert requests.pending(tmp_path) == []
    requests.put(tmp_path, second)
    requests.pending(tmp_path)
    assert not requests.cancel(tmp_path, second)
    assert requests.pending(tmp_path) == [second]


def test_nobody_who_answers_is_told_after_the_deadline(tmp_path: Path) -> None:
    request = adjust()
    requests.put(tmp_path, request)
    with pytest.raises(Unanswered, match="nobody took it") as lonely:
        Hand().wait(tmp_path, request, timeout=3)
    assert not lonely.value.is_taken
    with pytest.raises(Unanswered, match="taken") as busy:
        Hand(lambda: requests.pending(tmp_path)).wait(tmp_path, request, timeout=3)
    assert busy.value.is_taken


def test_file_is_for_owner_and_group_and_nobody_else(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        requests.put(tmp_path, adjust())
    finally:
        os.umask(before)
    (path,) = (tmp_path / FOLDER_NAME).iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


def test_no_folder_is_no_request(tmp_path: Path) -> None:
    assert requests.pending(tmp_path) == []
    requests.forget_old(tmp_path, NOW_NS)


def test_what_is_not_a_request_of_ours_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / FOLDER_NAME
    good = adjust()
    requests.put(tmp_path, good)
    text = (place / f"{good.id}.json").read_text()

    def name(number: int) -> Path:
        return place / f"{number:032x}.json"

    def body(number: int, **changes: Any) -> str:
        return json.dumps(json.loads(text) | {"id": f"{number:032x}"} | changes)

    name(1).write_text(body(1)[:-20])
    name(2).write_text("")
    name(3).write_text(body(99))
    name(4).write_text(body(4) + " " * 5000)
    name(5).write_text(body(5, surprise=1))
    name(6).write_text(body(6, kind="Withdraw"))
    name(7).mkdir()
    os.mkfifo(name(8))
    (tmp_path / "elsewhere.json").write_text(body(9))
    name(9).symlink_to(tmp_path / "elsewhere.json")
    (place / f"{10:032x}.json.tmp").write_text(body(10))
    (place / "README.json").write_text(body(11))
    name(12).write_bytes(b"\xff\xfe")
    foreign = {path.name for path in place.iterdir()} - {f"{good.id}.json"}
    assert requests.pending(tmp_path) == [good]
    assert {path.name for path in place.iterdir()} == foreign | {f"{good.id}.taken.json"}


@given(
    st.binary(max_size=300) | st.text(max_size=200).map(lambda text: json.dumps({"id": "0" * 32, "x": text}).encode())
)
def test_no_content_of_a_file_raises(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / FOLDER_NAME).mkdir()
    (folder / FOLDER_NAME / f"{'0' * 32}.json").write_bytes(content)
    assert requests.pending(folder) == []


def test_folder_that_somebody_fills_is_taken_in_parts(tmp_path: Path) -> None:
    for number in range(MAX_PENDING + 3):
        requests.put(tmp_path, reconcile(created_ns=NOW_NS + number))
    seen = 0
    for expected in (MAX_PENDING, 3, 0):
        found = requests.pending(tmp_path)
        assert len(found) == expected
        for each in found:
            requests.answer(tmp_path, each, DONE)
        seen += len(found)
    assert seen == MAX_PENDING + 3


def test_half_written_or_foreign_answer_is_no_answer(tmp_path: Path) -> None:
    request = adjust()
    requests.put(tmp_path, request)
    (tmp_path / FOLDER_NAME / f"{request.id}.answer.json").write_text('{"is_done": tr')
    with pytest.raises(Unanswered):
        Hand().wait(tmp_path, request, timeout=1)


def test_answer_that_nobody_came_for_is_forgotten_after_a_week(tmp_path: Path) -> None:
    request = adjust()
    requests.put(tmp_path, request)
    requests.pending(tmp_path)
    requests.answer(tmp_path, request, DONE)
    path = tmp_path / FOLDER_NAME / f"{request.id}.answer.json"
    os.utime(path, ns=(NOW_NS, NOW_NS))
    requests.forget_old(tmp_path, NOW_NS + requests.ANSWER_KEPT_NS)
    assert path.exists()
    requests.forget_old(tmp_path, NOW_NS + requests.ANSWER_KEPT_NS + 1)
    assert not path.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": "0"}, {"amount": "1e3"}, {"amount": "NaN"}, {"amount": "Infinity"}, {"amount": "+5"}, {"amount": ""},
        {"amount": 5}, {"amount": 0.5}, {"amount": None}, {"amount": "1" * 31}, {"asset": "usdt"}, {"asset": ""},
        {"asset": "BTC/USDT"}, {"asset": None}, {"reason": ""}, {"reason": "x" * 301}, {"reason": "two\nlines"},
        {"reason": None}, {"who": ""}, {"book": "other"}, {"id": "x"}, {"id": "../../etc"}, {"created_ns": -1},
        {"kind": "Reconcile"},
    ],
    ids=str,
)  # fmt: skip
def test_request_that_is_not_whole_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        adjust(**changes)


def test_adjustment_of_a_request_carries_its_id() -> None:
    request = adjust()
    one = request.to_adjustment()
    assert (one.id, one.amount, one.book, one.is_applied) == (request.id, Decimal("-100.5"), BookName.LIVE, True)
    assert reconcile().kind is RequestKind.RECONCILE
    with pytest.raises(ValueError, match="no adjustment"):
        reconcile().to_adjustment()
