"""The leader is killed again and again while people, drift and new bots keep it busy.

CHAOS_KILLS=5 is a slice of it, CHAOS_SEED another play.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import ssl
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest

from chaos.conftest import DURATION_SECONDS, VENUE, Fleet
from integration.operator import conftest as parts
from tradingbot_operator import kinds
from tradingbot_operator.children.platform import Platform
from tradingbot_operator.manifest import Manifest
from tradingbot_operator.plan.drift import is_up_to_date
from tradingbot_operator.plan.plan import Observation, plan
from tradingbot_operator.settings import Settings
from tradingbot_operator.timestamps import parse_time_ns
from tradingbot_sandbox.control_plane.api import ApiClient
from tradingbot_sandbox.control_plane.audit import AuditEvent

pytestmark = [pytest.mark.control_plane, pytest.mark.soak, pytest.mark.timeout(1200)]
KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
BOTS = 50
CHANGES_PER_KILL = 16
SETTLE_SECONDS = 120.0
DRIFTED = ("Service", "Deployment", "Role", "ServiceAccount", "NetworkPolicy")


@dataclass
class People:
    """Change bots and their children at random, the same again for the same seed."""

    desk: parts.Desk
    dice: random.Random
    names: list[str] = field(default_factory=list)
    deployments_deleted: Counter[str] = field(default_factory=Counter)

    def create(self) -> None:
        name = f"bot-{len(self.names)}"
        self.desk.create_bot({"metadata.name": name})
        self.names.append(name)

    def change_something(self) -> None:
        action = self.dice.choice([self.edit, self.edit, self.delete_a_child, self.bend_a_child])
        action(self.dice.choice(self.names))

    def edit(self, name: str) -> None:
        stage = self.dice.choice(["micro", "small"])
        notional = str(self.dice.randint(5, 20))
        self.desk.patch({"capital": {"stage": stage}, "risk": {"maxOrderNotional": notional}}, name=name)

    def delete_a_child(self, name: str) -> None:
        kind = self.dice.choice(DRIFTED)
        deleted = self.desk.admin.delete(self.desk.path(kind, f"{name}-trader")).is_success
        if deleted and kind == "Deployment":
            self.deployments_deleted[name] += 1

    def bend_a_child(self, name: str) -> None:
        """Not found, or changed by the operator at the same moment: then it is not bent."""
        changes = {"spec": {"replicas": 3}, "metadata": {"labels": {"tradingbot.dev/bot": name, "by": "hand"}}}
        self.desk.admin.merge(self.desk.path("Deployment", f"{name}-trader"), changes)


class LeaseHistory:
    """Who held it, as seen all the time."""

    def __init__(self, fleet: Fleet) -> None:
        self.terms: list[dict[str, Any]] = []
        self._fleet = fleet
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> LeaseHistory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(10)

    def _look(self) -> None:
        while not self._is_over.wait(0.05):
            spec = self._fleet.lease()
            if not spec.get("holderIdentity"):
                continue
            if not self.terms or self.terms[-1]["holderIdentity"] != spec["holderIdentity"]:
                self.terms.append(spec)
            self.terms[-1] = spec | {"acquireTime": self.terms[-1]["acquireTime"]}

    def shortest_pause_seconds(self) -> float:
        """Between the last renewal of one holder and the first of the next; all on the clock of this one machine."""
        pauses = [
            (parse_time_ns(after["acquireTime"]) or 0) - (parse_time_ns(before["renewTime"]) or 0)
            for before, after in pairwise(self.terms)
        ]
        return min(pauses) / 1e9


class DeploymentHistory:
    """All that ever were, from a watch of the test's own."""

    def __init__(self, fleet: Fleet) -> None:
        self._admin, self._namespace = fleet.control_plane.admin, fleet.desk.namespace
        self.alive: dict[str, set[str]] = defaultdict(set)
        """uids that are there, by bot."""
        self.made: Counter[str] = Counter()
        self.twins: list[str] = []
        """Bots that had two at a time."""
        self._is_open = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> DeploymentHistory:
        """Before there is any."""
        self._thread.start()
        assert self._is_open.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # a close would wait for the reader
        self._thread.join(10)

    def _follow(self) -> None:
        address, tls = urlsplit(self._admin.url), self._admin.tls
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.load_cert_chain(tls.certificate, tls.key)
        connection = http.client.HTTPSConnection(address.hostname or "", address.port, context=context)
        connection.request("GET", f"/apis/apps/v1/namespaces/{self._namespace}/deployments?watch=true")
        self._socket = connection.sock
        response = connection.getresponse()
        self._is_open.set()
        with suppress(OSError, ValueError, AttributeError, http.client.HTTPException):  # closed at the end
            while line := response.readline():
                self._take(json.loads(line))
        response.close()
        connection.close()

    def _take(self, event: dict[str, Any]) -> None:
        metadata = event["object"]["metadata"]
        bot = metadata["labels"]["tradingbot.dev/bot"]
        if event["type"] == "ADDED":
            self.made[bot] += 1
            self.alive[bot].add(metadata["uid"])
        elif event["type"] == "DELETED":
            self.alive[bot].discard(metadata["uid"])
        if len(self.alive[bot]) > 1:
            self.twins.append(bot)


def observe(admin: ApiClient, namespace: str, name: str) -> Observation:
    """As the API server has it now."""

    def read(kind: kinds.Kind, object_name: str) -> Manifest | None:
        root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
        answer = admin.get(f"{root}/namespaces/{namespace}/{kind.plural}/{object_name}")
        return answer.body if answer.is_success else None

    bot = read(kinds.BOT, name)
    assert bot is not None, name
    return Observation(bot, {kind: read(kind, f"{name}-trader") for kind in kinds.BUILT_IN})


def find_differences(observation: Observation, platform: Platform) -> list[str]:
    """Between what is there and what its plan wants; the plan of what is as it should be is empty."""
    name = observation.bot["metadata"]["name"]
    todo = plan(observation, platform, time.time_ns())
    missing = [kind.name for kind, child in observation.children.items() if child is None]
    stale = [
        apply.kind.name
        for apply in todo.applies
        if (child := observation.children[apply.kind]) is None or not is_up_to_date(apply.manifest, child)
    ]
    rest = [] if todo.is_empty else [str(todo)]
    return [f"{name}: missing {missing}, stale {stale}, plan {rest}"] if missing or stale or rest else []


def read_audit(fleet: Fleet, offset: int) -> list[AuditEvent]:
    """In the order in which the API server took them."""
    with fleet.control_plane.audit_log.open("rb") as file:
        file.seek(offset)
        raw = [json.loads(line) for line in file if line.endswith(b"\n")]
    raw.sort(key=lambda event: event["requestReceivedTimestamp"])
    return [AuditEvent.from_json(event) for event in raw]


def find_writes_without_lease(fleet: Fleet, events: list[AuditEvent]) -> list[AuditEvent]:
    """Of an operator, after another one had taken the Lease."""
    holder, found = "", []
    for event in events:
        if event.user not in fleet.users.values() or not event.is_write or event.code >= 300:
            continue
        if event.namespace == parts.OPERATORS and event.resource == "leases":
            holder = event.user
        elif event.user != holder:
            found.append(event)
    return found


def test_whatever_the_leader_was_doing_when_it_was_killed_its_successor_ends_it(fleet: Fleet) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "5"))
    people = People(fleet.desk, random.Random(seed))  # noqa: S311  a plan of changes
    platform = Settings(_cli_parse_args=[f"--exchange-addresses={json.dumps(VENUE)}"]).platform
    offset = fleet.control_plane.audit_log.stat().st_size
    killed = 0
    with DeploymentHistory(fleet) as deployments, LeaseHistory(fleet) as history:
        for _ in range(max(BOTS - KILLS * 2, 1)):
            people.create()
        while killed < KILLS:
            leader = fleet.until_leader_and_standby()
            for number in range(CHANGES_PER_KILL):
                if number == CHANGES_PER_KILL // 2:
                    fleet.kill(leader)
                    killed += 1
                if number % 8 == 3 and len(people.names) < BOTS:
                    people.create()
                else:
                    people.change_something()
            fleet.start()
            fleet.until_taken_over()
        while len(people.names) < BOTS:
            people.create()
        fleet.until_leader_and_standby()
        differences: list[str] = []

        def is_settled() -> bool:
            namespace = fleet.desk.namespace
            nonlocal differences
            seen = (observe(fleet.desk.admin, namespace, name) for name in people.names)
            differences = [line for each in seen for line in find_differences(each, platform)]
            return not differences

        try:
            parts.until("every child equals its plan", is_settled, seconds=SETTLE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}: {differences[:5]}; {fleet.surprises}") from None
    assert deployments.made.keys() == set(people.names)
    assert deployments.twins == [], "no bot ever had two Deployments"
    more = {name: count for name, count in deployments.made.items() if count > 1 + people.deployments_deleted[name]}
    assert not more, "a Deployment is made again only when it was deleted"
    assert find_writes_without_lease(fleet, read_audit(fleet, offset)) == []
    assert len(history.terms) > KILLS, "each kill had its successor"
    assert history.shortest_pause_seconds() >= DURATION_SECONDS, "no Lease had two holders within its duration"
