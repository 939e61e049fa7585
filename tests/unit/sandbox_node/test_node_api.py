"""What talks to the API server, against a server of the tests' own: watches, references, events, tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any

import pytest

from tradingbot_sandbox.node.errors import ApiError, ApiUnreachable, Expired, NotFound, StartProblem
from tradingbot_sandbox.node.events import Events
from tradingbot_sandbox.node.payload import TokenRequest
from tradingbot_sandbox.node.references import References
from tradingbot_sandbox.node.reflector import Change, Reflector
from tradingbot_sandbox.node.timestamps import NS, to_rfc3339
from tradingbot_sandbox.node.tokens import Tokens

Json = dict[str, Any]
NOW = 1_700_000_000 * NS
PATIENCE_SECONDS = 20.0


class FakeClock:
    def __init__(self) -> None:
        self.time_ns = NOW

    def now_ns(self) -> int:
        return self.time_ns


class FakeApi:
    """Answers from lists that the test fills; what was asked is kept."""

    def __init__(self) -> None:
        self.lists: list[Json | Exception] = []
        self.watches: list[list[Json | Exception]] = []
        self.asked: list[str] = []
        self.written: list[tuple[str, str, Json]] = []
        self.on_write: Callable[[str, str, Json], Json] = lambda _verb, _path, body: body

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        self.asked.append(f"list {path} {dict(query or {})}")
        if not self.lists:
            await asyncio.Event().wait()
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def create(self, path: str, body: Json) -> Json:
        self.written.append(("create", path, body))
        return self.on_write("create", path, body)

    async def patch(self, path: str, body: Json, content_type: str = "") -> Json:  # noqa: ARG002  the protocol's
        self.written.append(("patch", path, body))
        return self.on_write("patch", path, body)

    async def delete(self, path: str, body: Json | None = None) -> Json:
        self.written.append(("delete", path, body or {}))
        return {}

    async def watch(self, path: str, query: Mapping[str, str], seconds: float) -> AsyncGenerator[Json, None]:
        self.asked.append(f"watch from {query['resourceVersion']}")
        assert path == "/pods" or "fieldSelector" in query
        assert seconds > 0
        if not self.watches:
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, Exception):
                raise event
            yield event


def item(uid: str, version: int, **fields: Any) -> Json:
    return {"metadata": {"uid": uid, "name": uid, "resourceVersion": str(version)}, **fields}


def listing(version: int, *items: Json) -> Json:
    metadata = {"resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": list(items)}


def event(kind: str, thing: Json) -> Json:
    return {"type": kind, "object": thing}


async def changes_of(api: FakeApi, count: int) -> list[tuple[Change, str, str]]:
    """What a reflector tells, until it has told that much."""
    told: list[tuple[Change, str, str]] = []
    enough = asyncio.Event()

    def tell(change: Change, thing: Json) -> None:
        told.append((change, thing["metadata"]["uid"], thing["metadata"]["resourceVersion"]))
        if len(told) >= count:
            enough.set()

    reflector = Reflector(api, "/pods", tell, field_selector="spec.nodeName=n")
    task = asyncio.create_task(reflector.run())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await enough.wait()
            while api.watches or api.lists:  # noqa: ASYNC110  the lists tell nobody when they are empty
                await asyncio.sleep(0)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return told


async def test_reflector_lists_then_watches_from_there() -> None:
    api = FakeApi()
    api.lists = [listing(5, item("a", 1), item("b", 2))]
    api.watches = [[event("MODIFIED", item("a", 6)), event("DELETED", item("b", 7)), event("ADDED", item("c", 8))]]
    assert await changes_of(api, 5) == [
        ("set", "a", "1"),
        ("set", "b", "2"),
        ("set", "a", "6"),
        ("gone", "b", "7"),
        ("set", "c", "8"),
    ]
    assert api.asked[:2] == ["list /pods {'fieldSelector': 'spec.nodeName=n'}", "watch from 5"]


async def test_reflector_resumes_where_the_watch_ended_bookmarks_included() -> None:
    api = FakeApi()
    api.lists = [listing(5)]
    api.watches = [
        [event("ADDED", item("a", 6)), event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})],
        [ApiUnreachable("gone for a while")],
        [event("ADDED", item("b", 10))],
    ]
    assert await changes_of(api, 2) == [("set", "a", "6"), ("set", "b", "10")]
    assert api.asked[1:4] == ["watch from 5", "watch from 9", "watch from 9"]


@pytest.mark.parametrize("error", [Expired(410, "Expired", "too old"), ApiError(500, "x", "another server")])
async def test_reflector_lists_again_and_tells_only_what_changed(error: Exception) -> None:
    api = FakeApi()
    api.lists = [listing(5, item("a", 1), item("b", 2), item("c", 3)), listing(20, item("a", 1), item("b", 12))]
    api.watches = [[error]]
    told = await changes_of(api, 5)
    assert told[3:] == [("gone", "c", "3"), ("set", "b", "12")]


async def test_reflector_tries_again_when_the_server_is_away() -> None:
    api = FakeApi()
    api.lists = [ApiUnreachable("x"), ApiUnreachable("x"), listing(5, item("a", 1))]
    assert await changes_of(api, 1) == [("set", "a", "1")]


async def test_object_made_anew_under_its_name_is_another_one() -> None:
    api = FakeApi()
    first, second = item("one", 1), item("two", 9)
    first["metadata"]["name"] = second["metadata"]["name"] = "same"
    api.lists = [listing(5, first)]
    api.watches = [[Expired(410, "Expired", "")]]
    api.lists.append(listing(9, second))
    assert await changes_of(api, 3) == [("set", "one", "1"), ("gone", "one", "1"), ("set", "two", "9")]


async def test_reference_is_watched_once_for_all_its_users_and_no_longer_than_they_need_it() -> None:
    api = FakeApi()
    api.lists = [listing(5, item("a", 1, data={}))]
    tasks: list[asyncio.Task[None]] = []

    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    told: list[str] = []
    references = References(api, spawn)
    for user in ("one", "two"):
        references.hold(user, [("secrets", "ns", "keys")], lambda user=user: told.append(user))  # type: ignore[misc]
        await references.ready(user)
    found = references.lookup("secrets", "ns", "keys")
    assert found is not None
    assert found["metadata"]["uid"] == "a"
    assert references.lookup("secrets", "ns", "other") is None
    assert len(tasks) == 1
    assert api.asked[0] == "list /api/v1/namespaces/ns/secrets {'fieldSelector': 'metadata.name=keys'}"
    references.release("one")
    assert references.lookup("secrets", "ns", "keys")
    references.release("two")
    await asyncio.gather(*tasks, return_exceptions=True)
    assert tasks[0].cancelled()
    assert references.lookup("secrets", "ns", "keys") is None


POD: Json = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "bot", "namespace": "desk", "uid": "u1"},
    "spec": {"serviceAccountName": "robot"},
}


async def send(events: Events) -> None:
    task = asyncio.create_task(events.run())
    await events.flush(PATIENCE_SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_event_is_told_about_its_object_and_container() -> None:
    api = FakeApi()
    events = Events(api, FakeClock(), "here")
    events.tell(POD, "Warning", "Failed", "x" * 5000, container="main")
    await send(events)
    ((verb, path, body),) = api.written
    assert (verb, path) == ("create", "/api/v1/namespaces/desk/events")
    assert body["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "bot",
        "namespace": "desk",
        "uid": "u1",
        "fieldPath": "spec.containers{main}",
    }
    assert body["source"] == {"component": "process-node", "host": "here"}
    assert (body["type"], body["reason"], body["count"]) == ("Warning", "Failed", 1)
    assert len(body["message"]) == 1024


async def test_same_event_is_counted_and_not_repeated() -> None:
    api = FakeApi()
    events = Events(api, FakeClock(), "here")
    for message in ("a", "a", "b", "a"):
        events.tell(POD, "Normal", "Killing", message)
    await send(events)
    assert [(verb, body.get("count")) for verb, _, body in api.written] == [
        ("create", 1),
        ("patch", 2),
        ("create", 1),
        ("patch", 3),
    ]


async def test_event_that_the_server_has_forgotten_is_made_anew() -> None:
    api = FakeApi()

    def forget(verb: str, _path: str, body: Json) -> Json:
        if verb == "patch":
            raise NotFound(404, "NotFound", "")
        return body

    api.on_write = forget
    events = Events(api, FakeClock(), "here")
    for _ in range(2):
        events.tell(POD, "Normal", "Killing", "a")
    await send(events)
    assert [verb for verb, _, _ in api.written] == ["create", "patch", "create"]


async def test_refused_event_stops_nothing() -> None:
    api = FakeApi()

    def refuse(_verb: str, _path: str, body: Json) -> Json:
        if body.get("reason") == "First":
            raise ApiError(403, "Forbidden", "namespace is being terminated")
        return body

    api.on_write = refuse
    events = Events(api, FakeClock(), "here")
    events.tell(POD, "Normal", "First", "a")
    events.tell(POD, "Normal", "Second", "a")
    await send(events)
    assert [body["reason"] for _, _, body in api.written] == ["First", "Second"]


class TokenServer:
    def __init__(self, clock: FakeClock, life_seconds: int) -> None:
        self.clock, self.life_seconds, self.made = clock, life_seconds, 0

    def answer(self, _verb: str, _path: str, _body: Json) -> Json:
        self.made += 1
        until = to_rfc3339(self.clock.time_ns + self.life_seconds * NS)
        return {"status": {"token": f"token {self.made}", "expirationTimestamp": until}}


def tokens(life_seconds: int = 1000) -> tuple[Tokens, FakeApi, FakeClock]:
    api, clock = FakeApi(), FakeClock()
    api.on_write = TokenServer(clock, life_seconds).answer
    return Tokens(api, clock, 0.8), api, clock


REQUEST = TokenRequest("vault", 1000)


async def test_token_is_bound_to_its_pod_with_the_audience_that_was_asked_for() -> None:
    held, api, _ = tokens()
    assert await held.get(POD, REQUEST) == "token 1"
    ((_, path, body),) = api.written
    assert path == "/api/v1/namespaces/desk/serviceaccounts/robot/token"
    assert body["spec"] == {
        "audiences": ["vault"],
        "expirationSeconds": 1000,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "bot", "uid": "u1"},
    }


async def test_token_is_renewed_after_four_fifths_of_its_life() -> None:
    held, _, clock = tokens()
    await held.get(POD, REQUEST)
    assert held.renew_ns("u1") == NOW + 800 * NS
    clock.time_ns = NOW + 800 * NS - 1
    assert await held.get(POD, REQUEST) == "token 1"
    clock.time_ns += 1
    assert await held.get(POD, REQUEST) == "token 2"


async def test_long_lived_token_is_renewed_as_if_it_lived_a_day() -> None:
    held, _, _ = tokens(life_seconds=365 * 24 * 3600)
    await held.get(POD, REQUEST)
    assert held.renew_ns("u1") == NOW + 24 * 3600 * NS * 8 // 10


async def test_old_token_stays_while_no_new_one_can_be_had() -> None:
    held, api, clock = tokens()
    await held.get(POD, REQUEST)
    server = api.on_write

    def away(_verb: str, _path: str, _body: Json) -> Json:
        raise ApiUnreachable("x")

    api.on_write = away
    clock.time_ns = NOW + 900 * NS
    assert await held.get(POD, REQUEST) == "token 1"
    assert (held.renew_ns("u1") or 0) > clock.time_ns
    api.on_write = server
    clock.time_ns += 10 * NS
    assert await held.get(POD, REQUEST) == "token 2"


async def test_first_token_that_cannot_be_had_is_a_problem() -> None:
    held, api, _ = tokens()

    def refuse(_verb: str, _path: str, _body: Json) -> Json:
        raise NotFound(404, "NotFound", 'serviceaccounts "robot" not found')

    api.on_write = refuse
    with pytest.raises(StartProblem, match='"robot" not found') as problem:
        await held.get(POD, REQUEST)
    assert problem.value.reason == "FailedMount"
    assert held.renew_ns("u1") is None


async def test_tokens_of_a_pod_are_forgotten_with_it() -> None:
    held, _, _ = tokens()
    await held.get(POD, REQUEST)
    held.forget("u1")
    assert held.renew_ns("u1") is None
    assert await held.get(POD, REQUEST) == "token 2"
