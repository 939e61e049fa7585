"""One simulator and one nursery for all real traders of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.kill.harness import VENUE_OPTIONS
from support.kill.nursery import Nursery, open_nursery
from tradingbot_sandbox.venues.process import VenueProcess, running_venue


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", VENUE_OPTIONS) as running:
        yield running


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with open_nursery(tmp_path_factory.mktemp("nursery") / "log") as opened:
        yield opened
