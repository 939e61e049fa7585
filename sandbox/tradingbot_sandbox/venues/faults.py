"""The fault script: what happens to this request, to this event, and to the venue at this moment? PURE.

Flow: faults_rules -> `FaultScript` -> the simulator's server, its streams (faults_streams), or a simulation in one
process. The script only says what happens, as plain values; whoever asks makes it so. The same rules, seed, questions
and times give the same answers. What the rules can be is told in faults_rules.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import count

from tradingbot_sandbox.market.events import NS_PER_MS
from tradingbot_sandbox.market.rng import seeded
from tradingbot_sandbox.venues import faults_rules as rules
from tradingbot_sandbox.venues.faults_json import rule_json
from tradingbot_sandbox.venues.faults_rules import Effect, Operation, Rule, as_ns

HTML_PAGE = "<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a venue, as far as a rule can tell requests apart."""

    operation: Operation
    path: str = ""
    symbol: str = ""
    """The venue's name of it."""
    client_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a stream tells."""

    operation: Operation
    """user-stream or market-stream."""
    stream: str = ""
    symbol: str = ""
    client_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canned:
    """An answer that is given instead of the venue's own. A code is written in the venue's own form."""

    status: int
    code: int | None = None
    text: str = ""
    """With a code and no text: the venue's own text."""
    body: str | None = None
    """Written as it is. None: the code, or else what the venue says with such a status."""
    content_type: str = "application/json"
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happens to one request. Times count from its arrival."""

    is_delivered: bool = True
    """Does the venue carry it out?"""
    delivered_after_ns: int = 0
    is_answered: bool = True
    """False: the connection dies instead, at that time."""
    answered_after_ns: int = 0
    answer: Canned | None = None
    """Given instead of the venue's own answer."""
    is_cut: bool = False
    cut_bytes: int | None = None
    """So many bytes of the body are left. None: half of them."""
    dies_in_body: bool = False
    """The connection dies before the rest of a cut body."""
    crashes: bool = False
    """The venue's process exits between accepting and answering."""
    most_taken_base: Decimal | None = None
    """What a new order may take from the book at once, at most."""
    rules: tuple[int, ...] = ()
    """The rules that did this."""


@dataclass(frozen=True, slots=True)
class Shuffler:
    """The window in which an event waits to be shuffled with others."""

    rule: int
    window: int
    seconds_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFate:
    """What happens to one event of a stream."""

    is_dropped: bool = False
    copies: int = 1
    delayed_ns: int = 0
    shuffler: Shuffler | None = None
    rules: tuple[int, ...] = ()


PLAIN = Fate()
PLAIN_EVENT = EventFate()


@dataclass(slots=True)
class _Running:
    """A rule and what has come of it so far."""

    number: int
    rule: Rule
    given_ns: int
    random: random.Random
    seen: int = 0
    hits: int = 0
    dropping: int = 0
    """So many of the next matches are in the gap."""
    began_ns: int | None = None
    """When the silence of a counted rule began."""
    is_done: bool = False
    """A moment that was told."""

    @property
    def from_ns(self) -> int:
        return self.given_ns + as_ns(self.rule.when.from_seconds)

    def is_on(self, now_ns: int) -> bool:
        # who asks on a stream's behalf may know the time of a moment ago only: what was given is in force at once
        has_begun = not self.rule.when.from_seconds or self.from_ns <= now_ns
        until = self.rule.when.until_seconds
        return has_begun and (until is None or now_ns < self.given_ns + as_ns(until))

    def fits(self, asked: Request | Event) -> bool:
        when = self.rule.when
        return (
            self.rule.is_about(asked.operation)
            and when.symbol in ("", asked.symbol)
            and asked.client_id.startswith(when.client_id)
            and (not isinstance(asked, Request) or when.path in ("", asked.path))
            and (not isinstance(asked, Event) or when.stream in ("", asked.stream))
        )

    def hit(self) -> bool:
        """Count one match. True: it is one that goes wrong."""
        when = self.rule.when
        self.seen += 1
        if when.most_hits is not None and self.hits >= when.most_hits:
            return False
        since = self.seen - (when.nth or when.every or 1)
        if since < 0 or since % (when.every or 1):
            return False
        if when.probability is not None and Decimal(self.random.randrange(10**9)).scaleb(-9) >= when.probability:
            return False
        self.hits += 1
        return True


@dataclass(frozen=True, slots=True)
class _Hidden:
    until_ns: int
    trades: bool


class FaultScript:
    """All rules of one venue. Time goes forward: no question is older than the one before."""

    def __init__(self, given: Iterable[Rule] = (), *, now_ns: int, seed: int = 0) -> None:
        self.started_ns = now_ns
        self._seed = seed
        self._numbers = count(1)
        self._rules: dict[int, _Running] = {}
        self._hidden: dict[str, _Hidden] = {}
        for rule in given:
            self.add(rule, now_ns)

    def add(self, rule: Rule, now_ns: int) -> int:
        """Its number. Its seconds count from now."""
        number = next(self._numbers)
        numbers = seeded("fault", self._seed, number, rule.when.seed)
        self._rules[number] = _Running(number, rule, now_ns, numbers)
        return number

    def remove(self, number: int) -> bool:
        """False: there is no such rule."""
        return self._rules.pop(number, None) is not None

    def clear(self) -> int:
        """Forget all rules. How many there were. Orders that are hidden stay so."""
        many = len(self._rules)
        self._rules.clear()
        return many

    def report(self, now_ns: int) -> list[dict[str, object]]:
        """Each rule, how often it matched and how often it was hit."""
        return [
            {"rule": r.number, "seen": r.seen, "hits": r.hits, "in_force": r.is_on(now_ns)} | rule_json(r.rule)
            for r in self._rules.values()
        ]

    def on_request(self, request: Request, now_ns: int) -> Fate:
        """What happens to it. All rules that are hit count, in their order; the first answer stands."""
        fate = PLAIN
        for running in self._rules.values():
            if running.is_on(now_ns) and running.fits(request) and running.hit():
                fate = _after(fate, running.rule.what)
                fate = replace(fate, rules=(*fate.rules, running.number))
        for number in fate.rules:
            what = self._rules[number].rule.what
            if isinstance(what, rules.HideOrder) and request.client_id:
                self._hide(request.client_id, what, now_ns + fate.delivered_after_ns)
        return fate

    def on_event(self, event: Event, now_ns: int) -> EventFate:
        """What happens to it. Asked once for each event, however many connections hear it."""
        fate = PLAIN_EVENT
        for running in self._rules.values():
            if not running.fits(event):
                continue
            what = running.rule.what
            if isinstance(what, rules.DropEvents) and running.dropping:
                running.dropping -= 1
                running.seen += 1
            elif not running.is_on(now_ns) or not _waits_for_events(running.rule) or not running.hit():
                continue
            elif isinstance(what, rules.Silence | rules.Disconnect):
                running.began_ns = now_ns
                running.is_done = False
            elif isinstance(what, rules.DropEvents):
                running.dropping = what.events - 1
            fate = replace(_after_event(fate, running), rules=(*fate.rules, running.number))
        return fate

    def is_hearing_events(self, operation: Operation) -> bool:
        """Is there a rule about such events at all? If not, none needs to be asked about."""
        return any(r.rule.is_about(operation) and _waits_for_events(r.rule) for r in self._rules.values())

    def is_hidden(self, client_id: str, now_ns: int, *, trades: bool = False) -> bool:
        """Do queries not know the order yet? `trades`: does the list of trades not, either?"""
        hidden = self._hidden.get(client_id)
        return hidden is not None and now_ns < hidden.until_ns and (hidden.trades or not trades)

    def is_silent(self, operation: Operation, *, opened_ns: int, now_ns: int) -> bool:
        """Does a connection for such a stream, opened then, hear nothing now?"""
        for running in self._rules.values():
            what = running.rule.what
            if not isinstance(what, rules.Silence) or not running.rule.is_about(operation):
                continue
            began_ns = running.began_ns if running.rule.when.is_counted else running.from_ns
            if began_ns is None or now_ns < began_ns:
                continue
            is_over = what.seconds is not None and now_ns >= began_ns + as_ns(what.seconds)
            until = running.rule.when.until_seconds
            is_over |= until is not None and now_ns >= running.given_ns + as_ns(until)
            if not is_over and (what.new_connections or opened_ns < began_ns):
                return True
        return False

    def clock_skew_ns(self, now_ns: int) -> int:
        """How far the venue's clock is ahead."""
        skews = (r.rule.what for r in self._rules.values() if r.is_on(now_ns))
        return sum(what.milliseconds * NS_PER_MS for what in skews if isinstance(what, rules.ClockSkew))

    def is_stale(self, symbol: str, now_ns: int) -> bool:
        """Does the market of this symbol (the venue's name) stand still?"""
        return any(
            r.rule.what.symbol in ("", symbol)
            for r in self._rules.values()
            if isinstance(r.rule.what, rules.StaleMarket) and r.is_on(now_ns)
        )

    def take_due(self, now_ns: int) -> list[Rule]:
        """What happens once and is due: moments of the venue, and Disconnect. Each is told once."""
        due: list[Rule] = []
        for running in self._rules.values():
            at_ns = self._moment_ns(running)
            if at_ns is not None and at_ns <= now_ns:
                running.is_done = True
                if not running.rule.when.is_counted:
                    running.hits += 1
                due.append(running.rule)
        return due

    def next_due_ns(self) -> int | None:
        """When `take_due` has something to tell. None: never, as things are."""
        return min((at for r in self._rules.values() if (at := self._moment_ns(r)) is not None), default=None)

    def _moment_ns(self, running: _Running) -> int | None:
        if running.is_done:
            return None
        if isinstance(running.rule.what, rules.Disconnect) and running.rule.when.is_counted:
            return running.began_ns
        return running.from_ns if isinstance(running.rule.what, rules.Disconnect | rules.Moment) else None

    def _hide(self, client_id: str, what: rules.HideOrder, now_ns: int) -> None:
        self._hidden[client_id] = _Hidden(now_ns + as_ns(what.seconds), what.trades)


def _waits_for_events(rule: Rule) -> bool:
    """Silence and Disconnect without a count happen at a time, not to an event."""
    return not isinstance(rule.what, rules.Silence | rules.Disconnect) or rule.when.is_counted


def _after(fate: Fate, what: Effect) -> Fate:
    """The fate, with one more effect on it."""
    match what:
        case rules.LoseRequest():
            lost_ns = fate.answered_after_ns + as_ns(what.seconds)
            return replace(fate, is_delivered=False, is_answered=False, answered_after_ns=lost_ns)
        case rules.LoseAnswer():
            return replace(fate, is_answered=False, answered_after_ns=fate.answered_after_ns + as_ns(what.seconds))
        case rules.AnswerLate():
            return replace(fate, answered_after_ns=fate.answered_after_ns + as_ns(what.seconds))
        case rules.AcceptLate():
            late_ns = as_ns(what.seconds)
            accepted = replace(fate, delivered_after_ns=fate.delivered_after_ns + late_ns)
            if what.answered:
                return replace(accepted, answered_after_ns=fate.answered_after_ns + late_ns)
            return replace(accepted, is_answered=False)
        case rules.TruncateAnswer():
            return replace(fate, is_cut=True, cut_bytes=what.bytes, dies_in_body=what.dies)
        case rules.Crash():
            return replace(fate, crashes=True)
        case rules.PartialFill():
            mosts = [m for m in (fate.most_taken_base, what.most_base) if m is not None]
            return replace(fate, most_taken_base=min(mosts))
    answer, is_accepted = _canned(what)
    if answer is None:
        return fate
    return replace(fate, is_delivered=fate.is_delivered and is_accepted, answer=fate.answer or answer)


def _canned(what: Effect) -> tuple[Canned | None, bool]:
    """The answer that an effect gives, and whether the request is carried out all the same."""
    match what:
        case rules.ServerError():
            if what.html:
                page = HTML_PAGE.format(status=what.status)
                return Canned(status=what.status, body=page, content_type="text/html"), what.accepted
            body = what.text if what.code is None else None
            return Canned(status=what.status, code=what.code, text=what.text, body=body), what.accepted
        case rules.RateLimited():
            return Canned(status=429, code=what.code, retry_after_seconds=what.retry_after_seconds), False
        case rules.Banned():
            return Canned(status=418, code=what.code, retry_after_seconds=what.retry_after_seconds), False
        case rules.WafBlock():
            return Canned(status=403, body=HTML_PAGE.format(status=403), content_type="text/html"), False
        case rules.Reject():
            return Canned(status=what.status, code=what.code, text=what.text), False
        case rules.EmptyAnswer():
            return Canned(status=what.status, body=""), what.accepted
        case rules.GarbageAnswer():
            return Canned(status=what.status, body=what.text, content_type="text/html"), what.accepted
    return None, True


def _after_event(fate: EventFate, running: _Running) -> EventFate:
    match running.rule.what:
        case rules.DropEvents():
            return replace(fate, is_dropped=True)
        case rules.DuplicateEvent(times=times):
            return replace(fate, copies=fate.copies + times)
        case rules.DelayEvent(seconds=seconds):
            return replace(fate, delayed_ns=fate.delayed_ns + as_ns(seconds))
        case rules.ReorderEvents(window=window, seconds=seconds):
            return replace(fate, shuffler=Shuffler(running.number, window, as_ns(seconds)))
    return fate
