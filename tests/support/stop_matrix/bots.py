"""One bot of the matrix of stops: its wishes, its line, its process, its store, its log, and its account at the venue.

Everything but `trader` and `ask` works while the API server is dead.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.client import HTTPException
from pathlib import Path
from typing import Any

from support.api_line import Line
from support.live_bots import BASE_RISK, Live, build_live, read_audit
from support.polling import until
from support.stack import Stack
from support.stop_matrix import prompted
from support.stop_matrix.lines import Lines
from support.stop_matrix.verdict import Arrival, Decided, Word, as_ns, read_arrivals
from tradingbot_api import GROUP, VERSION
from tradingbot_api.status import Latch
from tradingbot_sandbox.control_plane.api import Answer, ApiClient
from tradingbot_sandbox.control_plane.components import Layout
from tradingbot_sandbox.supervisor.state import StateFolder, write_atomic
from tradingbot_trader.book.reader import FILE_NAME, open_reader
from tradingbot_trader.orders.order import BookName, OrderState

BTC, ETH, SOL = "BTC/USDT", "ETH/USDT", "SOL/USDT"
SYMBOLS = (BTC, ETH, SOL)
BALANCES = {"USDT": "100000"}
HELD = {"allocation": "0.05"}
"""The position that is there from the beginning, with its protective stop."""
MORE = {"allocation": "0.1"}
RESTS = {"allocation": "0.05", "offset": "8"}
"""Too far below the market to be filled within a test."""
FILLS_SLOWLY = {"allocation": "1", "offset": "0"}
"""So much that the market takes some ten seconds to fill it."""
AGAIN = {"allocation": "0.5", "offset": "8"}
"""Of SOL: more than any cell leaves, so that there is something to ask for."""
NOTHING = {"allocation": "0"}
CALM: Mapping[str, Mapping[str, str]] = {BTC: HELD, ETH: NOTHING, SOL: NOTHING}
RISK = BASE_RISK | {
    "maxOrderNotional": "20000", "stopLossPercent": "10", "maxTradeLossPercent": "50", "maxDailyLossPercent": "50",
    "maxDrawdownPercent": "50", "priceCollarPercent": "10",
}  # fmt: skip
PAUSE_SECONDS = 0.2
"""Between two looks: many bots are looked at at once."""
SERVICE_UNAVAILABLE = 503
STEP_SECONDS = 90.0
"""For each step of a cell, on a busy machine; an order that nobody finds takes its minute and some scans."""


@dataclass(frozen=True, eq=False)
class Common:
    """What all bots of one stack share."""

    stack: Stack
    lines: Lines
    folder: Path
    """For the files of wishes."""

    @property
    def api(self) -> ApiClient:
        layout = Layout(self.stack.state, StateFolder(self.stack.state).ports())
        return ApiClient(layout.server, layout.pki.client("admin"))


def pids_of(state: Path) -> dict[int, str]:
    """Whose process is which, as NAMESPACE/BOT, from the node's own records: they are there without an API server."""
    found = {}
    for file in (state / "node" / "pods").glob("*/pod.json"):
        try:
            record = json.loads(file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):  # its pod is just going, or it is being written
            continue
        bot, is_trader, _ = record["name"].partition("-trader-")
        for container in record["containers"] if is_trader else ():
            if running := container.get("running"):
                found[int(running["pid"])] = f"{record['namespace']}/{bot}"
    return found


@dataclass(eq=False)
class Bot:
    common: Common
    live: Live
    prefix: str = ""
    """How its client order ids begin; known from its first order on."""
    store: Path = Path()
    rules: list[int] = field(default_factory=list)
    """Of the venue's fault script, that a situation has made."""
    _line: Line | None = None

    @property
    def name(self) -> str:
        return self.live.name

    @property
    def owner(self) -> str:
        return f"{self.live.desk}/{self.name}"

    @property
    def wishes_file(self) -> Path:
        return self.common.folder / f"{self.name}.json"

    def wish(self, **changes: Mapping[str, str]) -> None:
        """By base asset; the rest is calm."""
        wanted = dict(CALM) | {f"{base}/USDT": wish for base, wish in changes.items()}
        write_atomic(self.wishes_file, json.dumps(wanted))

    def build(self) -> dict[str, Any]:
        capital = {"currency": "USDT", "stage": "micro", "stages": [{"name": "micro", "limit": "40000"}]}
        parameters = {"wishes": str(self.wishes_file)}
        return build_live(
            self.name, self.live.desk, symbols=list(SYMBOLS), capital=capital, risk=RISK,
            strategy={"name": prompted.NAME, "timeframe": "1s", "parameters": parameters},
        )  # fmt: skip

    def wait(self, what: str, look: Callable[[], Any], *, seconds: float = STEP_SECONDS) -> Any:
        def quietly() -> Any:
            try:
                return look()
            except (OSError, HTTPException, sqlite3.Error, LookupError):
                return None  # the process, or the API server, is away just now

        try:
            return until(f"{what} of {self.name}", quietly, seconds=seconds, pause_seconds=PAUSE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.describe()}") from None

    def describe(self) -> str:
        account = self.account()
        words = self.words()[-6:]
        is_open = [(o["symbol"], o["side"], o["status"]) for o in account["orders"] if o["status"] in _OPEN]
        return f"{account['balances']}, open {is_open}, states {words}, log {self.log_tail()}"

    # The control plane

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, **how: str) -> Answer:
        """By a connection that stays open. One that has died meanwhile, with its API server, is made anew: everything
        that is asked here may be asked twice."""
        if self._line is not None:
            try:
                return self._line.request(method, path, body, **how)
            except (OSError, HTTPException):
                self._line.close()
        self._line = Line(self.common.api)
        return self._line.request(method, path, body, **how)

    @property
    def path(self) -> str:
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.live.desk}/tradingbots/{self.name}"

    def close(self) -> None:
        if self._line is not None:
            self._line.close()

    def ask(self, spec: Mapping[str, Any]) -> None:
        """A young API server refuses what its policies match until they have found the kind."""

        def patch() -> Answer | None:
            kind = "application/merge-patch+json"
            answer = self.request("PATCH", self.path, {"spec": spec}, content_type=kind)
            return None if answer.status == SERVICE_UNAVAILABLE else answer

        answer = self.wait("an answer to a patch", patch)
        assert answer.is_success, answer.body

    @property
    def object(self) -> dict[str, Any]:
        answer = self.request("GET", self.path)
        if not answer.is_success:
            raise LookupError(answer.body)  # the API server is just starting
        return answer.body

    @property
    def trader(self) -> dict[str, Any]:
        part: dict[str, Any] = self.object["status"]["trader"]
        return part

    def has_its_permit(self) -> bool:
        """What is granted is what the trader goes by, and that is the newest spec."""
        found = self.object
        status, config = found["status"], found["status"]["trader"]["config"]
        is_newest = config["generation"] == found["metadata"]["generation"]
        return bool(is_newest and status["permit"]["digest"] == config["digest"])

    def says(self, state: str) -> bool:
        return bool(self.trader["state"] == state)

    def wait_for_spec(self) -> None:
        def has_looked() -> bool:
            found = self.object
            return bool(found["status"]["trader"]["config"]["generation"] == found["metadata"]["generation"])

        self.wait("the newest spec", has_looked)

    # Its process

    @property
    def pid(self) -> int:
        return next(pid for pid, owner in pids_of(self.common.stack.state).items() if owner == self.owner)

    def log(self) -> Iterator[dict[str, Any]]:
        pods = self.common.stack.state / "node" / "pods"
        for file in sorted(pods.glob(f"{self.live.desk}_{self.name}-trader-*/*/*.log")):
            for line in file.read_text(errors="replace").splitlines():
                if line.startswith("{"):
                    yield json.loads(line)

    def words(self) -> list[Word]:
        found = [Word(as_ns(e["timestamp"]), tuple(e["causes"])) for e in self.log() if e.get("event") == "state"]
        return sorted(found, key=lambda word: word.at_ns)

    def engaged_ns(self, latch_id: str) -> int:
        """When that latch was made, by the log: the machine's clock is the venue's here."""
        found = [each for each in self.log() if each.get("event") == "latched" and each["id"] == latch_id]
        return as_ns(found[0]["timestamp"])

    def last_ns(self, event: str, *, after_ns: int) -> int:
        """When that was logged last; 0: not since then."""
        found = (as_ns(each["timestamp"]) for each in self.log() if each.get("event") == event)
        return max((at_ns for at_ns in found if at_ns > after_ns), default=0)

    def reconciled_ns(self) -> list[int]:
        """When books and account agreed, as above."""
        found = (each for each in self.log() if each.get("event") == "reconciled" and each["result"] == "Passed")
        return [as_ns(each["timestamp"]) for each in found]

    def log_tail(self) -> list[str]:
        return [str(line)[:300] for line in list(self.log())[-8:]]

    # Its store

    def latch(self) -> Latch | None:
        with open_reader(self.store) as reader:
            stored = reader.current_latch()
            return None if stored is None else stored.latch

    def in_doubt(self) -> bool:
        with open_reader(self.store) as reader:
            return any(order.state is OrderState.UNRESOLVED for order in reader.open_orders(BookName.LIVE))

    def audit(self, kind: str, *, after_ns: int = 0) -> list[tuple[int, dict[str, Any]]]:
        return [each for each in read_audit(self.store, kind) if each[0] > after_ns]

    def decided(self) -> dict[str, Decided]:
        """Orders that the trader has written down, by client id."""
        query = (
            "SELECT o.client_order_id, o.side, o.type, coalesce(min(e.at_ns), 0) FROM orders o LEFT JOIN order_events e"
            " ON e.book = o.book AND e.client_order_id = o.client_order_id AND e.state = 'Sent'"
            " WHERE o.book = 'live' GROUP BY o.client_order_id"
        )
        with closing(sqlite3.connect(f"file:{self.store / FILE_NAME}?mode=ro", uri=True)) as database:
            return {
                row[0]: Decided(row[1].upper(), row[2].upper().replace("-", "_"), row[3])
                for row in database.execute(query)
            }

    @contextmanager
    def store_refused(self) -> Iterator[None]:
        """As a full volume does, it takes no commit: somebody else holds its lock."""
        other = sqlite3.connect(self.store / FILE_NAME, isolation_level=None, timeout=30)
        try:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        finally:
            other.close()

    # Its account

    def account(self) -> dict[str, Any]:
        return self.live.truth

    def open_at_venue(self) -> list[dict[str, Any]]:
        return [order for order in self.account()["orders"] if order["status"] in _OPEN]

    def entries(self) -> list[dict[str, Any]]:
        """That rest at the venue."""
        return [order for order in self.open_at_venue() if order["side"] == "BUY"]

    def arrivals(self) -> list[Arrival]:
        return read_arrivals(self.common.stack.venue.log_lines(), self.prefix)

    def prices(self) -> dict[str, Decimal]:
        """Of the bot's last trades: near enough to tell what is dust."""
        names = {symbol.replace("/", ""): symbol for symbol in SYMBOLS}
        found = {BTC: Decimal(61800), ETH: Decimal(2650), SOL: Decimal(152)}
        return found | {names[trade["symbol"]]: Decimal(trade["price"]) for trade in self.account()["trades"]}

    def add_fault(self, effect: str, operation: str, *, symbol: str = "", **fields: object) -> int:
        """For this bot's orders alone. `nth` and `count` belong to its condition."""
        when = {"operation": operation, "client_id": self.prefix} | ({"symbol": symbol} if symbol else {})
        when |= {name: fields.pop(name) for name in ("nth", "count") if name in fields}
        number = self.common.stack.venue.add_fault(effect, when=when, **fields)
        self.rules.append(number)
        return number

    def hits(self, number: int) -> int:
        return next(int(rule["hits"]) for rule in self.common.stack.venue.faults() if rule["rule"] == number)

    def remove_faults(self) -> None:
        for number in self.rules:
            self.common.stack.venue.remove_fault(number)
        self.rules.clear()

    # From one cell to the next

    def begin(self) -> None:
        """Once it trades: from now on the venue writes each of its orders down as it arrives."""
        self.wait("its first order", lambda: self.account()["orders"])
        self.prefix = self.account()["orders"][0]["clientOrderId"][:10]
        self.store = self.live.store
        self.common.stack.venue.add_fault(
            "answer-late", when={"operation": "place", "client_id": self.prefix}, seconds="0"
        )

    def settle(self) -> None:
        """A position with its protective stop, and nothing else."""
        self.wish()
        self.wait("Active", lambda: self.says("Active"))

        def is_calm() -> bool:
            account = self.account()
            is_open = [order for order in account["orders"] if order["status"] in _OPEN]
            one_stop = len(is_open) == 1 and is_open[0]["type"].startswith("STOP_LOSS")
            return one_stop and is_open[0]["symbol"] == "BTCUSDT" and self.latch() is None

        self.wait("calm", is_calm)
        since = time.monotonic_ns()
        # Twice in a row, with more than a candle between: the strategy has nothing left to ask for.
        self.wait("calm that lasts", lambda: is_calm() and time.monotonic_ns() - since > 1_500_000_000)


_OPEN = ("NEW", "PARTIALLY_FILLED")
