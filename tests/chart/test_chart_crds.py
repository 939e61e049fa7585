"""CRDs are upgraded with the chart, survive it, and are the ones that the models make."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

GENERATED = Path(__file__).parents[2] / "crds"


def test_crds_are_the_generated_ones_with_nothing_but_labels_and_the_keep_policy_added(chart):
    rendered = {crd["metadata"]["name"]: crd for crd in chart.render().of("CustomResourceDefinition")}
    generated = {crd["metadata"]["name"]: crd for crd in map(_load, GENERATED.glob("*.yaml"))}

    assert len(rendered) == 4
    for crd in rendered.values():
        assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert crd["metadata"].pop("labels")["app.kubernetes.io/managed-by"] == "Helm"
    assert rendered == generated


def test_crds_are_left_to_others_when_asked(chart):
    assert chart.render({"crds": {"enabled": False}}).of("CustomResourceDefinition") == []


@pytest.mark.parametrize("values", [{}, {"watch": {"namespaces": ["a"]}}], ids=["cluster-wide", "namespaced"])
def test_crds_do_not_depend_on_the_scope_of_the_installation(chart, values):
    assert len(chart.render(values).of("CustomResourceDefinition")) == 4


def _load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())
