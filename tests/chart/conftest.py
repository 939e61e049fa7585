"""The chart as Helm renders it: what every test of this folder starts from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.chart import Chart, HelmError, chart_tool


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """With the Helm that HELM names, else the pinned Helm 4."""
    return Chart(Path(os.environ.get("HELM") or chart_tool("helm")), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session", params=["helm3", "helm"], ids=["Helm 3", "Helm 4"])
def each_chart(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """Once with each Helm that has to install the chart, in its pinned version."""
    return Chart(chart_tool(request.param), tmp_path_factory.mktemp(request.param))


@pytest.fixture
def refused() -> type[HelmError]:
    return HelmError
