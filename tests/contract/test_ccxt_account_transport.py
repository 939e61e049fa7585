"""One send is one request on the wire, and what is proved when no reply comes: a server of bare sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from tradingbot_trader.venues.account import NotAllowed
from tradingbot_trader.venues.transport import AiohttpTransport, HttpRequest, NoAnswer, NotSent

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Used: 7\r\n\r\n{}"
METHODS = ["GET", "DELETE", "POST"]
SECRET = "s3cr3t" * 4


class Wire:
    """Reads requests and answers each with the next of `answers`; None hangs up instead, and so does the end."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.hangs_up_after_answer = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().splitlines() if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                self.requests.append(head + body)
                await self.may_answer.wait()
                answer = self.answers.pop(0) if self.answers else None
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
                if self.hangs_up_after_answer:
                    return
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    made = Wire()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(timeout_seconds=5.0, connect_seconds=3.0)
    yield made
    await made.close()


def request(
    port: int, method: str = "GET", *, leave: Callable[[], None] = lambda: None, scheme: str = "http"
) -> HttpRequest:
    body = f"signature={SECRET}" if method == "POST" else ""
    url = f"{scheme}://127.0.0.1:{port}/api/v3/order?signature={SECRET}"
    return HttpRequest(method, url, {"X-MBX-APIKEY": SECRET}, body, leave)


async def test_reply_comes_back_whole(wire: Wire, transport: AiohttpTransport) -> None:
    wire.answers = [GOOD.replace(b"200 OK", b"418 I'm a teapot")]
    reply = await transport.send(request(wire.port))
    assert (reply.status, reply.headers["X-Used"], reply.text) == (418, "7", "{}")


@pytest.mark.parametrize("method", METHODS)
async def test_connection_that_dies_before_the_reply_is_one_request_and_no_answer(
    wire: Wire, transport: AiohttpTransport, method: str
) -> None:
    with pytest.raises(NoAnswer):
        await transport.send(request(wire.port, method))
    assert len(wire.requests) == 1


@pytest.mark.parametrize("method", METHODS)
async def test_kept_connection_that_dies_is_not_tried_on_another(
    wire: Wire, transport: AiohttpTransport, method: str
) -> None:
    wire.answers = [GOOD, None, GOOD]
    await transport.send(request(wire.port))
    with pytest.raises(NoAnswer):
        await transport.send(request(wire.port, method))
    assert (len(wire.requests), wire.connections) == (2, 1)


async def test_flight_alone_refuses_a_second_take_off(wire: Wire, transport: AiohttpTransport) -> None:
    """Whatever the library's own switch is called one day."""
    transport._open()._retry_connection = True
    with pytest.raises(NoAnswer):
        await transport.send(request(wire.port))
    assert len(wire.requests) == 1


async def test_redirect_is_a_reply_and_not_followed(wire: Wire, transport: AiohttpTransport) -> None:
    wire.answers = [b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", GOOD]
    assert (await transport.send(request(wire.port))).status == 307
    assert len(wire.requests) == 1


async def test_reply_that_is_cut_short_is_no_answer(wire: Wire, transport: AiohttpTransport) -> None:
    wire.answers, wire.hangs_up_after_answer = [GOOD.replace(b"Length: 2", b"Length: 200")], True
    with pytest.raises(NoAnswer):
        await transport.send(request(wire.port))
    assert len(wire.requests) == 1


async def test_reply_that_does_not_come_in_time_is_no_answer(wire: Wire) -> None:
    wire.may_answer.clear()
    hasty = AiohttpTransport(timeout_seconds=0.3)
    with pytest.raises(NoAnswer, match=r"^timeout$"):
        await hasty.send(request(wire.port))
    assert len(wire.requests) == 1
    wire.may_answer.set()
    await hasty.close()


async def test_refused_connection_is_not_sent(transport: AiohttpTransport) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked = []
    with pytest.raises(NotSent, match="Connection refused"):
        await transport.send(request(port, leave=lambda: asked.append(1)))
    assert asked == [], "the gate is asked only when there is something to let through"


async def test_connection_that_never_stands_is_not_sent() -> None:
    """A full backlog: the handshake of TCP is not answered."""
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(deaf.getsockname())
        hasty = AiohttpTransport(timeout_seconds=3.0, connect_seconds=0.3)
        with pytest.raises(NotSent, match=r"^timeout$"):
            await hasty.send(request(deaf.getsockname()[1]))
        await hasty.close()


async def test_failed_tls_is_not_sent(transport: AiohttpTransport) -> None:
    read: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.append(await reader.read(1 << 16))
        writer.write(b"this is no TLS\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with pytest.raises(NotSent):
        await transport.send(request(server.sockets[0].getsockname()[1], scheme="https"))
    server.close()
    await server.wait_closed()
    assert read, "a handshake was tried"
    assert SECRET.encode() not in b"".join(read)


async def test_gate_that_closes_while_the_connection_is_made_holds_the_request_back(
    wire: Wire, transport: AiohttpTransport
) -> None:
    def closed() -> None:
        assert wire.requests == []
        raise NotAllowed("a stop is latched")

    with pytest.raises(NotAllowed, match="latched"):
        await transport.send(request(wire.port, "POST", leave=closed))
    wire.answers = [GOOD]
    await transport.send(request(wire.port))
    assert len(wire.requests) == 1, "only the second arrived"
    assert wire.requests[0].startswith(b"GET")


async def test_gate_is_asked_once_for_each_send(wire: Wire, transport: AiohttpTransport) -> None:
    wire.answers = [GOOD, GOOD]
    asked: list[int] = []
    for number in (1, 2):
        await transport.send(request(wire.port, leave=lambda number=number: asked.append(number)))
    assert asked == [1, 2]


async def test_nothing_of_the_request_is_told_by_any_error_or_repr(wire: Wire, transport: AiohttpTransport) -> None:
    shown = [repr(request(wire.port, "POST")), str(request(wire.port))]
    for port in (wire.port, 1):
        with pytest.raises((NoAnswer, NotSent)) as caught:
            await transport.send(request(port, "POST"))
        error: BaseException | None = caught.value
        while error is not None:
            shown += [str(error), repr(error)]
            error = error.__cause__ or error.__context__
    wire.answers = [GOOD.replace(b"{}", b"hi")]
    shown.append(repr(await transport.send(request(wire.port))))
    assert len(shown) == 7, "no error has another one behind it"
    assert not [text for text in shown if SECRET in text or "signature" in text]
