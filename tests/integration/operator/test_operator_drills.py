"""Drills on a real API server: one record each, whatever happens to operators meanwhile; the test plays the trader."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tradingbot_api.labels import DRILL, drill_reason

pytestmark = pytest.mark.control_plane
Raw = dict[str, Any]
ID, LATCH = "0123456789ab", "latch-1"
STEPS = ["Requested", "Acknowledged", "Stopped", "Released", "Active"]
LEASE_TIMES = ("--lease-duration-seconds=4", "--lease-renew-deadline-seconds=2.5", "--lease-retry-seconds=0.4")


def reviews_path(desk: Any) -> str:
    return f"/apis/tradingbot.dev/v1alpha1/namespaces/{desk.namespace}/tradingreviews"


def now() -> str:
    seconds = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1e6):06d}Z"


@dataclass
class Drilled:
    """The bot `btc`, what the plugin patches, and what a trader reports."""

    desk: Any
    latch: Raw

    def request(self) -> None:
        switch = {"engaged": True, "reason": drill_reason(ID), "rearm": ""}
        body = {"metadata": {"annotations": {DRILL: ID}}, "spec": {"killSwitch": switch}}
        answer = self.desk.admin.merge(self.desk.path("TradingBot", "btc"), body)
        assert answer.is_success, answer.body
        self.latch |= {"engagedAt": now()}

    def report(self, state: str, **changes: Any) -> None:
        """That latch, and the operator has seen it."""
        if state == "Armed":
            self.desk.report(latch={"state": "Armed"}, **changes)
        else:
            self.latch |= {"state": state, "acknowledgedAt": self.latch.get("acknowledgedAt") or now()} | changes
            self.desk.report(latch=self.latch, state="ReduceOnly")

    def until_mirrored(self, state: str) -> None:
        self.desk.until(f"the mirror says {state}", lambda: self.desk.status()["killSwitch"].get("state") == state)

    def rearm(self) -> None:
        self.desk.patch({"killSwitch": {"engaged": False, "rearm": LATCH}})

    def finish(self) -> None:
        self.rearm()
        self.report("Armed")

    @property
    def reviews(self) -> list[Raw]:
        def look() -> Any:
            """The first request for a kind may be told to come again."""
            answer = self.desk.admin.get(reviews_path(self.desk))
            return answer if answer.is_success else None

        items: list[Raw] = self.desk.until("reviews can be listed", look).body["items"]
        return items

    def until_recorded(self) -> Raw:
        review: Raw = self.desk.until("a record", lambda: self.reviews and self.reviews[0])
        return review


def age_of(operator: Any, desk: Any) -> float | None:
    line = rf'^tradingbot_operator_drill_age_seconds{{bot="btc",namespace="{desk.namespace}"}} (\S+)$'
    found = re.search(line, operator.http("/metrics")[1], re.MULTILINE)
    return float(found[1]) if found else None


@pytest.fixture
def drilled(desk: Any) -> Callable[[], Drilled]:
    """To be called when an operator runs."""

    def make() -> Drilled:
        desk.create_bot()
        desk.until_current()
        desk.make_pod_ready()
        desk.report(latch={"state": "Armed"})
        desk.until_verdict("Ready", "True", "Trading")
        since = now()
        source = {"source": "KillSwitch", "action": "CancelOrders", "reason": drill_reason(ID), "since": since}
        latch = {"id": LATCH, "reason": drill_reason(ID), "source": "KillSwitch", "action": "CancelOrders"}
        return Drilled(desk, latch | {"sources": [source | {"active": True}]})

    return make


def test_drill_is_recorded_once_for_ever_and_its_age_is_told(
    desk: Any, start_operator: Any, audit: Any, drilled: Callable[[], Drilled]
) -> None:
    operator = start_operator(f"--namespaces={desk.namespace}").until_ready()
    drill = drilled()
    assert age_of(operator, desk) is None
    drill.request()
    drill.report("Stopping")
    drill.report("Stopped")
    drill.until_mirrored("Stopped")
    assert drill.reviews == []
    drill.finish()
    review = drill.until_recorded()
    assert review["metadata"]["name"] == f"btc-drill-{ID}"
    assert "ownerReferences" not in review["metadata"]
    spec = review["spec"]
    assert (spec["kind"], spec["verdict"], spec["bot"], spec["stage"]) == ("Drill", "GO", "btc", "micro")
    assert [each["step"] for each in spec["steps"]] == STEPS
    assert spec["steps"][1]["at"] == drill.latch["acknowledgedAt"]
    measured = [each["milliseconds"] for each in spec["steps"]]
    assert measured[0] == 0
    assert measured[2:] == sorted(measured[2:])

    refused = desk.admin.merge(f"{reviews_path(desk)}/btc-drill-{ID}", {"spec": {"bot": "eth"}})
    assert "a review cannot be changed" in refused.body["message"]
    age = desk.until("the age", lambda: age_of(operator, desk))
    desk.until("it grows", lambda: (age_of(operator, desk) or 0) > age)

    operator.until_resynced()
    assert [each.verb for each in audit.writes() if each.resource == "tradingreviews"] == ["create"]
    operator.kill()
    before = audit.events()
    again = start_operator(f"--namespaces={desk.namespace}").until_ready()
    again.until_resynced(3)
    after = audit.events()[len(before) :]
    assert [each for each in after if each.is_write] == []
    assert len([each for each in after if (each.resource, each.verb) == ("tradingreviews", "list")]) == 1
    assert (age_of(again, desk) or 0) > age

    assert desk.admin.delete(desk.path("TradingBot", "btc")).is_success
    desk.until("the age goes with the bot", lambda: age_of(again, desk) is None)
    assert drill.reviews == [review], "the record outlives the bot"
    assert again.stop() == 0


def test_stop_that_another_one_joins_is_no_go_and_has_no_age(
    desk: Any, start_operator: Any, drilled: Callable[[], Drilled]
) -> None:
    operator = start_operator(f"--namespaces={desk.namespace}").until_ready()
    drill = drilled()
    drill.request()
    loss = {"source": "Drawdown", "action": "Flatten", "reason": "", "since": now(), "active": True}
    drill.report("Stopped", sources=[*drill.latch["sources"], loss])
    review = drill.until_recorded()
    assert review["spec"]["verdict"] == "NO-GO"
    assert "Drawdown came in between" in review["spec"]["message"]
    drill.finish()
    operator.until_resynced()
    assert len(drill.reviews) == 1
    assert age_of(operator, desk) is None
    assert operator.stop() == 0


@pytest.mark.parametrize(("seen", "verdict"), [("Stopping", "GO"), ("Stopped", "INCONCLUSIVE")])
def test_operator_that_starts_in_the_middle_claims_what_it_has_seen_and_no_more(
    desk: Any, start_operator: Any, drilled: Callable[[], Drilled], seen: str, verdict: str
) -> None:
    operator = start_operator(f"--namespaces={desk.namespace}").until_ready()
    drill = drilled()
    drill.request()
    desk.until_current()
    operator.kill()
    drill.report(seen)
    again = start_operator(f"--namespaces={desk.namespace}").until_ready()
    drill.until_mirrored(seen)
    drill.report("Stopped")
    drill.until_mirrored("Stopped")
    drill.finish()
    spec = drill.until_recorded()["spec"]
    assert spec["verdict"] == verdict, spec
    assert [each["step"] for each in spec["steps"]] == STEPS
    assert again.stop() == 0


def test_drill_that_nobody_saw_has_no_record(desk: Any, start_operator: Any, drilled: Callable[[], Drilled]) -> None:
    operator = start_operator(f"--namespaces={desk.namespace}").until_ready()
    drill = drilled()
    operator.kill()
    drill.request()
    drill.report("Stopped")
    drill.finish()
    again = start_operator(f"--namespaces={desk.namespace}").until_ready()
    desk.until_current()
    again.until_resynced()
    assert drill.reviews == []
    assert again.stop() == 0


def test_leader_that_is_killed_in_the_middle_leaves_one_record(
    desk: Any, start_operator: Any, drilled: Callable[[], Drilled]
) -> None:
    given = (f"--namespaces={desk.namespace}", f"--lease-name=drill-{desk.namespace}", *LEASE_TIMES)
    leader = start_operator(*given).until_ready()
    drill = drilled()
    successor = start_operator(*given).until_ready()
    drill.request()
    drill.report("Stopping")
    drill.until_mirrored("Stopping")
    leader.kill()
    drill.report("Stopped")
    desk.until("another leads", lambda: successor.metric("tradingbot_operator_leader") == 1.0)
    drill.until_mirrored("Stopped")
    drill.finish()
    review = drill.until_recorded()
    assert review["spec"]["verdict"] == "INCONCLUSIVE", "when it had stopped nobody saw"
    third = start_operator(*given).until_ready()
    assert successor.stop() == 0
    desk.until("the third leads", lambda: third.metric("tradingbot_operator_leader") == 1.0)
    third.until_resynced()
    assert drill.reviews == [review]
    assert third.stop() == 0


@pytest.mark.parametrize(
    ("verbs", "said"),
    [(("list", "create"), "drills are not recorded"), (("create",), "drill not recorded")],
    ids=["no right", "no right to create"],
)
def test_operator_with_an_older_role_says_so_and_does_all_else(
    desk: Any,
    start_operator: Any,
    make_account: Any,
    drilled: Callable[[], Drilled],
    tmp_path: Path,
    verbs: tuple[str, ...],
    said: str,
) -> None:
    older = make_account(f"older-{len(verbs)}", without="tradingreviews", verbs=verbs, folder=tmp_path / "older")
    operator = start_operator(f"--namespaces={desk.namespace}", given=older).until_ready()
    drill = drilled()
    drill.request()
    drill.report("Stopped")
    drill.until_mirrored("Stopped")
    drill.finish()
    desk.until_verdict("Halted", "False", "NotHalted")
    desk.until("it is said", lambda: "drill not recorded" in operator.log)
    operator.until_resynced(3)
    assert operator.log.count(said) == 1
    assert "tradingreviews" in operator.log
    assert drill.reviews == []
    desk.patch({"capital": {"stage": "small"}})
    assert desk.until_current()["permit"]["stage"] == "small"
    assert operator.http("/healthz")[0] == 200
    assert operator.stop() == 0


def test_older_crd_takes_no_record_that_would_look_like_a_stages(
    desk: Any, start_operator: Any, drilled: Callable[[], Drilled], crds: list[Raw], change_crd: Any
) -> None:
    (usual,) = (each for each in crds if each["spec"]["names"]["kind"] == "TradingReview")
    older = copy.deepcopy(usual)
    version = older["spec"]["versions"][0]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for field in ("kind", "steps"):
        del spec["properties"][field]
    spec["x-kubernetes-validations"] = [
        each for each in spec["x-kubernetes-validations"] if "self.kind" not in each["rule"]
    ]
    version["additionalPrinterColumns"] = [
        each for each in version["additionalPrinterColumns"] if each["jsonPath"] != ".spec.kind"
    ]
    with change_crd(older, usual):
        operator = start_operator(f"--namespaces={desk.namespace}").until_ready()
        drill = drilled()
        drill.request()
        drill.report("Stopped")
        drill.until_mirrored("Stopped")
        drill.finish()
        desk.until("it is said", lambda: "drill not recorded" in operator.log)
        assert 'unknown field \\"spec.kind\\"' in operator.log
        assert drill.reviews == []
        assert operator.stop() == 0
