"""SHELL: reads the components' logs: the last lines, and what is added."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tradingbot_sandbox.supervisor.state import StateFolder

FOLLOW_SECONDS = 0.2
TAIL_BLOCK_BYTES = 65536


def log_files(state: StateFolder) -> dict[str, Path]:
    """The log of each component that ever ran, and the supervisor's."""
    return {path.stem: path for path in sorted(state.logs.glob("*.log"))}


def tail(path: Path, lines: int) -> tuple[list[str], int]:
    """The last lines of a file, and the offset behind them."""
    with path.open("rb") as file:
        end = begin = file.seek(0, 2)
        data = b""
        while begin > 0 and data.count(b"\n") <= lines:
            step = min(TAIL_BLOCK_BYTES, begin)
            begin -= step
            file.seek(begin)
            data = file.read(step) + data
    whole = data[: data.rfind(b"\n") + 1]  # a line without an end is left to whoever follows
    found = whole.decode(errors="replace").split("\n")[:-1]
    return (found[-lines:] if lines else []), end - (len(data) - len(whole))


def follow(files: Mapping[str, Path], offsets: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """The lines that are added to these files, for ever. A file that was made anew is read from its beginning."""
    positions = dict(offsets)
    while True:
        quiet = True
        for name, path in files.items():
            if not path.exists():
                continue
            with path.open("rb") as file:
                if file.seek(0, 2) < positions[name]:
                    positions[name] = 0
                file.seek(positions[name])
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    positions[name] += len(line)
                    quiet = False
                    yield name, line.decode(errors="replace").rstrip("\n")
        if quiet:
            time.sleep(FOLLOW_SECONDS)
