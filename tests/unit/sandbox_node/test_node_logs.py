"""What is asked of a log, and which part of the file answers it."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.node.log_query import BadQuery, LogQuery, parse_query, tail_offset
from tradingbot_sandbox.node.log_server import CHUNK_BYTES, find_tail, identity


def test_query_of_kubectl() -> None:
    assert parse_query({}) == LogQuery()
    asked = {"follow": "true", "previous": "true", "tailLines": "5", "limitBytes": "9", "timestamps": "false"}
    assert parse_query(asked) == LogQuery(follow=True, previous=True, tail_lines=5, limit_bytes=9)


@pytest.mark.parametrize(
    "query",
    [
        {"timestamps": "true"},
        {"sinceSeconds": "60"},
        {"sinceTime": "2026-01-01T00:00:00Z"},
        {"stream": "Stderr"},
        {"tailLines": "-1"},
        {"tailLines": "x"},
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(query: dict[str, str]) -> None:
    (name,) = query
    with pytest.raises(BadQuery, match=name):
        parse_query(query)


@given(
    st.lists(st.binary(max_size=5).filter(lambda line: b"\n" not in line), max_size=8), st.booleans(), st.integers(0, 9)
)
def test_tail_is_the_last_lines(lines: list[bytes], ended: bool, count: int) -> None:  # noqa: FBT001  drawn, not called
    text = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    expected = b"".join(text.splitlines(keepends=True)[-count:]) if count else b""
    # Python splits at more than line feeds, so only plain text is compared with it.
    if text.translate(None, b"\r\x0b\x0c\x1c\x1d\x1e\x85") != text:
        return
    assert text[find_tail(io.BytesIO(text), count) :] == expected


def test_tail_reaches_beyond_one_chunk() -> None:
    text = b"short\n" + b"x" * (3 * CHUNK_BYTES) + b"\nlast\n"
    assert text[find_tail(io.BytesIO(text), 2) :].startswith(b"xx")
    assert text[find_tail(io.BytesIO(text), 3) :] == text
    assert tail_offset(b"tail of a chunk", 1) is None


def test_identity_is_that_of_the_certificate() -> None:
    subject = ((("organizationName", "system:masters"),), (("organizationName", "b"),), (("commonName", "someone"),))
    assert identity({"subject": subject}) == ("someone", ["system:masters", "b"])
    assert identity({}) == ("system:anonymous", [])
