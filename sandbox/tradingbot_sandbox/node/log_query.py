"""PURE. What is asked of a container's log, and which part of the file answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NEEDS_TIMES = ("sinceSeconds", "sinceTime", "timestamps")


class BadQuery(ValueError):  # noqa: N818  what the answer says, not what broke
    """The text is the answer."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    follow: bool = False
    previous: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None


def parse_query(query: Mapping[str, str]) -> LogQuery:
    for name in NEEDS_TIMES:
        if query.get(name, "").lower() not in ("", "false"):
            raise BadQuery(f"{name} is not supported: a process node keeps a program's output as it is, without times")
    if query.get("stream", "All") != "All":
        raise BadQuery("stream is not supported: a process node keeps both streams in one file")
    return LogQuery(
        follow=_is_true(query, "follow"),
        previous=_is_true(query, "previous"),
        tail_lines=_count(query, "tailLines"),
        limit_bytes=_count(query, "limitBytes"),
    )


def tail_offset(chunk: bytes, lines: int) -> int | None:
    """Where the last `lines` lines begin in a chunk that ends where the file does; None: before the chunk."""
    if lines == 0:
        return len(chunk)
    end = len(chunk) - 1 if chunk.endswith(b"\n") else len(chunk)
    for _ in range(lines):
        end = chunk.rfind(b"\n", 0, end)
        if end < 0:
            return None
    return end + 1


def _is_true(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("true", "1")


def _count(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not text.isdecimal():
        raise BadQuery(f"{name}={text} is not a count")
    return int(text)
