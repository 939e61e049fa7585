"""The last lines of a log, and what is added to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.supervisor.logs import TAIL_BLOCK_BYTES, follow, tail

LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=30), max_size=20)


@given(lines=LINES, count=st.integers(0, 25), rest=st.sampled_from(["", "half a l"]))
def test_tail_is_the_last_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], count: int, rest: str
) -> None:
    file = tmp_path_factory.mktemp("log") / "x.log"
    whole = "".join(f"{line}\n" for line in lines)
    file.write_text(whole + rest)
    found, offset = tail(file, count)
    assert found == (lines[-count:] if count else [])
    assert offset == len(whole.encode())


def test_tail_reads_more_than_one_block(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    lines = [f"{number} " + "x" * 999 for number in range(3 * TAIL_BLOCK_BYTES // 1000)]
    file.write_text("".join(f"{line}\n" for line in lines))
    assert tail(file, 150)[0] == lines[-150:]


def test_followed_lines_are_told_apart_by_their_log(tmp_path: Path) -> None:
    a, b = tmp_path / "a.log", tmp_path / "b.log"
    a.write_text("old\n")
    b.write_text("")
    following = follow({"a": a, "b": b}, {"a": tail(a, 0)[1], "b": 0})
    with a.open("a") as file:
        file.write("new\nhalf")
    b.write_text("other\n")
    assert [next(following), next(following)] == [("a", "new"), ("b", "other")]
    with a.open("a") as file:
        file.write(" done\n")
    assert next(following) == ("a", "half done")


def test_log_that_was_made_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("a long line of an earlier run\n")
    following = follow({"a": file}, {"a": tail(file, 0)[1]})
    file.write_text("new\n")
    assert next(following) == ("a", "new")
