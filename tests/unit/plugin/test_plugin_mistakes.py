"""Commands that come between each other, and options that say less than was meant."""

from __future__ import annotations

import copy

import pytest

from support.plugin import BTC, Server, Time, Trader, build_bot, build_trader
from tradingbot_api.spec import StopAction
from tradingbot_plugin.cli import run
from tradingbot_plugin.drill import Drill
from tradingbot_plugin.errors import Forbidden
from tradingbot_plugin.kill import Kill, Wish
from tradingbot_plugin.options import Invocation
from tradingbot_plugin.proof import Outcome
from tradingbot_plugin.rearm import Rearm


def be_silent(_line: str) -> None:
    return


def wish(*, action: StopAction | None = None, reason: str = "odd fills") -> Wish:
    return Wish(action=action, reason=reason, makes_halt=True, timeout_seconds=3)


class Scene:
    """One bot, its trader, and people with the plugin."""

    def __init__(self) -> None:
        self.server, self.clock = Server(build_bot()), Time()
        self.trader = Trader(self.server)
        self.clock.meanwhile.append(self.trader)

    def kill(self, action: StopAction | None = None) -> Outcome:
        (target,) = Kill(self.server, self.clock, be_silent).run([BTC], wish(action=action))
        return target.proof.outcome

    def rearm(self) -> bool:
        release = Rearm(self.server, self.clock, be_silent)
        return release.run(BTC, latch_id="", is_wanted=lambda bot: True, timeout_seconds=3).is_released  # noqa: ARG005

    def type(self, *arguments: str) -> int:
        return run(arguments, Invocation(lambda _access: self.server, self.clock, lambda _question: False))


def test_report_from_before_a_rearm_proves_no_later_kill() -> None:
    """The trader released the latch and could not say so; what it said before names the halt, whose name is the same
    for each kill."""
    scene = Scene()
    assert scene.kill() is Outcome.STOPPED
    scene.clock.meanwhile.remove(scene.trader)  # nobody hears of it from now on
    assert not scene.rearm()
    assert scene.kill() is Outcome.NOT_PROVED


@pytest.mark.parametrize("may_patch", [True, False], ids=["patch and halt", "halt alone"])
def test_report_that_was_on_its_way_when_the_stop_was_asked_for_proves_nothing(*, may_patch: bool) -> None:
    """A whole stop and its release lie between what status says and what the trader did last: its report of that stop
    arrives after the next one was asked for, with a latch that nobody had heard of, and names its halt."""
    scene = Scene()
    scene.clock.meanwhile.remove(scene.trader)
    if not may_patch:
        scene.server.refusals["merge_bot"] = Forbidden("patch", "you may not")
    Kill(scene.server, Time(), be_silent).ask(BTC, wish(), 0)
    scene.trader()
    late = copy.deepcopy(scene.server.bots[BTC]["status"])
    assert late["trader"]["latch"]["state"] == "Stopped"
    Rearm(scene.server, Time(), be_silent).ask(BTC, latch_id="")
    scene.trader()
    scene.server.bots[BTC]["status"]["trader"] = build_trader()  # what is known when the next stop is asked for
    scene.clock.meanwhile.append(lambda: scene.server.bots[BTC].update(status=late))
    assert scene.kill() is Outcome.NOT_PROVED


def test_rearm_takes_back_the_action_as_well() -> None:
    """docs/how-to/stop-a-bot.md: it takes back what `kill` did. Else the next loss of the day sells everything."""
    scene = Scene()
    assert scene.kill(StopAction.FLATTEN) is Outcome.STOPPED
    assert scene.rearm()
    assert scene.server.switch()["action"] == "CancelOrders"


@pytest.mark.parametrize("reason", ["odd fills", ""])
def test_drill_does_not_undo_what_somebody_means_in_earnest(reason: str) -> None:
    scene = Scene()
    has_killed = False

    def kill_in_earnest() -> None:
        nonlocal has_killed
        if not has_killed:
            has_killed = True
            Kill(scene.server, Time(), be_silent).ask(BTC, wish(reason=reason), 0)

    scene.clock.meanwhile.insert(0, kill_in_earnest)
    Drill(scene.server, scene.clock, be_silent).run(BTC, wish(reason="drill"))
    assert scene.server.switch()["reason"] == reason
    assert scene.server.switch()["engaged"] is True
    assert len(scene.server.halts) == 2, "one that the drill may delete, and one of its own"


@pytest.mark.parametrize(
    "narrowed",
    [("--bots", ""), ("--namespaces", " "), ("--bots", ","), ("-l", ""), ("-l", ","), ("-n", "")],
    ids=" ".join,
)
def test_halt_that_was_to_be_narrowed_by_nothing_is_not_a_halt_of_everything(narrowed: tuple[str, str]) -> None:
    """`--bots "$BOT"` in a script, where BOT is not set."""
    scene = Scene()
    code = scene.type("halt", *narrowed, "--action", "Flatten", "--reason", "odd fills", "--yes")
    assert (code, scene.server.halts) == (1, {})


def test_flatten_that_was_given_up_is_not_said_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene()
    scene.trader.report = {
        "flat": "False",
        "positionsLeft": ["0.5 BTC/USDT"],
        "givenUp": [{"symbol": "BTC/USDT", "reason": "30 orders in a row found no buyer"}],
    }
    assert scene.type("kill", "btc", "--action", "Flatten", "--timeout", "3s") == 2
    out, err = capsys.readouterr()
    assert "goes on selling" not in err
    assert "found no buyer" in out
