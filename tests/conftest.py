"""Fixtures for every kind of test. A test that uses `control_plane` gets the marker of that name by itself."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import hypothesis
import pytest

from tradingbot_sandbox.control_plane.binaries import find_binaries
from tradingbot_sandbox.control_plane.control_plane import ControlPlane
from tradingbot_sandbox.supervisor.errors import BinariesMissing

# No test asserts a speed, and a busy machine is no defect of what is tested.
hypothesis.settings.register_profile("project", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def discovery_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What kubectl and Helm remember of an API server goes by its port: that of an earlier run says what is not so."""
    os.environ["KUBECACHEDIR"] = str(tmp_path_factory.mktemp("discovery"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "control_plane" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.control_plane)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One real control plane for all tests of a run; ready in about four seconds, gone with the test process."""
    try:
        binaries = find_binaries()
    except BinariesMissing as error:
        pytest.fail(str(error), pytrace=False)  # no skip: without it nothing of Kubernetes would be tested
    with ControlPlane.start(tmp_path_factory.mktemp("control-plane"), binaries) as running:
        yield running


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace for one test. What is in it goes with it, after the test and without waiting."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    created = control_plane.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
    assert created.is_success, created.body
    yield name
    control_plane.admin.delete(f"/api/v1/namespaces/{name}")
