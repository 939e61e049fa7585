"""SHELL: shows a build's progress: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import rich.progress
from rich.console import Console
from rich.table import Column

from tradingbot_sandbox.control_plane.build import Progress, Step

PLAIN_LINE_SECONDS = 10.0
"""A CI log wants to see that something moves, not each package."""


@contextmanager
def build_progress() -> Iterator[Progress]:
    """The form that suits standard error, where all progress goes."""
    if sys.stderr.isatty():
        with LiveProgress.show() as live:
            yield live
    else:
        yield PlainProgress()


class PlainProgress:
    """A line at the beginning and the end of each step, and one every few seconds between."""

    def __init__(self, line_seconds: float = PLAIN_LINE_SECONDS) -> None:
        self._line_seconds = line_seconds
        self._head = ""
        self._begun = self._printed = time.monotonic()
        self._where = ""

    def say(self, text: str) -> None:
        click.echo(text, err=True)

    def begin(self, step: Step) -> None:
        self._head = f"[{step.number}/{step.of}] {step.title}"
        self._begun = self._printed = time.monotonic()
        self._where = ""
        click.echo(self._head, err=True)

    def advance(self, *, done: int, total: int, doing: str) -> None:
        self._where = f", {done} of {total} packages, {doing}" if total else f", {doing}"
        self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._printed >= self._line_seconds:
            self._printed = now
            click.echo(f"{self._head}: {now - self._begun:.0f} s{self._where}", err=True)

    def finish(self, *, seconds: float) -> None:
        click.echo(f"{self._head}: done in {seconds:.0f} s", err=True)


class LiveProgress:
    """A bar for each step; those that are done stay on the screen with the time they took."""

    def __init__(self, bars: rich.progress.Progress) -> None:
        self._bars = bars
        self._task = rich.progress.TaskID(0)

    @classmethod
    @contextmanager
    def show(cls) -> Iterator[LiveProgress]:
        one_line = Column(no_wrap=True, overflow="ellipsis")
        columns = (
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.TaskProgressColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("[dim]{task.fields[doing]}", table_column=one_line),
        )
        with rich.progress.Progress(*columns, console=Console(stderr=True), refresh_per_second=5) as bars:
            yield cls(bars)

    def say(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False)

    def begin(self, step: Step) -> None:
        self._task = self._bars.add_task(f"\\[{step.number}/{step.of}] {step.title}", total=None, doing="")

    def advance(self, *, done: int, total: int, doing: str) -> None:
        self._bars.update(self._task, completed=done, total=total or None, doing=doing)

    def tick(self) -> None:
        """Nothing: the bars count the time by themselves."""

    def finish(self, *, seconds: float) -> None:
        self._bars.update(self._task, completed=1, total=1, doing=f"done in {seconds:.0f} s")
        self._bars.stop_task(self._task)
