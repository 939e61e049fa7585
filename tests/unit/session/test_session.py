"""The whole trader in one process and virtual time: what it does with what the control plane and the market say."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest

from support.trader import Trader, build_spec
from support.virtual import run
from tradingbot_api.conditions import ConfigReason
from tradingbot_trader.book import audit
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.reader import FILE_NAME, open_reader
from tradingbot_trader.control.configuration import ConfigRefused
from tradingbot_trader.control.kube import KubeError
from tradingbot_trader.market.events import Candle
from tradingbot_trader.orders.order import BookName

RISE = ("100", "100", "99.5", "99", "101", "102")
FALL = ("101", "100.5", "100.2")


def play(folder: Path, test: Callable[[Trader], Awaitable[None]], **changes: object) -> Trader:
    async def go() -> Trader:
        trader = Trader(folder, build_spec(**changes))
        await test(trader)
        return trader

    return run(go())


def check_audit(folder: Path, trader: Trader) -> None:
    with open_reader(folder) as reader:
        head = trader.kube.trader["auditHead"]
        published = audit.parse_head(f"{head['sequence']}:{head['hash']}")
        assert audit.verify(reader.audit_records(), expected_head=published).is_sound


def test_buys_on_the_rise_and_sells_on_the_fall(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            await trader.market.walk(*RISE)
            held = await trader.report()
            assert held["openPositions"] == 1
            assert Decimal(held["positions"][0]["cost"]) <= Decimal(20)
            await trader.market.walk(*FALL)
            flat = await trader.report()
            assert flat["openPositions"] == 0
            assert flat["performance"]["fills"] == 2
        with open_reader(tmp_path) as reader:
            assert [fill.side.value for fill in reader.fills(BookName.PAPER)] == ["buy", "sell"]
        check_audit(tmp_path, trader)

    play(tmp_path, test)


def test_without_a_permit_nothing_is_bought(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        trader.kube.bot["status"].clear()  # type: ignore[index]  # there is a bot
        async with trader.running():
            await trader.until("a report", lambda: trader.kube.trader.get("stateReasons") == ["NoPermit"])
            await trader.market.walk(*RISE)
            assert (await trader.report())["performance"]["fills"] == 0

    play(tmp_path, test)


def test_permit_for_a_spec_that_was_never_accepted_grants_nothing(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        trader.kube.permit(digest="v1:" + "0" * 64)
        async with trader.running():
            await trader.until("a report", lambda: trader.kube.trader.get("stateReasons") == ["NoPermit"])
            assert trader.kube.trader["limit"] == "0"

    play(tmp_path, test)


def test_looser_limit_waits_for_the_permit_and_a_tighter_one_does_not(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            trader.kube.edit(permit=False, risk={"maxOrderNotional": "40", "maxPositionPercent": "100"})
            await trader.until("the new spec", lambda: trader.kube.trader["config"]["generation"] == 2)
            await trader.market.walk(*RISE)
            held = await trader.report()
            assert Decimal(held["positions"][0]["cost"]) <= Decimal(20)
            trader.kube.edit(permit=False, risk={"maxOrderNotional": "7"})
            await trader.until("the new spec", lambda: trader.kube.trader["config"]["generation"] == 3)
            await trader.market.walk(*FALL, *RISE)
            again = await trader.report()
            assert Decimal(again["positions"][0]["cost"]) <= Decimal(7)

    play(tmp_path, test)


def test_stage_is_scaled_at_once(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running() as session:
            await trader.until_active()
            trader.kube.edit(capital={"stage": "small"})
            await trader.until("the limit", lambda: trader.kube.trader["limit"] == "100", seconds=2)
            trader.kube.edit(permit=False, capital={"stage": "micro"})
            await trader.until("the lower limit", lambda: trader.kube.trader["limit"] == "50", seconds=2)
            assert not session.problem()

    play(tmp_path, test)


def test_stop_cancels_what_rests_and_outlives_a_crash(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running(crash=True):
            await trader.until_active()
            await trader.market.walk(*RISE)
            await trader.until("an order", lambda: True)
            trader.kube.edit(killSwitch={"engaged": True, "reason": "drill"})
            stopped = await trader.until(
                "the proof", lambda: (t := trader.kube.trader)["latch"]["state"] == "Stopped" and t["latch"], seconds=5
            )
            assert stopped["ordersCancelled"] == 1
            assert stopped["orders"][0]["result"] == "Cancelled"
            assert stopped["reason"] == "drill"
        trader.kube.edit(killSwitch={"engaged": False})
        trader.kube.statuses.clear()
        async with trader.running():
            await trader.until("a report", lambda: trader.kube.trader.get("config", {}).get("generation") == 3)
            latch = trader.kube.trader["latch"]
            assert (latch["id"], latch["state"], latch["ordersCancelled"]) == (stopped["id"], "Stopped", 1)
            await trader.market.walk(*FALL, *RISE)
            assert (await trader.report())["openOrders"] == 0
            trader.kube.edit(killSwitch={"rearm": stopped["id"]})
            await trader.until_active()
            assert trader.kube.trader["latch"]["state"] == "Armed"
        check_audit(tmp_path, trader)

    parameters = {"fast": 1, "slow": 2, "rsiPeriod": 0, "entryOffsetPercent": "1.5"}
    play(tmp_path, test, strategy={"name": "sma-cross", "timeframe": "1s", "parameters": parameters})


def test_flatten_sells_what_is_held_and_proves_it(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            await trader.market.walk(*RISE)
            trader.kube.edit(killSwitch={"engaged": True, "action": "Flatten"})
            await trader.market.walk("102", "102")
            stopped = await trader.until(
                "the proof", lambda: (t := trader.kube.trader)["latch"]["state"] == "Stopped" and t["latch"], seconds=5
            )
            assert stopped["flat"] == "True"
            assert stopped["positionsClosed"] == 1

    play(tmp_path, test)


def test_milder_stop_is_escalated_by_a_stricter_one(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            await trader.market.walk(*RISE)
            trader.kube.edit(killSwitch={"engaged": True, "action": "ReduceOnly"})
            first = await trader.until(
                "the proof", lambda: trader.kube.trader["latch"]["state"] == "Stopped" and trader.kube.trader["latch"]
            )
            assert first["flat"] == "False"
            trader.kube.edit(killSwitch={"action": "Flatten"})
            await trader.market.walk("102", "102")
            await trader.until("flat", lambda: trader.kube.trader["latch"]["flat"] == "True", seconds=5)
            assert trader.kube.trader["latch"]["id"] == first["id"]

    play(tmp_path, test)


def test_halt_of_the_cluster_stops_and_its_end_releases_nothing(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            trader.kube.halt("night", {"namespaces": ["desk"]})
            await trader.until(
                "the latch", lambda: trader.kube.trader["latch"]["source"] == "TradingHalt/night", seconds=5
            )
            trader.kube.halt("night", None)
            assert (await trader.report())["latch"]["state"] == "Stopped"

    play(tmp_path, test)


def test_own_kill_switch_works_without_the_right_to_read_halts(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        trader.kube.forbid_halts = True
        async with trader.running():
            await trader.until("a report", lambda: "ControlPlaneLost" in trader.kube.trader.get("stateReasons", []))
            trader.kube.edit(killSwitch={"engaged": True})
            await trader.until("the latch", lambda: trader.kube.trader["latch"]["state"] == "Stopped", seconds=10)

    play(tmp_path, test)


def test_lost_contact_stops_new_risk_and_its_return_starts_it_again(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running() as session:
            await trader.until_active()
            trader.kube.down = True
            await trader.clock.sleep(45)
            await trader.market.walk(*RISE)
            assert session.problem() == ""  # the lease is still ours, an exit could still leave
            await trader.clock.sleep(60)
            assert session.problem() == "the lease is not held"
            trader.kube.down = False
            await trader.until_active()
            assert (await trader.report())["performance"]["fills"] == 0

    play(tmp_path, test)


def test_second_trader_waits_until_the_first_was_silent_for_a_whole_lease(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running(crash=True):
            await trader.until_active()
        before_ns = trader.clock.monotonic_ns()
        trader.kube.statuses.clear()
        async with trader.running(pod="btc-1"):
            await trader.until("Active", lambda: trader.kube.trader.get("pod") == "btc-1")
            assert trader.clock.monotonic_ns() - before_ns >= 60_000_000_000

    play(tmp_path, test)


def test_orderly_end_gives_the_lease_back_at_once(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
        before_ns = trader.clock.monotonic_ns()
        async with trader.running(pod="btc-1"):
            await trader.until("Active", lambda: trader.kube.trader.get("pod") == "btc-1")
            assert trader.clock.monotonic_ns() - before_ns < 5_000_000_000

    play(tmp_path, test)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"symbols": ["NOPE/USDT"]}, "UnknownSymbol"),
        ({"strategy": {"name": "moonshot"}}, "UnknownStrategy"),
        ({"strategy": {"parameters": {"fast": 9, "slow": 2}}}, "InvalidStrategyParameters"),
        ({"risk": {"maxOrderNotional": "1"}}, "LimitsBelowVenueMinimum"),
        ({"risk": {"maxOrderNotional": "-1"}}, "InvalidSpec"),
        ({"exchange": {"id": "kraken"}}, "ExchangeChanged"),
    ],
)
def test_wrong_edit_is_refused_and_the_last_good_one_trades_on(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            digest = trader.kube.trader["config"]["digest"]
            trader.kube.edit(permit=False, **changes)
            refused = await trader.until(
                "the refusal", lambda: (c := trader.kube.trader["config"])["generation"] == 2 and c
            )
            assert (refused["accepted"], refused["reason"], refused["digest"]) == (False, reason, digest)
            assert refused["message"]
            await trader.market.walk(*RISE)
            assert (await trader.report())["performance"]["fills"] == 1
        trader.kube.statuses.clear()
        async with trader.running():
            await trader.until_active()
            assert trader.kube.trader["config"]["accepted"] is False
            await trader.market.walk(*FALL)
            assert (await trader.report())["performance"]["fills"] == 2

    play(tmp_path, test)


def test_without_any_good_spec_it_stays_up_and_unready(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running() as session:
            await trader.until(
                "the refusal", lambda: trader.kube.trader.get("config", {}).get("reason") == "UnknownSymbol"
            )
            assert "UnknownSymbol" in session.problem()
            trader.kube.edit(symbols=["BTC/USDT"])
            await trader.until_active()

    play(tmp_path, test, symbols=["NOPE/USDT"])


def test_foreign_volume_is_refused_and_said(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
        trader.kube.statuses.clear()
        async with trader.running(name="other") as session:
            await trader.until(
                "the refusal", lambda: trader.kube.trader.get("config", {}).get("reason") == "StoreMismatch"
            )
            assert "btc" in trader.kube.trader["config"]["message"]
            assert trader.kube.trader["state"] == "Halted"
            assert session.problem()

    play(tmp_path, test)


def test_idle_trader_does_not_answer_the_echo_of_its_own_report(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
        trader.kube.statuses.clear()
        async with trader.running(name="other"):
            await trader.until("the refusal", lambda: trader.kube.trader.get("config", {}).get("reason"))
            before = len(trader.kube.statuses)
            await trader.clock.sleep(60)
            assert len(trader.kube.statuses) - before <= 3, "a heartbeat every 30 s, and nothing between them"
            trader.kube.edit(risk={"maxOrderNotional": "19"})
            await trader.until("the new generation", lambda: trader.kube.trader["config"]["generation"] == 2, seconds=1)

    play(tmp_path, test)


def test_stop_on_a_full_disk_stops_and_is_acknowledged_only_when_the_disk_has_it(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            trader.disk.is_full = True
            trader.kube.edit(killSwitch={"engaged": True})
            await trader.until("the latch", lambda: trader.kube.trader["latch"]["state"] == "Stopped", seconds=5)
            assert "acknowledgedAt" not in trader.kube.trader["latch"]
            await trader.market.walk(*RISE)
            assert (await trader.report())["performance"]["fills"] == 0
            trader.disk.is_full = False
            latch_id = trader.kube.trader["latch"]["id"]
            await trader.until("the disk", lambda: trader.kube.trader["latch"].get("acknowledgedAt"))
        with open_reader(tmp_path) as reader:
            stored = reader.current_latch()
            assert stored is not None
            assert stored.latch.id == latch_id
            assert reader.count_audit(AuditKind.LATCHED, BookName.PAPER) == 1
        check_audit(tmp_path, trader)

    play(tmp_path, test)


def test_nothing_is_released_while_the_halts_cannot_be_read(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running(crash=True):
            await trader.until_active()
            trader.kube.edit(killSwitch={"engaged": True})
            await trader.until("the proof", lambda: trader.kube.trader["latch"]["state"] == "Stopped", seconds=5)
        latch_id = trader.kube.trader["latch"]["id"]
        trader.kube.forbid_halts = True
        trader.kube.edit(killSwitch={"engaged": False, "rearm": latch_id})
        async with trader.running():
            await trader.until("its look", lambda: trader.kube.trader["config"]["generation"] == 3)
            assert trader.kube.trader["latch"]["state"] == "Stopped"
            trader.kube.forbid_halts = False
            await trader.until("the release", lambda: trader.kube.trader["latch"]["state"] == "Armed")

    play(tmp_path, test)


def test_latch_is_told_on_by_a_trader_that_cannot_use_its_volume(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            trader.kube.edit(killSwitch={"engaged": True})
            await trader.until("the proof", lambda: trader.kube.trader["latch"]["state"] == "Stopped", seconds=5)
            latch = trader.kube.trader["latch"]
        async with trader.running(installation="another"):
            await trader.until("the refusal", lambda: trader.kube.trader["config"]["reason"] == "StoreMismatch")
            assert trader.kube.trader["latch"] == latch

    play(tmp_path, test)


def test_venue_without_an_adapter_is_said_and_no_crash(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        refusal = ConfigRefused(ConfigReason.UNSUPPORTED_EXCHANGE, "this version trades on binance")
        async with trader.running(refusal=refusal) as session:
            await trader.until(
                "the refusal", lambda: trader.kube.trader.get("config", {}).get("reason") == "UnsupportedExchange"
            )
            assert session.problem()
            session.observe()

    play(tmp_path, test)


def test_lost_stream_cancels_what_rests_and_stops_new_risk(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running() as session:
            await trader.until_active()
            await trader.market.walk(*RISE)
            trader.market.lose()
            await trader.until("the state", lambda: trader.kube.trader["stateReasons"] == ["FeedLost"], seconds=2)
            assert "no market data of BTC/USDT" in session.problem()
            assert (await trader.report())["openOrders"] == 0
            trader.market.find()
            await trader.until_active()

    parameters = {"fast": 1, "slow": 2, "rsiPeriod": 0, "entryOffsetPercent": "1.5"}
    play(tmp_path, test, strategy={"name": "sma-cross", "timeframe": "1s", "parameters": parameters})


def test_resting_entry_is_given_up_when_it_expires(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running() as session:
            await trader.until_active()
            await trader.market.walk(*RISE)
            session.observe()
            await trader.market.walk("102.1", "102.2", "102.3", "102.4")
            report = await trader.report()
            assert report["openOrders"] == 0
            assert report["performance"]["orders"] == 1

    parameters = {"fast": 1, "slow": 2, "rsiPeriod": 0, "entryOffsetPercent": "1.5", "entryExpiresAfterCandles": 2}
    play(tmp_path, test, strategy={"name": "sma-cross", "timeframe": "1s", "parameters": parameters})


def test_stop_loss_closes_the_position_whatever_the_strategy_wants(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            await trader.market.walk(*RISE)
            for _ in range(5):  # within one candle: no strategy has seen it yet
                trader.market.trade("99.5")
                await trader.clock.sleep(0.1)
            await trader.market.walk("99.5")
            assert (await trader.report())["openPositions"] == 0
        with open_reader(tmp_path) as reader:
            assert "StopLoss" in {intent.reason for intent in reader.intents_since(BookName.PAPER, 0)}

    play(tmp_path, test)


def test_daily_loss_latches_until_a_person_releases_it(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            await trader.market.walk(*RISE)
            await trader.market.walk("98")
            latch = await trader.until("the latch", lambda: (t := trader.kube.trader)["latch"]["id"] and t["latch"])
            assert latch["source"] == "DailyLoss"
            assert trader.kube.trader["state"] == "ReduceOnly"

    play(
        tmp_path,
        test,
        risk={"maxOrderNotional": "20", "maxDailyLossPercent": "1", "stopLossPercent": "90", "cooldownAfterLoss": "0s"},
    )


def test_another_market_is_warmed_up_anew_and_a_held_one_is_followed(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            await trader.market.walk(*RISE)
            trader.kube.edit(symbols=["ETH/USDT"])
            await trader.until("the new market", lambda: "ETH/USDT" in trader.market.symbols)
            assert trader.market.symbols == ["BTC/USDT", "ETH/USDT"]

    play(tmp_path, test)


def test_deleted_or_recreated_bot_takes_no_new_risk(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            trader.kube.delete()
            await trader.clock.sleep(1)
            await trader.market.walk(*RISE)
            await trader.clock.sleep(1)
        with open_reader(tmp_path) as reader:
            assert reader.fills(BookName.PAPER) == []

    play(tmp_path, test)


def test_suspend_takes_no_new_risk(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            trader.kube.edit(suspend=True)
            await trader.until("the state", lambda: trader.kube.trader["stateReasons"] == ["Suspended"], seconds=2)

    play(tmp_path, test)


def test_full_disk_halts_and_nothing_unrecorded_leaves(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running() as session:
            await trader.until_active()
            trader.disk.is_full = True
            await trader.market.walk(*RISE)
            await trader.until("the state", lambda: "StoreUnwritable" in trader.kube.trader["stateReasons"], seconds=5)
            assert session.problem()
            assert trader.kube.trader["performance"]["fills"] == 0
            session.observe()
            trader.disk.is_full = False
            await trader.until_active()
            await trader.market.walk(*FALL, *RISE)
            assert (await trader.report())["performance"]["fills"] == 1

    play(tmp_path, test)


def test_fill_that_the_full_disk_refused_is_recorded_when_there_is_room(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running() as session:
            await trader.until_active()
            trader.disk.fail_after = 2  # the intent and its departure are recorded, the fill is not
            await trader.market.walk(*RISE)
            await trader.until("the state", lambda: "StoreUnwritable" in trader.kube.trader["stateReasons"], seconds=5)
            assert session.problem()
            trader.disk.is_full = False
            await trader.until_active()
            assert (await trader.report())["performance"]["fills"] == 1
        with open_reader(tmp_path) as reader:
            assert len(reader.fills(BookName.PAPER)) == 1
        check_audit(tmp_path, trader)

    play(tmp_path, test)


def test_partition_of_the_status_alone_is_retried(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        kube, failures = trader.kube, 3
        real = kube.apply_status

        async def flaky(part: object) -> None:
            nonlocal failures
            if failures:
                failures -= 1
                raise KubeError("conflict", status=409)
            await real(part)  # type: ignore[arg-type]  # the same argument

        kube.apply_status = flaky  # type: ignore[method-assign]  # a fake's own seam
        async with trader.running():
            await trader.until_active()

    play(tmp_path, test)


RESTING = {"fast": 1, "slow": 2, "rsiPeriod": 0, "entryOffsetPercent": "1.5"}


def test_whatever_ends_active_takes_resting_entries_away(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            await trader.market.walk(*RISE)
            assert (await trader.report())["openOrders"] == 1
            trader.kube.edit(suspend=True)
            await trader.clock.sleep(1)
            assert (await trader.report())["openOrders"] == 0

    play(tmp_path, test, strategy={"name": "sma-cross", "timeframe": "1s", "parameters": RESTING})


def test_history_never_trades(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        second = 1_000_000_000
        now_ns = trader.clock.now_ns()
        trader.market.history = tuple(
            Candle("BTC/USDT", now_ns - (5 - number) * second, second, price, price, price, price, Decimal(1), 1)
            for number, price in enumerate(map(Decimal, ("100", "99", "98", "97", "103")))
        )
        trader.market.history_seconds = 1.5  # prices are known by then: only the rule is in the way of an order
        async with trader.running():
            await trader.until_active()
            await trader.market.walk("103", "103", "104")
            assert (await trader.report())["performance"]["orders"] == 0

    play(tmp_path, test)


def test_trader_that_lost_its_lease_sends_nothing_not_even_an_exit(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running() as session:
            await trader.until_active()
            await trader.market.walk(*RISE)
            lease = trader.kube.lease
            assert lease is not None
            lease["spec"] |= {"holderIdentity": "btc-1", "renewTime": "later"}
            lease["metadata"]["resourceVersion"] = "1000"
            await trader.until("its look", lambda: session.problem() == "the lease is not held", seconds=15)
            await trader.market.walk(*FALL)
        with open_reader(tmp_path) as reader:
            assert [fill.side.value for fill in reader.fills(BookName.PAPER)] == ["buy"]

    play(tmp_path, test)


def test_peak_of_the_profit_survives_a_crash(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running(crash=True):
            await trader.until_active()
            await trader.market.walk(*RISE, "110", "112")
        with open_reader(tmp_path) as reader:
            assert Decimal(reader.counters(BookName.PAPER)["pnl.peak_quote"]) > 1

    play(tmp_path, test)


def test_paper_pod_says_what_the_live_book_still_holds(tmp_path: Path) -> None:
    async def test(trader: Trader) -> None:
        async with trader.running():
            await trader.until_active()
            await trader.market.walk(*RISE)
            held = await trader.report()
            assert held["leftBehind"] == []
        # The same fills as if a live pod had made them: this column alone tells the two books apart.
        with sqlite3.connect(tmp_path / FILE_NAME) as store:
            for table in ("fills", "orders"):
                store.execute(f"UPDATE {table} SET book = 'live'")  # noqa: S608  names of tables
        trader.kube.statuses.clear()
        async with trader.running():
            await trader.until_active()
            (position,) = held["positions"]
            told = await trader.report()
            assert told["leftBehind"] == [f"{position['quantity']} BTC/USDT"]
            assert told["openPositions"] == 0

    play(tmp_path, test)
