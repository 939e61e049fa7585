"""SHELL. A folder of files that change all at once: the kubelet's form, data behind a `..data` link that is swapped.

```
volume/token -> ..data/token
volume/..data -> ..2024_08_08_12_00_00.123456789
volume/..2024_08_08_12_00_00.123456789/token
```
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from .payload import File
from .timestamps import NS, to_rfc3339

DATA = "..data"


def write_folder(folder: Path, files: Mapping[str, File], now_ns: int) -> bool:
    """Makes the folder hold exactly these files. False, and nothing is touched, if it does already."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    data_link = folder / DATA
    old = folder / os.readlink(data_link) if data_link.is_symlink() else None  # noqa: PTH115  its text, not its target
    if old is not None and _read(old) == dict(files):
        return False
    stamp = to_rfc3339(now_ns).translate(str.maketrans("-T:", "___", "Z"))
    new = folder / f"..{stamp}.{now_ns % NS:09d}"
    new.mkdir(mode=0o755)
    for path, file in files.items():
        target = new / path
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(file.data)
            os.fchmod(descriptor, file.mode)  # the umask has no say
    swap = folder / "..data_tmp"
    swap.unlink(missing_ok=True)
    swap.symlink_to(new.name)
    swap.rename(data_link)
    _link_names(folder, {Path(path).parts[0] for path in files})
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _link_names(folder: Path, names: set[str]) -> None:
    for name in names:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{DATA}/{name}")
    for entry in folder.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()


def _read(folder: Path) -> dict[str, File]:
    if not folder.is_dir():
        return {}
    found: dict[str, File] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            mode = path.stat().st_mode & 0o777
            found[str(path.relative_to(folder))] = File(_read_bytes(path, mode), mode)
    return found


def _read_bytes(path: Path, mode: int) -> bytes:
    if mode & 0o400:
        return path.read_bytes()
    # A mode such as 0040 is legal and keeps even its owner out; nothing equals it, so that it is written anew.
    return b""
