"""The command line: exit codes, questions, what goes to stdout, and bad input that is told what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest

from support.plugin import BTC, build_bot, build_latch, build_trader
from support.terminal import ETH, OTHER, Terminal
from tradingbot_plugin.cli import cli
from tradingbot_plugin.completion import complete
from tradingbot_plugin.errors import Forbidden, NotFound
from tradingbot_plugin.kube import Access
from tradingbot_plugin.options import Invocation
from tradingbot_plugin.view import Ref

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("kill", "which bots?"),
        ("kill -A", "which bots?"),
        ("kill btc --all", "only one of them"),
        ("kill btc -l a=b", "only one of them"),
        ("kill btc -A", "one namespace"),
        ("kill BTC", "not the name of a bot"),
        ("kill btc --action Sell", "Flatten"),
        ("kill btc --timeout 3d", "15m"),
        ("kill btc --bogus", "No such option"),
        ("kill btc -n Desk", "namespace"),
        ("kill -l none=such --yes", "no bot matches"),
        ("status btc -l a=b", "only one of them"),
        ("rearm", "Missing argument"),
        ("rearm nosuch", "there is no bot desk/nosuch"),
        ("rearm btc", "nothing to release"),
        ("drill nosuch", "there is no bot desk/nosuch"),
        ("halt", "--reason"),
        ("halt --reason  ", "--reason"),
        ("halt --reason x -l a!=b --yes", "key=value"),
        ("halt Name --reason x --yes", "not the name of a halt"),
        ("halt --reason x --expires-in 2d --yes", "15m"),
        ("halt --reason x --expires-in 0s --yes", "longer than 0s"),
        ("resume nosuch", "kubectl get tradinghalts"),
        ("completion tcsh", "bash"),
        ("nosuch", "No such command"),
    ],
)
def test_bad_input_is_1_and_says_what_to_do(terminal: Terminal, arguments: str, said: str) -> None:
    before = json.dumps([list(terminal.server.bots.values()), terminal.server.halts])
    assert terminal.run(*arguments.split(" ")) == 1
    assert said in terminal.err
    assert "Traceback" not in terminal.err
    assert json.dumps([list(terminal.server.bots.values()), terminal.server.halts]) == before


def test_kill_prints_the_proof_and_progress_apart(terminal: Terminal) -> None:
    assert terminal.run("kill", "btc", "--reason", "odd fills") == 0
    columns, row = (line.split() for line in terminal.out.splitlines())
    assert columns[:3] == ["BOT", "RESULT", "STOP"]
    assert row[:4] == ["desk/btc", "Stopped", "Stopped", "CancelOrders"]
    assert "desk/btc: NotProved: its trader has not latched" in terminal.err


def test_kill_as_json_is_one_document(terminal: Terminal) -> None:
    assert terminal.run("kill", "btc", "eth", "-o", "json") == 0
    assert terminal.json["exitCode"] == 0
    assert [(bot["name"], bot["outcome"], bot["halt"]) for bot in terminal.json["bots"]] == [
        ("btc", "Stopped", "kill-desk.btc"),
        ("eth", "Stopped", "kill-desk.eth"),
    ]
    assert terminal.json["bots"][0]["latch"]["acknowledgedAt"]


def test_kill_of_a_dead_bot_is_3_and_says_what_else_can_be_done(terminal: Terminal) -> None:
    terminal.clock.meanwhile.clear()
    assert terminal.run("kill", "btc", "--timeout", "2s") == 3
    assert "killall" in terminal.err


@pytest.mark.parametrize(
    ("arguments", "stopped"),
    [
        (["--all"], {BTC, ETH}),
        (["--all", "-A"], {BTC, ETH, OTHER}),
        (["--all", "-n", "other"], {OTHER}),
        (["-l", "desk=a", "-A"], {ETH}),
    ],
)
def test_many_bots_are_stopped_after_a_yes(terminal: Terminal, arguments: list[str], stopped: set[Ref]) -> None:
    terminal.server.bots[ETH]["metadata"]["labels"] = {"desk": "a"}
    assert terminal.run("kill", *arguments, "--yes") == 0
    assert {ref for ref in terminal.server.bots if terminal.server.switch(ref)["engaged"]} == stopped


@pytest.mark.parametrize("answer", [True, False])
def test_many_bots_are_asked_about(terminal: Terminal, answer: bool) -> None:  # noqa: FBT001  a table
    assert terminal.run("kill", "--all", answer=answer) == (0 if answer else 1)
    assert "desk/btc" in terminal.err
    assert terminal.questions == ["Stop these 2 bots (each as its spec says)?"]
    assert terminal.server.switch()["engaged"] is answer


def test_action_may_be_spelled_in_small_letters(terminal: Terminal) -> None:
    assert terminal.run("kill", "btc", "--action", "flatten") == 0
    assert terminal.server.switch()["action"] == "Flatten"


def test_rearm_shows_the_latch_and_asks(terminal: Terminal) -> None:
    terminal.run("kill", "btc")
    assert terminal.run("rearm", "btc", answer=False) == 1
    assert terminal.server.switch()["engaged"] is True
    assert terminal.run("rearm", "btc", answer=True) == 0
    assert "CancelOrders by KillSwitch" in terminal.questions[0]
    assert "TradingHalt/kill-desk.btc (still on)" in terminal.questions[0]
    assert "deleted kill-desk.btc" in terminal.out
    assert terminal.server.bots[BTC]["status"]["trader"]["latch"] == {"state": "Armed"}


def test_rearm_by_id_asks_nothing(terminal: Terminal) -> None:
    terminal.run("kill", "btc", "-o", "json")
    latch = terminal.json["bots"][0]["latch"]["id"]
    assert terminal.run("rearm", "btc", "--id", latch, "-o", "json") == 0
    assert terminal.json["released"] is True
    assert terminal.json["deletedHalts"] == ["kill-desk.btc"]


def test_rearm_that_is_not_released_is_3_and_says_why(terminal: Terminal) -> None:
    terminal.run("kill", "btc")
    terminal.clock.meanwhile.clear()
    assert terminal.run("rearm", "btc", "--yes", "--timeout", "1s") == 3
    assert "NOT RELEASED" in terminal.err


def test_status_is_one_line_a_bot(terminal: Terminal) -> None:
    stopped = build_latch(source="TradingHalt/night")
    terminal.server.put(
        build_bot(
            ETH,
            trader=build_trader(
                "u-eth", latch=stopped, state="ReduceOnly", stateReasons=["Latched"], openPositions=1, openOrders=2
            ),
            mode="Live",
        )
    )
    assert terminal.run("status") == 0
    head, btc, eth = terminal.out.splitlines()
    assert head.split() == [
        "NAME", "MODE", "STAGE", "LIMIT", "STATE", "POSITIONS", "ORDERS", "HEARTBEAT", "STOP", "ACTION", "SOURCE",
        "SINCE", "LATCH",
    ]  # fmt: skip
    assert btc.split() == ["btc", "Paper/Paper", "micro/micro", "50", "Active", "0", "0", "0s", *"-----"]
    assert eth.split()[:10] == [
        "eth", "Live/Paper", "micro/micro", "50", "ReduceOnly(Latched)", "1", "2", "0s", "Stopped", "CancelOrders",
    ]  # fmt: skip
    assert eth.split()[10:] == ["TradingHalt/night", "0s", stopped["id"]]


@pytest.mark.parametrize(
    ("changes", "cells"),
    [
        ({"trader": {}}, ("?", "-")),
        ({"trader": build_trader("u-0", latch=build_latch())}, ("?", "-")),
        ({"trader": {}, "suspend": True}, ("Suspended", "-")),
        ({"switch": {"engaged": True}}, ("Active", "Asked")),
        ({"trader": build_trader(latch=build_latch(acknowledgedAt=None, state="Stopping"))}, ("Active", "Stopping?")),
    ],
    ids=str,
)
def test_status_says_what_is_not_known(terminal: Terminal, changes: dict[str, Any], cells: tuple[str, str]) -> None:
    terminal.server.put(build_bot(**changes))
    terminal.run("status", "btc")
    row = terminal.out.splitlines()[1].split()
    assert (row[4], row[8]) == cells


def test_status_of_an_empty_object_is_a_line(terminal: Terminal) -> None:
    terminal.server.put({"metadata": {"namespace": "desk", "name": "btc"}})
    assert terminal.run("status", "btc") == 0
    assert terminal.run("status", "btc", "-o", "json") == 0
    assert terminal.json[0]["stop"] is None


def test_status_of_a_bot_that_is_not_there_is_1_and_shows_the_others(terminal: Terminal) -> None:
    assert terminal.run("status", "btc", "nosuch") == 1
    assert terminal.out.splitlines()[1].startswith("btc ")
    assert "no bot desk/nosuch" in terminal.err


def test_status_without_the_crds_says_so(terminal: Terminal) -> None:
    terminal.server.refusals["list_bots"] = NotFound("list", "the server could not find the requested resource")
    assert terminal.run("status") == 1
    assert "CRDs" in terminal.err


def test_status_json_is_a_list(terminal: Terminal) -> None:
    assert terminal.run("status", "-A", "-o", "json") == 0
    assert [(bot["namespace"], bot["name"]) for bot in terminal.json] == [
        ("desk", "btc"),
        ("desk", "eth"),
        ("other", "btc"),
    ]
    assert terminal.json[0]["mode"] == {"asked": "Paper", "granted": "Paper"}


def test_halt_is_what_was_asked_for(terminal: Terminal) -> None:
    code = terminal.run(
        *("halt", "night", "--reason", "nobody there", "--namespaces", "desk,other,desk", "-n", "desk", "-l", "a=b"),
        *("--bots", "btc", "--bots", "eth", "--action", "Flatten", "--expires-in", "2h", "-o", "json"),
    )
    assert code == 0
    assert terminal.server.halts["night"]["spec"] == {
        "namespaces": ["desk", "other"],
        "bots": ["btc", "eth"],
        "selector": {"matchLabels": {"a": "b"}},
        "action": "Flatten",
        "reason": "nobody there",
        "expiresAt": "2026-01-02T05:04:05Z",
    }
    assert terminal.json == {"halt": "night", "expiresAt": "2026-01-02T05:04:05Z", "matches": []}


def test_halt_of_a_namespace_names_what_it_matches(terminal: Terminal) -> None:
    assert terminal.run("halt", "-n", "desk", "--reason", "x") == 0
    assert "2 bots now: desk/btc, desk/eth" in terminal.out


@pytest.mark.parametrize("answer", [True, False])
def test_halt_of_everything_is_asked_about(terminal: Terminal, answer: bool) -> None:  # noqa: FBT001  a table
    terminal.run("halt", "--reason", "x", answer=answer)
    assert terminal.questions == ["Stop EVERY bot of the cluster?"]
    assert len(terminal.server.halts) == answer


def test_halt_whose_name_is_taken_is_1(terminal: Terminal) -> None:
    assert terminal.run("halt", "night", "--reason", "x", "--yes") == 0
    assert terminal.run("halt", "night", "--reason", "x", "--yes") == 1
    assert "already" in terminal.err


def test_resume_releases_nothing_and_lists_who_stays_stopped(terminal: Terminal) -> None:
    terminal.run("halt", "night", "--reason", "x", "-n", "desk")
    terminal.clock.sleep(1)
    assert terminal.run("resume", "night") == 0
    assert terminal.server.halts == {}
    latch = terminal.server.bots[BTC]["status"]["trader"]["latch"]
    assert latch["state"] == "Stopped"
    assert "No latch was released" in terminal.out
    assert f"rearm -n desk btc --id {latch['id']}" in terminal.out


def test_resume_without_the_right_to_list_says_so(terminal: Terminal) -> None:
    terminal.run("halt", "night", "--reason", "x", "-n", "desk")
    terminal.server.refusals["list_bots"] = Forbidden("list", "no")
    assert terminal.run("resume", "night") == 0
    assert "may not list" in terminal.out


def test_drill_prints_each_step(terminal: Terminal) -> None:
    assert terminal.run("drill", "btc") == 0
    assert [line.split()[0] for line in terminal.out.splitlines()[1:]] == [
        "PatchAccepted", "Engaged", "Acknowledged", "Stopped", "RearmAccepted", "Released", "Active",
    ]  # fmt: skip
    assert terminal.run("drill", "btc", "-o", "json") == 0
    assert terminal.json["passed"] is True


def test_options_of_kubectl_are_taken_before_and_after_the_command(terminal: Terminal) -> None:
    terminal.run("--context", "a", "-n", "desk", "status", "--as", "ann", "--as-group", "duty", "-n", "other")
    assert terminal.out.splitlines()[1].startswith("btc ")
    assert len(terminal.out.splitlines()) == 2
    assert terminal.accesses == [Access(context="a", user="ann", group="duty")]
    assert terminal.server.calls[-1] == "close"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_the_shell(terminal: Terminal, shell: str) -> None:
    assert terminal.run("completion", shell) == 0
    assert "kubectl-tradingbot" in terminal.out
    assert f"{shell}_complete" in terminal.out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["ki"], ["kill"]),
        (["kill", "e"], ["eth"]),
        (["kill", "-n", "other", ""], ["btc"]),
        (["kill", "btc", "--acti"], ["--action"]),
        (["kill", "--action", "Fl"], ["Flatten"]),
        (["completion", "z"], ["zsh"]),
        ([], ["completion", "drill", "halt", "kill", "rearm", "resume", "status"]),
    ],
)
def test_kubectl_is_answered_in_cobras_form(terminal: Terminal, words: list[str], found: list[str]) -> None:
    *lines, directive = complete(words, Invocation(lambda access: terminal.server, terminal.clock))  # noqa: ARG005
    assert [line.partition("\t")[0] for line in lines] == found
    assert directive == ":4"


def test_completion_without_an_api_server_is_empty(terminal: Terminal) -> None:
    terminal.server.refusals["list_bots"] = Forbidden("list", "no")
    assert complete(["kill", ""], Invocation(lambda access: terminal.server, terminal.clock)) == [":4"]  # noqa: ARG005


def commands() -> dict[str, click.Command]:
    return {name: cli.commands[name] for name in cli.list_commands(click.Context(cli))}


def test_help_of_each_command_teaches_with_an_example() -> None:
    for name, command in commands().items():
        text = command.get_help(click.Context(command, info_name=name))
        assert f"kubectl tradingbot {name}" in text


def test_reference_names_every_command_and_option() -> None:
    text = (DOCS / "reference" / "plugin.md").read_text(encoding="utf-8")
    missing = [name for name in commands() if f"### {name}" not in text]
    for command in commands().values():
        options = [each for each in command.params if isinstance(each, click.Option)]
        missing += [max(each.opts, key=len) for each in options if max(each.opts, key=len) not in text]
    assert missing == []


def test_documentation_names_no_command_or_option_that_is_not_there() -> None:
    wrong = []
    for page in DOCS.rglob("*.md"):
        for line in re.findall(r"kubectl tradingbot ([^\n`|;)\"']*)", page.read_text(encoding="utf-8")):
            words = line.split("#")[0].split()
            command = commands().get(words[0]) if words else None
            if command is None:
                wrong.append(f"{page.name}: {line}")
                continue
            known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"-h", "--help"}
            wrong += [f"{page.name}: {word}" for word in words if word.startswith("-") and word not in known]
    assert wrong == []
