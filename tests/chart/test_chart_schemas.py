"""What the chart makes is what the API server takes, field by field: kubeconform, against the server's own schemas."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import yaml

from support.chart import EVERYTHING, VENUE, chart_tool
from support.kube_schemas import LOCATION, write_schemas
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

Check = Callable[[list[dict[str, Any]]], dict[str, str]]
NAMESPACED = {"watch": {"namespaces": ["desk-a"]}, "exchanges": {"binance": {"sandbox": VENUE}}}
APPLY = "application/apply-patch+yaml"


@pytest.fixture(scope="module")
def check(control_plane: ControlPlane, chart, tmp_path_factory: pytest.TempPathFactory) -> Check:
    """kubeconform with the schemas of all kinds that the chart can make, and of its CRDs. What is wrong, by object."""
    folder = tmp_path_factory.mktemp("schemas")
    objects = [item for values in ({}, EVERYTHING, NAMESPACED) for item in chart.render(values).objects]
    crds = chart.render().of("CustomResourceDefinition")
    for crd in crds:
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        answer = control_plane.admin.request("PATCH", f"{path}?fieldManager=chart&force=true", crd, content_type=APPLY)
        assert answer.is_success, answer.body
    kinds = {(item["apiVersion"], item["kind"]) for item in objects}
    ours = {("tradingbot.dev/v1alpha1", crd["spec"]["names"]["kind"]) for crd in crds}
    write_schemas(control_plane.admin, folder, kinds | ours)

    def run(objects: list[dict[str, Any]]) -> dict[str, str]:
        done = subprocess.run(
            [
                chart_tool("kubeconform"),
                "-strict",
                "-output=json",
                "-verbose",
                f"-schema-location={folder}/{LOCATION}",
                "-",
            ],
            input=yaml.safe_dump_all(objects),
            capture_output=True,
            text=True,
            check=False,
        )
        report = json.loads(done.stdout)["resources"]
        assert len(report) == len(objects), done.stderr
        return {f"{each['kind']} {each['name']}": each["msg"] for each in report if each["status"] != "statusValid"}

    return run


@pytest.mark.parametrize("values", [{}, EVERYTHING, NAMESPACED], ids=["defaults", "everything", "namespaced"])
def test_every_object_of_the_chart_is_as_the_api_server_describes_it(check: Check, each_chart, values):
    assert check(each_chart.render(values).objects) == {}


def test_example_of_the_notes_is_as_the_crd_describes_it(check: Check, chart):
    found = re.search(r"<<BOT\n(.*?)\n *BOT\n", chart.render_notes(), re.DOTALL)
    assert check([yaml.safe_load(textwrap.dedent(found[1]))]) == {}


@pytest.mark.parametrize(
    ("kind", "break_it", "said"),
    [
        ("Deployment", lambda o: o["spec"].update(replcias=1), "replcias"),
        ("Deployment", lambda o: o["spec"]["template"]["spec"]["containers"][0].update(arguments=[]), "arguments"),
        ("Deployment", lambda o: o["spec"].update(replicas="one"), "replicas"),
        ("Deployment", lambda o: o["spec"].pop("selector"), "selector"),
        ("NetworkPolicy", lambda o: o["spec"].update(ingres=[]), "ingres"),
        ("ClusterRole", lambda o: o["rules"][0].update(verb=["get"]), "verb"),
        ("Service", lambda o: o["metadata"].update(label={}), "label"),
    ],
)
def test_slip_in_a_template_would_be_found(check: Check, chart, kind, break_it, said):
    broken = deepcopy(chart.render().of(kind)[0])
    break_it(broken)
    (message,) = check([broken]).values()
    assert said in message


def test_kind_that_no_api_server_serves_would_be_found(check: Check):
    unknown = {"apiVersion": "policy/v1beta1", "kind": "PodSecurityPolicy", "metadata": {"name": "x"}}
    (message,) = check([unknown]).values()
    assert "could not find schema" in message
