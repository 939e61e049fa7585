"""Who plays when: cells that disturb one bot alone side by side, and the others in waves, one for each that is shared.

A wave is a meeting: its players make their situations, the thing that all of them need is taken away, and is given back
when each of them has seen enough. Who fails, or has ended, is not waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from support.stop_matrix.bots import Bot
from support.stop_matrix.cells import Cell, at_the_clock, in_halves, is_local, without_api, without_operator

STAGES = ("made-0", "made-1", "made-2", "struck", "healed")
MEETING_SECONDS = 240.0
TRIES = 3


class NotThere(AssertionError):  # noqa: N818  named by consequence (STYLE)
    """The cell's situation did not come about: it has shown nothing, and may be played again."""


class Meeting:
    """`reach` returns when all players are there, and what belongs to the stage has been done."""

    def __init__(self, players: Collection[object], acts: dict[str, Callable[[], object]]) -> None:
        self._left = {stage: set(players) for stage in STAGES}
        self._acts = acts
        self._open: set[str] = set()
        self._failure = ""
        self._changed = threading.Condition()

    def reach(self, player: object, stage: str) -> None:
        with self._changed:
            self._leave(player, STAGES.index(stage) + 1)
            if not self._changed.wait_for(lambda: stage in self._open, MEETING_SECONDS):
                raise AssertionError(f"{player} waited in vain for {stage}")
            if self._failure:
                raise AssertionError(self._failure)

    def end(self, player: object) -> None:
        """Nobody waits for this one any more."""
        with self._changed:
            self._leave(player, len(STAGES))

    def _leave(self, player: object, stages: int) -> None:
        for stage in STAGES[:stages]:
            self._left[stage].discard(player)
        for stage in STAGES:  # in their order: nothing is given back that was not taken away
            if self._left[stage]:
                break
            if stage not in self._open:
                try:
                    self._acts.get(stage, lambda: None)()
                except Exception as error:  # noqa: BLE001  whatever it was, all players have to hear of it
                    self._failure = f"{stage}: {error!r}"
                self._open.add(stage)
        self._changed.notify_all()


def alone() -> Meeting:
    """Nobody else, and nothing that is taken away."""
    return Meeting((), {stage: lambda: None for stage in STAGES})


Play = Callable[[Bot, Cell, Meeting], None]


@dataclass
class Results:
    """What came of each cell: empty, or what broke."""

    file: Path
    """Told there as it comes: the run takes minutes."""
    broken: dict[Cell, str] = field(default_factory=dict)
    played: list[Cell] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, cell: Cell, problem: str) -> None:
        with self._lock:
            self.played.append(cell)
            if problem:
                self.broken[cell] = problem
            with self.file.open("a") as file:
                file.write(f"{datetime.now(UTC):%H:%M:%S} {cell} {problem or 'ok'}\n")


class Waves:
    def __init__(self, bots: Sequence[Bot], play: Play, told: Path) -> None:
        """`told`: a file for the results."""
        self._bots, self._play = list(bots), play
        self._ended: dict[Bot, int] = dict.fromkeys(bots, 0)
        """How often its process was ended: the node lets the next one wait twice as long."""
        self.results = Results(told)

    def play_local(self, cells: Iterable[Cell]) -> None:
        """Each bot takes the next cell as soon as it is free."""
        waiting, lock = slow_first(cell for cell in cells if is_local(cell)), threading.Lock()

        def take(bot: Bot) -> Cell | None:
            with lock:
                for cell in waiting:
                    if cell.source != "sigterm" or not self._ended[bot]:
                        waiting.remove(cell)
                        return cell
                return None

        def work(bot: Bot) -> None:
            while (cell := take(bot)) is not None:
                if not self._play_one(bot, cell, alone, tries=TRIES):
                    return

        with ThreadPoolExecutor(len(self._bots)) as pool:
            list(pool.map(work, list(self._bots)))
        for cell in waiting:
            self.results.put(cell, "no bot was left for it")

    def play_wave(self, cells: Sequence[Cell], acts: dict[str, Callable[[], object]]) -> None:
        if not cells:
            return
        pairs = self._cast(cells)
        meeting = Meeting([bot for bot, _ in pairs], acts)
        with ThreadPoolExecutor(len(cells)) as pool:
            list(pool.map(lambda pair: self._play_one(*pair, lambda: meeting, tries=1), pairs))

    def _cast(self, cells: Sequence[Cell]) -> list[tuple[Bot, Cell]]:
        free = sorted(self._bots, key=lambda bot: self._ended[bot])
        pairs = list(zip(free, sorted(cells, key=lambda cell: cell.source != "sigterm"), strict=False))
        for cell in set(cells) - {cell for _, cell in pairs}:
            self.results.put(cell, "no bot was left for it")
        return pairs

    def _play_one(self, bot: Bot, cell: Cell, meet: Callable[[], Meeting], *, tries: int) -> bool:
        """False: the bot is not fit for another cell."""
        self._ended[bot] += cell.source == "sigterm"
        problem = ""
        for left in reversed(range(tries)):
            meeting = meet()
            try:
                self._play(bot, cell, meeting)
            except NotThere as error:
                problem = str(error)
                if left:
                    continue
            except Exception as error:  # noqa: BLE001  a cell that broke in any way is one result among others
                problem = f"{type(error).__name__}: {error}"
                self._bots.remove(bot)
            else:
                problem = ""
            finally:
                meeting.end(bot)
            break
        self.results.put(cell, problem)
        return bot in self._bots


def slow_first(cells: Iterable[Cell]) -> list[Cell]:
    """Those that wait for something run beside all the others."""
    slow = ("answer-lost", "lost-lease", "sigterm")
    return sorted(cells, key=lambda cell: cell.situation not in slow and cell.source not in slow)


def bots_for(cells: Collection[Cell], *, most: int) -> int:
    """Enough for the largest wave and for one that breaks, and no more than there is to play at once."""
    outages = in_halves(without_api(cells))
    largest = max(1, *map(len, (without_operator(cells), at_the_clock(cells), *outages)))
    return max(largest + 1, min(most, sum(is_local(cell) for cell in cells)))
