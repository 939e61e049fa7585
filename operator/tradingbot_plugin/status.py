"""SHELL. Reads bots for `status`, once or as they change."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from tradingbot_plugin import table
from tradingbot_plugin.clock import Clock
from tradingbot_plugin.errors import NotFound, Refused, Unreachable
from tradingbot_plugin.kube import KubeApi
from tradingbot_plugin.view import BotView, Ref, read_bot

WATCH_SECONDS = 30
"""A watch can die without a sign: at most so long until everything is listed again."""
RETRY_SECONDS = 1.0


def find_bots(
    kube: KubeApi, namespace: str | None, selector: str, names: Sequence[str]
) -> tuple[list[BotView], list[Ref]]:
    """The bots, and those named ones that are not there."""
    if names:
        found, missing = [], []
        for name in dict.fromkeys(names):
            ref = Ref(namespace or "", name)
            try:
                found.append(read_bot(kube.get_bot(ref)))
            except NotFound:
                missing.append(ref)
        return found, missing
    try:
        listed = kube.list_bots(namespace, selector).items
    except NotFound as error:
        raise Refused("this cluster does not know TradingBots: are the CRDs of the operator installed?") from error
    return sorted((read_bot(each) for each in listed), key=lambda bot: bot.ref), []


class Watcher:
    """Prints a line for each bot, and again whenever something else than its heartbeat changes. Until Ctrl-C."""

    def __init__(self, kube: KubeApi, clock: Clock, echo: Callable[[str], None], *, is_json: bool) -> None:
        self._kube, self._clock, self._echo, self._is_json = kube, clock, echo, is_json
        self._told: dict[Ref, list[str]] = {}
        self._widths: list[int] = []

    def run(self, namespace: str | None, selector: str, names: Sequence[str]) -> None:
        while True:
            try:
                listing = self._kube.list_bots(namespace, selector)
            except Unreachable:
                self._clock.sleep(RETRY_SECONDS)
                continue
            bots = sorted((read_bot(each) for each in listing.items), key=lambda bot: bot.ref)
            self._tell([bot for bot in bots if not names or bot.ref.name in names])
            for event in self._kube.watch_bots(namespace, selector, listing.version, WATCH_SECONDS):
                bot = read_bot(event.get("object"))
                if event.get("type") in ("ADDED", "MODIFIED") and (not names or bot.ref.name in names):
                    self._tell([bot])
                elif event.get("type") == "DELETED":
                    self._told.pop(bot.ref, None)

    def _tell(self, bots: Sequence[BotView]) -> None:
        now = self._clock.now()
        heartbeat, since = table.STATUS_COLUMNS.index("HEARTBEAT"), table.STATUS_COLUMNS.index("SINCE")
        fresh = []
        for bot in bots:
            row = table.status_row(bot, now)
            kept = [text for place, text in enumerate(row) if place not in (heartbeat, since)]
            if self._told.get(bot.ref) != kept:
                self._told[bot.ref] = kept
                fresh.append((bot, [bot.ref.namespace, *row]))
        if self._is_json:
            for bot, _ in fresh:
                self._echo(json.dumps(table.status_json(bot, now)))
        elif fresh:
            self._echo(self._format([row for _, row in fresh]))

    def _format(self, rows: Sequence[Sequence[str]]) -> str:
        """With the columns at the first time, and never narrower than they were."""
        columns = ("NAMESPACE", *table.STATUS_COLUMNS)
        head = [] if self._widths else [columns]
        self._widths = [
            max([len(line[place]) for line in (columns, *rows)] + self._widths[place : place + 1])
            for place in range(len(columns))
        ]
        lines = [*head, *rows]
        return "\n".join(
            "   ".join(text.ljust(width) for text, width in zip(line, self._widths, strict=True)).rstrip()
            for line in lines
        )
