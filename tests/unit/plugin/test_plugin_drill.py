"""A drill: only where no money is at risk, each step in its order, and a bot that is left stopped when it fails."""

from __future__ import annotations

from typing import Any

import pytest

from support.plugin import BTC, Server, Time, Trader, build_bot, build_latch, build_trader
from tradingbot_api.labels import DRILL, drill_reason
from tradingbot_api.spec import StopAction
from tradingbot_plugin.drill import OPERATOR_SECONDS, Drill, DrillReport, Step, check_drillable
from tradingbot_plugin.errors import Forbidden, Refused
from tradingbot_plugin.kill import Wish, make_id
from tradingbot_plugin.view import read_bot

MAINNET: dict[str, Any] = {"exchange": {"id": "binance", "network": "Mainnet"}}


ID = "0123456789ab"


def run(server: Server, clock: Time, *, action: StopAction | None = None) -> DrillReport:
    return Drill(server, clock, lambda line: None, make_id=lambda: ID).run(  # noqa: ARG005
        BTC, Wish(action=action, reason="drill", makes_halt=True, timeout_seconds=5)
    )


def test_steps_are_measured_in_their_order_and_the_bot_trades_again() -> None:
    server, clock = Server(build_bot()), Time()
    clock.meanwhile.append(Trader(server))
    report = run(server, clock)
    assert report.exit_code == 0
    assert [each.step for each in report.steps] == list(Step)
    assert [each.milliseconds for each in report.steps] == [0, 20, 20, 20, 0, 20, 20]
    assert server.halts == {}
    assert server.switch()["engaged"] is False
    told = report.to_json()
    assert told["passed"] is True
    assert told["uid"] == "u-1"
    assert told["steps"][2] == {"step": "Acknowledged", "milliseconds": 20, "at": "2026-01-02T03:04:05.000000Z"}


def mirror(server: Server, clock: Time, *, after_seconds: float) -> None:
    """The operator, which copies what the trader reports."""

    def copy() -> None:
        status = server.bots[BTC]["status"]
        if clock.passed >= after_seconds:
            status["killSwitch"] = dict(status["trader"]["latch"])

    clock.meanwhile.append(copy)


def test_stop_carries_the_drills_id_in_one_request() -> None:
    server, clock = Server(build_bot()), Time()
    clock.meanwhile.append(Trader(server))
    seen: list[tuple[object, ...]] = []

    def look() -> None:
        bot = server.bots[BTC]
        seen.append((server.calls.count("merge_bot"), bot["metadata"]["annotations"], server.switch()["reason"]))

    def look_at_halts() -> None:
        halts.extend(halt["spec"]["reason"] for halt in server.halts.values())

    halts: list[str] = []
    server.before |= {"create_halt": look, "list_halts": look_at_halts}
    report = run(server, clock)
    assert seen == [(1, {DRILL: ID}, drill_reason(ID))]
    assert halts == [drill_reason(ID)]
    assert report.to_json()["drillId"] == ID


def test_ids_differ_and_may_be_part_of_a_name() -> None:
    ids = {make_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each) == 12 and set(each) <= set("0123456789abcdef") for each in ids)


def test_bot_stays_stopped_until_the_operator_has_seen_it() -> None:
    server, clock = Server(build_bot()), Time()
    clock.meanwhile.append(Trader(server))
    mirror(server, clock, after_seconds=1.0)
    released: list[float] = []
    server.before["patch_bot"] = lambda: released.append(clock.passed)
    report = run(server, clock)
    assert report.exit_code == 0
    assert report.notes == []
    assert released == [pytest.approx(1.0, abs=0.05)]


def test_drill_passes_without_an_operator_and_says_so() -> None:
    server, clock = Server(build_bot()), Time()
    clock.meanwhile.append(Trader(server))
    released: list[float] = []
    server.before["patch_bot"] = lambda: released.append(clock.passed)
    report = run(server, clock)
    assert report.exit_code == 0
    assert report.notes == ["the operator has not seen the stop in time: it may not record this drill"]
    assert released == [pytest.approx(OPERATOR_SECONDS, abs=0.1)]


def test_stop_that_is_not_proved_leaves_the_bot_stopped() -> None:
    server, clock = Server(build_bot()), Time()
    report = run(server, clock)
    assert report.exit_code == 3
    assert [each.step for each in report.steps] == [Step.PATCH_ACCEPTED]
    assert server.switch()["engaged"] is True
    assert "left as it is" in report.message


def test_flatten_that_does_not_sell_is_2() -> None:
    server, clock = Server(build_bot()), Time()
    trader = Trader(server)
    trader.report = {"state": "Stopping", "flat": "False"}
    clock.meanwhile.append(trader)
    report = run(server, clock, action=StopAction.FLATTEN)
    assert report.exit_code == 2
    assert server.switch()["engaged"] is True


def test_bot_that_is_released_and_does_not_become_active_fails() -> None:
    server, clock = Server(build_bot()), Time()
    trader = Trader(server)

    def with_a_lost_feed() -> None:
        trader()
        server.bots[BTC]["status"]["trader"] |= {"state": "ReduceOnly", "stateReasons": ["FeedLost"]}

    clock.meanwhile.append(with_a_lost_feed)
    report = run(server, clock)
    assert report.exit_code == 3
    assert "FeedLost" in report.message
    assert report.steps[-1].step is Step.RELEASED


def test_rearm_that_is_refused_is_told() -> None:
    server, clock = Server(build_bot()), Time()
    clock.meanwhile.append(Trader(server))
    server.refusals["patch_bot"] = Forbidden("patch bot desk/btc", "you lack the verb rearm")
    report = run(server, clock)
    assert report.exit_code == 3
    assert "you lack the verb rearm" in report.message


def test_stop_that_is_refused_is_1() -> None:
    server, clock = Server(build_bot()), Time()
    server.refusals |= {"merge_bot": Forbidden("patch", "no"), "create_halt": Forbidden("create", "no")}
    assert run(server, clock).exit_code == 1


@pytest.mark.parametrize(
    "spec",
    [{}, {"mode": "Live"}, {"mode": "Live", "exchange": {"network": "Testnet"}}, MAINNET],
    ids=str,
)
def test_bots_that_risk_no_money_are_taken(spec: dict[str, Any]) -> None:
    check_drillable(read_bot(build_bot(**spec)))


@pytest.mark.parametrize(
    ("spec", "trader", "permit"),
    [
        (MAINNET | {"mode": "Live"}, "Paper", "Paper"),
        (MAINNET, "Live", "Paper"),
        (MAINNET, "Paper", "Live"),
        (MAINNET, "", "Paper"),
        ({"exchange": {}, "mode": "Live"}, "Live", "Live"),
        ({"exchange": {"network": "Other"}}, "Live", "Paper"),
    ],
    ids=str,
)
def test_whatever_may_risk_money_is_refused(spec: dict[str, Any], trader: str, permit: str) -> None:
    bot = build_bot(trader=build_trader(mode=trader), **spec)
    bot["status"]["permit"]["mode"] = permit
    with pytest.raises(Refused, match="real money"):
        check_drillable(read_bot(bot))


@pytest.mark.parametrize(
    "bot",
    [
        build_bot(trader={}),
        build_bot(trader=build_trader("u-0")),
        build_bot(trader=build_trader(state="ReduceOnly")),
        build_bot(trader=build_trader(latch=build_latch())),
        build_bot(switch={"engaged": True}),
    ],
)
def test_bot_that_is_not_active_is_refused(bot: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        check_drillable(read_bot(bot))
