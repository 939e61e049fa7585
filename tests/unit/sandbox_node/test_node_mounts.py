"""Values that name a mountPath become those of the folder behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.node.mounts import Mount, normal_mount_path, rewrite_argument, rewrite_value

MOUNTS = [Mount("/data", "/real/data"), Mount("/data/inner", "/real/inner"), Mount("/run/x", "/real/run")]
NAMES = st.text(alphabet="abcxyz", min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/data", "/real/data"),
        ("/data/", "/real/data/"),
        ("/data/a/b", "/real/data/a/b"),
        ("/data/inner/c", "/real/inner/c"),
        ("/data/innermost", "/real/data/innermost"),
        ("/database", "/database"),
        ("data", "data"),
        ("x/data", "x/data"),
        ("/data/../etc", "/data/../etc"),
        ("/data/a..b", "/real/data/a..b"),
        ("", ""),
    ],
)
def test_value_under_a_mount_path_is_rewritten(value: str, expected: str) -> None:
    assert rewrite_value(value, MOUNTS) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("/data/x", "/real/data/x"),
        ("--store=/data/x", "--store=/real/data/x"),
        ("--rule=a=/data", "--rule=a=/data"),
        ("--store", "--store"),
        ("--store=", "--store="),
        ("/data/a=/data", "/real/data/a=/data"),
        ("file:///data", "file:///data"),
    ],
)
def test_argument_is_rewritten_whole_or_after_its_first_equals_sign(argument: str, expected: str) -> None:
    assert rewrite_argument(argument, MOUNTS) == expected


@pytest.mark.parametrize("path", ["/data", "/data/", "data", "//data//"])
def test_mount_path_has_one_form(path: str) -> None:
    assert normal_mount_path(path) == "/data"


@given(st.lists(NAMES, min_size=1, max_size=5), st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=4))
def test_innermost_mount_wins_and_nothing_else_is_touched(parts: list[str], mounted: list[list[str]]) -> None:
    mounts = [Mount("/" + "/".join(path), f"/real/{number}") for number, path in enumerate(mounted)]
    value = "/" + "/".join(parts)
    inside = [path for path in mounted if parts[: len(path)] == path]
    rewritten = rewrite_value(value, mounts)
    if not inside:
        assert rewritten == value
        return
    longest = max(inside, key=len)
    number = mounted.index(longest)
    rest = parts[len(longest) :]
    assert rewritten == "/".join([f"/real/{number}", *rest])
