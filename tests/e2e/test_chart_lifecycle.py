"""Install, upgrade, rollback, uninstall, install again, with a bot that trades all along: Helm 3 and Helm 4."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.chart import CHART, chart_tool
from support.installation import CRD, RELEASE, Installation, Seen, next_version, note_commands
from support.stack import SYSTEM, build_bot, chart_values, started
from tradingbot_sandbox.control_plane.audit import AuditEvent

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(1800)]

CONTACT_SECONDS = 15
"""After so long without the API server, or without a right that it needs, the trader takes no new risk."""
PEOPLE = ("tradingbot-approver", "tradingbot-on-duty", "tradingbot-promoter")
STEPS = ("upgrade", "rollback", "uninstall", "reinstall")


@dataclass
class Life:
    """What was seen after each step."""

    seen: dict[str, Seen] = field(default_factory=dict)
    writes: dict[str, list[AuditEvent]] = field(default_factory=dict)
    """Of the operator, to the bot's children, while and after the step."""
    arguments: dict[str, list[str]] = field(default_factory=dict)
    """Of the operator's container."""
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The schema of a bot, as the CRD has it."""
    noted: str = ""
    """What the commands of NOTES.txt printed."""
    left: dict[str, bool] = field(default_factory=dict)
    """What was there when the chart was gone."""
    state: str = ""
    """The bot's trading state, when the chart had been gone for longer than it does without contact."""
    latch: dict[str, Any] = field(default_factory=dict)
    """The trader's answer to a kill, with the chart gone."""
    mirrored: str = ""
    """What the operator made of that latch, once it was back."""


@pytest.fixture(scope="module", params=["helm3", "helm"], ids=["Helm 3", "Helm 4"])
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("life")
    with started(folder) as (stack, venue):
        stack.kubectl("create", "namespace", "desk")
        installation = Installation(stack, chart_tool(request.param), chart_values(stack, venue), "desk")
        life = Life()

        def step(name: str, act: Any) -> None:
            log = installation.log()
            act()
            if name != "uninstall":
                installation.until_looked_at()
                life.arguments[name] = installation.operator_arguments()
            life.writes[name] = installation.child_writes(log)
            life.seen[name] = installation.see()
            life.described[name] = installation.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

        printed = installation.apply_chart("install", CHART)
        life.noted = run_notes(installation, printed)
        kill_switch = {"controlPlaneTimeout": f"{CONTACT_SECONDS}s"}
        stack.apply(build_bot(installation.bot, installation.desk, killSwitch=kill_switch))
        installation.until_ready()
        life.seen["install"] = installation.see()
        life.arguments["install"] = installation.operator_arguments()

        changes = {
            "image": {"repository": "tradingbot-operator", "tag": "next"},
            "resources": {"requests": {"cpu": "60m", "memory": "130Mi"}, "limits": {"memory": "400Mi"}},
            "logLevel": "debug",
        }
        step("upgrade", lambda: installation.apply_chart("upgrade", next_version(folder), **changes))
        # The operator writes in between, to the bot: a permit for the next stage.
        stack.kubectl(
            "-n", "desk", "patch", "tb", "btc", "--type=merge", "-p", '{"spec":{"capital":{"stage":"small"}}}'
        )
        stack.wait("a permit", lambda: stack.get("tb", "btc", "desk")["status"]["permit"]["stage"] == "small")
        life.seen["permit"] = installation.see()
        step("rollback", installation.rollback)
        step("uninstall", installation.uninstall)
        look_after_uninstall(installation, life)
        step("reinstall", lambda: installation.apply_chart("install", CHART))
        life.mirrored = stack.wait(
            "the mirror of the latch", lambda: stack.get("tb", "btc", "desk")["status"]["killSwitch"].get("state")
        )
        yield life


def run_notes(installation: Installation, printed: str) -> str:
    """As a person would paste them."""
    script = note_commands(printed)
    done = subprocess.run(
        ["/bin/bash", "-euxo", "pipefail", "-c", script],
        env=installation.stack.environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stderr}\n{installation.stack.describe()}"
    return done.stdout


def look_after_uninstall(installation: Installation, life: Life) -> None:
    stack = installation.stack
    life.left = {
        "crd": installation.exists("crd", CRD),
        "operator": installation.exists("deployment", RELEASE),
        "account": installation.exists("serviceaccount", RELEASE),
        "operator's role": installation.exists("clusterrole", f"{SYSTEM}:{RELEASE}"),
        **{name: installation.exists("clusterrole", name) for name in PEOPLE},
        "halts": installation.may("btc-trader", "list", "tradinghalts.tradingbot.dev"),
    }
    gone_at = datetime.now(UTC)

    def reported_late() -> str:
        trader = stack.trader("desk", "btc")
        heard = datetime.fromisoformat(trader["heartbeatAt"])
        return trader["state"] if heard > gone_at + timedelta(seconds=2 * CONTACT_SECONDS) else ""

    life.state = stack.wait("a report from long after", reported_late, seconds=240)
    stack.patch("desk", "btc", {"killSwitch": {"engaged": True, "reason": "nobody is there"}})
    life.latch = stack.wait(
        "the proof of the stop",
        lambda: (found := stack.trader("desk", "btc").get("latch", {})).get("acknowledgedAt") and found,
    )


@pytest.mark.parametrize("step", STEPS)
def test_traders_pod_is_not_touched(life: Life, step: str) -> None:
    """Same uid, same start, no restart."""
    assert life.seen[step].pods == life.seen["install"].pods
    assert len(life.seen[step].pods) == 1


@pytest.mark.parametrize("step", STEPS)
def test_operator_writes_to_no_child(life: Life, step: str) -> None:
    assert life.writes[step] == []
    assert life.seen[step].children == life.seen["install"].children
    assert len(life.seen[step].children) >= 7


@pytest.mark.parametrize("step", STEPS)
def test_bots_are_the_same_objects_under_the_same_crd(life: Life, step: str) -> None:
    assert life.seen[step].bot[0] == life.seen["install"].bot[0]
    assert life.seen[step].crd == life.seen["install"].crd


def test_upgrade_changes_operator_and_crd_and_no_spec(life: Life) -> None:
    assert "--log-level=debug" in life.arguments["upgrade"]
    assert life.described["upgrade"]["description"] == "As the next version describes it."
    assert "later" in life.described["upgrade"]["properties"]["spec"]["properties"]
    assert life.seen["upgrade"].bot == life.seen["install"].bot


def test_rollback_brings_operator_and_crd_back_and_keeps_what_was_asked_meanwhile(life: Life) -> None:
    assert life.arguments["rollback"] == life.arguments["install"]
    assert "later" not in life.described["rollback"]["properties"]["spec"]["properties"]
    assert life.seen["rollback"].bot == life.seen["permit"].bot


def test_uninstall_takes_the_operator_and_leaves_what_bots_and_people_need(life: Life) -> None:
    gone = {"operator", "account", "operator's role"}
    assert {name for name, is_left in life.left.items() if is_left} == life.left.keys() - gone


def test_without_the_operator_the_bot_goes_on_and_can_be_stopped(life: Life) -> None:
    assert life.state == "Active"
    assert life.latch["reason"] == "nobody is there"
    assert life.latch["state"] == "Stopped"


def test_installed_again_the_operator_takes_up_what_it_finds(life: Life) -> None:
    assert life.mirrored == "Stopped"


def test_commands_of_the_notes_start_a_bot_and_stop_it(life: Life) -> None:
    assert "successfully rolled out" in life.noted
    assert "tradingbot.tradingbot.dev/first condition met" in life.noted
    assert '"reason":"drill"' in life.noted
    assert '"acknowledgedAt"' in life.noted
    for role in PEOPLE:
        assert f"{role} created" in life.noted
