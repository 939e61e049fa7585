"""SHELL. The table for people and the JSON for programs. From the figures to the terminal."""
# ruff: noqa: T201  a program for the terminal

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figure import Figure
from bench.setting import Setting


def print_table(figures: Sequence[Figure], missing: Mapping[str, str], *, where: str) -> None:
    table = Table("figure", "value", "relative to", "goal", "met", "samples", "p50", "p99", title=where, expand=False)
    for name in ("value", "goal", "samples", "p50", "p99"):
        next(each for each in table.columns if each.header == name).justify = "right"
    for figure in figures:
        table.add_row(
            f"{figure.name}\n[dim]{figure.what}[/dim]",
            f"{figure.value:.3g} {figure.unit}",
            figure.relative_to,
            "" if figure.goal is None else f"<= {figure.goal:g}",
            {None: "", True: "[green]yes[/green]", False: "[red]no[/red]"}[figure.is_met],
            str(figure.samples),
            _short(figure.p50),
            _short(figure.p99),
        )
    for name, why in missing.items():
        table.add_row(name, "[red]not measured[/red]", why)
    width = None if sys.stdout.isatty() else 140
    Console(width=width).print(table)


def describe(figures: Sequence[Figure], missing: Mapping[str, str], setting: Setting) -> dict[str, Any]:
    """All that the next reader needs to compare it with another run, and nothing that names this machine."""
    return {
        "filesystem": setting.filesystem,
        "python": platform.python_version(),
        "ccxt": version("ccxt"),
        "cpus": os.cpu_count(),
        "load": [round(each, 2) for each in os.getloadavg()],
        "figures": [each.to_data() for each in figures],
        "notMeasured": dict(missing),
    }


def write_json(data: Mapping[str, Any], path: str) -> None:
    """To that file, else as the last line of stdout."""
    if path:
        Path(path).write_text(json.dumps(data, indent=2) + "\n")
        print(f"written to {path}")
    else:
        print(json.dumps(data))


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
