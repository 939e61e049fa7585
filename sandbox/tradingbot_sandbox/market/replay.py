"""Plays a recording as a market: event times shifted to now, gaps compressed, once or in a loop. PURE.

event time' = start + (event time - first event time) / speed. In a loop, trade and update ids are shifted so that
they go on rising; prices jump back at the seam, where one delta turns the last book into the opening one.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from tradingbot_sandbox.market.events import NS_PER_MS, BookDelta, BookTicker, MarketEvent, Trade
from tradingbot_sandbox.market.instruments import Instrument
from tradingbot_sandbox.market.port import Opening, PlayState, Position
from tradingbot_sandbox.market.recording import Recording, SymbolRecord, event_kind

SEAM_NS = 100 * NS_PER_MS
"""Pause before and after the delta that closes a loop, before compression: the pace of depth updates."""


class RecordedMarket:
    """A market out of a recording."""

    kind = "recording"

    def __init__(self, recording: Recording, *, speed: Fraction = Fraction(1), loop: bool = True) -> None:
        if speed <= 0:
            raise ValueError("speed must be above zero")
        self._recording = recording
        self._speed = speed
        self._loops_for_ever = loop
        self._state = PlayState.WAITING
        self._started_ns: int | None = None
        self._ended_ns: int | None = None
        self._loop = 0
        self._index = 0
        self._played: Counter[str] = Counter()
        self._extra_trades: Counter[str] = Counter()
        self._last_trade_ids: dict[str, int] = {}

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        return tuple(record.instrument for record in self._recording.symbols.values())

    @property
    def lateness_ns(self) -> int:
        return self._compress(self._recording.lateness_ns) + 1

    def opening(self, symbol: str) -> Opening:
        return self._recording.symbols[symbol].opening

    def start(self, now_ns: int) -> None:
        if self._state is not PlayState.WAITING:
            raise RuntimeError("a market is started once")
        self._state = PlayState.PLAYING
        self._started_ns = now_ns

    def next_due_ns(self) -> int | None:
        if self._state is not PlayState.PLAYING:
            return None
        moments = self._recording.moments
        if self._index < len(moments):
            return self._placed(moments[self._index].offset_ns)
        return self._placed(self._recording.length_ns + SEAM_NS)

    def take(self, now_ns: int, *, limit: int) -> list[MarketEvent]:
        events: list[MarketEvent] = []
        while len(events) < limit and (due_ns := self.next_due_ns()) is not None and due_ns <= now_ns:
            if self._index < len(self._recording.moments):
                event = self._shifted(self._recording.moments[self._index].event)
                self._index += 1
                if event is not None:
                    events.append(event)
                    self._played[event_kind(event)] += 1
                if self._index == len(self._recording.moments) and not self._loops_for_ever:
                    self._state = PlayState.ENDED
                    self._ended_ns = due_ns
            else:
                events += self._seam(due_ns)
        return events

    def reserve_trade_ids(self, symbol: str, *, trades: int) -> int:
        record = self._recording.symbols[symbol]
        first_id = self._last_trade_ids.get(symbol, record.opening.first_trade_id - 1) + 1
        self._extra_trades[symbol] += trades
        self._last_trade_ids[symbol] = first_id + trades - 1
        return first_id

    def position(self) -> Position:
        return Position(
            state=self._state,
            loop=self._loop,
            played=dict(self._played),
            total=dict(self._recording.played),
            started_ns=self._started_ns,
            ended_ns=self._ended_ns,
        )

    def _compress(self, duration_ns: int) -> int:
        return duration_ns * self._speed.denominator // self._speed.numerator

    def _placed(self, offset_ns: int) -> int:
        """When something that came `offset_ns` after the first event of the recording comes in this loop."""
        whole_loops_ns = self._loop * (self._recording.length_ns + 2 * SEAM_NS)
        return (self._started_ns or 0) + self._compress(whole_loops_ns + offset_ns)

    def _moved(self, recorded_ns: int) -> int:
        """A recorded time, moved to this play.

        A trade that happened before the first event was told is put at the start.
        """
        return self._placed(max(0, recorded_ns - self._recording.first_event_ns))

    def _shift_update(self, record: SymbolRecord) -> int:
        return self._loop * (record.last_update_id + 2 - record.first_update_id)

    def _shift_trade(self, symbol: str, record: SymbolRecord) -> int:
        return self._loop * (record.last_trade_id + 1 - record.opening.first_trade_id) + self._extra_trades[symbol]

    def _shifted(self, event: MarketEvent) -> MarketEvent | None:
        """The event with the ids and times of this loop.

        None: it is older than the book with which a later loop opens.
        """
        record = self._recording.symbols[event.symbol]
        event_time_ns = self._moved(event.event_time_ns)
        if isinstance(event, Trade):
            trade_id = event.trade_id + self._shift_trade(event.symbol, record)
            self._last_trade_ids[event.symbol] = trade_id
            return Trade(
                event.symbol,
                trade_id,
                event.price,
                event.quantity,
                self._moved(event.time_ns),
                event_time_ns,
                event.buyer_is_maker,
            )
        shift = self._shift_update(record)
        if isinstance(event, BookDelta):
            if self._loop and event.final_update_id <= record.opening.book.update_id:
                return None
            return BookDelta(
                event.symbol,
                event.first_update_id + shift,
                event.final_update_id + shift,
                event.bids,
                event.asks,
                event_time_ns,
            )
        if self._loop and event.update_id < record.first_update_id:
            return None
        return BookTicker(
            event.symbol,
            event.update_id + shift,
            event.bid_price,
            event.bid_quantity,
            event.ask_price,
            event.ask_quantity,
            event_time_ns,
        )

    def _seam(self, due_ns: int) -> list[MarketEvent]:
        """Close this loop and go back to the first moment."""
        events: list[MarketEvent] = []
        for symbol, record in self._recording.symbols.items():
            shift = self._shift_update(record)
            final = record.last_update_id + 1 + shift
            bids, asks = record.reset
            events.append(BookDelta(symbol, record.last_delta_id + 1 + shift, final, bids, asks, due_ns))
            (bid, bid_quantity), (ask, ask_quantity) = record.opening.book.bids[0], record.opening.book.asks[0]
            events.append(BookTicker(symbol, final, bid, bid_quantity, ask, ask_quantity, due_ns))
        self._loop += 1
        self._index = 0
        return events
