"""The whole product, up once for all tests of this folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from support.stack import Stack, install, started


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.control_plane)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A sandbox with the operator from its chart."""
    with started(tmp_path_factory.mktemp("stack")) as (stack, values):
        install(stack, values)
        yield stack


@pytest.fixture
def desk(stack: Stack) -> Iterator[str]:
    """A namespace for one test. What is in it goes with it."""
    name = f"desk-{uuid.uuid4().hex[:6]}"
    stack.kubectl("create", "namespace", name)
    yield name
    stack.kubectl("delete", "namespace", name, "--wait=false")
