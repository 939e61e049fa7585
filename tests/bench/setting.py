"""SHELL. Where a figure is measured: a folder on a disk, and which file system that is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

IN_MEMORY = ("tmpfs", "ramfs")
PROGRESS_VARIABLE = "BENCH_PROGRESS"
"""The number of the descriptor to which a figure that takes long says how far it is; the runner sets it."""


@dataclass(frozen=True, slots=True)
class Setting:
    folder: Path
    """For what the figure writes; removed afterwards."""

    def say(self, text: str) -> None:
        """To whoever waits at the terminal; stdout is for figures and stderr goes into a file."""
        if descriptor := os.environ.get(PROGRESS_VARIABLE):
            os.write(int(descriptor), f"  {text}\n".encode())

    @property
    def filesystem(self) -> str:
        """Its type, with a warning where an fsync costs nothing."""
        kind = filesystem_of(self.folder, Path("/proc/mounts").read_text())
        return f"{kind} (in memory: set BENCH_DIR to a folder on a disk)" if kind in IN_MEMORY else kind


def filesystem_of(folder: Path, mounts_text: str) -> str:
    """Of the mount that holds the folder, by the longest mount point above it. The text is that of /proc/mounts."""
    mounts = [line.split() for line in mounts_text.splitlines()]
    above = [str(each) for each in (folder.resolve(), *folder.resolve().parents)]
    holding = [fields for fields in mounts if fields[1] in above]
    # The last of several on one point is the one that is seen.
    return max(enumerate(holding), key=lambda each: (len(each[1][1]), each[0]))[1][2]


def resident_mb(pid: int) -> float:
    """VmRSS, in MB of 1,000,000 bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f"process {pid} has ended")


def folder_for_files() -> str | None:
    """BENCH_DIR; None: the system's own place for temporary files, by TMPDIR."""
    return os.environ.get("BENCH_DIR") or None
