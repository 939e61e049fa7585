"""`/sandbox/faults`: which fault rules there are, a new one, one or all of them away. SHELL.

GET lists them with their hits; POST takes one rule or a list, as faults_json reads them; DELETE `/sandbox/faults` takes
all away, `/sandbox/faults/NUMBER` one.
"""

from __future__ import annotations

from aiohttp import web

from tradingbot_sandbox.market.clock import Clock
from tradingbot_sandbox.venues.binance.exchange import Log
from tradingbot_sandbox.venues.faults import FaultScript
from tradingbot_sandbox.venues.faults_json import parse_rules
from tradingbot_sandbox.venues.faults_rules import FaultRuleError

PATH = "/sandbox/faults"


class FaultControl:
    """Changes a running script."""

    def __init__(self, script: FaultScript, *, clock: Clock, log: Log) -> None:
        self._script = script
        self._clock = clock
        self._log = log

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(PATH, self._list)
        app.router.add_post(PATH, self._add)
        app.router.add_delete(PATH, self._clear)
        app.router.add_delete(PATH + r"/{number:\d+}", self._remove)

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response({"rules": self._script.report(self._clock.now_ns())})

    async def _add(self, request: web.Request) -> web.Response:
        try:
            rules = parse_rules(await request.text())
        except FaultRuleError as error:
            return web.json_response({"error": str(error)}, status=400)
        now_ns = self._clock.now_ns()
        numbers = [self._script.add(rule, now_ns) for rule in rules]
        self._log.info("faults_added", rules=numbers, effects=[rule.what.name for rule in rules])
        return web.json_response({"added": numbers})

    async def _clear(self, _request: web.Request) -> web.Response:
        removed = self._script.clear()
        self._log.info("faults_removed", rules=removed)
        return web.json_response({"removed": removed})

    async def _remove(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        if not self._script.remove(number):
            return web.json_response({"error": f"there is no rule {number}"}, status=404)
        self._log.info("faults_removed", rules=1)
        return web.json_response({"removed": 1})
