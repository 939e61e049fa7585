"""SHELL. The only place that sends orders and cancels to a venue. Desk -> here -> account port; answers as events.

Whether an order may leave is asked in the moment in which its bytes leave (`AccountPort.place` calls the gate), and an
order that may have left is never sent again: whatever is not proved is Unresolved, and recovery finds out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from tradingbot_trader.clock import Clock
from tradingbot_trader.orders.budget import Lane, RateBudget
from tradingbot_trader.orders.lanes import Lanes
from tradingbot_trader.orders.order import Intent, OrderEvent, OrderState, Purpose
from tradingbot_trader.orders.outcome import SUCCESS, Action, Meaning, Outcome, OutcomeTable
from tradingbot_trader.orders.snapshot import Place, to_events
from tradingbot_trader.risk.breakers import Breakers
from tradingbot_trader.venues.account import AccountPort, Answer, NotAllowed, Operation, OrderSnapshot, VenueSaid

_log = structlog.get_logger("gateway")
T = TypeVar("T")
MAX_WAIT_SECONDS = 2.0
"""An order that waited longer for its turn was meant for another market: it is refused, and may be asked for anew."""


class Refusal(VenueSaid):
    """No success, and what that means by the venue's outcome table."""

    def __init__(self, answer: Answer, meaning: Meaning) -> None:
        super().__init__(answer)
        self.meaning = meaning


class NoAccount(VenueSaid):
    """There are no keys that work, so nothing can be asked. No word of the venue's: no breaker counts it."""

    def __init__(self) -> None:
        super().__init__(Answer(is_sent=False, text="there are no credentials that work"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPolicy:
    """One venue's words, as data and two small functions (venues/*_outcomes.py)."""

    table: OutcomeTable
    back_off_seconds: Callable[[Answer], float]
    """How long an answer asks for silence."""
    is_order_count: Callable[[Answer], bool]
    """Only new orders are too many: the rest may go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the gateway asks and tells; each is called in the loop and must not block."""

    may_place: Callable[[Intent], str]
    """Why this order may not leave now; empty when it may. Asked where the bytes leave."""
    emit: Callable[[OrderEvent], None]
    """Takes what became known; durable when it returns, or the store has been declared broken."""
    on_action: Callable[[Action, str, Answer], None]
    """What the outcome table asks for beyond the order itself; the text is the symbol, or empty."""
    on_doubt: Callable[[str], None]
    """An order whose fate is not known, or whose fills are not: recovery finds out."""


class LiveGateway:
    """The desk's Gateway on a real account."""

    def __init__(
        self,
        *,
        account: Callable[[], AccountPort | None],
        place: Callable[[], Place],
        policy: AnswerPolicy,
        budget: RateBudget,
        breakers: Breakers,
        clock: Clock,
        find_intent: Callable[[str], Intent | None],
        hooks: Hooks,
    ) -> None:
        """`account` is asked at each request, because keys are swapped while requests are under way."""
        self._account, self._place_of, self._policy = account, place, policy
        self._budget, self._breakers, self._clock = budget, breakers, clock
        self._find_intent, self._hooks = find_intent, hooks
        self._lanes = Lanes(budget, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight: set[str] = set()
        self._bugs: asyncio.Queue[BaseException] = asyncio.Queue()

    @property
    def in_flight(self) -> frozenset[str]:
        """Client order ids of orders that are being sent now: no question about them proves anything yet."""
        return frozenset(self._in_flight)

    def submit(self, intent: Intent, now_ns: int) -> None:
        self._in_flight.add(intent.client_order_id)
        self._spawn(self._place(intent, now_ns))

    def cancel(self, client_order_id: str, now_ns: int) -> bool:  # noqa: ARG002  the paper gateway needs the time
        intent = self._find_intent(client_order_id)
        if intent is None:
            return False
        self._spawn(self._cancel(intent))
        return True

    async def run(self) -> None:
        """Until cancelled. Raises what one of our own tasks died of: what it left behind is for the next life."""
        raise await self._bugs.get()

    async def ask(
        self, call: Callable[[AccountPort], Awaitable[T]], *, weight: int = 1, account: AccountPort | None = None
    ) -> T:
        """One question, in its lane. `account`: with a key that is not in use yet. Raises Refusal."""
        async with self._lanes.turn(Lane.QUERY, weight):
            try:
                found = await call(account or self._required_account())
            except VenueSaid as said:
                raise Refusal(said.answer, self._learn(Operation.QUERY, said, "")) from None
        self._breakers.on_answer(SUCCESS, Operation.QUERY, self._clock.now_ns())
        return found

    async def drain(self) -> None:
        """Until everything that is under way has been answered, or has timed out."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def abandon(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("gateway_task_died", error=type(error).__name__)
            self._bugs.put_nowait(error)

    async def _place(self, intent: Intent, asked_ns: int) -> None:
        order_id = intent.client_order_id
        lane = Lane.NEW if intent.purpose is Purpose.ENTRY else Lane.EXIT
        refused_as = OrderState.DENIED

        def gate() -> str:
            nonlocal refused_as
            waited_seconds = (self._clock.now_ns() - asked_ns) / 1e9
            if waited_seconds > MAX_WAIT_SECONDS:
                return f"it waited {waited_seconds:.1f} s for its turn"
            reason = self._hooks.may_place(intent)
            if not reason:
                refused_as = OrderState.REJECTED
                self._emit(order_id, OrderState.SENT, "")
                reason = self._hooks.may_place(intent)  # again: the disk may have refused to record that it leaves
            return reason

        try:
            async with self._lanes.turn(lane, 1, patience_seconds=MAX_WAIT_SECONDS):
                snapshot = await self._required_account().place(intent, gate=gate)
        except NotAllowed as error:
            self._emit(order_id, refused_as, str(error))
        except VenueSaid as said:
            self._take_refusal(intent, said)
        else:
            self._breakers.on_answer(SUCCESS, Operation.PLACE, self._clock.now_ns())
            self._take(snapshot, order_id)
        finally:
            self._in_flight.discard(order_id)

    def _take_refusal(self, intent: Intent, said: VenueSaid) -> None:
        meaning, answer = self._learn(Operation.PLACE, said, intent.symbol), said.answer
        order_id = intent.client_order_id
        if meaning.outcome is Outcome.REJECTED:
            self._emit(order_id, OrderState.REJECTED, str(answer))
            return
        # Placed (the venue has this id) and Unresolved alike: only a look at the venue tells what became of it.
        self._emit(order_id, OrderState.UNRESOLVED, str(answer))
        self._hooks.on_doubt(order_id)

    async def _cancel(self, intent: Intent) -> None:
        order_id = intent.client_order_id
        try:
            async with self._lanes.turn(Lane.CANCEL, 1):
                snapshot = await self._required_account().cancel(intent.symbol, order_id, gate=lambda: "")
        except VenueSaid as said:
            meaning = self._learn(Operation.CANCEL, said, intent.symbol)
            _log.info("cancel_refused", client_order_id=order_id, answer=str(said.answer), outcome=meaning.outcome)
            # Whatever it was, the order's own state decides; the desk asks again as long as it is open.
            self._hooks.on_doubt(order_id)
        else:
            self._breakers.on_answer(SUCCESS, Operation.CANCEL, self._clock.now_ns())
            self._take(snapshot, order_id)

    def _take(self, snapshot: OrderSnapshot, order_id: str) -> None:
        for event in to_events(snapshot, order_id, self._place_of()):
            self._hooks.emit(event)
        if snapshot.filled_base > 0:
            self._hooks.on_doubt(order_id)  # not every trade comes with the answer; asks nothing if all are known

    def _learn(self, operation: Operation, said: VenueSaid, symbol: str) -> Meaning:
        answer = said.answer
        meaning = self._policy.table.classify(operation, answer)
        if isinstance(said, NoAccount):
            return meaning
        now_ns = self._clock.now_ns()
        self._breakers.on_answer(meaning, operation, now_ns)
        if self._policy.is_order_count(answer):
            self._budget.orders_used_up(now_ns)
        elif meaning.action is Action.BACK_OFF:
            # Nothing else silences us: what a proxy writes into its 503 says nothing about us, and cancels must leave.
            seconds = self._policy.back_off_seconds(answer)
            self._budget.pause(seconds, now_ns)
            _log.warning("venue_asks_for_patience", seconds=seconds, answer=str(answer))
        if meaning.action is not Action.NONE:
            self._hooks.on_action(meaning.action, symbol, answer)
        return meaning

    def _emit(self, order_id: str, state: OrderState, reason: str) -> None:
        self._hooks.emit(OrderEvent(order_id, state, self._clock.now_ns(), reason=reason))

    def _required_account(self) -> AccountPort:
        account = self._account()
        if account is None:
            raise NoAccount
        return account
