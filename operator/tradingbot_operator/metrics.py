"""SHELL. What the operator measures of itself; a registry of its own, so that nothing else gets in."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest


class Metrics:
    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there; else each series has a second one
        self.registry = CollectorRegistry()
        self._queue_depth = Gauge(
            "tradingbot_operator_queue_depth", "Bots that are due and wait for a worker", registry=self.registry
        )
        self._bots = Gauge("tradingbot_operator_bots", "Bots that the operator knows", registry=self.registry)
        self._reconcile_seconds = Histogram(
            "tradingbot_operator_reconcile_seconds",
            "Time of one reconciliation of one bot",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
            registry=self.registry,
        )
        self._errors = Counter(
            "tradingbot_operator_reconcile_errors", "Reconciliations that failed", ["reason"], registry=self.registry
        )
        self._requests = Counter(
            "tradingbot_operator_api_requests",
            "Requests to the API server, watches excluded; code 0: no answer",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self._watch_events = Counter(
            "tradingbot_operator_watch_events", "Watch events that came through", ["resource"], registry=self.registry
        )
        self._last_listed = Gauge(
            "tradingbot_operator_last_resync_timestamp_seconds",
            "When all bots and children were last listed",
            registry=self.registry,
        )

    def follow(self, *, queue_depth: Callable[[], float], bots: Callable[[], float]) -> None:
        """Gauges that are read when somebody scrapes."""
        self._queue_depth.set_function(queue_depth)
        self._bots.set_function(bots)

    def reconciled(self, seconds: float) -> None:
        self._reconcile_seconds.observe(seconds)

    def failed(self, reason: str) -> None:
        self._errors.labels(reason).inc()

    def requested(self, verb: str, resource: str, code: int) -> None:
        self._requests.labels(verb, resource, str(code)).inc()

    def watched(self, resource: str) -> None:
        self._watch_events.labels(resource).inc()

    def listed(self, at_seconds: float) -> None:
        self._last_listed.set(at_seconds)

    def render(self) -> bytes:
        return generate_latest(self.registry)
