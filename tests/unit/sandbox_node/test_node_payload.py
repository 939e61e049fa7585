"""Which files a volume holds."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tradingbot_sandbox.node.errors import StartProblem
from tradingbot_sandbox.node.payload import (
    File,
    TokenRequest,
    build_files,
    holds_files,
    referenced_objects,
    token_requests,
)

Json = dict[str, Any]
POD: Json = {"metadata": {"name": "bot", "namespace": "desk", "labels": {"b": 'q"', "a": "1"}}, "spec": {}}
OBJECTS: dict[tuple[str, str], Json] = {
    ("secrets", "keys"): {
        "data": {"apiKey": base64.b64encode(b"k").decode(), "raw": base64.b64encode(b"\xff").decode()}
    },
    ("configmaps", "rules"): {"data": {"a": "1"}, "binaryData": {"b": base64.b64encode(b"\x00").decode()}},
}


def build(volume: Json) -> dict[str, File]:
    return build_files(volume, POD, "127.1.2.3", lambda kind, name: OBJECTS.get((kind, name)), str)


def test_secret_is_a_file_for_each_key_with_the_default_mode() -> None:
    volume = {"secret": {"secretName": "keys", "defaultMode": 0o440}}
    assert build(volume) == {"apiKey": File(b"k", 0o440), "raw": File(b"\xff", 0o440)}


def test_config_map_has_text_and_binary_entries() -> None:
    assert build({"configMap": {"name": "rules"}}) == {"a": File(b"1", 0o644), "b": File(b"\x00", 0o644)}


def test_items_choose_keys_paths_and_modes() -> None:
    items = [{"key": "apiKey", "path": "deep/key", "mode": 0o400}]
    assert build({"secret": {"secretName": "keys", "items": items}}) == {"deep/key": File(b"k", 0o400)}


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "keys", "items": [{"key": "z", "path": "z"}]}}, 'secret "keys" has no key "z"'),
    ],
)
def test_what_is_missing_is_named_unless_it_is_optional(volume: Json, message: str) -> None:
    with pytest.raises(StartProblem) as problem:
        build(volume)
    assert (problem.value.reason, problem.value.message) == ("FailedMount", message)
    (kind, source), *_ = volume.items()
    assert build({kind: {**source, "optional": True}}) == {}


def test_projected_volume_joins_its_sources_in_order() -> None:
    request = {"audience": "vault", "expirationSeconds": 600, "path": "token"}
    sources = [
        {"configMap": {"name": "rules"}},
        {"secret": {"name": "keys", "items": [{"key": "apiKey", "path": "a"}]}},
        {"serviceAccountToken": request},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}, "mode": 0o400}]}},
    ]
    volume = {"projected": {"sources": sources, "defaultMode": 0o600}}
    files = build(volume)
    assert files["a"] == File(b"k", 0o600)  # the later source wins
    assert files["token"] == File(str(TokenRequest("vault", 600)).encode(), 0o600)
    assert files["labels"] == File(b'a="1"\nb="q\\""', 0o400)
    assert token_requests(volume) == [TokenRequest("vault", 600)]


def test_folders_hold_no_files_of_ours() -> None:
    assert not holds_files({"emptyDir": {}})
    assert not holds_files({"persistentVolumeClaim": {"claimName": "x"}})
    assert holds_files({"downwardAPI": {}})


def test_every_object_that_a_pod_names_is_found() -> None:
    spec = {
        "volumes": [
            {"secret": {"secretName": "s1"}},
            {"projected": {"sources": [{"secret": {"name": "s2"}}, {"configMap": {"name": "c1"}}]}},
            {"configMap": {"name": "c2"}},
        ],
        "initContainers": [{"envFrom": [{"secretRef": {"name": "s3"}}]}],
        "containers": [
            {"env": [{"name": "A", "value": "x"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s4"}}}]},
            {
                "env": [{"valueFrom": {"configMapKeyRef": {"name": "c3"}}}],
                "envFrom": [{"configMapRef": {"name": "c4"}}],
            },
        ],
    }
    secrets = {("secrets", name) for name in ("s1", "s2", "s3", "s4")}
    assert referenced_objects(spec) == secrets | {("configmaps", name) for name in ("c1", "c2", "c3", "c4")}
