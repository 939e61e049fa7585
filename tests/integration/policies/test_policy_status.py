"""Each part of a bot's status has one writer."""

from __future__ import annotations

from typing import Any

import pytest

from support.policies import APPLY, Raw, build_trader_part, is_denied

PERMIT: Raw = {
    "uid": "u", "mode": "Live", "stage": "micro", "limit": "50", "digest": f"v1:{'0' * 64}", "specGeneration": 1,
    "issuedAt": "2026-01-02T03:04:05Z",
}  # fmt: skip
READY: Raw = {
    "type": "Ready", "status": "True", "reason": "Running", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"
}  # fmt: skip
OPERATORS: dict[str, Any] = {
    "permit": PERMIT,
    "killSwitch": {"state": "Armed"},
    "phase": "Trading",
    "observedGeneration": 7,
    "conditions": [READY],
}
ONLY_TRADER = "status.trader is written by system:serviceaccount:policies-desk:btc-trader alone"
ONLY_OPERATOR = "are written by the operator alone"


def write(person: Any, status: Raw | None, *, force: bool = False) -> Any:
    if force:
        body = {"apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingBot", "status": status}
        return person.patch("TradingBot", "btc", body, sub="status?fieldManager=x&force=true", content_type=APPLY)
    return person.patch("TradingBot", "btc", {"status": status}, sub="status")


@pytest.fixture
def bot(desk: Any) -> Raw:
    """With something in each part."""
    made: Raw = desk.create_bot()
    assert write(desk.operator, OPERATORS).is_success
    desk.report()
    return made


@pytest.mark.parametrize("force", [False, True], ids=["merge", "forced apply"])
@pytest.mark.parametrize("part", OPERATORS)
def test_trader_writes_no_part_of_the_operator(desk: Any, part: str, force: bool) -> None:  # noqa: FBT001  a parameter
    """Among them its own permit."""
    desk.create_bot()
    denied = write(desk.trader(), {part: OPERATORS[part]}, force=force)
    assert is_denied(denied, "bots", ONLY_OPERATOR), denied.body
    assert write(desk.operator, {part: OPERATORS[part]}, force=force).is_success


@pytest.mark.usefixtures("bot")
@pytest.mark.parametrize("part", OPERATORS)
def test_trader_takes_no_part_of_the_operator_away(desk: Any, part: str) -> None:
    assert is_denied(write(desk.trader(), {part: None}), "bots", ONLY_OPERATOR)


def test_trader_raises_no_limit_of_its_permit_beside_a_report(desk: Any, bot: Raw) -> None:
    report = build_trader_part(bot["metadata"]["uid"], epoch=2)
    denied = write(desk.trader(), {"trader": report, "permit": {"limit": "5000"}})
    assert is_denied(denied, "bots", ONLY_OPERATOR), denied.body


@pytest.mark.parametrize("force", [False, True], ids=["merge", "forced apply"])
def test_nobody_else_reports_for_a_trader(desk: Any, bot: Raw, force: bool) -> None:  # noqa: FBT001  a parameter
    report = {"trader": build_trader_part(bot["metadata"]["uid"], epoch=99)}
    for person in (desk.trader("eth"), desk.operator, desk.person("forger")):
        denied = write(person, report, force=force)
        assert is_denied(denied, "bots", ONLY_TRADER), (person.user, denied.body)
    assert write(desk.trader(), report, force=force).is_success


def test_first_report_is_the_traders_own_too(desk: Any) -> None:
    made = desk.create_bot()
    report = {"trader": build_trader_part(made["metadata"]["uid"])}
    assert is_denied(write(desk.trader("eth"), report), "bots", ONLY_TRADER)
    assert write(desk.trader(), report).is_success


@pytest.mark.usefixtures("bot")
def test_nobody_empties_the_status(desk: Any) -> None:
    for person in (desk.trader(), desk.trader("eth"), desk.operator, desk.person("forger")):
        answer = write(person, None)
        assert not answer.is_success, (person.user, answer.body)
    assert desk.bot()["status"]["permit"]["limit"] == "50"
    assert desk.bot()["status"]["trader"]["epoch"] == 1


@pytest.mark.usefixtures("bot")
def test_whoever_may_only_patch_status_writes_nothing(desk: Any) -> None:
    for part, value in {"permit": {"limit": "5000"}, "phase": "Fine", "killSwitch": {"state": "Stopped"}}.items():
        assert is_denied(write(desk.person("forger"), {part: value}), "bots", ONLY_OPERATOR)
    assert write(desk.person("forger"), {"phase": "Trading"}).is_success, "what changes nothing"


@pytest.mark.usefixtures("bot")
def test_each_writer_goes_on_with_its_own_part(desk: Any) -> None:
    assert write(desk.trader(), {"trader": {"epoch": 2, "latch": {"state": "Stopped", "id": "t-1"}}}).is_success
    assert write(desk.operator, {"killSwitch": {"state": "Stopped", "id": "t-1"}, "permit": None}).is_success
    status = desk.bot()["status"]
    assert (status["trader"]["epoch"], status["killSwitch"]["id"], "permit" in status) == (2, "t-1", False)
