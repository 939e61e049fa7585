"""Gives birth to traders: a process that has read all the code, and forks one for each life.

As a program it takes a line of JSON for each life on stdin, and says on stdout which process it is and how it ended.
Its children are processes like any other; only the seconds of importing ccxt are paid once.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.kill.child import Orders

TESTS = Path(__file__).resolve().parents[2]
BIRTH_SECONDS = 120.0


class NoLife(RuntimeError):  # noqa: N818  named by consequence (STYLE)
    """The nursery itself has ended. The message is the end of its log."""


class Running:
    """One life as its parent sees it."""

    def __init__(self) -> None:
        self.pid = 0
        self.exit_code: int | None = None
        """Negative: the signal that ended it."""
        self._born, self._ended = threading.Event(), threading.Event()

    def wait_born(self) -> None:
        if not self._born.wait(BIRTH_SECONDS) or not self.pid:
            raise NoLife("no process came")

    def wait(self, seconds: float) -> bool:
        """Until it has ended; False: it has not."""
        return self._ended.wait(seconds)

    def terminate(self) -> None:
        """SIGTERM."""
        if not self._ended.is_set():
            os.kill(self.pid, signal.SIGTERM)

    def take(self, told: dict[str, Any]) -> None:
        if "pid" in told:
            self.pid = int(told["pid"])
            self._born.set()
        else:
            self.exit_code = int(told["ended"])
            self._born.set()
            self._ended.set()


class Nursery:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._numbers = count(1)
        self._lives: dict[int, Running] = {}
        self._lock = threading.Lock()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def start(self, orders: Orders) -> Running:
        running = Running()
        with self._lock:
            number = next(self._numbers)
            self._lives[number] = running
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"number": number} | asdict(orders)) + "\n")
            self._process.stdin.flush()
        running.wait_born()
        return running

    def close(self) -> None:
        """It kills whoever still lives."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._listening.join(30)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as told:
            for line in told:
                news = json.loads(line)
                self._lives[news["number"]].take(news)


@contextmanager
def open_nursery(log: Path, *, package_roots: Sequence[Path] = ()) -> Iterator[Nursery]:
    """`package_roots` come before the installed packages: an edited copy of the trader."""
    path = os.pathsep.join(filter(None, (*map(str, package_roots), str(TESTS), os.environ.get("PYTHONPATH"))))
    # Without coverage: who is killed writes none down, and tracing would make each life twice as slow.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.kill.nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            env=environment | {"PYTHONPATH": path},
        )  # fmt: skip
    nursery = Nursery(process)
    try:
        yield nursery
    finally:
        nursery.close()


def main() -> None:
    """The parent of all lives. It has no thread and no event loop, so that a fork of it is a clean process."""
    from support.kill import child
    from tradingbot_api.spec import ExchangeId
    from tradingbot_trader.venues.ccxt_port import load_ccxt

    load_ccxt(ExchangeId.BINANCE)
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    lives: dict[int, int] = {}
    selector = selectors.DefaultSelector()
    selector.register(woken, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    rest = ""
    try:
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                os.read(woken, 4096)
                _bury(lives)
            if sys.stdin in ready:
                text = os.read(sys.stdin.fileno(), 65_536).decode()
                if not text:
                    return
                *lines, rest = (rest + text).split("\n")
                for line in lines:
                    wanted = json.loads(line)
                    number = wanted.pop("number")
                    pid = os.fork()
                    if pid == 0:
                        _be(child.Orders(**wanted))
                    lives[pid] = number
                    _tell({"number": number, "pid": pid})
    finally:
        for pid in lives:
            os.kill(pid, signal.SIGKILL)
        while lives:
            _bury(lives, options=0)


def _bury(lives: dict[int, int], *, options: int = os.WNOHANG) -> None:
    while lives:
        pid, status = os.waitpid(-1, options)
        if not pid:
            return
        _tell({"number": lives.pop(pid), "ended": os.waitstatus_to_exitcode(status)})


def _tell(news: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


def _be(orders: Orders) -> None:
    """The child's whole life. Never comes back."""
    code = 1
    try:
        from support.kill import child

        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(Path(orders.folder) / child.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, stands_for in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(fd, stands_for)
        asyncio.run(child.live(orders))
        code = 0
    except BaseException:  # noqa: BLE001  nothing of the parent may run on in this process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
