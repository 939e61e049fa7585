"""The real pipeline, in a process of its own: what logging is told there is told to the whole process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

LINES = """
import logging, structlog
from tradingbot_operator.log import configure_logging
configure_logging({level!r})
structlog.contextvars.bind_contextvars(bot="desk-a/btc")
structlog.get_logger("ours").info("applied", kind="Role")
structlog.get_logger("ours").debug("a conflict")
logging.getLogger("kopf.objects").info("narrated")
logging.getLogger("kopf.objects").warning("%s streams left", 3)
logging.getLogger("aiohttp.server").debug("narrated")
try:
    raise ValueError("a defect")
except ValueError:
    structlog.get_logger("ours").exception("reconciliation failed")
"""


def written(level: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", LINES.format(level=level)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_each_line_is_one_object_whoever_wrote_it_and_names_the_bot() -> None:
    lines = written("info")
    assert [line["event"] for line in lines] == ["applied", "3 streams left", "reconciliation failed"]
    assert {line["bot"] for line in lines} == {"desk-a/btc"}
    assert [line["logger"] for line in lines] == ["ours", "kopf.objects", "ours"]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert "ValueError: a defect" in lines[-1]["exception"]
    assert all(line["timestamp"].endswith("Z") for line in lines)


@pytest.mark.parametrize(
    ("level", "count"), [("debug", 6), ("warning", 2), ("error", 1)], ids=["debug", "warning", "error"]
)
def test_level_is_that_of_the_libraries_too(level: str, count: int) -> None:
    assert len(written(level)) == count
