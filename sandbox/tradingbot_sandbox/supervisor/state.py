"""SHELL: the state folder: all that a sandbox keeps on disk, whose it is, and which supervisor works on it.

Every file is replaced as a whole, so that a SIGKILL at any moment leaves a folder that the next `up` can use.
The lock is the kernel's (flock): it goes when its holder goes. `supervisor.json` only says who holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tradingbot_sandbox.supervisor.component import ComponentStatus, State
from tradingbot_sandbox.supervisor.errors import StateRefused
from tradingbot_sandbox.supervisor.process import ProcessId

MARKER = ".tradingbot-sandbox"
MARKER_TEXT = "State of a tradingbot-sandbox. `tradingbot-sandbox down --clean` removes this folder.\n"


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """What the supervisor last wrote about itself and its components."""

    phase: str
    """starting, ready, degraded, stopping, stopped or failed."""
    message: str
    since_ns: int
    components: tuple[ComponentStatus, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SandboxStatus:
        components = tuple(ComponentStatus(**{**c, "state": State(c["state"])}) for c in data["components"])
        return cls(data["phase"], data["message"], data["since_ns"], components)


@dataclass(frozen=True, slots=True)
class StateFolder:
    root: Path

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def node(self) -> Path:
        return self.root / "node"

    def create(self) -> None:
        """Makes the folder and its marker. A folder that holds other things is refused, never mixed with."""
        if not self.is_ours and self.root.exists():
            if not self.root.is_dir():
                raise StateRefused(f"{self.root} is not a folder. Give another one with --state.")
            if any(self.root.iterdir()):
                raise StateRefused(
                    f"{self.root} holds files and is not a sandbox's state folder. Give an empty one with --state."
                )
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.is_ours:
                write_atomic(self.root / MARKER, MARKER_TEXT)
            self.logs.mkdir(exist_ok=True)
        except OSError as error:
            raise StateRefused(
                f"cannot write the state folder {self.root} ({error.strerror}). Give another one with --state."
            ) from error

    @property
    def is_ours(self) -> bool:
        return (self.root / MARKER).is_file()

    def clear(self) -> None:
        """Forgets everything but the marker and the lock. Only for whoever holds the lock."""
        for path in self.root.iterdir():
            if path.name not in (MARKER, "lock"):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        self.logs.mkdir()

    def remove(self) -> None:
        """Deletes the folder, if it is ours. The marker goes last: a removal that was cut short can be repeated."""
        if not self.is_ours:
            raise StateRefused(f"{self.root} has no {MARKER} file: it is not a sandbox's, and was not removed.")
        self.clear()
        shutil.rmtree(self.logs)
        for name in ("lock", MARKER):
            (self.root / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a mount point stays
            self.root.rmdir()

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Holds the folder for one supervisor. Yields False, at once, when another one has it."""
        handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(handle)

    def write_supervisor(self, identity: ProcessId) -> None:
        write_atomic(self.root / "supervisor.json", json.dumps(asdict(identity)))

    def supervisor(self) -> ProcessId | None:
        """The supervisor that runs now. A file that a dead one left names a process that is no longer that one."""
        recorded = self._read_json("supervisor.json")
        if recorded is None:
            return None
        identity = ProcessId(recorded["pid"], recorded["start_ticks"], recorded["boot_id"])
        return identity if identity.is_alive() else None

    def write_status(self, status: SandboxStatus) -> None:
        write_atomic(self.root / "status.json", json.dumps(asdict(status), indent=1))

    def status(self) -> SandboxStatus | None:
        recorded = self._read_json("status.json")
        return None if recorded is None else SandboxStatus.from_json(recorded)

    def processes(self) -> dict[str, ProcessId]:
        """The components' processes as the last supervisor wrote them, dead or alive."""
        status, recorded = self.status(), self._read_json("supervisor.json")
        if status is None or recorded is None:
            return {}
        return {
            c.name: ProcessId(c.pid, c.start_ticks, recorded["boot_id"])
            for c in status.components
            if c.pid is not None and c.start_ticks is not None
        }

    def ports(self) -> dict[str, int]:
        """By purpose; empty before the first start."""
        return self._read_json("ports.json") or {}

    @property
    def ports_file(self) -> Path:
        return self.root / "ports.json"

    def write_config(self, config: Mapping[str, Any]) -> None:
        write_atomic(self.root / "config.json", json.dumps(config, indent=1))

    def config(self) -> dict[str, Any] | None:
        return self._read_json("config.json")

    def _read_json(self, name: str) -> dict[str, Any] | None:
        try:
            data: dict[str, Any] = json.loads((self.root / name).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        return data


def write_atomic(path: Path, content: str | bytes, *, mode: int = 0o600) -> None:
    """Writes beside the file and renames over it: a reader, or a crash, sees the old or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)
