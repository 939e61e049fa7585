"""values.yaml and its schema: what may be set, and that a slip of the pen is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

VENUE = {"restUrl": "http://127.0.0.1:8080/api/v3", "streamUrl": "ws://127.0.0.1:8080/ws"}


@pytest.fixture(scope="module")
def schema(chart) -> dict[str, Any]:
    return json.loads((chart.folder / "values.schema.json").read_text())


@pytest.fixture(scope="module")
def defaults(chart) -> dict[str, Any]:
    return yaml.safe_load((chart.folder / "values.yaml").read_text())


def walk(schema: dict[str, Any], node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below `node` with its path; references are followed."""
    node = {**schema["definitions"][node["$ref"].rpartition("/")[2]], **node} if "$ref" in node else node
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from walk(schema, child, f"{path}.{name}".lstrip("."))


def test_chart_lints_without_a_warning(chart):
    assert "0 chart(s) failed" in chart.lint()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"imaeg": {}}, "imaeg", id="misspelled at the top"),
        pytest.param({"image": {"repository": "x", "tga": "1"}}, "tga", id="misspelled below"),
        pytest.param({"trader": {"storage": {"size": "1Gi"}}}, "size", id="a bot owner's field"),
        pytest.param({"trader": {"command": ["sh"]}}, "command", id="a command"),
        pytest.param({"image": {"repository": "x:1"}}, "/image/repository", id="tag in the repository"),
        pytest.param({"image": {"digest": "sha256:12"}}, "/image/digest", id="short digest"),
        pytest.param({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy", id="pull policy"),
        pytest.param({"installation": "Desk A"}, "/installation", id="installation with a blank"),
        pytest.param({"watch": {"namespaces": ["Desk_A"]}}, "/watch/namespaces/0", id="namespace name"),
        pytest.param({"watch": {"namespaces": ["a", "a"]}}, "/watch/namespaces", id="namespace twice"),
        pytest.param({"watch": {"namespaces": "a"}}, "/watch/namespaces", id="not a list"),
        pytest.param({"resyncIntervalSeconds": "60s"}, "/resyncIntervalSeconds", id="unit in a number"),
        pytest.param({"resyncIntervalSeconds": 0}, "/resyncIntervalSeconds", id="resync never"),
        pytest.param({"logLevel": "verbose"}, "/logLevel", id="log level"),
        pytest.param({"exchanges": {"binanse": {"sandbox": VENUE}}}, "binanse", id="unknown exchange"),
        pytest.param({"exchanges": {"binance": {"mainnet": VENUE}}}, "mainnet", id="Mainnet is fixed in the code"),
        pytest.param(
            {"exchanges": {"binance": {"sandbox": {"restUrl": "http://x/api/v3"}}}}, "streamUrl", id="half a venue"
        ),
        pytest.param(
            {"exchanges": {"binance": {"sandbox": VENUE | {"restUrl": "ws://x/api/v3"}}}}, "restUrl", id="wrong scheme"
        ),
        pytest.param(
            {"exchanges": {"binance": {"sandbox": VENUE | {"restUrl": "http://x/api/v3/"}}}},
            "restUrl",
            id="slash at the end",
        ),
        pytest.param(
            {"exchanges": {"binance": {"sandbox": VENUE | {"restUrl": "http://x"}}}}, "restUrl", id="no version path"
        ),
        pytest.param(
            {"exchanges": {"binance": {"sandbox": VENUE | {"accountUrl": "http://x/ws-api/v3"}}}},
            "accountUrl",
            id="wrong scheme of the account stream",
        ),
        pytest.param(
            {"exchanges": {"binance": {"sandbox": VENUE | {"accountUrl": "ws://x/ws"}}}},
            "accountUrl",
            id="market stream for the account stream",
        ),
        pytest.param({"trader": {"storage": {"accessMode": "ReadWriteMany"}}}, "accessMode", id="many writers"),
        pytest.param({"trader": {"resources": {"limits": {"memory": "much"}}}}, "memory", id="not a quantity"),
        pytest.param({"crds": {"enabled": "yes"}}, "/crds/enabled", id="text for a switch"),
    ],
)
def test_mistake_is_refused_and_named(chart, refused, values, said):
    with pytest.raises(refused, match=said.replace("/", "[./]")):
        chart.render(values)


def test_oldest_supported_minor_is_served_and_an_older_one_refused(chart, refused):
    chart.render(kubernetes="1.34.0")
    with pytest.raises(refused, match="kubeVersion"):
        chart.render(kubernetes="1.33.9")


def test_every_object_of_the_schema_is_closed_and_every_field_described(schema):
    for path, node in walk(schema, schema):
        assert node.get("description"), path
        if "properties" in node:
            assert node["additionalProperties"] is False, path


def test_every_default_is_in_the_schema_and_every_field_has_a_default(schema, defaults):
    described = {path for path, node in walk(schema, schema) if path and path != "global"}
    written = set(_paths(defaults))
    assert written - described == set()
    # Venues are none on purpose, and which amounts of resources are set is a choice.
    free = re.compile(r"exchanges\.|.*resources\.(requests|limits)\.")
    assert {path for path in described - written if not free.match(path)} == set()


def _paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")
