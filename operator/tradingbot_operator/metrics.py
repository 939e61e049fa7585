"""SHELL. What the operator measures of itself; a registry of its own, so that nothing else gets in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from tradingbot_operator.manifest import Manifest, text

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
ModeAndPhase = tuple[str, str]


def mode_and_phase(bot: Manifest) -> ModeAndPhase:
    """PURE. The mode that the bot's pod has, as far as its permit tells, and how it looks to a person."""
    return text(bot, "status", "permit", "mode") or "None", text(bot, "status", "phase") or "None"


class Metrics:
    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there; else each series has a second one
        self.registry = CollectorRegistry()
        self._leader = Gauge(
            "tradingbot_operator_leader", "1: this process holds the Lease and reconciles", registry=self.registry
        )
        self._queue_depth = Gauge(
            "tradingbot_operator_queue_depth", "Bots that are due and wait for a worker", registry=self.registry
        )
        self._queue_oldest = Gauge(
            "tradingbot_operator_queue_oldest_seconds",
            "For how long the first of them has been due",
            registry=self.registry,
        )
        self._bots = Gauge(
            "tradingbot_operator_bots", "Bots that the operator knows", ["mode", "phase"], registry=self.registry
        )
        self._reconcile_seconds = Histogram(
            "tradingbot_operator_reconcile_seconds",
            "Time of one reconciliation of one bot",
            buckets=_SECONDS,
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
        self._request_seconds = Histogram(
            "tradingbot_operator_api_request_seconds",
            "Time of one request to the API server, watches excluded",
            ["verb", "resource"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._watch_events = Counter(
            "tradingbot_operator_watch_events", "Watch events that came through", ["resource"], registry=self.registry
        )
        self._watch_missed = Counter(
            "tradingbot_operator_watch_missed",
            "How often a watch was found dead and opened anew: a list had shown what it had not",
            ["resource"],
            registry=self.registry,
        )
        self._last_listed = Gauge(
            "tradingbot_operator_last_resync_timestamp_seconds",
            "When all bots and children were last listed",
            registry=self.registry,
        )
        self._sees_halts = Gauge(
            "tradingbot_operator_halts_seen",
            "1: TradingHalts could be listed; 0: a bot without a trader is not latched by them",
            registry=self.registry,
        )
        self._policies = Gauge(
            "tradingbot_operator_policies_in_force",
            "1: the chart's admission policies were in force when they were last checked; 0: no new live permit",
            registry=self.registry,
        )
        self._drill_age = Gauge(
            "tradingbot_operator_drill_age_seconds",
            "For how long the bot's last drill that was passed has ended; no series: none is known",
            ["namespace", "bot"],
            registry=self.registry,
        )
        self._loop_lag = Histogram(
            "tradingbot_operator_event_loop_lag_seconds",
            "How late the event loop came to what was due, sampled four times a second",
            buckets=(0.001, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
            registry=self.registry,
        )
        self._count_bots: Callable[[], Mapping[ModeAndPhase, int]] = dict
        self._drill_ages: Callable[[], Mapping[tuple[str, str], float]] = dict

    def follow(
        self,
        *,
        queue_depth: Callable[[], float],
        queue_oldest_seconds: Callable[[], float],
        bots: Callable[[], Mapping[ModeAndPhase, int]],
        leads: Callable[[], bool],
        drill_ages: Callable[[], Mapping[tuple[str, str], float]],
    ) -> None:
        """Gauges that are read when somebody scrapes. `drill_ages`: seconds, by namespace and name of the bot."""
        self._queue_depth.set_function(queue_depth)
        self._queue_oldest.set_function(queue_oldest_seconds)
        self._leader.set_function(lambda: float(leads()))
        self._count_bots = bots
        self._drill_ages = drill_ages

    def reconciled(self, seconds: float) -> None:
        self._reconcile_seconds.observe(seconds)

    def failed(self, reason: str) -> None:
        self._errors.labels(reason).inc()

    def requested(self, verb: str, resource: str, code: int, seconds: float) -> None:
        self._requests.labels(verb, resource, str(code)).inc()
        self._request_seconds.labels(verb, resource).observe(seconds)

    def watched(self, resource: str) -> None:
        self._watch_events.labels(resource).inc()

    def halts_seen(self, *, is_seen: bool) -> None:
        self._sees_halts.set(float(is_seen))

    def policies_checked(self, *, are_in_force: bool) -> None:
        self._policies.set(float(are_in_force))

    def missed(self, resource: str) -> None:
        self._watch_missed.labels(resource).inc()

    def lagged(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def listed(self, at_seconds: float) -> None:
        self._last_listed.set(at_seconds)

    def render(self) -> bytes:
        self._bots.clear()
        for labels, count in self._count_bots().items():
            self._bots.labels(*labels).set(count)
        self._drill_age.clear()
        for bot, age_seconds in self._drill_ages().items():
            self._drill_age.labels(*bot).set(age_seconds)
        return generate_latest(self.registry)
