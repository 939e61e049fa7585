"""The account through the real ccxt, and its credentials, against the Binance simulator as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.orders.builders import intent

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_sandbox.venues.process import VenueProcess, running_venue
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.control.credentials import KeyRing
from tradingbot_trader.control.keys import KeyReason, Keys
from tradingbot_trader.market.feed import FeedSettings
from tradingbot_trader.orders.order import OrderState, OrderType, Purpose, Side, TimeInForce
from tradingbot_trader.venues.account import ExecutionReport, KeyPermissions, NotAllowed, VenueSaid
from tradingbot_trader.venues.binance_account import Symbols, is_key_refused
from tradingbot_trader.venues.ccxt_account import AccountHooks, Accounts, CcxtAccount

BTC = "BTC/USDT"
DEADLINE_SECONDS = 30
QUICK = FeedSettings(silence_seconds=20.0, first_backoff_seconds=0.05, max_backoff_seconds=0.2)
QUANTITY = Decimal("0.001")


def allowed() -> str:
    return ""


def client_id(number: int) -> str:
    return f"{number:032x}"


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "11", "--symbols", "BTCUSDT,ETHUSDT"]) as process:
        yield process


@pytest.fixture
def uid(venue: VenueProcess) -> int:
    return venue.open_account({"USDT": "10000", "BTC": "1"})


def make(venue: VenueProcess, hooks: AccountHooks | None = None) -> Accounts:
    return Accounts(
        ExchangeId.BINANCE,
        Network.SANDBOX,
        clock=SystemClock(),
        symbol_of=Symbols([BTC]),
        rest_url=venue.rest_url,
        stream_url=venue.stream_url,
        hooks=hooks,
        settings=QUICK,
    )


@pytest.fixture
def accounts(venue: VenueProcess) -> Accounts:
    return make(venue)


@pytest.fixture
async def account(accounts: Accounts, venue: VenueProcess, uid: int) -> AsyncIterator[CcxtAccount]:
    key, secret = venue.issue_key(uid)
    made = accounts.build(api_key=key, api_secret=secret)
    yield made
    await made.close()


def last_price(venue: VenueProcess, symbol: str = "BTCUSDT") -> Decimal:
    """About what the market trades at now, in whole ticks."""
    with urllib.request.urlopen(f"{venue.rest_url}/ticker/price?symbol={symbol}", timeout=10) as answer:  # noqa: S310  http only
        return Decimal(json.load(answer)["price"]).quantize(Decimal("1.00"))


@pytest.fixture
def price(venue: VenueProcess) -> Decimal:
    return last_price(venue)


def truth(venue: VenueProcess, uid: int, number: int) -> dict[str, Any]:
    (order,) = (each for each in venue.account(uid)["orders"] if each["clientOrderId"] == client_id(number))
    return dict(order)


async def test_market_order_comes_back_filled_with_every_trade(
    account: CcxtAccount, venue: VenueProcess, uid: int, price: Decimal
) -> None:
    order = await account.place(
        intent(client_id(1), type=OrderType.MARKET, quantity_base=QUANTITY, price=price), gate=allowed
    )
    assert (order.state, order.filled_base, order.symbol) == (OrderState.FILLED, QUANTITY, BTC)
    assert order.client_order_id == client_id(1)
    assert sum(trade.quantity_base for trade in order.trades) == QUANTITY
    assert await account.trades_since(BTC, "0") == order.trades
    assert await account.trades_since(BTC, str(int(order.trades[-1].trade_id) + 1)) == ()
    view = await account.account()
    assert view.account_id == str(uid)
    fees = sum(trade.fee_amount for trade in order.trades)
    assert {trade.fee_asset for trade in order.trades} == {"BTC"}
    assert view.balances["BTC"].free == 1 + QUANTITY - fees
    assert venue.account(uid)["acceptedByClientId"] == {client_id(1): 1}


async def test_resting_order_is_found_by_both_ids_and_cancelled_under_its_own(
    account: CcxtAccount, venue: VenueProcess, uid: int, price: Decimal
) -> None:
    wanted = intent(
        client_id(2), time_in_force=TimeInForce.POST_ONLY, quantity_base=QUANTITY, price=price - 500, symbol=BTC
    )
    placed = await account.place(wanted, gate=allowed)
    assert (placed.state, placed.time_in_force, placed.price) == (OrderState.OPEN, TimeInForce.POST_ONLY, price - 500)
    assert truth(venue, uid, 2)["type"] == "LIMIT_MAKER"
    found = await account.find_order(BTC, client_id(2))
    assert await account.find_order_by_venue_id(BTC, placed.venue_order_id) == found
    assert await account.open_orders() == (found,)
    assert (await account.account()).balances["USDT"].locked == QUANTITY * (price - 500)
    cancelled = await account.cancel(BTC, client_id(2), gate=allowed)
    assert (cancelled.state, cancelled.client_order_id) == (OrderState.CANCELLED, client_id(2))
    assert cancelled.venue_order_id == placed.venue_order_id
    assert await account.open_orders() == ()
    assert (await account.find_order(BTC, client_id(2))).state is OrderState.CANCELLED
    with pytest.raises(VenueSaid) as caught:
        await account.cancel(BTC, client_id(2), gate=allowed)
    assert (caught.value.answer.http_status, caught.value.answer.code) == (400, "-2011")


async def test_immediate_order_that_finds_nothing_has_expired(account: CcxtAccount, price: Decimal) -> None:
    wanted = intent(client_id(3), time_in_force=TimeInForce.IOC, quantity_base=QUANTITY, price=price - 500)
    order = await account.place(wanted, gate=allowed)
    assert (order.state, order.filled_base, order.trades) == (OrderState.EXPIRED, Decimal(0), ())


async def test_stop_loss_rests_until_it_is_woken(account: CcxtAccount, price: Decimal) -> None:
    wanted = intent(
        client_id(4),
        type=OrderType.STOP_LOSS,
        purpose=Purpose.PROTECT,
        quantity_base=QUANTITY,
        price=price - 510,
        stop_price=price - 500,
    )
    await account.place(wanted, gate=allowed)
    found = await account.find_order(BTC, client_id(4))
    assert (found.state, found.type, found.side) == (OrderState.OPEN, OrderType.STOP_LOSS, Side.SELL)
    assert (found.stop_price, found.price, found.reason) == (price - 500, price - 510, "")


async def test_refusals_come_in_the_venues_words(account: CcxtAccount, price: Decimal) -> None:
    taking = intent(client_id(5), time_in_force=TimeInForce.POST_ONLY, quantity_base=QUANTITY, price=price + 500)
    dear = intent(client_id(6), quantity_base=Decimal(1), price=price - 500)
    for wanted in (taking, dear):
        with pytest.raises(VenueSaid) as caught:
            await account.place(wanted, gate=allowed)
        assert (caught.value.answer.http_status, caught.value.answer.code) == (400, "-2010")
    with pytest.raises(VenueSaid) as caught:
        await account.find_order(BTC, client_id(5))
    assert caught.value.answer.code == "-2013"


async def test_every_order_of_the_account_is_listed_whoever_placed_it(
    account: CcxtAccount, venue: VenueProcess, uid: int, price: Decimal
) -> None:
    far = str(price - 500)
    common = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    by_hand = venue.order_by_hand(uid, symbol="BTCUSDT", quantity="0.001", price=far, **common)
    far_eth = str(last_price(venue, "ETHUSDT") - 20)
    foreign = venue.order_by_hand(uid, symbol="ETHUSDT", quantity="0.1", price=far_eth, **common)
    wanted = intent(client_id(7), type=OrderType.MARKET, quantity_base=QUANTITY, price=price)
    ours = await account.place(wanted, gate=allowed)
    assert {order.client_order_id for order in await account.open_orders()} == {
        by_hand["clientOrderId"],
        foreign["clientOrderId"],
    }
    assert "ETHUSDT" in {order.symbol for order in await account.open_orders()}, "nobody named that market"
    every = await account.orders_since(BTC, "0")
    assert [order.venue_order_id for order in every] == [str(by_hand["orderId"]), ours.venue_order_id]
    assert await account.orders_since(BTC, ours.venue_order_id) == every[1:]


async def test_permissions_are_those_of_the_key(accounts: Accounts, venue: VenueProcess, uid: int) -> None:
    key, secret = venue.issue_key(uid, permissions={"enableWithdrawals": True}, addresses=["127.0.0.1"])
    account = accounts.build(api_key=key, api_secret=secret)
    assert await account.key_permissions() == KeyPermissions(True, True, False, is_ip_restricted=True)
    await account.close()


async def test_nothing_arrives_while_the_gate_is_closed(account: CcxtAccount, venue: VenueProcess) -> None:
    before = venue.requests()
    for call in (
        account.place(intent(client_id(8)), gate=lambda: "the lease is lost"),
        account.cancel(BTC, client_id(8), gate=lambda: "the lease is lost"),
    ):
        with pytest.raises(NotAllowed, match="the lease is lost"):
            await call
    assert venue.requests() == before


@pytest.mark.parametrize(
    ("effect", "fields", "expected", "accepted"),
    [
        ("lose-request", {}, (0, "", None), 0),
        ("lose-answer", {}, (0, "", None), 1),
        ("truncate-answer", {"bytes": 20, "dies": True}, (0, "", None), 1),
        ("truncate-answer", {"bytes": 20, "dies": False}, (200, "", None), 1),
        ("empty-answer", {"status": 200, "accepted": True}, (200, "", None), 1),
        ("garbage-answer", {"status": 200, "text": "[]", "accepted": True}, (200, "", None), 1),
        ("server-error", {"status": 503, "code": -1008, "accepted": True}, (503, "-1008", None), 1),
        ("server-error", {"status": 504, "html": True, "accepted": False}, (504, "", None), 0),
        ("rate-limited", {"retry_after_seconds": 7}, (429, "-1003", 7.0), 0),
        ("banned", {"retry_after_seconds": 70}, (418, "-1003", 70.0), 0),
        ("waf-block", {}, (403, "", None), 0),
        ("reject", {"status": 400, "code": -1021, "text": "Timestamp"}, (400, "-1021", None), 0),
    ],
)
async def test_whatever_goes_wrong_an_order_is_sent_once_and_its_answer_told_as_it_is(
    account: CcxtAccount,
    venue: VenueProcess,
    uid: int,
    price: Decimal,
    effect: str,
    fields: dict[str, object],
    expected: tuple[int, str, float | None],
    accepted: int,
) -> None:
    venue.add_fault(effect, when={"operation": "place", "count": 1}, **fields)
    before = venue.requests().get("POST /api/v3/order", 0)
    wanted = intent(client_id(12), type=OrderType.MARKET, quantity_base=QUANTITY, price=price)
    with pytest.raises(VenueSaid) as caught:
        await account.place(wanted, gate=allowed)
    venue.remove_fault()
    answer = caught.value.answer
    assert answer.is_sent
    assert (answer.http_status, answer.code, answer.retry_after_seconds) == expected
    assert venue.account(uid)["acceptedByClientId"] == ({client_id(12): 1} if accepted else {})
    assert venue.requests().get("POST /api/v3/order", 0) - before <= 1


@pytest.mark.parametrize("operation", ["cancel", "query"])
async def test_question_whose_answer_is_lost_is_asked_once(
    account: CcxtAccount, venue: VenueProcess, price: Decimal, operation: str
) -> None:
    """GET and DELETE are what an HTTP library repeats by itself."""
    await account.place(intent(client_id(13), quantity_base=QUANTITY, price=price - 500), gate=allowed)
    number = venue.add_fault("lose-answer", when={"operation": operation, "count": 1})
    asking = account.cancel(BTC, client_id(13), gate=allowed)
    if operation == "query":
        asking.close()
        asking = account.find_order(BTC, client_id(13))
    with pytest.raises(VenueSaid) as caught:
        await asking
    assert (caught.value.answer.is_sent, caught.value.answer.http_status) == (True, 0)
    (rule,) = venue.faults()
    assert (rule["hits"], rule["seen"]) == (1, 1)
    venue.remove_fault(number)


async def test_connections_go_with_the_last_client_and_come_again_with_the_next(
    accounts: Accounts, venue: VenueProcess, uid: int
) -> None:
    first, second = (accounts.build(api_key=key, api_secret=secret) for key, secret in [venue.issue_key(uid)] * 2)
    await first.account()
    await first.close()
    await first.close()
    transport = accounts._own
    assert transport is not None
    await second.account()
    assert transport._session is not None
    await second.close()
    assert transport._session is None
    key, secret = venue.issue_key(uid)
    third = accounts.build(api_key=key, api_secret=secret)
    await third.account()
    await third.close()
    assert transport._session is None


async def test_headers_of_the_rate_limits_are_heard(venue: VenueProcess, uid: int, price: Decimal) -> None:
    heard: dict[str, str] = {}
    accounts = make(venue, AccountHooks(on_headers=heard.update))
    key, secret = venue.issue_key(uid)
    account = accounts.build(api_key=key, api_secret=secret)
    await account.place(intent(client_id(9), type=OrderType.MARKET, quantity_base=QUANTITY, price=price), gate=allowed)
    await account.close()
    assert int(heard["x-mbx-used-weight-1m"]) > 0
    assert int(heard["x-mbx-order-count-10s"]) >= 1


class Sink:
    def __init__(self) -> None:
        self.reports: list[ExecutionReport] = []
        self.is_up = False
        self._changed = asyncio.Event()

    def on_report(self, report: ExecutionReport) -> None:
        self.reports.append(report)
        self._changed.set()

    def on_stream(self, *, is_up: bool, reason: str) -> None:  # noqa: ARG002  AccountSink
        self.is_up = is_up
        self._changed.set()

    async def until(self, is_so: Any) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def streaming(account: CcxtAccount) -> AsyncIterator[Sink]:
    sink = Sink()
    task = asyncio.ensure_future(account.run_stream(sink))
    try:
        await sink.until(lambda: sink.is_up)
        yield sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_stream_tells_of_each_order_what_the_questions_tell(account: CcxtAccount, price: Decimal) -> None:
    async with streaming(account) as sink:
        bought = intent(client_id(10), type=OrderType.MARKET, quantity_base=QUANTITY, price=price)
        resting = intent(client_id(11), quantity_base=QUANTITY, price=price - 500)
        placed = await account.place(bought, gate=allowed)
        await account.place(resting, gate=allowed)
        await account.cancel(BTC, client_id(11), gate=allowed)
        await sink.until(lambda: any(each.order.state is OrderState.CANCELLED for each in sink.reports))
    trades = [trade for each in sink.reports for trade in each.order.trades]
    assert tuple(trades) == placed.trades
    last = {each.order.client_order_id: each.order for each in sink.reports}
    assert set(last) == {client_id(10), client_id(11)}, "the id of the order, not that of the cancel"
    for number in (10, 11):
        found = await account.find_order(BTC, client_id(number))
        told = last[client_id(number)]
        assert (told.state, told.filled_base, told.venue_order_id) == (
            found.state,
            found.filled_base,
            found.venue_order_id,
        )
        assert (told.quantity_base, told.price, told.created_ns) == (found.quantity_base, found.price, found.created_ns)


def write(folder: Path, pair: tuple[str, str]) -> Keys:
    for name, text in zip(("apiKey", "apiSecret"), pair, strict=True):
        (folder / f"{name}.new").write_text(text)
        (folder / f"{name}.new").rename(folder / name)
    return Keys(*pair)


@pytest.fixture
async def ring(accounts: Accounts, tmp_path: Path) -> AsyncIterator[KeyRing]:
    made = KeyRing(
        tmp_path,
        build=accounts.build,
        is_key_refused=is_key_refused,
        network=Network.SANDBOX,
        clock=SystemClock(),
    )
    yield made
    if made.account is not None:
        await made.account.close()


async def test_rotated_key_is_taken_without_a_restart_and_the_old_one_may_go(
    ring: KeyRing, venue: VenueProcess, uid: int, tmp_path: Path
) -> None:
    first = write(tmp_path, venue.issue_key(uid))
    await ring.look()
    old = ring.account
    assert old is not None
    second = write(tmp_path, venue.issue_key(uid))
    await ring.look()
    assert ring.account is not None
    assert ring.account is not old
    assert (ring.report().fingerprint, ring.account_id) == (second.fingerprint, str(uid))
    venue.revoke_key(first.api_key)
    assert (await ring.account.account()).account_id == str(uid)
    with pytest.raises(VenueSaid, match="not used any more"):
        await old.account()
    assert ring.problem == ""


@pytest.mark.parametrize(
    ("permissions", "reason"),
    [
        ({"enableWithdrawals": True}, KeyReason.TOO_POWERFUL),
        ({"enableInternalTransfer": True}, KeyReason.TOO_POWERFUL),
        ({"permitsUniversalTransfer": True}, KeyReason.TOO_POWERFUL),
        ({"enableSpotAndMarginTrading": False}, KeyReason.CANNOT_TRADE),
        (None, KeyReason.CREDENTIALS_REJECTED),
    ],
)
async def test_dead_or_too_powerful_key_is_refused_and_the_old_one_kept(
    ring: KeyRing,
    venue: VenueProcess,
    uid: int,
    tmp_path: Path,
    permissions: dict[str, bool] | None,
    reason: KeyReason,
) -> None:
    good = write(tmp_path, venue.issue_key(uid))
    await ring.look()
    kept = ring.account
    assert kept is not None
    pair = venue.issue_key(uid, permissions=permissions)
    if permissions is None:
        venue.revoke_key(pair[0])
    bad = write(tmp_path, pair)
    with capture_logs() as logs:
        await ring.look()
    report = ring.report()
    assert (report.ready, report.fingerprint, report.reason) == (True, good.fingerprint, reason)
    assert f"the key {bad.fingerprint} is refused" in report.message
    assert ring.account is kept
    assert (await kept.account()).can_trade
    for secret in (*pair, good.api_key, good.api_secret):
        assert secret not in f"{logs} {report} {ring.problem}"


async def test_secret_of_another_key_and_key_of_another_account_are_refused(
    ring: KeyRing, venue: VenueProcess, uid: int, tmp_path: Path
) -> None:
    pair = venue.issue_key(uid)
    write(tmp_path, pair)
    await ring.look()
    for wrong, reason in (
        ((pair[0], venue.issue_key(uid)[1]), KeyReason.CREDENTIALS_REJECTED),
        (venue.issue_key(venue.open_account({"USDT": "1"})), KeyReason.OTHER_ACCOUNT),
    ):
        write(tmp_path, wrong)
        await ring.look()
        assert ring.report().reason == reason
        assert ring.account_id == str(uid)


async def test_key_that_dies_in_use_is_a_problem_at_its_next_request(
    ring: KeyRing, venue: VenueProcess, uid: int, tmp_path: Path
) -> None:
    keys = write(tmp_path, venue.issue_key(uid))
    await ring.look()
    account = ring.account
    assert account is not None
    venue.revoke_key(keys.api_key)
    with pytest.raises(VenueSaid):
        await account.open_orders()
    assert "-2015" in ring.problem
    write(tmp_path, venue.issue_key(uid))
    await ring.look()
    assert ring.problem == ""
