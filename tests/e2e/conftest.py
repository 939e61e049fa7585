"""The whole product, up once for all tests of this folder."""

from __future__ import annotations

import os
import re
import signal
import sys
import uuid
from collections.abc import Iterator

import pytest

from support.stack import Stack, free_port, install, is_healthy, sandbox, until
from tradingbot_sandbox.supervisor.process import Child


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.control_plane)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Up in about ten seconds; gone with the test process, however that ends."""
    folder = tmp_path_factory.mktemp("stack")
    state = folder / "state"
    command = [sys.executable, "-m", "tradingbot_sandbox", "up", "--foreground", "--state", str(state)]
    child = Child(command, environ=dict(os.environ), directory=folder, log=folder / "up.log", guarded=True)
    try:
        stack = Stack(state, {}, free_port())
        until(lambda: is_healthy(state), folder / "up.log", child)
        printed = sandbox("env", state)
        values = dict(re.findall(r"^export (\w+)=(.*)$", printed, re.MULTILINE))
        stack.environment = {
            "KUBECONFIG": values["KUBECONFIG"], "PATH": f"{state}/bin:/usr/bin:/bin", "HOME": str(folder)
        }  # fmt: skip
        install(stack, values)
        yield stack
    finally:
        child.send(signal.SIGTERM)
        child.wait(60)


@pytest.fixture
def desk(stack: Stack) -> Iterator[str]:
    """A namespace for one test. What is in it goes with it."""
    name = f"desk-{uuid.uuid4().hex[:6]}"
    stack.kubectl("create", "namespace", name)
    yield name
    stack.kubectl("delete", "namespace", name, "--wait=false")
