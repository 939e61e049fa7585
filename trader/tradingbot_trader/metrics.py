"""SHELL. What Prometheus is told. Money is a float here and nowhere else: these are pictures, not books."""

from __future__ import annotations

from decimal import Decimal

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

PREFIX = "tradingbot_trader"


class Metrics:
    """One registry a process; no process or platform collectors of the default one that nobody reads."""

    def __init__(self) -> None:
        # A second series for each counter, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client has no annotation there
        self.registry = CollectorRegistry()
        counter, gauge = self._counter, self._gauge
        self.trades = counter("market_trades", "Trades of the public tape that reached the trader", "symbol")
        self.dropped = gauge("market_dropped_messages", "Market messages received and not processed")
        self.missing = counter(
            "market_missing_trades", "Trades that the venue numbered and the trader never saw", "symbol"
        )
        self.candles = counter("market_candles", "Candles closed", "symbol")
        self.price_time = gauge("market_last_event_seconds", "Time of the last trade, Unix seconds", "symbol")
        self.decisions = counter("decisions", "Orders that the risk checks decided on", "result", "reason")
        self.orders = counter("order_events", "Changes of orders", "state")
        self.fills = counter("fills", "Fills in the ledger", "symbol", "side")
        self.position = gauge("position_base", "Held quantity in the base currency", "symbol")
        self.exposure = gauge("exposure_quote", "Cost of positions, open and unresolved buys")
        self.open_orders = gauge("open_orders", "Orders that are open or in flight")
        self.limit = gauge("limit_quote", "Capital limit in force")
        self.realized = gauge("realized_pnl_quote", "Realized profit and loss of the book")
        self.unrealized = gauge("unrealized_pnl_quote", "Unrealized profit and loss at the last trusted price")
        self.fees = gauge("fees_quote", "Fees paid, in quote currency at the fill's price")
        self.active = gauge("active", "1: the trading state is Active")
        self.latched = gauge("latched", "1: a stop is latched")
        self.unresolved = gauge("unresolved_orders", "Orders that may or may not exist at the venue; live alone")
        self.reconciled = gauge("reconciled", "1: books and venue agreed when they were last compared; live alone")
        self.reconciled_time = gauge("reconciled_seconds", "Time of the last comparison, Unix seconds; live alone")
        self.breakers_open = gauge("breakers_open", "Circuit breakers that are not closed; live alone")
        self.breaker_trips = gauge("breaker_trips", "How often breakers opened since the book was opened; live alone")
        self.credentials_ready = gauge("credentials_ready", "1: a key is in force; live alone")
        self.config_accepted = gauge("config_accepted", "1: the newest spec is in force")
        self.contact = gauge("control_plane_contact_seconds", "Seconds since the API server last answered")
        self.audit = gauge("audit_sequence", "Number of the newest audit record")
        self.epoch = gauge("epoch", "Number of this run of the trader")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self.registry)


def picture(value: Decimal) -> float:
    """A money value for a gauge, and for nothing else."""
    return float(value)
