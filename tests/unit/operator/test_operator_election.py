"""One Lease and those who want it, in virtual time. Each process has a clock of its own."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from support.virtual import run
from tradingbot_operator import kinds
from tradingbot_operator.election import (
    ElectedKubeApi,
    ElectionRules,
    Elector,
    LeaseLost,
    build_claim,
    build_release,
    may_take,
    read_lease,
)
from tradingbot_operator.errors import Conflict, Refused, Transient
from tradingbot_operator.kinds import Key, Kind
from tradingbot_operator.kube import KubeApi

Raw = dict[str, Any]
RULES = ElectionRules(duration_seconds=15, renew_deadline_seconds=10.0, retry_seconds=2.0)


class LeaseServer:
    """The API server, as far as one Lease is concerned."""

    def __init__(self) -> None:
        self.lease: Raw | None = None
        self.version = 0
        self.writes: list[tuple[float, str]] = []
        """When, and who held it then."""

    def read(self) -> Raw | None:
        return copy.deepcopy(self.lease)

    def write(self, lease: Raw) -> Raw:
        self.version += 1
        self.lease = copy.deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        self.writes.append((asyncio.get_running_loop().time(), lease["spec"]["holderIdentity"]))
        return copy.deepcopy(self.lease)

    @property
    def holder(self) -> str:
        return self.lease["spec"]["holderIdentity"] if self.lease else ""


class Line:
    """One process's way to it: `fate` is asked before each request."""

    def __init__(self, server: LeaseServer) -> None:
        self.server = server
        self.fate: Callable[[], str] = lambda: ""
        """"": at once. "refuse": no connection. "no": an answer, which is no. "hang": no answer,
        ever. "lose": done, and no answer."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Raw | None:
        assert (kind, namespace, name) == (kinds.LEASE, "system", "operator")
        await self._meet()
        return self.server.read()

    async def create(self, kind: Kind, manifest: Raw) -> Raw:
        assert kind == kinds.LEASE
        assert "resourceVersion" not in manifest["metadata"]
        is_lost = await self._meet()
        if self.server.lease is not None:
            raise Conflict("create leases", "already exists", status=409)
        return await self._answer(self.server.write(manifest), is_lost=is_lost)

    async def replace(self, kind: Kind, manifest: Raw) -> Raw:
        assert kind == kinds.LEASE
        is_lost = await self._meet()
        if self.server.lease is None:
            raise Refused("update leases", "not found", status=404)
        if manifest["metadata"]["resourceVersion"] != self.server.lease["metadata"]["resourceVersion"]:
            raise Conflict("update leases", "modified", status=409)
        return await self._answer(self.server.write(manifest), is_lost=is_lost)

    async def _meet(self) -> bool:
        fate = self.fate()
        if fate == "refuse":
            raise Transient("leases", "no answer")
        if fate == "no":
            raise Refused("leases", "forbidden", status=403)
        if fate == "hang":
            await asyncio.Event().wait()
        return fate == "lose"

    async def _answer(self, lease: Raw, *, is_lost: bool) -> Raw:
        if is_lost:
            await asyncio.Event().wait()
        return lease


class Candidate:
    def __init__(
        self, server: LeaseServer, name: str, *, rules: ElectionRules = RULES, ahead_seconds: float = 0.0
    ) -> None:
        """`ahead_seconds`: of its clock, which nobody else must depend on."""
        self.name = name
        self.line = Line(server)
        self.looks = 0
        loop = asyncio.get_running_loop()
        self.elector = Elector(
            self.line,
            rules,
            namespace="system",
            name="operator",
            identity=name,
            clock=lambda: loop.time() + ahead_seconds,
            now_ns=lambda: round((loop.time() + ahead_seconds) * 1e9),
            random=random.Random(name).random,  # noqa: S311  jitter of a test
            saw_lease=self._look,
        )
        self.task = asyncio.create_task(self.elector.run(), name=name)

    def _look(self) -> None:
        self.looks += 1

    @property
    def leads(self) -> bool:
        return self.elector.holds()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def leave(self) -> None:
        """As the process does when it is asked to end."""
        await self.stop()
        await self.elector.release()


async def until(condition: Callable[[], bool], *, seconds: float = 120.0) -> float:
    """Virtual seconds that it took."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while not condition():
        assert loop.time() - began_at < seconds, "it never came"
        await asyncio.sleep(0.05)
    return loop.time() - began_at


Scenario = Callable[[LeaseServer], Coroutine[Any, Any, None]]


def virtually(scenario: Scenario) -> None:
    async def play() -> None:
        server = LeaseServer()
        try:
            await scenario(server)
        finally:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    run(play())


def test_first_one_leads_and_the_second_stands_by_and_looks() -> None:
    async def scenario(server: LeaseServer) -> None:
        first, second = Candidate(server, "a"), Candidate(server, "b")
        await until(lambda: first.leads or second.leads)
        for _ in range(600):
            await asyncio.sleep(1.0)
            assert first.leads
            assert not second.leads
        assert second.looks > 200
        assert not second.elector.has_won.is_set()
        assert server.lease is not None
        assert server.lease["spec"]["leaseTransitions"] == 0

    virtually(scenario)


def test_standby_takes_over_when_the_leader_is_silent_for_the_duration_and_not_before() -> None:
    async def scenario(server: LeaseServer) -> None:
        first = Candidate(server, "a")
        await until(lambda: first.leads)
        second = Candidate(server, "b")
        await asyncio.sleep(30.0)
        await first.stop()
        last_write = server.writes[-1][0]
        await until(lambda: second.leads)
        taken_at = next(at for at, holder in server.writes if holder == "b")
        assert 15.0 <= taken_at - last_write <= 15.0 + 2 * 2.4
        assert server.lease is not None
        assert server.lease["spec"]["leaseTransitions"] == 1

    virtually(scenario)


def test_leader_that_leaves_hands_over_at_once() -> None:
    async def scenario(server: LeaseServer) -> None:
        first = Candidate(server, "a")
        await until(lambda: first.leads)
        second = Candidate(server, "b")
        await asyncio.sleep(5.0)
        await first.leave()
        assert not first.leads
        assert server.holder == ""
        assert await until(lambda: second.leads) <= 2.5, "one look of the standby"

    virtually(scenario)


@pytest.mark.parametrize("fate", ["refuse", "hang"])
def test_leader_that_cannot_renew_stops_before_anybody_else_may_begin(fate: str) -> None:
    async def scenario(server: LeaseServer) -> None:
        first = Candidate(server, "a")
        await until(lambda: first.leads)
        second = Candidate(server, "b")
        await asyncio.sleep(20.0)
        first.line.fate = lambda: fate
        last_write = server.writes[-1][0]
        await until(lambda: not first.leads)
        stopped_at = asyncio.get_running_loop().time()
        assert not second.leads
        assert stopped_at - last_write <= 10.1
        with pytest.raises(LeaseLost, match="could not be renewed for 10 s"):
            await asyncio.wait_for(first.task, 1.0)
        await until(lambda: second.leads)
        assert next(at for at, holder in server.writes if holder == "b") - stopped_at >= 4.5

    virtually(scenario)


def test_short_outage_costs_nothing() -> None:
    async def scenario(server: LeaseServer) -> None:
        first, second = Candidate(server, "a"), Candidate(server, "b")
        await until(lambda: first.leads)
        for fate in ("refuse", "hang", "lose"):
            first.line.fate = lambda fate=fate: fate  # type: ignore[misc]
            await asyncio.sleep(5.0)
            first.line.fate = lambda: ""
            await asyncio.sleep(20.0)
            assert first.leads, fate
            assert not second.leads
        assert not first.task.done()

    virtually(scenario)


def test_process_that_was_paused_knows_it_the_moment_it_wakes() -> None:
    async def scenario(server: LeaseServer) -> None:
        first = Candidate(server, "a")
        await until(lambda: first.leads)
        asyncio.get_running_loop().jump(60.0)  # type: ignore[attr-defined]
        assert not first.leads, "before anything of it has run"

    virtually(scenario)


def test_lease_that_somebody_else_holds_is_lost_at_once() -> None:
    async def scenario(server: LeaseServer) -> None:
        first = Candidate(server, "a")
        await until(lambda: first.leads)
        assert server.lease is not None
        server.write(server.lease | {"spec": server.lease["spec"] | {"holderIdentity": "thief"}})
        with pytest.raises(LeaseLost, match="thief"):
            await asyncio.wait_for(first.task, 5.0)
        assert not first.leads

    virtually(scenario)


def test_lease_that_was_deleted_is_made_again_by_its_holder() -> None:
    async def scenario(server: LeaseServer) -> None:
        first, second = Candidate(server, "a"), Candidate(server, "b")
        await until(lambda: first.leads)
        await asyncio.sleep(5.0)
        for _ in range(20):
            server.lease = None
            await asyncio.sleep(7.3)
            assert first.leads
            assert not second.leads
            assert server.holder == "a"

    virtually(scenario)


def test_what_was_released_while_it_did_not_answer_ends_by_itself() -> None:
    async def scenario(server: LeaseServer) -> None:
        first = Candidate(server, "a")
        await until(lambda: first.leads)
        first.line.fate = lambda: "hang"
        await asyncio.wait_for(first.leave(), 10.5)
        assert not first.leads
        assert server.holder == "a"

    virtually(scenario)


def test_lease_is_given_back_by_a_leader_whose_renewal_was_under_way_when_it_was_asked_to_end() -> None:
    """The API server took the renewal, and nobody read its answer: what we know of the Lease is old."""

    async def scenario(server: LeaseServer) -> None:
        first = Candidate(server, "a")
        await until(lambda: first.leads)
        first.line.fate = lambda: "lose"
        writes = len(server.writes)
        await until(lambda: len(server.writes) > writes)
        first.line.fate = lambda: ""
        await first.leave()
        assert server.holder == ""

    virtually(scenario)


def test_lease_that_somebody_took_meanwhile_stays_his() -> None:
    async def scenario(server: LeaseServer) -> None:
        first = Candidate(server, "a")
        await until(lambda: first.leads)
        await first.stop()
        assert server.lease is not None
        server.write(server.lease | {"spec": server.lease["spec"] | {"holderIdentity": "thief"}})
        await first.elector.release()
        assert server.holder == "thief"

    virtually(scenario)


def test_one_who_never_led_gives_nothing_back() -> None:
    async def scenario(server: LeaseServer) -> None:
        first, second = Candidate(server, "a"), Candidate(server, "b")
        await until(lambda: first.leads)
        writes = len(server.writes)
        await second.leave()
        assert len(server.writes) == writes

    virtually(scenario)


def test_standby_outlives_an_api_server_that_refuses_or_hangs() -> None:
    async def scenario(server: LeaseServer) -> None:
        first = Candidate(server, "a")
        fates = iter(["refuse", "hang", "refuse", "lose"])
        first.line.fate = lambda: next(fates, "")
        await until(lambda: first.leads)
        assert not first.task.done()

    virtually(scenario)


@pytest.mark.parametrize(("fates", "hints"), [(["hang", "refuse"] * 3, 4), (["hang", "hang"], 0), (["no"] * 6, 0)])
def test_api_server_that_never_answers_is_explained_and_one_that_says_no_is_not(fates: list[str], hints: int) -> None:
    async def scenario(server: LeaseServer) -> None:
        first = Candidate(server, "a")
        left = iter(fates)
        first.line.fate = lambda: next(left, "")
        await until(lambda: first.leads)

    with structlog.testing.capture_logs() as logged:
        virtually(scenario)
    told = [line for line in logged if line["event"] == "lease not read"]
    assert len(told) == len(fates)
    assert ["hint" in line for line in told] == [False] * (len(fates) - hints) + [True] * hints


FATES = st.sampled_from(["", "", "", "", "refuse", "hang", "lose"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(FATES, max_size=60),
    st.lists(FATES, max_size=60),
    st.lists(st.sampled_from(["a dies", "b dies", "nothing"]), max_size=8),
    st.floats(min_value=-1000.0, max_value=1000.0),
)
def test_two_never_lead_at_once(a_fates: list[str], b_fates: list[str], blows: list[str], ahead: float) -> None:
    """Whatever requests come to, whatever their clocks show, whoever dies and comes back."""

    async def scenario(server: LeaseServer) -> None:
        a, b = Candidate(server, "a"), Candidate(server, "b", ahead_seconds=ahead)
        left = {"a": iter(a_fates), "b": iter(b_fates)}

        def bind(candidate: Candidate) -> None:
            fates = left[candidate.name[0]]
            candidate.line.fate = lambda: next(fates, "")

        bind(a)
        bind(b)
        for number, blow in enumerate([*blows, *["nothing"] * 8]):
            for _ in range(50):
                await asyncio.sleep(0.1)
                assert not (a.leads and b.leads)
            if blow == "a dies" or a.task.done():
                await a.stop()
                a = Candidate(server, f"a{number}")
                bind(a)
            if blow == "b dies" or b.task.done():
                await b.stop()
                b = Candidate(server, f"b{number}", ahead_seconds=ahead)
                bind(b)

    virtually(scenario)


def test_time_of_a_holder_counts_from_when_it_was_first_seen_unchanged() -> None:
    lease = build_claim({"metadata": {"name": "x"}}, identity="a", duration_seconds=15, now_ns=10**18)
    view = read_lease(lease, previous=None, now=5.0)
    again = read_lease(lease, previous=view, now=19.0)
    assert again.first_seen_at == 5.0
    assert not may_take(again, identity="b", least_seconds=15, now=19.9)
    assert may_take(again, identity="b", least_seconds=15, now=20.0)
    renewed = build_claim(lease, identity="a", duration_seconds=15, now_ns=2 * 10**18)
    assert read_lease(renewed, previous=again, now=21.0).first_seen_at == 21.0


def test_holder_who_asked_for_more_time_gets_it_and_one_who_asked_for_less_gets_ours() -> None:
    for asked, expected in ((60, 60.0), (1, 15.0)):
        lease = build_claim({"metadata": {}}, identity="a", duration_seconds=asked, now_ns=0)
        view = read_lease(lease, previous=None, now=0.0)
        assert not may_take(view, identity="b", least_seconds=15, now=expected - 0.1)
        assert may_take(view, identity="b", least_seconds=15, now=expected)


def test_lease_that_nobody_or_we_hold_may_be_taken() -> None:
    held = build_claim({"metadata": {}}, identity="a", duration_seconds=15, now_ns=0)
    released = read_lease(build_release(held, now_ns=1), previous=None, now=0.0)
    assert may_take(released, identity="b", least_seconds=15, now=0.0)
    assert may_take(read_lease(held, previous=None, now=0.0), identity="a", least_seconds=15, now=0.0)
    assert may_take(read_lease({"metadata": {}}, previous=None, now=0.0), identity="b", least_seconds=15, now=0.0)


def test_taking_over_counts_a_transition_and_renewing_does_not() -> None:
    made = build_claim({"metadata": {}}, identity="a", duration_seconds=15, now_ns=10**9)
    assert made["spec"] == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": "1970-01-01T00:00:01.000000Z",
        "renewTime": "1970-01-01T00:00:01.000000Z",
        "leaseTransitions": 0,
    }
    renewed = build_claim(made, identity="a", duration_seconds=15, now_ns=2 * 10**9)
    assert renewed["spec"] == made["spec"] | {"renewTime": "1970-01-01T00:00:02.000000Z"}
    taken = build_claim(build_release(renewed, now_ns=3 * 10**9), identity="b", duration_seconds=15, now_ns=4 * 10**9)
    assert (taken["spec"]["leaseTransitions"], taken["spec"]["acquireTime"]) == (1, "1970-01-01T00:00:04.000000Z")


class Recorder:
    """A KubeApi that takes everything."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Raw]]:
        async def call(*_: Any, **__: Any) -> Raw:
            self.calls.append(name)
            return {}

        return call


READS = {"list", "get", "dry_run", "find_warning"}
ARGUMENTS: dict[str, tuple[tuple[Any, ...], Raw]] = {
    "list": ((kinds.ROLE, None), {}),
    "get": ((kinds.ROLE, "a", "b"), {}),
    "find_warning": (("a", kinds.ROLE, "b"), {}),
    "dry_run": ((kinds.ROLE, {}), {}),
    "apply": ((kinds.ROLE, {}), {"force": True}),
    "apply_finalizers": ((Key("a", "b"), []), {"uid": "u"}),
    "apply_status": ((Key("a", "b"), {}), {"resource_version": "1"}),
    "create": ((kinds.REVIEW, {}), {}),
    "delete": ((kinds.ROLE, "a", "b"), {"uid": "u"}),
    "create_event": (({},), {}),
}


def test_every_request_of_the_protocol_is_a_read_or_guarded() -> None:
    assert {name for name in vars(KubeApi) if not name.startswith("_")} == ARGUMENTS.keys()


@pytest.mark.parametrize("name", list(ARGUMENTS))
async def test_nothing_is_written_without_the_lease(name: str) -> None:
    holds, under = False, Recorder()
    api = ElectedKubeApi(under, lambda: holds)  # type: ignore[arg-type]  # it takes any call
    arguments, keywords = ARGUMENTS[name]
    if name not in READS:
        with pytest.raises(Transient, match="does not hold the Lease"):
            await getattr(api, name)(*arguments, **keywords)
        assert under.calls == []
        holds = True
    await getattr(api, name)(*arguments, **keywords)
    assert under.calls == [name]
