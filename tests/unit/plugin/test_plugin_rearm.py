"""Releasing a latch: by its own id, never over somebody's new stop, and never while somebody else's halt is on."""

from __future__ import annotations

from typing import Any

import pytest

from support.plugin import BTC, LATCH, Server, Time, Trader, build_bot, build_latch, build_trader
from tradingbot_api.spec import StopAction
from tradingbot_plugin import halts
from tradingbot_plugin.errors import Forbidden, Invalid, Refused
from tradingbot_plugin.rearm import Rearm, Release, build_operations
from tradingbot_plugin.view import read_bot

ID = f"{LATCH[:-1]}1"
NO = Forbidden("list the TradingHalts", "you may not")


class Scene:
    """A bot that was killed by the plugin."""

    def __init__(self, *, obeys: bool = True, halt: bool = True, **switch: Any) -> None:
        self.server, self.clock, self.said = Server(build_bot(switch={"engaged": True} | switch)), Time(), []
        if halt:
            self.server.create_halt(halts.build_kill_halt(BTC, StopAction.CANCEL_ORDERS, ""))
        self.trader = Trader(self.server)
        self.trader()
        if obeys:
            self.clock.meanwhile.append(self.trader)

    @property
    def latch(self) -> dict[str, Any]:
        latch: dict[str, Any] = self.server.bots[BTC]["status"]["trader"]["latch"]
        return latch

    def rearm(self, latch_id: str = "", *, answer: bool = True) -> Release:
        rearm = Rearm(self.server, self.clock, self.said.append)
        return rearm.run(BTC, latch_id=latch_id, is_wanted=lambda bot: answer, timeout_seconds=5)  # noqa: ARG005


@pytest.mark.parametrize("latch_id", ["", ID])
def test_latch_is_released_and_the_halt_of_the_kill_goes_with_it(latch_id: str) -> None:
    scene = Scene()
    release = scene.rearm(latch_id)
    assert release.is_released
    assert release.exit_code == 0
    assert release.deleted_halts == ["kill-desk.btc"]
    assert scene.server.halts == {}
    assert scene.server.switch()["engaged"] is False
    assert scene.server.switch()["rearm"] == ID


def test_every_halt_of_kills_goes_and_nobody_elses() -> None:
    scene = Scene()
    scene.server.create_halt(halts.build_kill_halt(BTC, StopAction.FLATTEN, "", suffix="another"))
    scene.server.create_halt({"metadata": {"name": "other"}, "spec": {"bots": ["eth"]}})
    assert scene.rearm().is_released
    assert list(scene.server.halts) == ["other"]


def test_wrong_id_is_refused_and_nothing_is_changed() -> None:
    scene = Scene()
    with pytest.raises(Refused, match=f"its latch is {ID}"):
        scene.rearm("another")
    assert scene.server.switch()["engaged"] is True
    assert "kill-desk.btc" in scene.server.halts


def test_no_is_no() -> None:
    scene = Scene()
    with pytest.raises(Refused):
        scene.rearm(answer=False)
    assert "patch_bot" not in scene.server.calls


def test_halt_of_somebody_else_is_named_and_nothing_is_changed() -> None:
    scene = Scene()
    scene.server.create_halt({"metadata": {"name": "night"}, "spec": {"reason": "x"}})
    with pytest.raises(Refused, match="TradingHalt/night"):
        scene.rearm()
    assert scene.server.switch()["engaged"] is True
    assert "delete_halt" not in scene.server.calls


def test_expired_halt_stands_in_nobodys_way() -> None:
    scene = Scene(obeys=False)
    scene.server.create_halt({"metadata": {"name": "night"}, "spec": {"expiresAt": "2026-01-02T03:00:00Z"}})
    release = scene.rearm()
    assert release.deleted_halts == ["kill-desk.btc"]


@pytest.mark.parametrize(
    ("bot", "said"),
    [
        (build_bot(), "no latch"),
        (build_bot(switch={"engaged": True}), "nobody has latched it yet"),
        (build_bot(trader=build_trader("u-0", latch=build_latch())), "no latch"),
    ],
)
def test_bot_without_a_latch_has_nothing_to_release(bot: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        Rearm(Server(bot), Time(), print).ask(BTC, latch_id="")


def test_trader_that_does_not_answer_is_3_and_the_reason_is_said() -> None:
    scene = Scene(obeys=False)
    release = scene.rearm()
    assert release.exit_code == 3
    assert "has not answered yet" in release.why_not or "still on" in release.why_not


def test_what_the_trader_says_is_in_the_way_is_passed_on() -> None:
    scene = Scene(obeys=False)
    scene.latch["message"] = "Not released yet: the account has to agree with the books first."
    assert "agree with the books" in scene.rearm().why_not


def test_file_that_is_still_there_is_named() -> None:
    scene = Scene(obeys=False)
    scene.latch["sources"] = [{"source": "BreakGlassFile", "active": True}, {"source": "KillSwitch", "active": True}]
    assert scene.rearm().why_not == "still on: BreakGlassFile"


def test_bot_that_latches_again_at_once_is_3_and_told() -> None:
    scene = Scene(obeys=False)

    def latch_again() -> None:
        scene.server.bots[BTC]["status"]["trader"]["latch"] = build_latch(id="next", source="DailyLoss")

    scene.clock.meanwhile.append(latch_again)
    release = scene.rearm()
    assert release.exit_code == 3
    assert "stopped again by DailyLoss" in release.why_not


def test_kill_by_somebody_else_in_the_same_moment_is_not_switched_off() -> None:
    """The patch tests the generation that was seen."""
    scene = Scene(engaged=False)
    scene.server.before["patch_bot"] = lambda: scene.server.merge_bot(BTC, {"spec": {"killSwitch": {"engaged": True}}})
    with pytest.raises(Refused, match="just stopped"):
        scene.rearm()
    assert scene.server.switch()["engaged"] is True
    assert "kill-desk.btc" in scene.server.halts


def test_harmless_change_by_somebody_else_is_gone_along_with() -> None:
    scene = Scene()
    scene.server.before["patch_bot"] = lambda: scene.server.merge_bot(BTC, {"spec": {"labels": {"a": "b"}}})
    assert scene.rearm().is_released


def test_refusal_that_is_not_about_the_tests_is_told_as_it_is() -> None:
    scene = Scene()
    scene.server.refusals["patch_bot"] = Invalid("patch bot", "spec.x is wrong")
    with pytest.raises(Invalid, match=r"spec\.x"):
        scene.rearm()


def test_bot_that_was_made_anew_is_not_rearmed() -> None:
    scene = Scene()
    again = build_bot()
    again["metadata"]["uid"] = "u-9"
    scene.server.before["patch_bot"] = lambda: scene.server.put(again)
    with pytest.raises(Refused, match="made again"):
        scene.rearm()
    assert again["spec"]["killSwitch"]["rearm"] == ""


def test_kill_after_the_rearm_is_told_and_not_undone() -> None:
    scene = Scene(obeys=False)
    scene.clock.meanwhile.append(
        lambda: scene.server.merge_bot(BTC, {"spec": {"killSwitch": {"engaged": True, "rearm": ""}}})
    )
    release = scene.rearm()
    assert release.exit_code == 3
    assert "stopped it again" in release.why_not
    assert scene.server.switch()["engaged"] is True


def test_rearm_that_is_written_over_is_not_written_again() -> None:
    """It may have been a kill that took it back."""
    scene = Scene(obeys=False)
    scene.clock.meanwhile.append(lambda: scene.server.switch().update(rearm=""))
    release = scene.rearm()
    assert "written over killSwitch.rearm" in release.why_not
    assert scene.server.calls.count("patch_bot") == 1


def test_halts_that_may_not_be_seen_are_said() -> None:
    scene = Scene(halt=False)
    scene.server.refusals["list_halts"] = NO
    release = scene.rearm()
    assert release.is_released
    assert any("cannot be seen" in note for note in release.notes)


def test_halt_that_may_not_be_deleted_is_named_as_still_on() -> None:
    scene = Scene()
    scene.server.refusals["delete_halt"] = Forbidden("delete TradingHalt kill-desk.btc", "you may not")
    release = scene.rearm()
    assert not release.is_released
    assert any("still on: TradingHalt/kill-desk.btc" in note for note in release.notes)


def test_latch_of_the_operator_is_released_where_no_trader_reports() -> None:
    bot = build_bot(trader={}, switch={"engaged": True})
    bot["status"]["killSwitch"] = build_latch(id="operator-1", acknowledgedAt=None, state="Stopping")
    server, clock = Server(bot), Time()
    clock.meanwhile.append(lambda: bot["status"].update(killSwitch={"state": "Armed"}))
    rearm = Rearm(server, clock, print)
    release = rearm.run(BTC, latch_id="operator-1", is_wanted=lambda bot: True, timeout_seconds=5)  # noqa: ARG005
    assert release.is_released
    assert server.switch()["rearm"] == "operator-1"


def test_copy_of_a_dead_operator_is_no_latch() -> None:
    bot = build_bot()
    bot["status"]["killSwitch"] = build_latch(acknowledgedAt=None)
    assert not read_bot(bot).latch.is_set


def test_copy_of_a_dead_operator_does_not_hide_the_release() -> None:
    """A latch that the operator has minted, taken over by the trader and released by it."""
    scene = Scene()
    scene.latch["id"] = "operator-1"
    scene.server.bots[BTC]["status"]["killSwitch"] = scene.latch | {"acknowledgedAt": None}
    assert scene.rearm().is_released


def test_bot_without_a_kill_switch_gets_one() -> None:
    bot = build_bot()
    del bot["spec"]["killSwitch"]
    assert build_operations(read_bot(bot), "a")[-1] == {
        "op": "add", "path": "/spec/killSwitch", "value": {"engaged": False, "rearm": "a"},
    }  # fmt: skip
