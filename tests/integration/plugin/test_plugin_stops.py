"""`kill`, `rearm` and `drill` on a real API server: what is asked for there, and what the exit code rests on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tradingbot_plugin.clock import SystemClock
from tradingbot_plugin.errors import Invalid, PluginError, Refused
from tradingbot_plugin.kill import Kill, Wish
from tradingbot_plugin.kube import Access, Kube, connect
from tradingbot_plugin.proof import Outcome
from tradingbot_plugin.rearm import Rearm
from tradingbot_plugin.view import Ref

BOTS = {"apiGroups": ["tradingbot.dev"], "resources": ["tradingbots"], "verbs": ["get", "list", "watch", "patch"]}
HALTS = {"apiGroups": ["tradingbot.dev"], "resources": ["tradinghalts"]}
LEFT = {"clientOrderId": "a1", "symbol": "BTC/USDT", "side": "buy", "result": "Remaining", "reason": "no answer"}


@contextmanager
def reverted(desk: Any) -> Iterator[list[int]]:
    """A GitOps tool that owns the kill switch: every 100 ms it writes what stands in its repository."""
    end, writes = threading.Event(), [0]

    def revert() -> None:
        while not end.wait(0.1):
            desk.patch({"engaged": False, "reason": "", "rearm": ""})
            writes[0] += 1

    loop = threading.Thread(target=revert, daemon=True)
    loop.start()
    yield writes
    end.set()
    loop.join()


def test_kill_is_proved_and_rearm_takes_all_of_it_back(plugin: Any, desk: Any, play: Any) -> None:
    desk.create()
    trader = play()
    done = plugin.run("kill", "btc", "--reason", "odd fills", "-o", "json")
    assert done.code == 0, done.err
    (bot,) = done.json["bots"]
    assert (bot["outcome"], bot["latch"]["state"], bot["halt"]) == ("Stopped", "Stopped", f"kill-{desk.namespace}.btc")
    assert desk.bot()["spec"]["killSwitch"]["reason"] == "odd fills"
    (halt,) = desk.halts()
    assert halt["metadata"]["labels"] == {"tradingbot.dev/made-by": "kubectl-tradingbot"}
    assert halt["spec"]["bots"] == ["btc"]

    done = plugin.run("rearm", "btc", "--id", bot["latch"]["id"])
    assert done.code == 0, done.err
    assert desk.halts() == []
    assert desk.latch()["state"] == "Armed"
    assert trader.history == [("latched", bot["latch"]["id"]), ("released", bot["latch"]["id"])]


def test_gitops_that_reverts_the_patch_does_not_keep_the_bot_from_stopping(plugin: Any, desk: Any, play: Any) -> None:
    """Its trader looks so seldom that it never sees the patch: the halt is what stops it."""
    desk.create()
    play(looks_every_seconds=1.0)
    with reverted(desk) as writes:
        done = plugin.run("kill", "btc", "-o", "json")
        assert done.code == 0, done.err
        before = writes[0]
        desk_is_reverted = threading.Event()
        while writes[0] < before + 10:
            desk_is_reverted.wait(0.05)
        assert desk.bot()["spec"]["killSwitch"]["engaged"] is False
        assert desk.latch()["state"] == "Stopped"
        assert plugin.run("kill", "btc").code == 0, "and whoever kills again gets the same answer"


def test_many_bots_are_stopped_by_one_selector(plugin: Any, desk: Any, play: Any) -> None:
    names = [f"bot-{number}" for number in range(24)]
    for name in names:
        desk.create(name, {"venue": "binance"})
    desk.create("other")
    for name in [*names, "other"]:
        play(name, looks_every_seconds=0.3)
    done = plugin.run("kill", "-l", "venue=binance", "--yes", "-o", "json")
    assert done.code == 0, done.err
    assert sorted(bot["name"] for bot in done.json["bots"]) == sorted(names)
    assert len(desk.halts()) == len(names)
    assert desk.latch("other")["state"] == "Armed"
    assert desk.bot("other")["spec"]["killSwitch"]["engaged"] is False


def test_one_dead_trader_among_many_makes_it_3_and_is_named(plugin: Any, desk: Any, play: Any) -> None:
    for name in ("one", "two", "dead"):
        desk.create(name)
    for name in ("one", "two"):
        play(name)
    done = plugin.run("kill", "--all", "--yes", "--timeout", "5s", "-o", "json")
    assert done.code == 3
    outcomes = {bot["name"]: bot["outcome"] for bot in done.json["bots"]}
    assert outcomes == {"one": "Stopped", "two": "Stopped", "dead": "NotProved"}
    assert desk.bot("dead")["spec"]["killSwitch"]["engaged"] is True


@pytest.mark.parametrize(
    ("report", "action", "code"),
    [
        ({"state": "Stopping", "orders": [LEFT]}, "CancelOrders", 3),
        ({"state": "Stopping", "flat": "False", "positionsLeft": ["0.5 BTC/USDT"]}, "Flatten", 2),
        ({"state": "Stopping", "flat": "Unknown", "orders": [LEFT | {"result": "Unresolved"}]}, "Flatten", 3),
        ({"acknowledgedAt": None}, "CancelOrders", 3),
        ({}, "Flatten", 0),
    ],
    ids=["venue does not answer", "not flat", "not known", "not acknowledged", "flat"],
)
def test_exit_code_is_what_the_trader_can_show(
    plugin: Any, desk: Any, play: Any, report: dict[str, Any], action: str, code: int
) -> None:
    desk.create()
    play(**report)
    done = plugin.run("kill", "btc", "--action", action, "--timeout", "3s")
    assert done.code == code, done.err + done.out
    if report.get("orders"):
        assert "buy BTC/USDT a1" in done.out


def test_report_of_an_earlier_bot_proves_nothing(plugin: Any, desk: Any) -> None:
    bot = desk.create()
    stopped = {"state": "Stopped", "id": "a", "action": "Flatten", "acknowledgedAt": "2026-01-02T03:04:05Z"}
    desk.report(bot, stopped, uid="another", generation=99)
    done = plugin.run("kill", "btc", "--timeout", "2s")
    assert done.code == 3
    assert "earlier bot" in done.out


def test_bot_that_is_deleted_while_it_is_waited_for_proves_nothing(plugin: Any, desk: Any, wait_until: Any) -> None:
    desk.create()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(plugin.run, "kill", "btc", "--timeout", "60s")
        wait_until("the patch", lambda: desk.bot()["spec"]["killSwitch"]["engaged"])
        wait_until("the halt", desk.halts)
        desk.admin.delete(desk.path("btc"))
        done = running.result()
    assert done.code == 3
    assert "gone" in done.out


def test_who_may_make_no_halts_stops_by_the_patch_and_is_told(
    plugin: Any, desk: Any, play: Any, allow: Callable[..., str]
) -> None:
    desk.create()
    play()
    user = allow("patcher", [BOTS])
    done = plugin.run("kill", "btc", "--as", user)
    assert done.code == 0, done.err
    assert "no TradingHalt was made" in done.err
    assert desk.halts() == []
    done = plugin.run("rearm", "btc", "--yes", "--as", user)
    assert done.code == 0, done.err
    assert "cannot be seen" in done.err


def test_who_may_make_halts_alone_stops_by_the_halt(
    plugin: Any, desk: Any, play: Any, allow: Callable[..., str]
) -> None:
    desk.create()
    play()
    user = allow("halter", [BOTS | {"verbs": ["get", "list"]}, HALTS | {"verbs": ["get", "list", "create"]}])
    done = plugin.run("kill", "btc", "--as", user, "-o", "json")
    assert done.code == 0, done.err
    assert desk.bot()["spec"]["killSwitch"]["engaged"] is False
    first = done.json["bots"][0]
    assert first["latch"]["source"] == f"TradingHalt/{first['halt']}"
    assert first["halt"].startswith(f"kill-{desk.namespace}.btc-")
    done = plugin.run("kill", "btc", "--as", user, "-o", "json")
    assert (done.code, done.json["bots"][0]["halt"] != first["halt"]) == (0, True)


def test_who_may_do_nothing_is_refused(plugin: Any, desk: Any, allow: Callable[..., str]) -> None:
    desk.create()
    done = plugin.run("kill", "btc", "--as", allow("nobody", []))
    assert done.code == 1
    assert "cannot patch" in done.out
    assert desk.bot()["spec"]["killSwitch"]["engaged"] is False


@pytest.fixture
def kube(plugin: Any) -> Iterator[Kube]:
    api = connect(Access(kubeconfig=str(plugin.kubeconfig)))
    yield api
    api.close()


def test_kill_between_look_and_patch_of_a_rearm_is_kept(plugin: Any, desk: Any, play: Any, kube: Kube) -> None:
    """The API server itself refuses a patch that tests an older generation."""
    desk.create()
    play()
    assert plugin.run("kill", "btc", "--no-halt").code == 0
    ref = Ref(desk.namespace, "btc")

    def somebody_kills(_: object) -> bool:
        desk.patch({"engaged": True, "reason": "and again"})
        return True

    with pytest.raises(Refused, match="just stopped"):
        Rearm(kube, SystemClock(), print).ask(ref, latch_id="", is_wanted=somebody_kills)
    switch = desk.bot()["spec"]["killSwitch"]
    assert (switch["engaged"], switch["rearm"]) == (True, "")


def test_json_patch_of_an_older_generation_is_invalid(desk: Any, kube: Kube) -> None:
    desk.create()
    test = {"op": "test", "path": "/metadata/generation", "value": 99}
    with pytest.raises(Invalid):
        kube.patch_bot(Ref(desk.namespace, "btc"), [test])


def test_people_who_kill_and_rearm_at_once_lose_no_latch(plugin: Any, desk: Any, play: Any) -> None:
    desk.create()
    trader = play()
    ref, rounds, people = Ref(desk.namespace, "btc"), 4, 6
    outcomes: list[Outcome] = []

    def person(number: int) -> None:
        kube = connect(Access(kubeconfig=str(plugin.kubeconfig)))
        clock = SystemClock()
        wish = Wish(action=None, reason=f"by {number}", makes_halt=number % 2 == 0, timeout_seconds=60)
        try:
            for _ in range(rounds):
                (target,) = Kill(kube, clock, lambda line: None).run([ref], wish)  # noqa: ARG005
                outcomes.append(target.proof.outcome)
                try:
                    Rearm(kube, clock, lambda line: None).run(  # noqa: ARG005
                        ref,
                        latch_id=target.bot.latch.id if target.bot else "",
                        is_wanted=lambda bot: True,  # noqa: ARG005
                        timeout_seconds=1,
                    )
                except PluginError:
                    continue  # somebody else was there first, or has stopped it again
        finally:
            kube.close()

    with ThreadPoolExecutor(people) as pool:
        list(pool.map(person, range(people)))
    assert outcomes == [Outcome.STOPPED] * rounds * people
    history = trader.history
    assert [what for what, _ in history] == (["latched", "released"] * len(history))[: len(history)]
    assert all(one[1] == other[1] for one, other in zip(history[::2], history[1::2], strict=False))
    assert len({latch for _, latch in history}) == len(history[::2]), "each stop has an id of its own"

    done = plugin.run("kill", "btc", "-o", "json")
    assert done.code == 0
    assert desk.latch()["id"] == done.json["bots"][0]["latch"]["id"] == history[-1][1]
    assert plugin.run("rearm", "btc", "--yes").code == 0


def test_rearm_names_a_halt_of_somebody_else_and_changes_nothing(plugin: Any, desk: Any, play: Any) -> None:
    desk.create()
    play()
    assert plugin.run("kill", "btc").code == 0
    night = f"night-{desk.namespace}"
    assert plugin.run("halt", night, "--reason", "nobody there", "--namespaces", desk.namespace).code == 0
    done = plugin.run("rearm", "btc", "--yes")
    assert done.code == 1
    assert f"TradingHalt/{night}" in done.err
    assert desk.bot()["spec"]["killSwitch"]["engaged"] is True

    done = plugin.run("resume", night)
    assert done.code == 0
    assert f"rearm -n {desk.namespace} btc --id {desk.latch()['id']}" in done.out
    assert desk.latch()["state"] == "Stopped"
    assert plugin.run("rearm", "btc", "--yes").code == 0


def test_drill_measures_and_leaves_the_bot_trading(plugin: Any, desk: Any, play: Any) -> None:
    desk.create()
    play()
    done = plugin.run("drill", "btc", "-o", "json")
    assert done.code == 0, done.err
    assert [step["step"] for step in done.json["steps"]] == [
        "PatchAccepted", "Engaged", "Acknowledged", "Stopped", "RearmAccepted", "Released", "Active",
    ]  # fmt: skip
    assert all(isinstance(step["milliseconds"], int) for step in done.json["steps"])
    bot, drill_id = desk.bot(), done.json["drillId"]
    assert bot["metadata"]["annotations"]["tradingbot.dev/drill"] == drill_id
    assert bot["spec"]["killSwitch"]["reason"] == f"drill {drill_id} by kubectl tradingbot"
    assert desk.latch()["state"] == "Armed"
    assert desk.halts() == []


def test_drill_of_a_bot_that_risks_money_is_refused(plugin: Any, desk: Any) -> None:
    keys = {"secretName": "keys"}
    desk.create(mode="Live", exchange={"id": "binance", "network": "Mainnet"}, credentials=keys)
    done = plugin.run("drill", "btc")
    assert done.code == 1
    assert "real money" in done.err
    assert desk.bot()["spec"]["killSwitch"]["engaged"] is False
