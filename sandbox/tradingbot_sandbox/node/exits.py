"""SHELL. What is left of a process that has ended: exit code, reason, and its last words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .records import Exit, Running

Json = dict[str, Any]
MESSAGE_BYTES = 4096
LOG_TAIL_BYTES = 2048
LOG_TAIL_LINES = 80
"""The kubelet's bounds for terminationMessagePolicy FallbackToLogsOnError."""


def describe_exit(
    running: Running, status: int, finished_ns: int, *, container: Json, termination_file: Path, log_file: Path
) -> Exit:
    """`status` as subprocess has it: negative for a signal."""
    signal = -status if status < 0 else None
    message = read_end(termination_file, MESSAGE_BYTES)
    if not message and status != 0 and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        lines = read_end(log_file, LOG_TAIL_BYTES).splitlines(keepends=True)
        message = "".join(lines[-LOG_TAIL_LINES:])
    return Exit(
        container_id=running.container_id,
        exit_code=status if signal is None else 128 + signal,
        reason="Completed" if status == 0 else "Error",
        started_ns=running.started_ns,
        finished_ns=finished_ns,
        signal=signal,
        message=message,
    )


def start_error(container_id: str, message: str, now_ns: int) -> Exit:
    # 128 and StartError: what containerd reports of a process that could not be executed.
    return Exit(container_id, 128, "StartError", now_ns, now_ns, message=message)


def read_end(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(size - limit, 0))
            return stream.read(limit).decode(errors="replace")
    except OSError:
        return ""
