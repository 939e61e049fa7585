"""How the moments of a stop become a figure, and which orders count as sent with an expired lease."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from bench.fence import Renewal, count_expired, read_renewal, summary
from bench.figure import figure_of
from bench.hand import Told
from bench.kill_latency import Sample, describe, elapsed_ms, figures, ratio
from bench.wire import HOST, Seen, Wire

MS = 1_000_000
DEADLINE_SECONDS = 30.0


def kill(*, refused_ms: float, event_ms: float = 12, accepted_ms: float = 10) -> Sample:
    """In milliseconds after the patch was sent."""
    sent_ns = 5_000 * MS
    told = Told(sent_ns, sent_ns + int(accepted_ms * MS), sent_ns + int(event_ms * MS))
    return Sample(told, told.event_ns, sent_ns + int(refused_ms * MS), commits=4, in_commits_seconds=0.002)


def test_delays_count_from_the_named_moment_of_each_patch() -> None:
    samples = [kill(refused_ms=16), kill(refused_ms=30, event_ms=9)]
    assert elapsed_ms(samples, "refused_ns", since="accepted") == [6, 20]
    assert elapsed_ms(samples, "event_ns", since="accepted") == [2, -1]
    assert elapsed_ms(samples, "event_ns", since="sent") == [12, 9]


def test_ratio_is_of_the_percentiles_of_both() -> None:
    samples = [kill(refused_ms=10 + each, event_ms=12) for each in range(1, 101)]
    assert ratio(samples, 50, since="accepted") == 25
    assert ratio(samples, 99, since="accepted") == 49.5
    assert ratio(samples, 50, since="sent") == 5


@pytest.mark.parametrize(("event_ms", "refused_ms"), [(8, 16), (10, 16), (10.9, 16), (12, 9), (8, 9)])
def test_ratio_to_an_event_that_was_no_later_than_the_answer_is_infinite(event_ms: float, refused_ms: float) -> None:
    assert ratio([kill(refused_ms=refused_ms, event_ms=event_ms)], 50, since="accepted") == math.inf


def test_figure_counts_from_the_sending_where_the_acceptance_says_nothing() -> None:
    early = figures("kill-latency", "quiet", [kill(refused_ms=16, event_ms=8)] * 3, {})
    assert [each.value for each in early] == [2, 2]
    assert all("sent" in each.relative_to and each.is_met for each in early)
    late = figures("kill-latency", "quiet", [kill(refused_ms=52, event_ms=12)] * 3, {"bursts": 3})
    assert [(each.value, each.is_met) for each in late] == [(21, False), (21, True)]
    assert all("accepted" in each.relative_to and each.detail["bursts"] == 3 for each in late)


def test_what_a_ratio_was_made_of_has_no_infinity() -> None:
    told = describe([kill(refused_ms=16, event_ms=8)])
    assert json.loads(json.dumps(told, allow_nan=False))["from_accepted_p50_x"] is None
    assert (told["from_sent_p50_x"], told["refused_from_accepted_p50_ms"], told["in_commits_p50_ms"]) == (2, 6, 2)


def test_value_without_a_bound_meets_no_goal_after_its_way_through_json() -> None:
    (never, _) = figures("kill-latency", "quiet", [kill(refused_ms=-1, event_ms=-1)], {})
    assert never.value == math.inf
    assert "sent" in never.relative_to
    told = figure_of(json.loads(json.dumps(never.to_data(), allow_nan=False)))
    assert (told.value, told.is_met) == (math.inf, False)


RENEWALS = (Renewal(at_ms=1_000, until_ms=61_000), Renewal(at_ms=11_000, until_ms=71_000), Renewal(80_000, 140_000))


@pytest.mark.parametrize(
    ("orders_ms", "expired"),
    [
        ((1_000, 60_999, 62_000, 70_999), 0),  # renewed meanwhile
        ((71_000,), 1),
        ((71_500, 79_999), 2),
        ((80_000, 139_999), 0),
        ((999,), 1),  # nobody had it yet
        ((), 0),
    ],
)
def test_order_is_expired_between_the_end_of_the_lease_and_its_next_write(
    orders_ms: Sequence[int], expired: int
) -> None:
    assert count_expired(orders_ms, RENEWALS) == expired


def test_lease_that_is_given_back_is_over() -> None:
    renewed = read_renewal({"renewTime": "1970-01-01T00:00:10.500000Z", "leaseDurationSeconds": 60}, now_ms=11_000)
    assert renewed == Renewal(at_ms=11_000, until_ms=70_500)
    given_back = read_renewal({"leaseTransitions": 1, "leaseDurationSeconds": 1}, now_ms=20_000)
    assert count_expired([20_000], [renewed, given_back]) == 1


def test_answer_is_told_by_its_status_and_code() -> None:
    assert summary(b'HTTP/1.1 400 Bad Request\r\nA: b\r\n\r\n{"code":-1021,"msg":"late"}') == "400 -1021"
    assert summary(b'HTTP/1.1 200 OK\r\n\r\n{"orderId":1}') == "200"


async def test_wire_tells_a_request_before_it_passes_it_on() -> None:
    came: list[bytes] = []
    seen: list[Seen] = []
    is_held, may_pass = asyncio.Event(), asyncio.Event()

    async def venue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            came.append(data)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async def hold(what: str) -> None:
        if what.startswith("POST"):
            is_held.set()
            await may_pass.wait()

    server = await asyncio.start_server(venue, HOST, 0)
    wire = Wire(address_of(server), on_request=seen.append, hold=hold)
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        wire.serving(),
        dialled(wire) as (reader, writer),
        dialled(wire) as (other_reader, other_writer),
    ):
        writer.write(b"GET /api/v3/order?symbol=BTCUSDT HTTP/1.1\r\n\r\n")
        assert await reader.read(1 << 16)
        writer.write(b"POST /api/v3/order HTTP/1.1\r\n\r\nsymbol=BTCUSDT")
        await is_held.wait()
        other_writer.write(b"DELETE /api/v3/order HTTP/1.1\r\n\r\n")  # by whose answer the other would be there
        assert await other_reader.read(1 << 16)
        assert [each.split()[0] for each in came] == [b"GET", b"DELETE"]
        assert [(each.what, each.is_new) for each in seen] == [
            ("GET /api/v3/order", True),
            ("POST /api/v3/order", False),
            ("DELETE /api/v3/order", True),
        ]
        may_pass.set()
        assert await reader.read(1 << 16)
        assert came[-1].endswith(b"symbol=BTCUSDT")
    server.close()


@pytest.mark.parametrize("who", ["the trader", "the venue"])
async def test_wire_tells_each_end_that_the_other_has_hung_up(who: str) -> None:
    has_ended = asyncio.Event()

    async def venue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        if who == "the trader":
            assert await reader.read() == b""
        writer.close()
        has_ended.set()

    server = await asyncio.start_server(venue, HOST, 0)
    wire = Wire(address_of(server))
    async with asyncio.timeout(DEADLINE_SECONDS), wire.serving():
        async with dialled(wire) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            if who == "the venue":
                assert await reader.read() == b""
        await has_ended.wait()
    server.close()


def address_of(server: asyncio.Server) -> str:
    return f"{HOST}:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def dialled(wire: Wire) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = wire.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()
