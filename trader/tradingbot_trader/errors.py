"""What went wrong, by what the trader does next.

TradingError
|- StopTrading           cancels only, until the cause is gone and a reconciliation has passed
|  |- CredentialsRejected
|  |- StoreUnwritable    what would be sent could not be recorded
|  `- StaleEpoch         another trader of this bot has taken over: this process sends nothing ever again
|- RefuseToStart         a person has to act; until then the trader stays up, idle and unready
|  |- StoreMismatch      the volume belongs to another bot, venue or account
|  |- StoreTooNew        a newer trader wrote it
|  `- StoreLocked        another process on this machine writes it
|- OrderRejected         the order does not exist; the strategy is told why
|- OutcomeUnknown        the order may exist; recovery owns it now
|- UnknownOrder          told of an order that is not open here: adopt it from the store, or report an orphan
`- Transient             try again after `retry_after_seconds`
   `- RateLimited
"""
# ruff: noqa: N818  named by consequence, not by the word Error (STYLE)

from __future__ import annotations


class TradingError(Exception):
    """Root of everything that the trader raises on purpose."""

    retriable = False
    """Whether the same call may be made again without a person or a reconciliation in between."""


class StopTrading(TradingError):
    """Cancels only, until the cause is gone and a reconciliation has passed."""

    final = False
    """Whether this process may ever trade again."""


class CredentialsRejected(StopTrading):
    """The venue does not take our keys."""


class StoreUnwritable(StopTrading):
    """The store could not record; nothing may leave that would not be recorded."""


class StaleEpoch(StopTrading):
    """The store carries a later epoch than ours: another trader of this bot writes it now."""

    final = True


class RefuseToStart(TradingError):
    """The store cannot be used as it is. The message says what a person can do."""


class StoreMismatch(RefuseToStart):
    """The store belongs to another bot, venue, network or account."""


class StoreTooNew(RefuseToStart):
    """The store's schema is newer than this trader."""


class StoreLocked(RefuseToStart):
    """Another process holds the store's lock."""


class OrderRejected(TradingError):
    """The order does not exist."""


class OutcomeUnknown(TradingError):
    """The order may exist: never send it again, find out."""


class UnknownOrder(TradingError):
    """An event of an order that is not open here: look into the store, adopt what is found there, apply it again."""


class Transient(TradingError):
    """Nothing happened; the same call may be made again."""

    retriable = True

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RateLimited(Transient):
    """The venue asks for silence until `retry_after_seconds` are over."""
