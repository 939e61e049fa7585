"""Which steps of a drill a bot's reports show, and what its record says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tradingbot_api.labels import DRILL, drill_reason
from tradingbot_api.review import DrillStep, TradingReviewSpec, Verdict
from tradingbot_operator.plan.drill import (
    BOUND_NS,
    Drill,
    begin,
    build_review,
    deadline_ns,
    follow,
    is_about,
    is_under_way,
    judge,
    read_drill_id,
    read_passed_ns,
    supersede,
)
from tradingbot_operator.plan.view import BotView, read_bot
from tradingbot_operator.timestamps import SECOND_NS, format_micro_time

Make = Callable[..., Any]
Raw = dict[str, Any]
T0 = 1_750_000_000 * SECOND_NS
MS = 1_000_000
ID, LATCH = "0123456789ab", "latch-1"
OURS = drill_reason(ID)
STEPS = list(DrillStep)


def build_latch(**changes: Any) -> Raw:
    """A proved stop, which the drill alone has asked for."""
    reason = changes.get("reason", OURS)
    sources = [
        {"source": source, "action": "CancelOrders", "reason": reason, "since": format_micro_time(T0), "active": True}
        for source in ("KillSwitch", "TradingHalt/kill-desk-a.btc")
    ]
    return {
        "state": "Stopped",
        "id": LATCH,
        "reason": OURS,
        "source": "KillSwitch",
        "sources": sources,
        "engagedAt": format_micro_time(T0 + 5 * MS),
        "acknowledgedAt": format_micro_time(T0 + 7 * MS),
    } | changes


STOPPING = build_latch(state="Stopping")
UNACKNOWLEDGED = build_latch(state="Stopping", acknowledgedAt=None)
JOINED = build_latch(
    sources=[
        *build_latch()["sources"],
        {"source": "Drawdown", "action": "Flatten", "reason": "", "since": format_micro_time(T0), "active": True},
    ]
)
RELEASED: Raw = {"state": "Armed"}


@pytest.fixture
def see(make_bot: Make, make_report: Make) -> Callable[..., BotView]:
    """The bot as it is seen in some moment of its drill."""

    def build(
        latch: Raw | None = None, *, is_engaged: bool = True, reason: str = OURS, rearm: str = "", **report: Any
    ) -> BotView:
        switch = {"engaged": is_engaged, "action": "CancelOrders", "reason": reason, "rearm": rearm}
        status = {"trader": make_report(latch=latch or RELEASED, **report)}
        return read_bot(make_bot({"metadata.annotations": {DRILL: ID}, "spec.killSwitch": switch}) | {"status": status})

    return build


def play(*views: BotView, every_ns: int = 10 * MS) -> Drill:
    first, *others = views
    drill = begin(first, ID, T0, is_first_look=False)
    for number, view in enumerate(others, start=1):
        drill = follow(drill, view, T0 + number * every_ns)
    return drill


@pytest.mark.parametrize(("said", "found"), [(ID, ID), ("", ""), ("a/b", ""), ("x" * 33, ""), ("0A", ""), (7, "")])
def test_only_what_can_be_part_of_a_name_is_an_id(make_bot: Make, said: object, found: str) -> None:
    assert read_drill_id(make_bot({"metadata.annotations": {DRILL: said}})) == found
    assert read_drill_id(make_bot()) == ""


def test_annotation_alone_is_no_drill(see: Make) -> None:
    assert is_under_way(see(), ID)
    assert is_under_way(see(STOPPING, is_engaged=False), ID), "GitOps has taken the patch back; the latch is there"
    assert not is_under_way(see(is_engaged=False), ID)
    assert not is_under_way(see(reason="a stop by somebody"), ID)
    assert not is_under_way(see(reason=drill_reason("another")), ID)
    assert not is_under_way(see(build_latch(reason=drill_reason("another")), is_engaged=False), ID)


def test_each_step_has_the_traders_time_where_it_tells_one_and_ours_where_not(see: Make) -> None:
    gone = {"is_engaged": False, "rearm": LATCH}
    drill = play(
        see(), see(UNACKNOWLEDGED), see(STOPPING), see(build_latch()), see(build_latch(), **gone),
        see(**gone, state="ReduceOnly"), see(**gone),
    )  # fmt: skip
    assert dict(drill.steps) == {
        DrillStep.REQUESTED: T0,
        DrillStep.ACKNOWLEDGED: T0 + 7 * MS,
        DrillStep.STOPPED: T0 + 30 * MS,
        DrillStep.RELEASED: T0 + 50 * MS,
        DrillStep.ACTIVE: T0 + 60 * MS,
    }
    assert judge(drill, T0 + 60 * MS) == (Verdict.GO, "Stopped, released and Active again; every step was seen.")


def test_one_report_may_show_several_steps(see: Make) -> None:
    drill = play(see(build_latch()), see(is_engaged=False, rearm=LATCH))
    assert list(drill.steps) == STEPS
    assert judge(drill, T0 + SECOND_NS)[0] is Verdict.GO  # type: ignore[index]  # it has ended


def test_request_is_no_later_than_the_traders_first_sight_of_it(see: Make) -> None:
    late = begin(see(build_latch()), ID, T0 + SECOND_NS, is_first_look=False)
    assert late.steps[DrillStep.REQUESTED] == T0 + 5 * MS


@pytest.mark.parametrize(
    "latch",
    [
        JOINED,
        build_latch(reason="drawdown", source="Drawdown", sources=JOINED["sources"]),
        build_latch(reason="another kill", source="KillSwitch", sources=build_latch()["sources"]),
    ],
    ids=["a source", "the strictest", "the reason"],
)
def test_stop_that_another_one_joined_is_no_go(see: Make, latch: Raw) -> None:
    drill = play(see(), see(build_latch()), see(latch), see(is_engaged=False, rearm=LATCH))
    verdict, message = judge(drill, T0 + SECOND_NS)  # type: ignore[misc]  # it has ended
    assert verdict is Verdict.NO_GO
    assert "came in between" in message


@pytest.mark.parametrize("other", [{"id": "latch-2"}, {"id": "latch-2", "reason": "drawdown"}], ids=str)
def test_another_latch_before_the_end_is_no_go(see: Make, other: Raw) -> None:
    released = see(is_engaged=False, rearm=LATCH, state="ReduceOnly")
    another = see(build_latch(**other), is_engaged=False)
    end = see(is_engaged=False, rearm=LATCH)
    for views in ([released, another, end], [another, end]):
        drill = play(see(), see(build_latch()), *views)
        assert judge(drill, T0 + SECOND_NS)[0] is Verdict.NO_GO  # type: ignore[index]


def test_latch_that_is_back_after_its_release_is_no_go(see: Make) -> None:
    released = see(is_engaged=False, rearm=LATCH, state="ReduceOnly")
    drill = play(see(), see(build_latch()), released, see(build_latch()), see(is_engaged=False, rearm=LATCH))
    assert judge(drill, T0 + SECOND_NS)[0] is Verdict.NO_GO  # type: ignore[index]


def test_latch_of_an_earlier_drill_shows_no_step(see: Make) -> None:
    earlier = drill_reason("another")
    drill = play(see(), see(build_latch(reason=earlier)))
    assert list(drill.steps) == [DrillStep.REQUESTED]
    assert judge(drill, T0 + SECOND_NS) is None


def test_report_from_before_the_request_releases_nothing(see: Make) -> None:
    drill = play(see(), see(), see(is_engaged=False))
    assert list(drill.steps) == [DrillStep.REQUESTED]
    unheard = see(is_engaged=False, rearm=LATCH, generation=0)
    assert list(follow(drill, unheard, T0).steps) == [DrillStep.REQUESTED]


def test_latch_that_is_lost_while_the_spec_asks_for_it_is_not_released(see: Make) -> None:
    drill = play(see(), see(build_latch()), see())
    assert DrillStep.RELEASED not in drill.steps
    assert judge(drill, deadline_ns(drill))[0] is Verdict.NO_GO  # type: ignore[index]


def test_report_of_another_bot_shows_nothing(see: Make) -> None:
    drill = play(see(), see(build_latch(), uid="an earlier bot"))
    assert list(drill.steps) == [DrillStep.REQUESTED]


def test_stop_that_came_and_went_unseen_is_inconclusive(see: Make) -> None:
    verdict, message = judge(play(see(), see(is_engaged=False, rearm=LATCH)), T0 + SECOND_NS)  # type: ignore[misc]
    assert verdict is Verdict.INCONCLUSIVE
    assert "Acknowledged, Stopped" in message


def test_release_before_the_proof_is_inconclusive(see: Make) -> None:
    verdict, message = judge(play(see(), see(STOPPING), see(is_engaged=False, rearm=LATCH)), T0)  # type: ignore[misc]
    assert verdict is Verdict.INCONCLUSIVE
    assert message == "The operator did not see: Stopped. Drill again."


@pytest.mark.parametrize(
    ("latch", "verdict"), [(build_latch(), Verdict.INCONCLUSIVE), (STOPPING, Verdict.GO), (None, Verdict.GO)]
)
def test_operator_that_begins_in_the_middle_knows_when_the_bot_stopped_or_does_not(
    see: Make, latch: Raw | None, verdict: Verdict
) -> None:
    drill = begin(see(latch), ID, T0, is_first_look=True)
    drill = follow(follow(drill, see(build_latch()), T0), see(is_engaged=False, rearm=LATCH), T0)
    assert judge(drill, T0)[0] is verdict  # type: ignore[index]


@pytest.mark.parametrize("last", [None, STOPPING, build_latch()], ids=["unheard", "stopping", "stopped"])
def test_drill_without_an_end_is_no_go_when_its_time_is_up(see: Make, last: Raw | None) -> None:
    drill = play(see(), see(last))
    assert judge(drill, deadline_ns(drill) - 1) is None
    verdict, message = judge(drill, deadline_ns(drill))  # type: ignore[misc]
    assert verdict is Verdict.NO_GO
    assert "within 900 s" in message
    assert "Released, Active" in message


def test_end_that_is_seen_too_late_is_no_go(see: Make) -> None:
    drill = play(see(), see(build_latch()), see(is_engaged=False, rearm=LATCH), every_ns=BOUND_NS)
    assert list(drill.steps) == STEPS
    assert judge(drill, T0)[0] is Verdict.NO_GO  # type: ignore[index]


def test_next_drill_ends_the_one_before(see: Make) -> None:
    drill = supersede(play(see(), see(build_latch())), "next")
    assert judge(drill, T0) == (Verdict.NO_GO, "drill next came in between: this was no drill of this stop alone.")
    passed = play(see(build_latch()), see(is_engaged=False, rearm=LATCH))
    assert supersede(passed, "next") == passed


def test_record_is_what_the_api_takes_and_says_when_it_passed(see: Make) -> None:
    end = see(is_engaged=False, rearm=LATCH)
    review = build_review(play(see(), see(build_latch()), end), end, Verdict.GO, "well", T0 + SECOND_NS)
    spec = TradingReviewSpec.model_validate(review["spec"])
    assert [each.step for each in spec.steps] == STEPS
    assert [each.milliseconds for each in spec.steps] == [0, 7, 10, 20, 20]
    assert spec.steps[1].at == format_micro_time(T0 + 7 * MS)
    assert (spec.kind, spec.gates, spec.stage, spec.bot) == ("Drill", [], "micro", "btc")
    assert review["metadata"] == {
        "namespace": "desk-a",
        "name": f"btc-drill-{ID}",
        "labels": {"app.kubernetes.io/managed-by": "tradingbot-operator", "tradingbot.dev/bot": "btc"},
    }
    assert read_passed_ns(review) == T0 + 20 * MS
    for changes in ({"verdict": "NO-GO"}, {"kind": "Gates"}, {"windowEnd": "soon"}):
        assert read_passed_ns(review | {"spec": review["spec"] | changes}) is None


def test_trader_whose_clock_is_behind_ours_makes_no_negative_times(see: Make) -> None:
    drill = play(see(), see(build_latch(engagedAt=None, acknowledgedAt=format_micro_time(T0 - SECOND_NS))))
    review = build_review(drill, see(build_latch()), Verdict.NO_GO, "", T0)
    assert [each["milliseconds"] for each in review["spec"]["steps"]] == [0, 0, 10]


def test_record_of_an_earlier_bot_of_this_name_is_not_about_this_one(make_bot: Make) -> None:
    bot = make_bot({"metadata.creationTimestamp": format_micro_time(T0)})
    assert is_about(bot, T0)
    assert not is_about(bot, T0 - 1)
