"""The cluster and the product on it, once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from network.cluster import is_kept, opened_cluster
from network.product import Product


@pytest.fixture(scope="session")
def product(
    pytestconfig: pytest.Config, k8s_manager: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """With the chart's defaults, two bots and everybody that tries to reach them."""
    folder = tmp_path_factory.mktemp("network")
    with opened_cluster(pytestconfig, k8s_manager, folder) as kubeconfig:
        found = Product.on(kubeconfig, folder)
        found.clean()  # what a run that was killed has left
        try:
            found.build()
            found.apply_chart()
            found.add_bots()
            yield found
        finally:
            if not is_kept():
                found.clean()
