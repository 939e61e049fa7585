"""Variables and arguments of a container."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tradingbot_sandbox.node.downward import is_known_field
from tradingbot_sandbox.node.environment import build_arguments, build_environment, rewrite_environment
from tradingbot_sandbox.node.errors import StartProblem
from tradingbot_sandbox.node.mounts import Mount

Json = dict[str, Any]
POD: Json = {
    "metadata": {
        "name": "bot",
        "namespace": "desk",
        "uid": "u1",
        "labels": {"app": "x"},
        "annotations": {"note": 'say "hi"\n'},
    },
    "spec": {"nodeName": "here", "serviceAccountName": "robot"},
}
OBJECTS: dict[tuple[str, str], Json] = {
    ("secrets", "keys"): {"data": {"apiKey": base64.b64encode(b"k").decode()}},
    ("configmaps", "rules"): {"data": {"A": "1", "B": "2"}},
}
SERVICES = {"KUBERNETES_SERVICE_HOST": "127.0.0.1"}


def lookup(kind: str, name: str) -> Json | None:
    return OBJECTS.get((kind, name))


def build(*env: Json, env_from: list[Json] | None = None) -> dict[str, str]:
    container = {"env": list(env), "envFrom": env_from or []}
    return build_environment(container, POD, "127.1.2.3", lookup, SERVICES)


def field(path: str) -> Json:
    return {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "bot"),
        ("metadata.namespace", "desk"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app']", "x"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['note']", 'say "hi"\n'),
        ("spec.nodeName", "here"),
        ("spec.serviceAccountName", "robot"),
        ("status.podIP", "127.1.2.3"),
        ("status.podIPs", "127.1.2.3"),
        ("status.hostIP", "127.0.0.1"),
    ],
)
def test_pod_may_be_told_about_itself(path: str, expected: str) -> None:
    assert is_known_field(path)
    assert build(field(path))["X"] == expected


@pytest.mark.parametrize("path", ["metadata.labels", "spec.restartPolicy", "status.phase", "metadata.labels[app]", ""])
def test_other_fields_are_no_variables(path: str) -> None:
    assert not is_known_field(path)


def test_later_variables_may_use_earlier_ones_and_services_but_not_the_programs_own() -> None:
    found = build(
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)$(A) $(C) $(KUBERNETES_SERVICE_HOST) $(PATH)"},
        {"name": "C", "value": "late"},
    )
    assert found["B"] == "11 $(C) 127.0.0.1 $(PATH)"


def test_values_from_elsewhere_are_not_expanded() -> None:
    OBJECTS["configmaps", "tricky"] = {"data": {"V": "$(A)"}}
    source = {"name": "V", "valueFrom": {"configMapKeyRef": {"name": "tricky", "key": "V"}}}
    assert build({"name": "A", "value": "1"}, source)["V"] == "$(A)"


def test_env_wins_over_env_from_and_over_services() -> None:
    sources = [{"configMapRef": {"name": "rules"}}, {"prefix": "P_", "secretRef": {"name": "keys"}}]
    found = build(
        {"name": "B", "value": "own $(A)"}, {"name": "KUBERNETES_SERVICE_HOST", "value": "x"}, env_from=sources
    )
    assert found == {"A": "1", "B": "own 1", "P_apiKey": "k", "KUBERNETES_SERVICE_HOST": "x"}


def test_empty_value_is_an_empty_variable() -> None:
    assert build({"name": "A"}, {"name": "B", "value": ""}) == SERVICES | {"A": "", "B": ""}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "none", "key": "k"}}, 'secret "none" not found'),
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "keys", "key": "none"}}, "couldn't find key none in Secret desk/keys"),
        ({"configMapKeyRef": {"name": "rules", "key": "none"}}, "couldn't find key none in ConfigMap desk/rules"),
    ],
)
def test_missing_source_is_a_problem_unless_it_is_optional(source: Json, message: str) -> None:
    with pytest.raises(StartProblem) as problem:
        build({"name": "X", "valueFrom": source})
    assert (problem.value.reason, problem.value.message) == ("CreateContainerConfigError", message)
    (kind, reference), *_ = source.items()
    assert "X" not in build({"name": "X", "valueFrom": {kind: {**reference, "optional": True}}})


def test_missing_env_from_is_a_problem_unless_it_is_optional() -> None:
    with pytest.raises(StartProblem, match='configmap "none" not found'):
        build(env_from=[{"configMapRef": {"name": "none"}}])
    assert build(env_from=[{"configMapRef": {"name": "none", "optional": True}}]) == SERVICES


def test_arguments_follow_the_command_expanded_and_rewritten() -> None:
    container = {"command": ["program", "run"], "args": ["--listen=$(IP):80", "--store=$(DIR)/db", "$$(IP)", "/data"]}
    variables = {"IP": "127.1.2.3", "DIR": "/data"}
    words = build_arguments(container, variables, [Mount("/data", "/real")])
    assert words == ["run", "--listen=127.1.2.3:80", "--store=/real/db", "$(IP)", "/real"]


def test_environment_values_are_rewritten_whole_only() -> None:
    variables = {"A": "/data/x", "B": "path=/data/x", "C": "/database"}
    assert rewrite_environment(variables, [Mount("/data", "/real")]) == {
        "A": "/real/x",
        "B": "path=/data/x",
        "C": "/database",
    }
