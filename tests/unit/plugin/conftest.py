"""A terminal for each test."""

from __future__ import annotations

import pytest

from support.terminal import Terminal


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Bots desk/btc, desk/eth and other/btc, each with a trader that obeys while somebody waits."""
    return Terminal(capsys)
