"""`kubectl tradingbot` through the real kubectl, on the whole product: real traders, chart, policies, GitOps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.live_bots import RESTING
from support.plugin import Ended
from support.stack import SYSTEM, Stack, build_bot, kill_operator


@pytest.fixture(scope="module")
def plugin(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ended]:
    """kubectl with the plugin beside it, as an installation puts it there."""
    folder = tmp_path_factory.mktemp("plugin")
    for name, module in (("kubectl-tradingbot", "cli"), ("kubectl_complete-tradingbot", "completion")):
        program = folder / name
        program.write_text(f"#!{sys.executable}\nfrom tradingbot_plugin.{module} import main\nmain()\n")
        program.chmod(0o755)
    # The API server may serve a new kind a moment after the chart is installed.
    probe = build_bot("probe", "default", suspend=True)
    stack.wait("the API server takes bots", lambda: stack.apply(probe) is None)  # type: ignore[func-returns-value]
    stack.kubectl("delete", "tb", "probe", "-n", "default", "--wait=false")
    environ = stack.environment | {"PATH": f"{folder}:{stack.environment['PATH']}"}

    def run(*arguments: str) -> Ended:
        done = subprocess.run(
            [f"{stack.state}/bin/kubectl", *arguments],
            env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


def start(stack: Stack, desk: str, *names: str, **changes: object) -> None:
    for name in names:
        stack.apply(build_bot(name, desk, **changes))
    for name in names:
        stack.wait("a ready bot", lambda name=name: stack.condition(desk, name, "Ready").get("status") == "True")


def latch(stack: Stack, desk: str, name: str = "btc") -> dict[str, Any]:
    found: dict[str, Any] = stack.trader(desk, name).get("latch", {})
    return found


@contextmanager
def applied(stack: Stack, manifest: Path) -> Iterator[list[int]]:
    """A GitOps tool: every 100 ms the manifest of its repository, which owns the kill switch."""
    end, count = threading.Event(), [0]

    def apply() -> None:
        while not end.wait(0.1):
            stack.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(manifest))
            count[0] += 1

    loop = threading.Thread(target=apply, daemon=True)
    loop.start()
    try:
        yield count
    finally:
        end.set()
        loop.join()


def test_gitops_every_100_ms_during_and_after_the_kill_does_not_start_the_bot_again(
    stack: Stack, desk: str, plugin: Callable[..., Ended], tmp_path: Path
) -> None:
    resting = {"name": "sma-cross", "timeframe": "1s", "parameters": RESTING}
    switch = {"engaged": False, "reason": "", "rearm": ""}
    bot = build_bot("btc", desk, strategy=resting, killSwitch=switch)
    stack.apply(bot)
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready").get("status") == "True")
    stack.wait("a resting entry", lambda: stack.metrics(desk, "btc").get("open_orders"), seconds=90)
    manifest = tmp_path / "bot.json"
    manifest.write_text(json.dumps(bot))
    with applied(stack, manifest) as count:
        stack.wait("the first syncs", lambda: count[0] >= 3)
        done = plugin("tradingbot", "kill", "btc", "-n", desk, "--reason", "gitops", "--timeout", "120s", "-o", "json")
        assert done.code == 0, done.err + stack.describe()
        stopped = done.json["bots"][0]["latch"]
        assert stopped["state"] == "Stopped"

        orders = stack.trader(desk, "btc")["performance"]["orders"]
        for restart in (kill_process, replace_pod):
            epoch = stack.trader(desk, "btc")["epoch"]
            restart(stack, desk)
            stack.wait("the next run", lambda epoch=epoch: stack.trader(desk, "btc")["epoch"] > epoch, seconds=120)
            synced = count[0]
            stack.wait("ten more syncs", lambda synced=synced: count[0] >= synced + 10)
            assert stack.get("tb", "btc", desk)["spec"]["killSwitch"]["engaged"] is False, "the loop reverts nothing"
            assert latch(stack, desk)["id"] == stopped["id"]
            assert latch(stack, desk)["state"] == "Stopped"
            assert stack.trader(desk, "btc")["performance"]["orders"] == orders

    done = plugin("tradingbot", "rearm", "btc", "-n", desk, "--id", stopped["id"], "--timeout", "120s")
    assert done.code == 0, done.err
    assert latch(stack, desk)["state"] == "Armed"
    halts = json.loads(stack.kubectl("get", "tradinghalts", "-o", "json"))["items"]
    assert [halt for halt in halts if halt["spec"]["namespaces"] == [desk]] == []


def kill_process(stack: Stack, desk: str) -> None:
    os.kill(stack.trader_pid(desk, "btc"), signal.SIGKILL)


def replace_pod(stack: Stack, desk: str) -> None:
    stack.kubectl("-n", desk, "delete", "pod", stack.pods(desk, "btc")[0]["metadata"]["name"], "--wait=false")


def test_kill_of_many_status_and_rearm_with_the_operator_dead(
    stack: Stack, desk: str, plugin: Callable[..., Ended]
) -> None:
    start(stack, desk, "one", "two")
    stack.kubectl("-n", SYSTEM, "scale", "deployment/tradingbot-operator", "--replicas=0")
    try:
        kill_operator(stack)
        done = plugin("tradingbot", "-n", desk, "kill", "--all", "--yes", "--timeout", "120s")
        assert done.code == 0, done.err
        rows = {bot["name"]: bot for bot in plugin("tradingbot", "status", "-n", desk, "-o", "json").json}
        assert {name: row["stop"]["state"] for name, row in rows.items()} == {"one": "Stopped", "two": "Stopped"}
        assert plugin("tradingbot", "rearm", "one", "--yes", "-n", desk, "--timeout", "120s").code == 0
        assert latch(stack, desk, "one")["state"] == "Armed"
        assert latch(stack, desk, "two")["state"] == "Stopped"
        assert not stack.pods(SYSTEM), "the operator came back; this shows nothing"
    finally:
        stack.kubectl("-n", SYSTEM, "scale", "deployment/tradingbot-operator", "--replicas=1")


def test_people_may_do_what_the_charts_role_says(stack: Stack, desk: str, plugin: Callable[..., Ended]) -> None:
    start(stack, desk, "btc")
    duty, owner = f"duty-{desk}", f"owner-{desk}"
    stack.kubectl("create", "clusterrolebinding", duty, "--clusterrole=tradingbot-on-duty", f"--user={duty}")
    stack.kubectl(
        *("-n", desk, "create", "role", owner, "--verb=get,list,watch,create,update,patch"),
        "--resource=tradingbots.tradingbot.dev",
    )
    stack.kubectl("-n", desk, "create", "rolebinding", owner, f"--role={owner}", f"--user={owner}")
    try:
        done = plugin("tradingbot", "kill", "btc", "-n", desk, "--as", owner, "--timeout", "120s")
        assert done.code == 0, done.err
        assert "no TradingHalt was made" in done.err
        stopped = latch(stack, desk)
        done = plugin("tradingbot", "rearm", "btc", "-n", desk, "--as", owner, "--yes")
        assert done.code == 1
        assert "verb rearm" in done.err
        assert stack.get("tb", "btc", desk)["spec"]["killSwitch"]["engaged"] is True
        done = plugin(
            "tradingbot", "rearm", "btc", "-n", desk, "--as", duty, "--id", stopped["id"], "--timeout", "120s"
        )
        assert done.code == 0, done.err
        done = plugin("tradingbot", "drill", "btc", "-n", desk, "--as", duty, "--timeout", "120s", "-o", "json")
        assert done.code == 0, done.err
        assert done.json["passed"] is True
        assert [step["step"] for step in done.json["steps"]][-1] == "Active"
    finally:
        stack.kubectl("delete", "clusterrolebinding", duty)


def test_paused_trader_proves_nothing_until_it_goes_on(stack: Stack, desk: str, plugin: Callable[..., Ended]) -> None:
    start(stack, desk, "btc")
    pid = stack.trader_pid(desk, "btc")
    os.kill(pid, signal.SIGSTOP)
    try:
        done = plugin("tradingbot", "kill", "btc", "-n", desk, "--timeout", "3s")
        assert done.code == 3, done.err
        assert "killall" in done.err
    finally:
        os.kill(pid, signal.SIGCONT)
    assert plugin("tradingbot", "kill", "btc", "-n", desk, "--timeout", "120s").code == 0


def test_kubectl_completes_the_plugin(stack: Stack, desk: str, plugin: Callable[..., Ended]) -> None:
    stack.apply(build_bot("completed", desk, suspend=True))
    assert "kubectl-tradingbot" in plugin("plugin", "list").out
    done = plugin("__complete", "tradingbot", "kill", "-n", desk, "comp")
    assert done.out.splitlines()[0] == "completed", done.err
    words = [line.partition("\t")[0] for line in plugin("__complete", "tradingbot", "re").out.splitlines()]
    assert words[:2] == ["rearm", "resume"]
