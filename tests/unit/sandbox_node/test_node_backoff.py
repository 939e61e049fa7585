"""The kubelet's restart back-off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.node.backoff import NO_BACK_OFF, BackOff, BackOffSettings
from tradingbot_sandbox.node.timestamps import NS

SETTINGS = BackOffSettings()


def crash_at_once(restarts: int) -> list[float]:
    """The pauses, in seconds, of a container that ends as soon as it is started."""
    now, back_off, pauses = 1_000 * NS, NO_BACK_OFF, []
    for _ in range(restarts):
        allowed = back_off.allowed_ns(now, SETTINGS)
        pauses.append((allowed - now) / NS)
        back_off = back_off.after_restart(now, allowed, SETTINGS)
        now = allowed
    return pauses


def test_first_restart_is_immediate_then_delays_double_up_to_five_minutes() -> None:
    assert crash_at_once(9) == [0, 10, 20, 40, 80, 160, 300, 300, 300]


def test_delay_counts_from_the_end_of_the_process() -> None:
    back_off = BackOff(delay_ns=10 * NS, updated_ns=1_000 * NS)
    assert back_off.allowed_ns(1_100 * NS, SETTINGS) == 1_110 * NS


def test_ten_good_minutes_start_the_back_off_anew() -> None:
    back_off = BackOff(delay_ns=300 * NS, updated_ns=1_000 * NS)
    ended = 1_000 * NS + 600 * NS + 1
    assert back_off.allowed_ns(ended, SETTINGS) == ended
    assert back_off.after_restart(ended, ended, SETTINGS).delay_ns == 10 * NS


@given(st.lists(st.integers(min_value=0, max_value=3_600), min_size=1, max_size=30))
def test_delay_stays_within_its_bounds_however_long_the_runs_are(run_seconds: list[int]) -> None:
    now, back_off = 1_000 * NS, NO_BACK_OFF
    for seconds in run_seconds:
        ended = now + seconds * NS
        allowed = back_off.allowed_ns(ended, SETTINGS)
        assert ended <= allowed <= ended + SETTINGS.cap_ns
        back_off = back_off.after_restart(ended, allowed, SETTINGS)
        assert SETTINGS.base_ns <= back_off.delay_ns <= SETTINGS.cap_ns
        now = allowed
