"""Who hears what happens to which account. PURE.

Flow: trading desk -> `publish` -> every listener of the account: a WebSocket session, or a simulation's own function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

Event = dict[str, object]
Sink = Callable[[Event], None]
"""Takes the event itself, without `subscriptionId`. It must not raise, and must not call the exchange back."""


class UserStreams:
    """The user data streams of one simulator."""

    def __init__(self) -> None:
        self._sinks: dict[int, list[Sink]] = {}
        self.published: Counter[str] = Counter()
        """Events by kind, whether anybody heard them or not."""
        self.outlet: Callable[[Event, Callable[[], None]], None] | None = None
        """Where a fault script decides when an event is delivered, and whether."""

    def subscribe(self, uid: int, sink: Sink) -> None:
        """Hear everything that happens to the account from now on."""
        self._sinks.setdefault(uid, []).append(sink)

    def unsubscribe(self, uid: int, sink: Sink) -> None:
        """Nothing happens when it does not listen."""
        sinks = self._sinks.get(uid, [])
        if sink in sinks:
            sinks.remove(sink)

    def listeners(self, uid: int) -> int:
        return len(self._sinks.get(uid, ()))

    def publish(self, uid: int, event: Event) -> None:
        """Tell it to everyone who listens, by way of the fault script if there is one."""
        self.published[str(event["e"])] += 1
        if self.outlet is None:
            self.deliver(uid, event)
        else:
            self.outlet(event, lambda: self.deliver(uid, event))

    def deliver(self, uid: int, event: Event) -> None:
        for sink in tuple(self._sinks.get(uid, ())):
            sink(event)
