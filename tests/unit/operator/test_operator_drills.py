"""One record of each drill, through any history of reports, restarts and refusals; and the last one's age."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tradingbot_api.labels import DRILL, drill_reason
from tradingbot_operator import kinds
from tradingbot_operator.drills import DrillRecorder
from tradingbot_operator.errors import ApiError, Conflict, Refused, Transient
from tradingbot_operator.kinds import Key, Kind
from tradingbot_operator.kube import Listing
from tradingbot_operator.plan.drill import BOUND_NS
from tradingbot_operator.store import Store
from tradingbot_operator.timestamps import SECOND_NS, format_micro_time

Make = Callable[..., Any]
Raw = dict[str, Any]
T0 = 1_750_000_000 * SECOND_NS
BTC = Key("desk-a", "btc")
ID, LATCH = "0123456789ab", "latch-1"


def _latch(drill_id: str, **changes: Any) -> Raw:
    reason = drill_reason(drill_id)
    sources = [{"source": "KillSwitch", "action": "CancelOrders", "reason": reason, "since": "", "active": True}]
    at = format_micro_time(T0)
    latch = {"state": "Stopped", "id": LATCH, "reason": reason, "sources": sources, "engagedAt": at}
    return latch | {"acknowledgedAt": at} | changes


def _joined(drill_id: str) -> Raw:
    latch = _latch(drill_id)
    other = {"source": "Drawdown", "action": "Flatten", "reason": "", "since": "", "active": True}
    return latch | {"sources": [*latch["sources"], other]}


MOMENTS: dict[str, Callable[[str], tuple[bool, Raw | None, str]]] = {
    "requested": lambda _: (True, None, "Active"),
    "latched": lambda drill: (True, _latch(drill, state="Stopping", acknowledgedAt=None), "ReduceOnly"),
    "acknowledged": lambda drill: (True, _latch(drill, state="Stopping"), "ReduceOnly"),
    "stopped": lambda drill: (True, _latch(drill), "ReduceOnly"),
    "joined": lambda drill: (True, _joined(drill), "ReduceOnly"),
    "other": lambda _: (False, _latch("other", id="latch-0", reason="drawdown"), "ReduceOnly"),
    "rearmed": lambda drill: (False, _latch(drill), "ReduceOnly"),
    "released": lambda _: (False, None, "ReduceOnly"),
    "active": lambda _: (False, None, "Active"),
}
"""What a bot shows in some moment of a drill: whether the spec asks for the stop, its latch, its state."""
IN_ORDER = ("requested", "latched", "acknowledged", "stopped", "rearmed", "released", "active")
RESTART = "restart"


class Api:
    """TradingReviews of an API server."""

    def __init__(self) -> None:
        self.reviews: dict[str, Raw] = {}
        self.errors: list[ApiError] = []
        """Of the next creations."""
        self.lost_answers = 0
        """Of so many creations the answer does not arrive."""
        self.is_refused = False
        self.is_away = False
        self.lists = self.creations = 0

    async def list(self, kind: Kind, namespace: str | None) -> Listing:
        assert (kind, namespace) == (kinds.REVIEW, None)
        self.lists += 1
        if self.is_away:
            raise Transient("list tradingreviews", "storage is (re)initializing", status=429)
        if self.is_refused:
            raise Refused("list tradingreviews", "forbidden", status=403)
        return Listing(list(self.reviews.values()), 1)

    async def create(self, kind: Kind, manifest: Raw) -> Raw:
        assert kind == kinds.REVIEW
        self.creations += 1
        if self.errors:
            raise self.errors.pop(0)
        name = manifest["metadata"]["name"]
        if name in self.reviews:
            raise Conflict("create tradingreviews", "it is there", status=409)
        self.reviews[name] = manifest
        if self.lost_answers:
            self.lost_answers -= 1
            raise Transient("create tradingreviews", "no answer")
        return manifest


class World:
    """One bot, its operators one after the other, and their API server."""

    def __init__(self, make_bot: Make, make_report: Make) -> None:
        self._make_bot, self._make_report = make_bot, make_report
        self.api, self.now_ns, self._version = Api(), T0, 10
        self.moment, self.drill_id = "active", ID
        self.reconciled = 0
        self.uid = self.created_at = ""

    async def start(self) -> World:
        """Another operator, which knows what it lists."""
        self.store = Store()
        self.recorder = DrillRecorder(self.api, self.store, namespaces=(), now_ns=lambda: self.now_ns)  # type: ignore[arg-type]  # a part of the protocol
        self.reconcile = self.recorder.around(self._reconcile)
        await self.recorder.list_records()
        return self

    async def _reconcile(self, key: Key) -> float | None:
        assert key == BTC
        self.reconciled += 1
        return 30.0

    async def look(self, moment: str = "", drill_id: str = "") -> float | None:
        self.moment, self.drill_id = moment or self.moment, drill_id or self.drill_id
        is_engaged, latch, state = MOMENTS[self.moment](self.drill_id)
        self._version += 1
        self.now_ns += SECOND_NS // 10
        bot = self._make_bot(
            {
                "metadata.annotations": {DRILL: self.drill_id},
                "metadata.resourceVersion": str(self._version),
                "spec.killSwitch": {
                    "engaged": is_engaged,
                    "reason": drill_reason(self.drill_id),
                    "rearm": "" if is_engaged else LATCH,
                },
            }
        )
        given = {"uid": self.uid, "creationTimestamp": self.created_at}
        bot["metadata"] |= {key: value for key, value in given.items() if value}
        report = self._make_report(latch=latch or {"state": "Armed"}, state=state, uid=bot["metadata"]["uid"])
        self.store.put(kinds.BOT, bot | {"status": {"trader": report}})
        return await self.reconcile(BTC)

    async def play(self, *moments: str) -> World:
        for moment in moments:
            await self.start() if moment == RESTART else await self.look(moment)
        return self

    @property
    def verdicts(self) -> dict[str, str]:
        return {name: review["spec"]["verdict"] for name, review in self.api.reviews.items()}

    @property
    def age_seconds(self) -> float | None:
        return self.recorder.ages_seconds().get(("desk-a", "btc"))


@pytest.fixture
async def world(make_bot: Make, make_report: Make) -> World:
    return await World(make_bot, make_report).start()


async def test_drill_is_recorded_once_and_its_age_grows(world: World) -> None:
    await world.play(*IN_ORDER)
    assert world.verdicts == {f"btc-drill-{ID}": "GO"}
    assert world.age_seconds == 0.0
    world.now_ns += 60 * SECOND_NS
    assert world.age_seconds == 60.0
    assert await world.look() == 30.0
    await world.play("active", RESTART, "active", "active")
    assert len(world.api.reviews) == 1
    assert world.age_seconds == pytest.approx(60.4)
    world.store.remove(kinds.BOT, world.store.bot(BTC) or {})
    assert world.recorder.ages_seconds() == {}


async def test_bot_is_looked_at_again_when_a_drills_time_is_up(world: World) -> None:
    assert await world.look("stopped") == 30.0, "what the reconciliation wants comes first"
    world.now_ns = T0 + BOUND_NS - 2 * SECOND_NS
    assert 0 < (await world.look() or 0) < 2
    world.now_ns = T0 + BOUND_NS
    await world.look()
    assert world.verdicts == {f"btc-drill-{ID}": "NO-GO"}
    await world.play("stopped", "rearmed", "released", "active")
    assert world.api.creations == 1
    assert world.age_seconds is None


async def test_bot_without_a_drill_costs_no_request(world: World) -> None:
    await world.play("active", "other", "active", RESTART, "active")
    assert world.api.reviews == {}
    await world.recorder.list_records()
    assert world.api.lists == 2, "one for each start"


async def test_next_drill_that_has_begun_ends_the_one_before(world: World) -> None:
    await world.play("active", "requested", "stopped")
    assert await world.look("requested", drill_id="next") == 0.0, "it is followed from now on"
    assert world.verdicts == {f"btc-drill-{ID}": "NO-GO"}
    await world.play("stopped", "active")
    assert world.verdicts == {f"btc-drill-{ID}": "NO-GO", "btc-drill-next": "GO"}


async def test_answer_that_was_lost_makes_no_second_record_and_counts(world: World) -> None:
    world.api.lost_answers = 1
    with pytest.raises(Transient):
        await world.play(*IN_ORDER)
    await world.look()
    assert len(world.api.reviews) == 1
    assert world.age_seconds is None, "what counts is what stands there"
    await world.recorder.list_records()
    assert world.age_seconds is not None


async def test_record_of_another_operator_counts_and_not_ours(world: World) -> None:
    await world.play("active", "requested", "stopped")
    theirs = {"bot": "btc", "kind": "Drill", "verdict": "NO-GO", "windowEnd": format_micro_time(T0)}
    metadata = {"name": f"btc-drill-{ID}", "namespace": "desk-a"}
    world.api.reviews[metadata["name"]] = {"metadata": metadata, "spec": theirs}
    await world.look("active")
    await world.recorder.list_records()
    assert world.age_seconds is None


async def test_transient_error_is_tried_again(world: World) -> None:
    world.api.errors = [Transient("create tradingreviews", "no answer")]
    with pytest.raises(Transient):
        await world.play(*IN_ORDER)
    assert world.reconciled == len(IN_ORDER), "the reconciliation comes first"
    await world.look()
    assert world.verdicts == {f"btc-drill-{ID}": "GO"}


async def test_refused_record_is_said_once_and_stops_nothing(world: World) -> None:
    world.api.errors = [Refused("create tradingreviews", 'unknown field "spec.kind"', status=400)]
    with capture_logs() as logs:
        await world.play(*IN_ORDER, "active", "active")
    assert world.reconciled == len(IN_ORDER) + 2
    assert [each["error"] for each in logs if each["event"] == "drill not recorded"] == [
        'create tradingreviews: unknown field "spec.kind"'
    ]
    assert world.age_seconds is None


async def test_operator_without_the_right_says_so_once_and_records_when_it_has_it(world: World) -> None:
    world.api.is_refused = True
    with capture_logs() as logs:
        await world.start()
        await world.recorder.list_records()
        await world.play(*IN_ORDER)
    assert [each["event"] for each in logs if each["log_level"] == "error"] == [
        "drills are not recorded", "drill not recorded"
    ]  # fmt: skip
    assert world.api.reviews == {}
    world.api.is_refused = False
    await world.recorder.list_records()
    await world.look("requested", drill_id="next")
    await world.play("stopped", "active")
    assert world.verdicts == {"btc-drill-next": "GO"}


async def test_records_that_cannot_be_listed_now_hold_nothing_up(world: World) -> None:
    await world.play(*IN_ORDER)
    world.api.is_away = True
    await world.play(RESTART, "stopped", "active")
    assert world.reconciled == len(IN_ORDER) + 2
    assert world.verdicts == {f"btc-drill-{ID}": "GO"}, "what another operator wrote stays"
    assert world.age_seconds is None
    world.api.is_away = False
    await world.recorder.list_records()
    assert world.age_seconds is not None


async def test_drill_of_a_bot_that_was_made_anew_is_not_the_new_ones(world: World) -> None:
    await world.play("active", "requested", "stopped")
    world.uid = "another"
    await world.play("active", "active")
    assert world.api.reviews == {}
    await world.look("requested", drill_id="next")
    await world.play("stopped", "active")
    assert world.verdicts == {"btc-drill-next": "GO"}


async def test_bot_that_was_out_of_sight_is_looked_at_as_if_for_the_first_time(world: World) -> None:
    await world.play("active")
    world.store.remove(kinds.BOT, world.store.bot(BTC) or {})
    await world.reconcile(BTC)
    await world.play("stopped", "active")
    assert world.verdicts == {f"btc-drill-{ID}": "INCONCLUSIVE"}


async def test_age_is_of_the_last_passed_drill_of_the_bot_that_is_there(world: World) -> None:
    for name, verdict, seconds in (("b", "GO", 20), ("a", "GO", 50), ("c", "NO-GO", 10)):
        at = format_micro_time(T0 - seconds * SECOND_NS)
        spec = {"bot": "btc", "kind": "Drill", "verdict": verdict, "windowEnd": at}
        world.api.reviews[name] = {"metadata": {"name": name, "namespace": "desk-a"}, "spec": spec}
    await world.play(RESTART, "active")
    assert world.age_seconds == pytest.approx(20.1)
    world.created_at = format_micro_time(T0 - 19 * SECOND_NS)
    await world.play("active")
    assert world.age_seconds is None, "it is another bot of this name"


@given(moments=st.lists(st.sampled_from([*MOMENTS, RESTART]), max_size=12))
@settings(deadline=None, max_examples=300)
def test_any_history_makes_one_record_at_most_and_a_go_only_of_what_was_seen(
    make_bot: Make, make_report: Make, moments: list[str]
) -> None:
    async def scenario() -> None:
        world = await World(make_bot, make_report).start()
        seen: list[str] = []
        """By this operator."""
        for moment in moments:
            before = len(world.api.reviews)
            await world.play(moment)
            seen = [] if moment == RESTART else [*seen, moment]
            assert len(world.api.reviews) <= 1
            if "GO" in world.verdicts.values() and before == 0:
                assert proves(seen), seen
        world.now_ns += BOUND_NS
        await world.look()
        assert len(world.api.reviews) <= 1

    asyncio.run(scenario())


def proves(seen: list[str]) -> bool:
    """The last stop that this operator saw was this drill's alone, it was there when that happened, and saw its end."""
    latched = [number for number, each in enumerate(seen) if each not in ("requested", "released", "active")]
    if not latched or seen[-1] != "active":
        return False
    stopped = [number for number in latched if seen[number] in ("stopped", "rearmed")]
    is_ours_alone = seen[latched[-1]] not in ("joined", "other")
    return bool(stopped) and is_ours_alone and seen[0] not in ("stopped", "rearmed", "joined")


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_drill_that_is_seen_from_its_beginning_is_a_go_however_often_each_report_comes(
    make_bot: Make, make_report: Make, data: st.DataObject
) -> None:
    """Reports may be missed, but not the one that the plugin waits for: the bot seen stopped."""
    moments = ["active"]
    for moment in IN_ORDER:
        least = 1 if moment in ("stopped", "active") else 0
        moments += [moment] * data.draw(st.integers(least, 3), label=moment)

    async def scenario() -> None:
        world = await World(make_bot, make_report).start()
        await world.play(*moments)
        assert world.verdicts == {f"btc-drill-{ID}": "GO"}

    asyncio.run(scenario())
