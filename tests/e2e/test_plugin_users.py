"""Ten people kill and re-arm one bot at once, each by the plugin's own classes and under a name of their own: the
trader's audit is one history, and nobody was told of a stop that was not there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.live_bots import read_audit
from support.polling import until
from support.stack import Stack, build_bot
from tradingbot_plugin.clock import SystemClock
from tradingbot_plugin.errors import PluginError
from tradingbot_plugin.kill import Kill, Target, Wish
from tradingbot_plugin.kube import Access, Kube, connect
from tradingbot_plugin.proof import Outcome
from tradingbot_plugin.rearm import Rearm
from tradingbot_plugin.view import Ref, read_bot

PEOPLE = 10
ROUNDS = 10
PROOF_SECONDS = 300.0
"""Of one kill, in a crowd on a busy machine."""
RELEASE_SECONDS = 2.0
"""Of one try. Whoever is overtaken tries again until the latch that he saw is gone."""


@dataclass(frozen=True, slots=True)
class Told:
    """A kill that somebody was told is proved."""

    asked_ns: int
    latch: str


@dataclass(frozen=True, slots=True)
class Life:
    """One latch, by the audit."""

    latch: str
    engaged_ns: int
    released_ns: int | None


class Broken(AssertionError):  # noqa: N818  named by consequence (STYLE)
    """The audit is no consistent history."""


def read_lives(events: Sequence[tuple[int, str, str]]) -> list[Life]:
    """Of (time, Latched or Rearmed, id), oldest first. Each latch is engaged before it is released, released at most
    once, never engaged again, and none begins while another stands. A Latched of the one that stands is a stricter
    action."""
    lives: list[Life] = []
    for at_ns, kind, latch in events:
        standing = lives[-1] if lives and lives[-1].released_ns is None else None
        if kind == "Rearmed":
            if standing is None or standing.latch != latch:
                raise Broken(f"{latch} was released and did not stand; {lives[-2:]}")
            lives[-1] = Life(latch, standing.engaged_ns, at_ns)
        elif standing is None:
            if latch in {life.latch for life in lives}:
                raise Broken(f"{latch} was engaged again after its release")
            lives.append(Life(latch, at_ns, None))
        elif standing.latch != latch:
            raise Broken(f"{latch} was engaged while {standing.latch} stood")
    return lives


def check_told(told: Sequence[Told], lives: Sequence[Life]) -> None:
    """Each latch that proved a stop stood at or after the moment in which that stop was asked for."""
    by_id = {life.latch: life for life in lives}
    for each in told:
        life = by_id.get(each.latch)
        if life is None:
            raise Broken(f"{each.latch} was told as a proof and never stood")
        if life.released_ns is not None and life.released_ns < each.asked_ns:
            raise Broken(f"{each.latch} was told as a proof and was released before the stop was asked for")


@pytest.mark.parametrize(
    "events",
    [
        [(1, "Rearmed", "a")],
        [(1, "Latched", "a"), (2, "Rearmed", "b")],
        [(1, "Latched", "a"), (2, "Rearmed", "a"), (3, "Rearmed", "a")],
        [(1, "Latched", "a"), (2, "Latched", "b")],
        [(1, "Latched", "a"), (2, "Rearmed", "a"), (3, "Latched", "a")],
    ],
    ids=["never engaged", "another", "released twice", "two at once", "engaged again"],
)
def test_history_that_is_not_one_is_found(events: list[tuple[int, str, str]]) -> None:
    with pytest.raises(Broken):
        read_lives(events)


@pytest.mark.parametrize("told", [Told(5, "b"), Told(5, "a")], ids=["never stood", "released before"])
def test_proof_that_was_none_is_found(told: Told) -> None:
    with pytest.raises(Broken):
        check_told([told], [Life("a", 1, 4)])
    check_told([Told(3, "a"), Told(4, "a")], [Life("a", 1, 4)])


@pytest.fixture
def people(stack: Stack, desk: str) -> Iterator[list[Access]]:
    """On duty by their group, each under his own name."""
    stack.kubectl("create", "clusterrolebinding", desk, "--clusterrole=tradingbot-on-duty", f"--group={desk}")
    kubeconfig = stack.environment["KUBECONFIG"]
    yield [Access(kubeconfig=kubeconfig, user=f"{desk}-{number}", group=desk) for number in range(PEOPLE)]
    stack.kubectl("delete", "clusterrolebinding", desk)


def test_ten_people_who_kill_and_rearm_ten_times_make_one_history_and_lose_no_latch(
    stack: Stack, desk: str, people: list[Access]
) -> None:
    ref = Ref(desk, "btc")
    stack.apply(build_bot("btc", desk))
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready").get("status") == "True")
    told: list[Told] = []
    unproved: list[str] = []

    def act(person: Access) -> list[str]:
        kube, is_hasty = connect(person), is_in_a_hurry(person)
        latches: list[str] = []
        try:
            for left in reversed(range(ROUNDS)):
                asked_ns = time.time_ns()
                target = kill(kube, ref, person.user)
                if target.proof.outcome is not Outcome.STOPPED:
                    unproved.append(f"{person.user}: {target.proof}")
                    continue
                latches.append(latch_of(target))
                told.append(Told(asked_ns, latches[-1]))
                if is_hasty and left:
                    with suppress(PluginError):
                        Rearm(kube, SystemClock(), print).ask(ref, latch_id=latches[-1])
                    continue
                until("its release, by whomever", lambda: is_gone(kube, ref, latches[-1]), seconds=PROOF_SECONDS)
        finally:
            kube.close()
        return latches

    with ThreadPoolExecutor(PEOPLE) as pool:
        latches = list(pool.map(act, people))
    assert unproved == []
    # Each has waited at last for the end of his last latch, so whoever killed last was the last to re-arm.
    assert stack.trader(desk, "btc")["latch"]["state"] == "Armed"
    assert stack.get("tb", "btc", desk)["spec"]["killSwitch"]["engaged"] is False
    patient = [each for each, person in zip(latches, people, strict=True) if not is_in_a_hurry(person)]
    assert all(len(set(each)) == ROUNDS for each in patient), "a latch that he saw released proved a later stop"

    store, kube = stack.store(desk, "btc"), connect(people[0])
    try:
        last_ns = time.time_ns()
        target = kill(kube, ref, people[0].user)
        assert target.proof.outcome is Outcome.STOPPED
        last = latch_of(target)
        lives = read_lives(read_events(store))
        assert (lives[-1].latch, lives[-1].released_ns) == (last, None)
        assert rearm(kube, ref, last, seconds=PROOF_SECONDS)
    finally:
        kube.close()
    trader = stack.trader(desk, "btc")
    assert trader["latch"]["state"] == "Armed"

    lives = read_lives(read_events(store))
    assert all(life.released_ns is not None for life in lives)
    check_told([*told, Told(last_ns, last)], lives)
    assert len(told) == PEOPLE * ROUNDS
    halts = stack.kubectl("get", "tradinghalts", "-o", "name").split()
    assert [name for name in halts if desk in name] == []
    head = trader["auditHead"]
    verify(store, f"{head['sequence']}:{head['hash']}" if isinstance(head, dict) else str(head))


def is_in_a_hurry(person: Access) -> bool:
    """Kills again without waiting for the release that he has asked for: what status says then is about to be wrong."""
    return int(person.user[-1]) % 3 == 0


def kill(kube: Kube, ref: Ref, who: str) -> Target:
    """Every other person makes a halt as well."""
    wish = Wish(
        action=None, reason=f"by {who}", makes_halt=int(who[-1]) % 2 == 0, timeout_seconds=PROOF_SECONDS
    )  # fmt: skip
    (target,) = Kill(kube, SystemClock(), print).run([ref], wish)
    return target


def latch_of(target: Target) -> str:
    assert target.bot is not None
    assert target.bot.trader is not None
    return target.bot.trader.latch.id


def rearm(kube: Kube, ref: Ref, latch: str, *, seconds: float) -> bool:
    release = Rearm(kube, SystemClock(), print).run(
        ref,
        latch_id=latch,
        is_wanted=lambda bot: True,  # noqa: ARG005
        timeout_seconds=seconds,
    )
    return release.is_released


def is_gone(kube: Kube, ref: Ref, latch: str) -> bool:
    """After one more try to release it."""
    with suppress(PluginError):  # somebody was faster, or has just stopped it again
        rearm(kube, ref, latch, seconds=RELEASE_SECONDS)
    trader = read_bot(kube.get_bot(ref)).trader
    return trader is not None and (not trader.latch.is_set or trader.latch.id != latch)


def read_events(store: Path) -> list[tuple[int, str, str]]:
    """In the trail's own order."""
    events = [(at_ns, "Latched", str(told["latch"]["id"])) for at_ns, told in read_audit(store, "Latched")]
    events += [(at_ns, "Rearmed", str(told["id"])) for at_ns, told in read_audit(store, "Rearmed")]
    return sorted(events)


def verify(store: Path, head: str) -> None:
    command = [
        str(Path(sys.executable).with_name("tradingbot-trader")), "audit", "verify", "--store", str(store),
        "--head", head,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
