"""SHELL. What one pod has on disk.

```
STATE/pods/NAMESPACE_POD_UID/pod.json                 the record, by which a new node finds what an earlier one started
                            /.volumes/VOLUME/         what the pod's mountPaths stand for
                            /CONTAINER/0.log, 1.log   output of each run
                            /CONTAINER/home/          HOME and working directory
                            /CONTAINER/tmp/           TMPDIR, unless the pod mounts something at /tmp
```
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from .records import PodRecord, from_json, to_json

RECORD = "pod.json"


class PodFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def of(pods: Path, namespace: str, name: str, uid: str) -> PodFolder:
        # 255 bytes is the longest name of a file; a pod's name alone may have 253.
        return PodFolder(pods / f"{namespace}_{name[:128]}_{uid}")

    def save(self, record: PodRecord) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.path / f"{RECORD}.new"
        new.write_text(json.dumps(to_json(record), indent=1))
        new.rename(self.path / RECORD)

    def load(self) -> PodRecord | None:
        try:
            return from_json(json.loads((self.path / RECORD).read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # a record of another version, or none: the API server's status is what is left

    def volume(self, name: str) -> Path:
        return self.path / ".volumes" / name

    def container(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def scratch(self, container: str, name: str) -> Path:
        folder = self.container(container) / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def log(self, container: str, run: int) -> Path:
        return self.path / container / f"{run}.log"

    def runs(self, container: str) -> list[int]:
        """Numbers of the logs that are there, oldest first."""
        logs = (self.path / container).glob("*.log")
        return sorted(int(path.stem) for path in logs if path.stem.isdecimal())

    def forget_old_logs(self, container: str, keep: int) -> None:
        for run in self.runs(container)[:-keep]:
            path = self.log(container, run)
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}.old").unlink(missing_ok=True)

    def trim_log(self, container: str, run: int, limit_bytes: int) -> None:
        """Keeps a log that is written to from growing without end: its older part moves to `N.log.old`.

        The program writes to the file itself, in append mode, so the file is copied and emptied. A line that is
        written between the two is lost."""
        path = self.log(container, run)
        if path.stat().st_size > limit_bytes:
            shutil.copyfile(path, path.with_name(f"{path.name}.old"))
            os.truncate(path, 0)

    def remove_volumes(self) -> None:
        """A mode such as 0500 would keep its own contents from being removed."""
        volumes = self.path / ".volumes"
        for folder, _, _ in os.walk(volumes):
            Path(folder).chmod(0o700)
        shutil.rmtree(volumes, ignore_errors=True)

    def retire(self) -> None:
        """The pod is gone: what is left are its logs."""
        self.remove_volumes()
        for scratch in (*self.path.glob("*/home"), *self.path.glob("*/tmp")):
            shutil.rmtree(scratch, ignore_errors=True)
        (self.path / RECORD).unlink(missing_ok=True)


def find_pod_folders(pods: Path) -> Iterator[PodFolder]:
    if pods.is_dir():
        for path in sorted(pods.iterdir()):
            yield PodFolder(path)


def forget_retired(pods: Path, keep: int) -> None:
    """Removes the log folders of deleted pods but for the newest `keep`."""
    retired = [folder for folder in find_pod_folders(pods) if not (folder.path / RECORD).exists()]
    retired.sort(key=lambda folder: folder.path.stat().st_mtime_ns, reverse=True)
    for folder in retired[keep:]:
        shutil.rmtree(folder.path, ignore_errors=True)
