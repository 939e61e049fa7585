"""PURE. What one measurement says, and how many samples become one number. From a figure's module to the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of one run. Times and memory are floats here: they are pictures, not money."""

    name: str
    what: str
    value: float
    unit: str
    relative_to: str = ""
    """What the value is a multiple of, measured in the same run; empty: it stands for itself."""
    goal: float | None = None
    """At most so much, in the value's unit; None: none was set."""
    samples: int
    p50: float | None = None
    p99: float | None = None
    detail: Mapping[str, object] = field(default_factory=dict)
    """What the value was made of, for whoever asks why; units in the names."""

    @property
    def is_met(self) -> bool | None:
        return None if self.goal is None else self.value <= self.goal

    def to_data(self) -> dict[str, object]:
        return {
            "name": self.name,
            "what": self.what,
            "value": _rounded(self.value),
            "unit": self.unit,
            "relativeTo": self.relative_to,
            "goal": self.goal,
            "met": self.is_met,
            "samples": self.samples,
            "p50": _rounded(self.p50),
            "p99": _rounded(self.p99),
            "detail": dict(self.detail),
        }


def figure_of(data: Mapping[str, object]) -> Figure:
    """The way back from `to_data`. JSON has no infinity: a value that is none has no bound, and meets no goal."""
    values = {name: each for name, each in data.items() if name not in ("met", "relativeTo")}
    values["value"] = math.inf if values["value"] is None else values["value"]
    return Figure(relative_to=data["relativeTo"], **values)  # type: ignore[arg-type]  # JSON has no types


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that so many percent of all do not exceed (nearest rank). ValueError without any."""
    if not samples:
        raise ValueError("nothing was measured")
    rank = math.ceil(len(samples) * percent / 100)
    return sorted(samples)[max(rank, 1) - 1]


def ratios(ours: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Of each pair; the two of a pair were measured right after each other, so that a busy machine slows both."""
    return [one / other for one, other in zip(ours, reference, strict=True)]


def figure_of_pairs(
    name: str,
    what: str,
    *,
    ours: Sequence[float],
    reference: Sequence[float],
    names: tuple[str, str],
    relative_to: str,
    goal: float,
    detail: Mapping[str, object],
) -> Figure:
    """The median of their ratios. Samples are seconds; `names` are those of the two in `detail`."""
    pairs = ratios(ours, reference)
    return Figure(
        name=name,
        what=what,
        value=percentile(pairs, 50),
        unit="x",
        relative_to=relative_to,
        goal=goal,
        samples=len(pairs),
        p50=percentile(pairs, 50),
        p99=percentile(pairs, 99),
        detail={
            f"{each}_p{percent}_ms": round(percentile(samples, percent) * 1e3, 3)
            for each, samples in zip(names, (ours, reference), strict=True)
            for percent in (50, 99)
        }
        | dict(detail),
    )


def delays_ms(woken_ns: Sequence[int], *, every_ns: int) -> list[float]:
    """How late a loop was for each moment of a schedule that begins with the first wake-up.

    A task that sleeps a millisecond and then looks sees a block of 50 ms as one late wake-up. Here each millisecond of
    the block counts, as late as it would have been for something that had to be done then.
    """
    delays: list[float] = []
    due_ns = woken_ns[0] if woken_ns else 0
    for at_ns in woken_ns:
        while due_ns <= at_ns:
            delays.append((at_ns - due_ns) / 1e6)
            due_ns += every_ns
    return delays


def _rounded(value: float | None) -> float | None:
    """Four digits are more than any of this is worth."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
