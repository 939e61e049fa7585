"""How samples become a number, and what is said of it. That a number is small enough, no test asserts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.__main__ import FIGURES, select
from bench.figure import Figure, delays_ms, figure_of, percentile, ratios
from bench.report import describe
from bench.setting import Setting, filesystem_of, resident_mb

MS = 1_000_000


def figure(**changes: object) -> Figure:
    values = {"name": "order-path", "what": "an order", "value": 3.5, "unit": "x", "goal": 4.0, "samples": 3}
    return Figure(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile([float(each) for each in range(100, 0, -1)], percent) == expected


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0, 100))
def test_percentile_is_a_sample_that_enough_samples_do_not_exceed(samples: list[float], percent: float) -> None:
    found = percentile(samples, percent)
    assert found in samples
    assert sum(each <= found for each in samples) >= len(samples) * percent / 100 - 1e-9


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 50)


def test_ratios_are_of_pairs() -> None:
    assert ratios([4.0, 9.0], [2.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [1.0, 2.0])


def test_each_millisecond_of_a_block_counts_as_late_as_it_was() -> None:
    assert delays_ms([0, MS, 2 * MS, 6 * MS], every_ns=MS) == [0, 0, 0, 3, 2, 1, 0]


def test_delays_of_a_task_that_was_never_woken_are_none() -> None:
    assert delays_ms([], every_ns=MS) == []


@given(st.lists(st.integers(0, 50 * MS), min_size=1, max_size=50))
def test_number_of_delays_depends_on_the_time_alone(steps: list[int]) -> None:
    woken_ns = [sum(steps[: each + 1]) for each in range(len(steps))]
    delays = delays_ms(woken_ns, every_ns=MS)
    assert len(delays) == (woken_ns[-1] - woken_ns[0]) // MS + 1
    assert max(delays) <= max(steps[1:], default=0) / MS


@pytest.mark.parametrize(
    ("value", "goal", "is_met"), [(4.0, 4.0, True), (4.01, 4.0, False), (9.9, None, None), (0.0, 0, True)]
)
def test_goal_is_at_most(value: float, goal: float | None, is_met: bool | None) -> None:  # noqa: FBT001  a table
    assert figure(value=value, goal=goal).is_met is is_met


def test_figure_comes_through_json() -> None:
    told = figure(relative_to="a raw POST", p50=3.5, p99=9.0, detail={"bare_p50_ms": 1.5})
    assert figure_of(json.loads(json.dumps(told.to_data()))) == told


def test_json_says_what_was_met_and_what_was_not_measured(tmp_path: Path) -> None:
    told = describe([figure(), figure(value=5.0)], {"burst": "no simulator"}, Setting(tmp_path))
    assert [each["met"] for each in told["figures"]] == [True, False]
    assert told["notMeasured"] == {"burst": "no simulator"}
    assert str(tmp_path) not in json.dumps(told)


def test_select_takes_all_figures_or_those_that_are_named() -> None:
    assert select("") == list(FIGURES)
    assert select("burst, commit") == ["burst", "commit"]
    with pytest.raises(ValueError, match="no figure is called speed; there is risk-check,"):
        select("speed")


def test_each_figure_has_a_module_of_its_own() -> None:
    folder = Path(__file__).parent
    assert [name for name in FIGURES.values() if not (folder / f"{name}.py").is_file()] == []


def test_file_system_is_that_of_the_deepest_mount(tmp_path: Path) -> None:
    points = [("/", "ext4"), (str(tmp_path), "xfs"), (str(tmp_path), "tmpfs"), (f"{tmp_path}/sto", "btrfs")]
    mounts = "".join(f"device {point} {kind} rw 0 0\n" for point, kind in points)
    assert filesystem_of(tmp_path / "store", mounts) == "tmpfs"
    assert filesystem_of(Path("/elsewhere"), mounts) == "ext4"


def test_memory_of_a_process_that_has_ended_is_refused() -> None:
    with pytest.raises(ProcessLookupError):
        resident_mb(2**22 + 1)  # above the kernel's largest process id
