"""values.yaml and its schema: what may be set, and that a slip of the pen is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.chart import EVERYTHING, VENUE


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


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_chart_lints_without_a_warning(each_chart, values):
    said = each_chart.lint(values)
    assert "0 chart(s) failed" in said
    assert "WARNING" not in said


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_both_helms_render_the_same(chart, each_chart, values):
    assert each_chart.render(values).objects == chart.render(values).objects


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"imaeg": {}}, "imaeg", id="misspelled at the top"),
        pytest.param({"image": {"repository": "x", "tga": "1"}}, "tga", id="misspelled below"),
        pytest.param({"trader": {"storage": {"size": "1Gi"}}}, "size", id="a bot owner's field"),
        pytest.param({"trader": {"command": ["sh"]}}, "command", id="a command"),
        pytest.param(
            {"trader": {"networkPolicy": {"extraEgress": [{"to": []}]}}},
            "/extraEgress/0/to",
            id="nobody means everybody",
        ),
        pytest.param(
            {"trader": {"networkPolicy": {"extraEgress": [{}]}}}, "/extraEgress/0", id="a rule for everything"
        ),
        pytest.param(
            {"trader": {"networkPolicy": {"metricsFrom": [{"podSelectors": {}}]}}}, "podSelectors", id="unknown peer"
        ),
        pytest.param({"trader": {"podMonitor": {"interval": "often"}}}, "/podMonitor/interval", id="interval"),
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
        pytest.param({"image": {"digest": "ab" * 32}}, "/image/digest", id="digest without its algorithm"),
        pytest.param({"image": {"digest": "sha256:" + "AB" * 32}}, "/image/digest", id="digest in capitals"),
        pytest.param({"trader": {"image": {"digest": "sha512:" + "ab" * 64}}}, "/trader/image/digest", id="sha512"),
        pytest.param({"image": {"repository": ""}}, "/image/repository", id="no repository"),
        pytest.param({"image": {"tag": "v1/2"}}, "/image/tag", id="slash in a tag"),
        pytest.param({"image": {"tag": 1.1}}, "/image/tag", id="tag that is a number"),
        pytest.param({"imagePullSecrets": [{"name": "x"}]}, "/imagePullSecrets/0", id="object for a name"),
        pytest.param({"watch": {"namespace": ["a"]}}, "namespace", id="one namespace"),
        pytest.param({"watch": {"namespaces": ["a.b"]}}, "/watch/namespaces/0", id="dot in a namespace"),
        pytest.param({"watch": {"namespaces": ["a" * 64]}}, "/watch/namespaces/0", id="long namespace"),
        pytest.param({"watch": {"namespaces": [""]}}, "/watch/namespaces/0", id="empty namespace"),
        pytest.param({"workers": 0}, "/workers", id="no workers"),
        pytest.param({"workers": 2.5}, "/workers", id="half a worker"),
        pytest.param({"extraArgs": ["-v"]}, "/extraArgs/0", id="short option"),
        pytest.param({"extraArgs": ["--log-json"]}, "/extraArgs/0", id="option without a value"),
        pytest.param({"podLabels": {"team": "a b"}}, "/podLabels/team", id="blank in a label"),
        pytest.param({"podLabels": {"team": 7}}, "/podLabels/team", id="number in a label"),
        pytest.param({"nodeSelector": {"a/b/c": "x"}}, "a/b/c", id="two slashes in a label's name"),
        pytest.param({"tolerations": [{"operater": "Exists"}]}, "operater", id="misspelled toleration"),
        pytest.param({"tolerations": [{"effect": "NoRun"}]}, "/tolerations/0/effect", id="unknown effect"),
        pytest.param({"affinity": {"nodeAffinty": {}}}, "nodeAffinty", id="misspelled affinity"),
        pytest.param({"topologySpreadConstraints": [{"maxSkew": 1}]}, "topologyKey", id="half a constraint"),
        pytest.param({"priorityClassName": "Very High"}, "/priorityClassName", id="priority class with a blank"),
        pytest.param({"networkPolicy": {"metricsFrom": [{}]}}, "/networkPolicy/metricsFrom/0", id="anybody as a peer"),
        pytest.param({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "cidrs/0", id="address without bits"),
        pytest.param({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.0/40"]}}}, "cidrs/0", id="too many bits"),
        pytest.param({"networkPolicy": {"apiServer": {"ports": []}}}, "ports", id="no way to the API server"),
        pytest.param({"networkPolicy": {"apiServer": {"ports": ["https"]}}}, "ports/0", id="named port"),
        pytest.param({"podMonitor": {"interval": "30"}}, "/podMonitor/interval", id="scrapes without a unit"),
        pytest.param({"podMonitor": {"enable": True}}, "enable", id="misspelled switch"),
        pytest.param({"serviceAccount": {"create": False}}, "/serviceAccount/name", id="account of every pod"),
        *(
            pytest.param({"drill": {"schedule": schedule}}, "/drill/schedule", id=f"schedule: {schedule}")
            for schedule in (
                "",
                "daily",
                "0 10 * *",
                "0 10 * * * *",
                "* 10 * * *",
                "*/5 10 * * *",
                "60 10 * * *",
                "0 24 * * *",
                "0 10 32 * *",
                "0 10 * 13 *",
                "0 10 * * 8",
                "0 10 * * Mo",
                "0 10 * * 1-",
                "@every 5m",
                "TZ=UTC 0 10 * * *",
            )
        ),
        pytest.param({"drill": {"timeZone": "5 o'clock"}}, "/drill/timeZone", id="no time zone"),
        pytest.param({"drill": {"action": "Sell"}}, "/drill/action", id="unknown action"),
        pytest.param({"drill": {"selector": "--all"}}, "/drill/selector", id="option for a selector"),
        pytest.param({"drill": {"timeoutSeconds": "60s"}}, "/drill/timeoutSeconds", id="unit in a drill's time"),
        pytest.param({"drill": {"namespaces": "desk-a"}}, "/drill/namespaces", id="one namespace to drill"),
        pytest.param({"drill": {"bots": ["btc"]}}, "bots", id="names of bots to drill"),
        pytest.param(
            {"drill": {"enabled": True}, "watch": {"namespaces": ["desk-a"]}}, "/drill/namespaces", id="drills anywhere"
        ),
        pytest.param(
            {"drill": {"enabled": True, "namespaces": ["desk-b"]}, "watch": {"namespaces": ["desk-a"]}},
            "desk-b is not served",
            id="drills where nobody serves",
        ),
        pytest.param(
            {"drill": {"enabled": True, "timeoutSeconds": 50, "deadlineSeconds": 129}},
            "may take 130 s",
            id="less time for all than for one",
        ),
        pytest.param({"fullnameOverride": "Bots"}, "/fullnameOverride", id="capital in a name"),
    ],
)
def test_mistake_is_refused_and_named(each_chart, refused, values, said):
    with pytest.raises(refused, match=said.replace("/", "[./]")):
        each_chart.render(values)


@pytest.mark.parametrize(
    "schedule", ["0 10 * * 1-5", "07 00 01 01 0", "0,30 */6 1-15/2,28 * *", "5 4 * JAN,jul sun", "@weekly"]
)
def test_schedule_of_cron_is_taken(each_chart, schedule):
    (job,) = each_chart.render({"drill": {"enabled": True, "schedule": schedule}}).of("CronJob")
    assert job["spec"]["schedule"] == schedule


def test_oldest_supported_minor_is_served_and_an_older_one_refused(each_chart, refused):
    each_chart.render(kubernetes="1.34.0")
    with pytest.raises(refused, match="kubeVersion"):
        each_chart.render(kubernetes="1.33.9")


def test_every_object_of_the_schema_is_closed_and_every_field_described(schema):
    for path, node in walk(schema, schema):
        assert node.get("description"), path
        if "properties" in node:
            assert node["additionalProperties"] is False, path


def test_every_default_is_in_the_schema_and_every_field_has_a_default(schema, defaults):
    described = {path for path, node in walk(schema, schema) if path and path != "global"}
    written = set(_paths(defaults))
    assert written - described == set()
    # Venues are none on purpose, which amounts of resources are set is a choice, and affinity is the pod's own.
    free = re.compile(r"exchanges\.|affinity\.|.*resources\.(requests|limits)\.")
    assert {path for path in described - written if not free.match(path)} == set()


def _paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")
