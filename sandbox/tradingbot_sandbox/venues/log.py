"""How a simulator logs: JSON lines on stderr, one line a decision. SHELL."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_log(level: str) -> None:
    """Write events of `level` (debug, info, warning) and above to stderr."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
