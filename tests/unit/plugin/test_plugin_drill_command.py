"""Drills of several bots: one after the other, who is left out, when no further one is begun, and the exit code."""

from __future__ import annotations

import os
import signal

import pytest

from support.plugin import BTC, Trader
from support.terminal import ETH, OTHER, Terminal
from tradingbot_plugin.errors import Forbidden
from tradingbot_plugin.view import Ref

MAINNET = {"mode": "Live", "exchange": {"id": "binance", "network": "Mainnet"}}


def results(terminal: Terminal) -> dict[str, str]:
    return {words[0]: words[1] for words in (line.split() for line in terminal.out.splitlines()[1:])}


def drilled(terminal: Terminal) -> list[Ref]:
    """Whose stop was asked for and released: generation 1 is a bot that nobody touched."""
    return [ref for ref, bot in terminal.server.bots.items() if bot["metadata"]["generation"] > 1]


def be_silent(terminal: Terminal, ref: Ref) -> None:
    """From now on its trader does nothing: no stop of it is ever proved."""
    terminal.clock.meanwhile = [Trader(terminal.server, each) for each in terminal.server.bots if each != ref]


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        (["btc", "eth"], [BTC, ETH]),
        (["--all"], [BTC, ETH]),
        (["--all", "-A"], [BTC, ETH, OTHER]),
        (["-l", "team=red", "-A"], [OTHER]),
        (["--all", "--namespaces", "desk,other"], [BTC, ETH, OTHER]),
        (["--all", "--namespaces", "other", "-n", "desk"], [BTC, ETH, OTHER]),
        (["-l", "team=red", "--namespaces", "desk", "--namespaces", "other"], [OTHER]),
    ],
    ids=str,
)
def test_bots_that_are_meant_are_drilled_and_trade_again(
    terminal: Terminal, arguments: list[str], taken: list[Ref]
) -> None:
    terminal.server.bots[OTHER]["metadata"]["labels"] = {"team": "red"}
    assert terminal.run("drill", *arguments, "--yes") == 0
    assert drilled(terminal) == taken
    assert results(terminal) == {str(ref): "Passed" for ref in taken}
    assert not any(terminal.server.switch(ref)["engaged"] for ref in taken)


def test_one_is_back_before_the_next_is_stopped(terminal: Terminal) -> None:
    together = []
    terminal.clock.meanwhile.append(
        lambda: together.append([ref for ref in terminal.server.bots if terminal.server.switch(ref)["engaged"]])
    )
    assert terminal.run("drill", "--all", "-A", "--yes") == 0
    assert [BTC] in together
    assert [OTHER] in together
    assert max(map(len, together)) == 1


def test_bots_that_may_not_be_drilled_are_left_out_and_said(terminal: Terminal) -> None:
    terminal.server.bots[BTC]["spec"] |= MAINNET
    terminal.server.bots[OTHER]["status"]["trader"]["state"] = "ReduceOnly"
    be_silent(terminal, OTHER)
    assert terminal.run("drill", "--all", "-A", "--yes", "-o", "json") == 0
    assert drilled(terminal) == [ETH]
    live, eth, idle = terminal.json
    assert eth["passed"] is True
    assert (live["skipped"], idle["skipped"]) == (True, True)
    assert "real money" in live["message"]
    assert "not trading now" in idle["message"]
    assert "desk/btc: left out:" in terminal.err


def test_drill_of_nothing_is_1(terminal: Terminal) -> None:
    for ref in (BTC, ETH):
        terminal.server.bots[ref]["spec"] |= MAINNET
    assert terminal.run("drill", "--all", "--yes") == 1
    assert "no bot was drilled" in terminal.err
    assert drilled(terminal) == []


def test_named_bot_that_may_not_be_drilled_is_1_and_the_others_are_drilled(terminal: Terminal) -> None:
    terminal.server.bots[BTC]["spec"] |= MAINNET
    assert terminal.run("drill", "btc", "nosuch", "eth") == 1
    assert drilled(terminal) == [ETH]
    assert "desk/btc: error:" in terminal.err
    assert "there is no bot desk/nosuch" in terminal.err


def test_no_further_bot_is_begun_when_one_was_left_stopped(terminal: Terminal) -> None:
    be_silent(terminal, BTC)
    assert terminal.run("drill", "--all", "-A", "--yes", "--timeout", "2s") == 3
    assert results(terminal) == {"desk/btc": "NotPassed", "desk/eth": "NotDrilled", "other/btc": "NotDrilled"}
    assert "desk/eth: left out: not begun, because desk/btc was left stopped" in terminal.err


def test_rearm_that_is_refused_leaves_one_bot_stopped_and_not_all(terminal: Terminal) -> None:
    terminal.server.refusals["patch_bot"] = Forbidden("patch bot", "you lack the verb rearm")
    assert terminal.run("drill", "--all", "-A", "--yes") == 3
    assert drilled(terminal) == [BTC]


def test_bot_that_could_not_be_asked_keeps_no_other_from_its_drill(terminal: Terminal) -> None:
    no = Forbidden("patch bot desk/btc", "no")
    terminal.server.refusals |= {"merge_bot": [no], "create_halt": [Forbidden("create halt", "no")]}
    assert terminal.run("drill", "--all", "--yes") == 1
    assert results(terminal) == {"desk/btc": "NotPassed", "desk/eth": "Passed"}


def test_released_bot_that_is_not_active_keeps_no_other_from_its_drill(terminal: Terminal) -> None:
    def lose_the_feed() -> None:
        trader = terminal.server.bots[BTC]["status"]["trader"]
        if trader["latch"]["state"] == "Armed" and BTC in drilled(terminal):
            trader |= {"state": "ReduceOnly", "stateReasons": ["FeedLost"]}

    terminal.clock.meanwhile.append(lose_the_feed)
    assert terminal.run("drill", "--all", "--yes", "--timeout", "2s") == 3
    assert results(terminal) == {"desk/btc": "NotPassed", "desk/eth": "Passed"}


def test_sigterm_ends_it_after_the_bot_in_hand(terminal: Terminal) -> None:
    """A drill that is cut off leaves its bot stopped."""
    before = signal.getsignal(signal.SIGTERM)
    terminal.clock.meanwhile.insert(0, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert terminal.run("drill", "--all", "-A", "--yes") == 1
    assert results(terminal) == {"desk/btc": "Passed", "desk/eth": "NotDrilled", "other/btc": "NotDrilled"}
    assert terminal.server.switch(BTC)["engaged"] is False
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_says_which_bot_may_be_left_stopped_and_begins_no_other(terminal: Terminal) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    terminal.clock.meanwhile.append(press)
    assert terminal.run("drill", "--all", "-A", "--yes") == 3
    assert drilled(terminal) == [BTC]
    assert "desk/btc: error: interrupted, and perhaps left stopped" in terminal.err


def test_question_comes_first_where_no_bot_is_named(terminal: Terminal) -> None:
    assert terminal.run("drill", "--all") == 1
    assert terminal.questions == ["Stop and re-arm those of these 2 bots that risk no money?"]
    assert drilled(terminal) == []
    assert terminal.run("drill", "--all", answer=True) == 0
    assert drilled(terminal) == [BTC, ETH]


def test_json_of_one_name_is_its_report_and_of_many_a_list(terminal: Terminal) -> None:
    assert terminal.run("drill", "btc", "-o", "json") == 0
    assert terminal.json["name"] == "btc"
    assert terminal.run("drill", "-l", "", "--all", "-o", "json", "--yes") == 0
    assert [each["name"] for each in terminal.json] == ["btc", "eth"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("drill", "which bots?"),
        ("drill btc --all", "only one of them"),
        ("drill -l none=such --yes", "no bot matches"),
        ("drill btc --namespaces other", "--selector or --all"),
        ("drill --all -A --namespaces other", "without --all-namespaces"),
        ("drill --all --namespaces , --yes", "--namespaces is empty"),
        ("drill --all --namespaces Desk --yes", "not the name of a namespace"),
        ("drill --namespaces desk --yes", "which bots?"),
    ],
)
def test_mistake_is_1_and_touches_no_bot(terminal: Terminal, arguments: str, said: str) -> None:
    assert terminal.run(*arguments.split(" ")) == 1
    assert said in terminal.err
    assert drilled(terminal) == []
