"""What a status proves: a table of the cases that a person meets, and properties over whatever a status may hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.plugin import LATCH, build_bot, build_latch, build_trader
from tradingbot_api.spec import StopAction
from tradingbot_api.status import Flat
from tradingbot_plugin.proof import FAILED, NOT_FLAT, NOT_PROVED, OK, Asked, Outcome, exit_code, judge
from tradingbot_plugin.view import is_as_strict, read_bot

ASKED = Asked(uid="u-1", action=StopAction.CANCEL_ORDERS, generation=2)
FLATTEN = Asked(uid="u-1", action=StopAction.FLATTEN, generation=2)


def judge_latch(
    asked: Asked = ASKED, *, generation: int = 2, trader: dict[str, Any] | None = None, **latch: Any
) -> Any:
    report = build_trader(latch=build_latch(**latch), config={"generation": generation}, **(trader or {}))
    return judge(read_bot(build_bot(trader=report)), asked)


def order(result: str, reason: str = "") -> dict[str, Any]:
    return {"clientOrderId": "a1", "symbol": "BTC/USDT", "side": "buy", "result": result, "reason": reason}


def test_acknowledged_and_stopped_is_proof() -> None:
    assert judge_latch().outcome is Outcome.STOPPED


@pytest.mark.parametrize(
    ("latch", "outcome"),
    [
        ({"state": "Armed"}, Outcome.NOT_PROVED),
        ({"state": "Stopping"}, Outcome.NOT_PROVED),
        ({"state": "Halted"}, Outcome.NOT_PROVED),
        ({"id": ""}, Outcome.NOT_PROVED),
        ({"acknowledgedAt": None}, Outcome.NOT_PROVED),
        ({"acknowledgedAt": ""}, Outcome.NOT_PROVED),
        ({"action": "ReduceOnly"}, Outcome.NOT_PROVED),
        ({"action": "Sleep"}, Outcome.NOT_PROVED),
        ({"action": "Flatten", "flat": "False"}, Outcome.STOPPED),
    ],
    ids=str,
)
def test_anything_less_is_no_proof(latch: dict[str, Any], outcome: Outcome) -> None:
    assert judge_latch(**latch).outcome is outcome


@pytest.mark.parametrize(
    ("flat", "outcome"),
    [
        ("True", Outcome.STOPPED), (True, Outcome.STOPPED), ("False", Outcome.NOT_FLAT), (False, Outcome.NOT_FLAT),
        ("Unknown", Outcome.NOT_FLAT), (None, Outcome.NOT_FLAT), ("true", Outcome.NOT_FLAT), (1, Outcome.NOT_FLAT),
    ],
)  # fmt: skip
def test_flatten_asks_for_flat_as_well(flat: object, outcome: Outcome) -> None:
    assert judge_latch(FLATTEN, action="Flatten", flat=flat).outcome is outcome


@pytest.mark.parametrize(
    ("latch", "trader", "outcome"),
    [
        ({"orders": [order("Cancelled"), order("Filled")]}, {}, Outcome.NOT_FLAT),
        ({"orders": [order("Remaining", "protective stop")]}, {}, Outcome.NOT_FLAT),
        ({"orders": [order("Remaining", "the venue does not answer")]}, {}, Outcome.NOT_PROVED),
        ({"orders": [order("Unresolved")]}, {}, Outcome.NOT_PROVED),
        ({"orders": [order("Vanished")]}, {}, Outcome.NOT_PROVED),
        ({"orders": [order("Cancelled")] * 50}, {}, Outcome.NOT_PROVED),
        ({"orders": []}, {"unresolvedOrders": 1}, Outcome.NOT_PROVED),
        ({"orders": [], "acknowledgedAt": None}, {}, Outcome.NOT_PROVED),
    ],
    ids=str,
)
def test_stop_that_only_has_to_sell_is_not_flat(
    latch: dict[str, Any], trader: dict[str, Any], outcome: Outcome
) -> None:
    found = judge_latch(FLATTEN, trader=trader, **{"state": "Stopping", "action": "Flatten"} | latch)
    assert found.outcome is outcome


def test_orders_that_are_left_are_named_with_their_reason() -> None:
    found = judge_latch(state="Stopping", orders=[order("Remaining", "the venue does not answer")])
    assert "buy BTC/USDT a1 Remaining (the venue does not answer)" in found.why
    assert found.is_latched


def test_operators_copy_alone_is_no_proof() -> None:
    bot = build_bot(trader={})
    bot["status"]["killSwitch"] = build_latch()
    assert judge(read_bot(bot), ASKED).outcome is Outcome.NOT_PROVED


def test_report_about_an_earlier_bot_is_no_proof() -> None:
    found = judge(read_bot(build_bot(trader=build_trader("u-0", latch=build_latch()))), ASKED)
    assert found.outcome is Outcome.NOT_PROVED
    assert "earlier bot" in found.why


def test_another_bot_of_the_name_does_not_speak_for_the_one_that_was_stopped() -> None:
    bot = build_bot(trader=build_trader("u-2", latch=build_latch()))
    bot["metadata"]["uid"] = "u-2"
    assert judge(read_bot(bot), ASKED).outcome is Outcome.GONE


def test_bot_that_is_gone_proves_nothing() -> None:
    assert exit_code([judge(None, ASKED).outcome]) == NOT_PROVED


PATCHED = Asked(uid="u-1", action=StopAction.CANCEL_ORDERS, generation=2)
HALTED = Asked(uid="u-1", action=StopAction.CANCEL_ORDERS, halt="kill-desk.btc")
BOTH = replace(PATCHED, halt=HALTED.halt)
HALT_SOURCE = {"source": "TradingHalt/kill-desk.btc", "action": "CancelOrders", "active": True}


@pytest.mark.parametrize(
    ("asked", "generation", "sources", "outcome"),
    [
        (PATCHED, 1, [], Outcome.NOT_PROVED),
        (PATCHED, 2, [], Outcome.STOPPED),
        (PATCHED, 3, [], Outcome.STOPPED),
        (BOTH, 1, [HALT_SOURCE], Outcome.NOT_PROVED),
        (BOTH, 2, [], Outcome.STOPPED),
        (HALTED, 9, [], Outcome.NOT_PROVED),
        (HALTED, 1, [HALT_SOURCE], Outcome.STOPPED),
        (HALTED, 1, [HALT_SOURCE | {"active": False}], Outcome.NOT_PROVED),
    ],
)
def test_latch_counts_once_the_trader_has_looked_at_this_stop(
    asked: Asked, generation: int, sources: list[dict[str, Any]], outcome: Outcome
) -> None:
    assert judge_latch(asked, generation=generation, sources=sources).outcome is outcome


def test_latch_whose_release_is_asked_for_is_no_proof_unless_a_halt_holds_it() -> None:
    report = build_trader(latch=build_latch(), config={"generation": 3})
    bot = build_bot(trader=report, switch={"engaged": False, "rearm": LATCH})
    assert judge(read_bot(bot), ASKED).outcome is Outcome.NOT_PROVED
    report["latch"]["sources"] = [HALT_SOURCE]
    held = Asked(uid="u-1", action=StopAction.CANCEL_ORDERS, generation=2, halt="kill-desk.btc")
    assert judge(read_bot(bot), held).outcome is Outcome.STOPPED


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], FAILED),
        ([Outcome.STOPPED], OK),
        ([Outcome.STOPPED, Outcome.NOT_FLAT], NOT_FLAT),
        ([Outcome.NOT_FLAT, Outcome.NOT_PROVED], NOT_PROVED),
        ([Outcome.STOPPED, Outcome.GONE], NOT_PROVED),
        ([Outcome.NOT_PROVED, Outcome.FAILED, Outcome.STOPPED], FAILED),
    ],
)
def test_exit_code_is_the_worst(outcomes: list[Outcome], code: int) -> None:
    assert exit_code(outcomes) == code


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
UIDS = st.sampled_from(["", "u-1", "u-2"]) | JUNK
WORDS = {
    "state": st.sampled_from(["Armed", "Stopping", "Stopped", ""]),
    "id": st.sampled_from(["", "a", "b"]),
    "action": st.sampled_from([*StopAction, "", "Other"]),
    "flat": st.sampled_from(["True", "False", "Unknown", True, False]),
    "acknowledgedAt": st.sampled_from(["", "2026-01-02T03:04:05Z"]),
    "engagedAt": st.just("2026-01-02T03:04:05Z"),
    "orders": st.lists(st.fixed_dictionaries({"result": st.sampled_from(["Cancelled", "Remaining", "Filled"])})),
    "sources": st.lists(
        st.fixed_dictionaries({"source": st.sampled_from(["TradingHalt/h", "KillSwitch"]), "active": st.booleans()})
    ),
}
LATCHES = st.fixed_dictionaries({}, optional={name: words | JUNK for name, words in WORDS.items()}) | JUNK
BOTS = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({}, optional={"uid": UIDS, "generation": st.integers(0, 4) | JUNK}) | JUNK},
    optional={
        "spec": st.fixed_dictionaries(
            {}, optional={"killSwitch": st.fixed_dictionaries({}, optional={"engaged": JUNK, "rearm": JUNK}) | JUNK}
        )
        | JUNK,
        "status": st.fixed_dictionaries(
            {},
            optional={
                "trader": st.fixed_dictionaries(
                    {"uid": UIDS, "latch": LATCHES},
                    optional={"config": st.fixed_dictionaries({"generation": st.integers(0, 4)}) | JUNK},
                )
                | JUNK,
                "killSwitch": LATCHES,
            },
        )
        | JUNK,
    },
)
ASKS = st.builds(
    Asked,
    uid=st.sampled_from(["", "u-1"]),
    action=st.sampled_from(StopAction),
    generation=st.integers(0, 3),
    halt=st.sampled_from(["", "h"]),
)


def good_bots() -> st.SearchStrategy[dict[str, Any]]:
    """Near to a proof, so that many of them are one."""

    def build(latch: dict[str, Any], generation: int, uid: str) -> dict[str, Any]:
        return build_bot(trader=build_trader(uid, latch=build_latch(**latch), config={"generation": generation}))

    few = st.fixed_dictionaries({}, optional=dict(WORDS.items()))
    return st.builds(build, few, st.integers(0, 4), st.sampled_from(["u-1", "u-1", "u-2"]))


@given(BOTS | good_bots(), ASKS)
def test_nothing_is_proved_without_an_acknowledged_stopped_latch_of_that_very_bot(
    raw: dict[str, Any], asked: Asked
) -> None:
    """Said again in plain words over the raw object, so that reader and judge are tested together."""
    found = judge(read_bot(raw), asked)
    if exit_code([found.outcome]) != OK:
        return
    trader = raw["status"]["trader"]
    latch = trader["latch"]
    assert asked.uid
    assert raw["metadata"]["uid"] == trader["uid"] == asked.uid
    assert latch["state"] == "Stopped"
    assert latch["id"]
    assert latch["acknowledgedAt"]
    assert is_as_strict(StopAction(latch["action"]), asked.action)
    assert asked.action is not StopAction.FLATTEN or latch["flat"] in (True, "True")
    seen = 0 < asked.generation <= trader["config"]["generation"]
    sources = latch.get("sources")
    halted = isinstance(sources, list) and {"source": "TradingHalt/h", "active": True} in sources
    assert seen or (not asked.generation and asked.halt and halted)


@given(BOTS | good_bots(), ASKS)
def test_not_flat_is_said_of_an_acknowledged_latch_alone(raw: dict[str, Any], asked: Asked) -> None:
    if judge(read_bot(raw), asked).outcome is Outcome.NOT_FLAT:
        latch = read_bot(raw).trader.latch  # type: ignore[union-attr]  there is none without a trader
        assert latch.acknowledged_at
        assert latch.action is StopAction.FLATTEN
        assert latch.flat is not Flat.TRUE


@given(JUNK)
def test_nothing_that_the_server_may_say_breaks_the_reader(raw: object) -> None:
    bot = read_bot(raw)
    assert judge(bot, ASKED).outcome is Outcome.GONE
