"""Asking bots to stop and waiting for the proof, against an API server and traders in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.plugin import BTC, LATCH, Server, Time, Trader, build_bot, build_latch, build_trader
from tradingbot_api.spec import StopAction
from tradingbot_plugin.errors import Forbidden, Invalid, Unreachable
from tradingbot_plugin.kill import Kill, Target, Wish
from tradingbot_plugin.proof import FAILED, NOT_FLAT, NOT_PROVED, OK, Outcome, exit_code
from tradingbot_plugin.view import Ref

HALT = "kill-desk.btc"
NO = Forbidden("create TradingHalt", "you may not")
GONE = Unreachable("get bot", "the API server does not answer")


class Scene:
    """One API server, its traders, and somebody who kills."""

    def __init__(self, *bots: dict[str, Any], obeys: bool = True) -> None:
        self.server, self.clock = Server(*(bots or (build_bot(),))), Time()
        self.said: list[str] = []
        self.traders = {ref: Trader(self.server, ref) for ref in self.server.bots}
        if obeys:
            self.clock.meanwhile += self.traders.values()

    def kill(
        self, *refs: Ref, action: StopAction | None = None, makes_halt: bool = True, reason: str = ""
    ) -> list[Target]:
        wish = Wish(action=action, reason=reason, makes_halt=makes_halt, timeout_seconds=10)
        return Kill(self.server, self.clock, self.said.append).run(refs or (BTC,), wish)

    def code(self, *refs: Ref, **how: Any) -> int:
        return exit_code(target.proof.outcome for target in self.kill(*refs, **how))


def test_stop_is_asked_for_in_both_ways_and_proved() -> None:
    scene = Scene()
    assert scene.code(reason="odd fills") == OK
    assert scene.server.switch() == {"engaged": True, "action": "CancelOrders", "reason": "odd fills", "rearm": ""}
    assert scene.server.halts[HALT]["spec"] == {
        "namespaces": ["desk"], "bots": ["btc"], "action": "CancelOrders", "reason": "odd fills",
    }  # fmt: skip
    assert "tradingbot.dev/requested-by" not in str(scene.server.bots)


def test_dead_trader_proves_nothing_and_the_stop_stays_asked_for() -> None:
    scene = Scene(obeys=False)
    assert scene.code() == NOT_PROVED
    assert scene.server.switch()["engaged"] is True
    assert HALT in scene.server.halts
    assert any("has not latched" in line for line in scene.said)


def test_dead_trader_with_an_old_stop_in_its_status_proves_nothing() -> None:
    scene = Scene(build_bot(trader=build_trader(latch=build_latch())), obeys=False)
    assert scene.code() == NOT_PROVED


def test_bot_that_is_stopped_by_this_very_spec_counts_though_its_trader_is_dead() -> None:
    """The patch changes nothing, so the trader has looked at what stands there now."""
    bot = build_bot(trader=build_trader(latch=build_latch()), switch={"engaged": True})
    assert Scene(bot, obeys=False).code() == OK


def test_dead_operator_changes_nothing() -> None:
    bot = build_bot()
    bot["status"]["killSwitch"] = {"state": "Armed"}
    scene = Scene(bot)
    assert scene.code() == OK
    assert scene.server.bots[BTC]["status"]["killSwitch"] == {"state": "Armed"}


def test_mirror_of_the_operator_is_not_believed() -> None:
    bot = build_bot()
    bot["status"]["killSwitch"] = build_latch()
    assert Scene(bot, obeys=False).code() == NOT_PROVED


def test_forbidden_halt_is_said_and_the_patch_goes_on() -> None:
    scene = Scene()
    scene.server.refusals["create_halt"] = NO
    (target,) = scene.kill()
    assert target.proof.outcome is Outcome.STOPPED
    assert any("no TradingHalt was made" in note and "you may not" in note for note in target.notes)


def test_forbidden_patch_leaves_the_halt_to_stop_it() -> None:
    scene = Scene()
    scene.server.refusals["merge_bot"] = NO
    (target,) = scene.kill()
    assert target.proof.outcome is Outcome.STOPPED
    assert scene.server.switch()["engaged"] is False
    assert scene.server.calls.count("merge_bot") == 1


def test_forbidden_patch_is_not_tried_again() -> None:
    scene = Scene(obeys=False)
    scene.server.refusals["merge_bot"] = NO
    assert scene.code() == NOT_PROVED
    assert scene.server.calls.count("merge_bot") == 1


@pytest.mark.parametrize("refusal", [NO, Invalid("patch", "an admission policy says no")])
def test_stop_that_nobody_takes_is_a_failure(refusal: Any) -> None:
    scene = Scene()
    scene.server.refusals |= {"merge_bot": refusal, "create_halt": NO}
    (target,) = scene.kill()
    assert target.proof.outcome is Outcome.FAILED
    assert target.asked is None


def test_who_may_not_read_bots_stops_them_and_is_told_that_nothing_is_proved() -> None:
    scene = Scene()
    scene.server.refusals["get_bot"] = Forbidden("get bot", "you may not")
    assert scene.code() == NOT_PROVED
    assert scene.server.switch()["engaged"] is True


def test_bot_that_is_not_there_is_a_failure_and_gets_no_halt() -> None:
    scene = Scene()
    assert scene.code(Ref("desk", "eth")) == FAILED
    assert scene.server.halts == {}


def test_bot_that_is_not_there_gets_no_halt_from_somebody_who_may_not_read_either() -> None:
    scene = Scene()
    scene.server.refusals["get_bot"] = Forbidden("get bot", "you may not")
    assert scene.code(Ref("desk", "eth")) == FAILED
    assert scene.server.halts == {}


def test_misspelled_name_does_not_keep_the_others_from_being_stopped() -> None:
    scene = Scene()
    found = {target.ref: target.proof.outcome for target in scene.kill(Ref("desk", "bct"), BTC)}
    assert found == {Ref("desk", "bct"): Outcome.FAILED, BTC: Outcome.STOPPED}


def test_bot_that_goes_meanwhile_proves_nothing() -> None:
    scene = Scene(obeys=False)
    scene.clock.meanwhile.append(scene.server.bots.clear)
    assert scene.code() == NOT_PROVED


def test_bot_that_was_made_anew_meanwhile_does_not_count() -> None:
    scene = Scene()
    again = build_bot(trader=build_trader("u-9", latch=build_latch()))
    again["metadata"] |= {"uid": "u-9", "generation": 5}
    scene.clock.meanwhile.append(lambda: scene.server.put(again))
    (target,) = scene.kill()
    assert target.proof.outcome is Outcome.GONE


def test_report_of_a_foreign_uid_is_not_believed() -> None:
    scene = Scene(build_bot(trader=build_trader("u-0", latch=build_latch(), config={"generation": 9})), obeys=False)
    assert scene.code() == NOT_PROVED


def test_flatten_that_cannot_sell_is_2() -> None:
    scene = Scene()
    scene.traders[BTC].report = {"state": "Stopping", "flat": "False", "positionsLeft": ["0.5 BTC/USDT"]}
    (target,) = scene.kill(action=StopAction.FLATTEN)
    assert exit_code([target.proof.outcome]) == NOT_FLAT
    assert "0.5 BTC/USDT" in target.proof.why


def test_venue_that_does_not_answer_is_3_and_its_orders_are_named() -> None:
    scene = Scene()
    left = {"clientOrderId": "a1", "symbol": "BTC/USDT", "side": "buy", "result": "Remaining", "reason": "no answer"}
    scene.traders[BTC].report = {"state": "Stopping", "orders": [left]}
    (target,) = scene.kill()
    assert exit_code([target.proof.outcome]) == NOT_PROVED
    assert "buy BTC/USDT a1 Remaining (no answer)" in target.proof.why


def test_api_server_that_is_away_for_a_while_is_asked_again() -> None:
    scene = Scene()
    scene.server.refusals["merge_bot"] = [GONE, GONE, GONE]
    scene.server.refusals["get_bot"] = [GONE]
    assert scene.code() == OK


def test_api_server_that_stays_away_is_a_failure() -> None:
    scene = Scene()
    scene.server.refusals |= {"merge_bot": GONE, "get_bot": GONE}
    assert scene.code() == FAILED


def test_api_server_that_goes_after_the_patch_is_no_proof() -> None:
    scene = Scene()
    scene.clock.meanwhile.insert(0, lambda: scene.server.refusals.update(get_bot=GONE))
    (target,) = scene.kill()
    assert target.proof.outcome is Outcome.NOT_PROVED
    assert "does not answer" in target.proof.why


def test_halt_that_could_not_be_made_at_once_is_made_later() -> None:
    scene = Scene(obeys=False)
    scene.server.refusals["create_halt"] = [GONE]
    scene.kill()
    assert HALT in scene.server.halts


def reverts(scene: Scene) -> Callable[[], None]:
    def revert() -> None:
        bot = scene.server.bots[BTC]
        if bot["spec"]["killSwitch"]["engaged"]:
            bot["spec"]["killSwitch"] |= {"engaged": False, "reason": ""}
            bot["metadata"]["generation"] += 1

    return revert


def test_halt_stops_a_bot_whose_patch_is_taken_back_before_its_trader_looks() -> None:
    scene = Scene()
    scene.clock.meanwhile.insert(0, reverts(scene))
    assert scene.code() == OK
    assert scene.server.switch()["engaged"] is False
    assert scene.server.calls.count("merge_bot") == 1


def test_without_a_halt_a_patch_that_is_taken_back_is_repeated() -> None:
    scene = Scene()
    scene.clock.meanwhile.insert(0, reverts(scene))
    scene.server.refusals["create_halt"] = NO
    assert scene.code() == NOT_PROVED
    assert scene.server.calls.count("merge_bot") > 3


def test_halt_that_somebody_deletes_before_it_was_seen_is_made_again() -> None:
    scene = Scene(obeys=False)
    scene.clock.meanwhile.append(scene.server.halts.clear)
    scene.kill()
    assert scene.server.calls.count("create_halt") > 3


def test_stop_that_is_latched_is_not_asked_for_again() -> None:
    """Whoever re-arms it then is not fought."""
    scene = Scene()
    scene.traders[BTC].report = {"state": "Stopping"}
    scene.clock.meanwhile.append(scene.server.halts.clear)
    scene.kill()
    assert scene.server.calls.count("create_halt") == 1


def test_action_is_never_made_milder() -> None:
    scene = Scene(build_bot(switch={"engaged": True, "action": "Flatten"}))
    assert scene.code(action=StopAction.REDUCE_ONLY) == OK
    assert scene.server.switch()["action"] == "Flatten"
    assert scene.server.halts[HALT]["spec"]["action"] == "Flatten"


def test_own_action_of_the_bot_holds_when_none_is_given() -> None:
    scene = Scene(build_bot(switch={"action": "Flatten"}))
    scene.traders[BTC].report = {"state": "Stopping", "flat": "False"}
    assert scene.code() == NOT_FLAT


def test_stricter_action_of_somebody_else_in_the_same_moment_is_waited_for() -> None:
    scene = Scene()
    scene.server.before["merge_bot"] = lambda: scene.server.switch().update(action="Flatten")
    (target,) = scene.kill()
    assert target.asked is not None
    assert target.asked.action is StopAction.FLATTEN
    assert scene.server.halts[HALT]["spec"]["action"] == "Flatten"


def test_milder_action_of_somebody_else_in_the_same_moment_is_repaired() -> None:
    scene = Scene(obeys=False)
    scene.server.refusals["create_halt"] = NO
    scene.clock.meanwhile.append(lambda: scene.server.switch().update(action="ReduceOnly"))
    scene.clock.meanwhile.append(scene.traders[BTC])
    assert scene.code(action=StopAction.FLATTEN) == NOT_PROVED
    assert scene.server.calls.count("merge_bot") > 3


def test_reason_of_a_running_stop_stays_when_none_is_given() -> None:
    scene = Scene(build_bot(switch={"engaged": True, "reason": "loss"}))
    scene.kill()
    assert scene.server.switch()["reason"] == "loss"


def test_reason_of_an_old_stop_does_not_stay() -> None:
    scene = Scene(build_bot(switch={"engaged": False, "reason": "last year"}))
    scene.kill()
    assert scene.server.switch()["reason"] == ""


def test_rearm_that_is_under_way_is_taken_back() -> None:
    scene = Scene(build_bot(switch={"rearm": LATCH}, trader=build_trader(latch=build_latch())))
    assert scene.code() == OK
    assert scene.server.switch()["rearm"] == ""


def test_long_reason_does_not_keep_a_stop_from_getting_through() -> None:
    scene = Scene()
    scene.kill(reason="x" * 5000)
    assert len(scene.server.switch()["reason"]) == 1024


def test_second_kill_uses_the_halt_of_the_first() -> None:
    scene = Scene()
    assert [scene.code(), scene.code()] == [OK, OK]
    assert list(scene.server.halts) == [HALT]


def test_stricter_second_kill_makes_a_halt_beside_the_first() -> None:
    scene = Scene()
    assert scene.code() == OK
    assert scene.code(action=StopAction.FLATTEN) == OK
    actions = sorted(halt["spec"]["action"] for halt in scene.server.halts.values())
    assert actions == ["CancelOrders", "Flatten"]


def test_halt_of_that_name_that_does_not_stop_the_bot_is_not_relied_on() -> None:
    scene = Scene()
    scene.server.halts[HALT] = {"metadata": {"name": HALT, "uid": "x"}, "spec": {"bots": ["other"]}}
    assert scene.code() == OK
    assert len(scene.server.halts) == 2


def test_no_halt_is_made_where_none_is_wanted() -> None:
    scene = Scene()
    assert scene.code(makes_halt=False) == OK
    assert scene.server.halts == {}


def test_all_bots_are_asked_before_one_is_waited_for() -> None:
    refs = [Ref("desk", f"bot-{number}") for number in range(40)]
    scene = Scene(*(build_bot(ref) for ref in refs), obeys=False)
    scene.clock.meanwhile.append(lambda: scene.server.calls.append("wait"))
    for ref in refs[1:]:
        scene.clock.meanwhile.append(scene.traders[ref])
    found = {target.ref: target.proof.outcome for target in scene.kill(*refs)}
    assert [ref for ref, outcome in found.items() if outcome is not Outcome.STOPPED] == [refs[0]]
    first_wait = scene.server.calls.index("wait")
    assert scene.server.calls[:first_wait].count("merge_bot") == len(refs)
    assert scene.server.calls.count("list_bots") >= 1, "many bots are read by one request"


def test_who_may_not_list_reads_many_bots_one_by_one() -> None:
    refs = [Ref("desk", f"bot-{number}") for number in range(20)]
    scene = Scene(*(build_bot(ref) for ref in refs))
    scene.server.refusals["list_bots"] = NO
    assert scene.code(*refs) == OK


def test_ctrl_c_ends_the_waiting_and_not_the_stop() -> None:
    scene = Scene(obeys=False)

    def interrupt() -> None:
        raise KeyboardInterrupt

    scene.clock.meanwhile.append(interrupt)
    assert scene.code() == NOT_PROVED
    assert scene.server.switch()["engaged"] is True
    assert any("Interrupted" in line for line in scene.said)
