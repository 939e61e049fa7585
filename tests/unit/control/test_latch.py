"""The latch: what engages it and what releases it, from whatever the API server may hand out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_api.spec import StopAction
from tradingbot_trader.control.latch import (
    BREAK_GLASS,
    ActiveLatch,
    Engage,
    Escalate,
    Release,
    ReportedLatch,
    StopRequest,
    decide,
    is_suspended,
    read_glass_words,
    read_halts,
    read_kill_switch,
    read_rearm,
    read_reported,
)

KILL = StopRequest("KillSwitch", StopAction.CANCEL_ORDERS, "")
LATCHED = ActiveLatch("id-1", StopAction.CANCEL_ORDERS)


def bot(kill_switch: object = None, **parts: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {"metadata": {"name": "btc", "namespace": "desk", "uid": "u1", "labels": {"team": "a"}}}
    return raw | {"spec": {"killSwitch": kill_switch}} | parts


def test_engaged_switch_is_a_request_with_its_action_and_reason() -> None:
    raw = bot({"engaged": True, "action": "ReduceOnly", "reason": "fire"})
    assert read_kill_switch(raw) == StopRequest("KillSwitch", StopAction.REDUCE_ONLY, "fire")


def test_unknown_action_cancels_orders_and_sells_nothing() -> None:
    request = read_kill_switch(bot({"engaged": True, "action": "Explode"}))
    assert request is not None
    assert request.action is StopAction.CANCEL_ORDERS


@pytest.mark.parametrize("engaged", ["true", 1, "no", [], {}, "false"])
def test_anything_but_plain_false_is_a_stop(engaged: object) -> None:
    assert read_kill_switch(bot({"engaged": engaged})) is not None


@pytest.mark.parametrize("switch", [None, {}, {"engaged": False}, {"engaged": None}, "garbage", 7])
def test_nothing_said_is_no_stop(switch: object) -> None:
    assert read_kill_switch(bot(switch)) is None


VALUES = st.sampled_from([None, True, 0, "x", [], {}, ["x"], {"killSwitch": 1}, {"trader": {"latch": []}}])
KEYS = st.sampled_from(["spec", "status", "metadata"])
INNER = st.dictionaries(st.sampled_from(["killSwitch", "trader", "selector", "labels", "suspend"]), VALUES, max_size=3)


@given(st.dictionaries(KEYS, VALUES | INNER, max_size=3))
def test_no_object_makes_the_readers_raise(raw: dict[str, Any]) -> None:
    read_kill_switch(raw), read_rearm(raw), is_suspended(raw), read_reported(raw), read_halts(raw, [raw], 0)


def test_kill_engages_and_mints_a_new_id() -> None:
    assert decide(None, [KILL], rearm="", reported=None, released_ids=()) == Engage(
        "", "KillSwitch", StopAction.CANCEL_ORDERS, ""
    )


def test_unpatching_releases_nothing() -> None:
    assert decide(LATCHED, [], rearm="", reported=None, released_ids=()) is None


@pytest.mark.parametrize("rearm", ["id-2", "ID-1", "id-1 ", "true"])
def test_wrong_id_releases_nothing(rearm: str) -> None:
    assert decide(LATCHED, [], rearm=rearm, reported=None, released_ids=()) is None


def test_its_own_id_releases_it() -> None:
    assert decide(LATCHED, [], rearm="id-1", reported=None, released_ids=()) == Release("id-1")


def test_nothing_is_released_while_a_source_is_on() -> None:
    assert decide(LATCHED, [KILL], rearm="id-1", reported=None, released_ids=()) is None


def test_stricter_action_escalates_and_a_milder_one_does_not() -> None:
    flatten = StopRequest("TradingHalt/all", StopAction.FLATTEN, "fire")
    assert decide(LATCHED, [KILL, flatten], rearm="", reported=None, released_ids=()) == Escalate(
        StopAction.FLATTEN, "TradingHalt/all", "fire"
    )
    milder = StopRequest("KillSwitch", StopAction.REDUCE_ONLY, "")
    assert decide(LATCHED, [milder], rearm="", reported=None, released_ids=()) is None


REPORTED = ReportedLatch("id-9", StopAction.CANCEL_ORDERS, "fire", "KillSwitch")


def test_latch_that_only_the_status_remembers_is_taken_over_with_its_id() -> None:
    decision = decide(None, [], rearm="", reported=REPORTED, released_ids=())
    assert decision == Engage("id-9", "KillSwitch", StopAction.CANCEL_ORDERS, "fire")


def test_released_latch_that_a_stale_status_still_shows_stays_released() -> None:
    assert decide(None, [], rearm="", reported=REPORTED, released_ids={"id-9"}) is None
    assert decide(None, [], rearm="id-9", reported=REPORTED, released_ids=()) is None


def test_new_stop_after_a_release_gets_a_new_id_so_that_the_old_rearm_cannot_release_it() -> None:
    for released in ((), {"id-9"}):
        decision = decide(None, [KILL], rearm="id-9", reported=REPORTED, released_ids=released)
        assert isinstance(decision, Engage)
        assert decision.id == ""


def test_report_of_another_uid_is_not_ours() -> None:
    latch = {"id": "x", "state": "Stopped"}
    assert read_reported(bot(status={"trader": {"uid": "other", "latch": latch}})) is None
    own = read_reported(bot(status={"trader": {"uid": "u1", "latch": latch}}))
    assert own is not None
    assert own.id == "x"


def test_operators_latch_counts_while_no_trader_reports() -> None:
    reported = read_reported(bot(status={"killSwitch": {"id": "op-1", "state": "Stopping"}}))
    assert reported is not None
    assert reported.id == "op-1"


def test_armed_latch_is_none() -> None:
    assert read_reported(bot(status={"trader": {"uid": "u1", "latch": {"id": "x", "state": "Armed"}}})) is None


@pytest.mark.parametrize(
    ("spec", "matches"),
    [
        ({}, True),
        ({"namespaces": ["desk"]}, True),
        ({"namespaces": ["other"]}, False),
        ({"bots": ["btc"], "namespaces": ["desk"]}, True),
        ({"bots": ["eth"]}, False),
        ({"selector": {"matchLabels": {"team": "a"}}}, True),
        ({"selector": {"matchLabels": {"team": "b"}}}, False),
        ({"selector": {"matchLabels": {"absent": "a"}}}, False),
        ({"namespaces": ["desk"], "bots": ["btc"], "selector": {"matchLabels": {"team": "b"}}}, False),
    ],
)
def test_halt_matches_by_all_of_its_fields(spec: dict[str, Any], *, matches: bool) -> None:
    found = read_halts(bot(), [{"metadata": {"name": "all"}, "spec": spec}], 0)
    assert bool(found) is matches


def test_halt_that_says_nothing_stops_everything_and_is_named_as_the_source() -> None:
    assert read_halts(bot(), [{"metadata": {"name": "night"}}], 0) == [
        StopRequest("TradingHalt/night", StopAction.CANCEL_ORDERS, "")
    ]


@pytest.mark.parametrize(("spec", "suspended"), [({}, False), ({"suspend": False}, False), ({"suspend": True}, True)])
def test_suspend_is_read_from_the_raw_object(spec: dict[str, Any], *, suspended: bool) -> None:
    assert is_suspended({"spec": spec}) is suspended


@pytest.mark.parametrize(
    ("expires", "is_on"),
    [
        ("1970-01-01T00:00:01Z", False),
        ("1970-01-01T00:00:02Z", True),
        ("1970-01-01T02:00:01.5+02:00", False),
        ("", True),
        (None, True),
        ("tomorrow", True),
        ("1970-01-01T00:00:01", True),
        (7, True),
        ("1970-02-30T00:00:00Z", True),
    ],
)
def test_halt_that_expired_asks_no_more_and_one_that_cannot_be_read_never_expires(
    expires: object, *, is_on: bool
) -> None:
    halt = {"metadata": {"name": "night"}, "spec": {"expiresAt": expires}}
    assert bool(read_halts(bot(), [halt], 1_500_000_000)) is is_on


@pytest.mark.parametrize(
    ("text", "action", "reason"),
    [
        ("", StopAction.CANCEL_ORDERS, ""),
        ("Flatten", StopAction.FLATTEN, ""),
        ("ReduceOnly the market is mad\n", StopAction.REDUCE_ONLY, "the market is mad"),
        ("sell everything", StopAction.CANCEL_ORDERS, "everything"),
        ("\x00\x00", StopAction.CANCEL_ORDERS, ""),
    ],
)
def test_break_glass_file_names_its_action(text: str, action: StopAction, reason: str) -> None:
    assert read_glass_words(text) == StopRequest(BREAK_GLASS, action, reason)
