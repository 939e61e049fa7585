"""Where the programs are looked for, in which order, and what is passed over."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tradingbot_sandbox.control_plane.binaries import (
    KUBERNETES_VARIABLE,
    SERVERS,
    Binaries,
    Search,
    ask_version,
    find_binaries,
)
from tradingbot_sandbox.control_plane.pins import (
    BINARIES,
    KUBERNETES,
    helm_set,
    kubernetes_set,
    shipped_kubernetes_minors,
)
from tradingbot_sandbox.supervisor.errors import BinariesMissing, SandboxError
from tradingbot_sandbox.supervisor.state import StateFolder

OURS = kubernetes_set().version
"""As 1.36.3."""
NOT_THERE = "/nowhere"


def program(folder: Path, name: str, says: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {shlex.quote(says)}\n")
    path.chmod(0o755)
    return path


def kubectl(folder: Path, version: str) -> Path:
    return program(folder, "kubectl", f'{{"clientVersion": {{"gitVersion": "v{version}"}}}}')


def search(tmp_path: Path, *, path: Path | str = NOT_THERE, assets: Path | None = None) -> Search:
    environ = {"HOME": str(tmp_path), "PATH": str(path)}
    if assets is not None:
        environ["KUBEBUILDER_ASSETS"] = str(assets)
    return Search(environ, kubernetes_set(), helm_set())


def fill_cache(at: Search) -> dict[str, Path]:
    return {name: program(at.cached(name).parent, name) for name in BINARIES}


def test_assets_come_before_path_and_cache(tmp_path: Path) -> None:
    at = search(tmp_path, path=tmp_path / "path", assets=tmp_path / "assets")
    fill_cache(at)
    kubectl(tmp_path / "path", OURS)
    given = {name: program(tmp_path / "assets", name) for name in BINARIES}
    assert at.binaries() == Binaries.of(given)


def test_path_comes_before_the_cache_for_kubectl_and_helm(tmp_path: Path) -> None:
    at = search(tmp_path, path=tmp_path / "path")
    fill_cache(at)
    mine = kubectl(tmp_path / "path", OURS)
    helm = program(tmp_path / "path", "helm", "v3.22.0")
    found = at.find_all()
    assert (found["kubectl"].path, found["helm"].path) == (mine, helm)
    assert found["kubectl"].source == "PATH"


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver", "kube-controller-manager"])
def test_servers_are_never_taken_from_path(tmp_path: Path, name: str) -> None:
    at = search(tmp_path, path=tmp_path / "path")
    program(tmp_path / "path", name, f"Kubernetes v{OURS}")
    assert at.find(name) is None


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        ("1.36.0", True),
        ("1.35.9", True),
        ("1.37.1", True),
        ("1.34.4", False),
        ("1.38.0", False),
        ("1.32.4-dispatcher", False),
        ("2.36.0", False),
    ],
)
def test_kubectl_on_path_must_be_within_one_minor(tmp_path: Path, version: str, taken: bool) -> None:  # noqa: FBT001 - a row of the table above
    at = search(tmp_path, path=tmp_path / "path")
    cached = fill_cache(at)["kubectl"]
    on_path = kubectl(tmp_path / "path", version)
    found = at.find("kubectl")
    assert found is not None
    assert found.path == (on_path if taken else cached)


@pytest.mark.parametrize(
    ("says", "taken"), [("v3.22.0", True), ("v4.3.1", True), ("v2.17.0", False), ("v5.0.0", False), ("", False)]
)
def test_helm_on_path_must_be_3_or_4(tmp_path: Path, says: str, taken: bool) -> None:  # noqa: FBT001 - a row of the table above
    at = search(tmp_path, path=tmp_path / "path")
    program(tmp_path / "path", "helm", says)
    assert (at.find("helm") is not None) == taken


def test_links_of_a_sandbox_are_not_taken_for_programs(tmp_path: Path) -> None:
    """`env` puts them on PATH; the next `up` would link each to itself."""
    sandbox = StateFolder(tmp_path / "state")
    sandbox.create()
    at = search(tmp_path, path=f"{sandbox.bin}:{tmp_path / 'path'}")
    cached = fill_cache(at)["kubectl"]
    kubectl(sandbox.bin, OURS)
    assert at.find_all()["kubectl"].path == cached
    mine = kubectl(tmp_path / "path", OURS)
    assert at.find_all()["kubectl"].path == mine


def test_program_that_does_not_tell_its_version_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "path", "kubectl", "hello")
    assert search(tmp_path, path=tmp_path / "path").find("kubectl") is None
    broken = tmp_path / "path" / "kubectl"
    broken.write_text("not a program")
    assert ask_version(broken) == ""


def test_cache_of_another_pin_is_not_used(tmp_path: Path) -> None:
    at = search(tmp_path)
    stale = at.cached("etcd")
    program(stale.parent.with_name(f"{stale.parent.name}-old"), "etcd")
    assert at.find("etcd") is None


def test_file_that_cannot_be_executed_is_no_program(tmp_path: Path) -> None:
    at = search(tmp_path)
    program(at.cached("etcd").parent, "etcd").chmod(0o644)
    assert at.find("etcd") is None


def test_xdg_cache_home_is_honoured(tmp_path: Path) -> None:
    at = Search({"XDG_CACHE_HOME": str(tmp_path / "xdg"), "HOME": "/home/x"}, kubernetes_set(), helm_set())
    assert at.cache == tmp_path / "xdg" / "tradingbot-sandbox"


@pytest.mark.parametrize("minor", shipped_kubernetes_minors())
def test_environment_chooses_the_minor(tmp_path: Path, minor: str) -> None:
    environ = {"HOME": str(tmp_path), KUBERNETES_VARIABLE: minor}
    assert Search.here(environ).kubernetes == kubernetes_set(minor)
    assert Search.here(environ, kubernetes=KUBERNETES).kubernetes == kubernetes_set(), "who says it, decides"


@pytest.mark.parametrize("environ", [{}, {KUBERNETES_VARIABLE: ""}])
def test_newest_minor_is_used_when_nobody_says_another(environ: dict[str, str]) -> None:
    assert Search.here(environ).kubernetes == kubernetes_set(shipped_kubernetes_minors()[-1])


@pytest.mark.parametrize("minor", ["1.33", "1.36.3", "v1.36", "newest"])
def test_minor_that_is_not_shipped_is_refused_with_those_that_are(minor: str) -> None:
    with pytest.raises(SandboxError, match=rf"TRADINGBOT_KUBERNETES={minor}: .* Say 1\.34 or 1\.36\."):
        find_binaries({KUBERNETES_VARIABLE: minor})


def test_each_minor_has_a_place_of_its_own_in_the_cache(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PATH": NOT_THERE}
    searches = [Search.here(environ, kubernetes=minor) for minor in shipped_kubernetes_minors()]
    assert len({each.cached("kube-apiserver") for each in searches}) == len(searches)
    assert len({each.cached("helm") for each in searches}) == 1
    fill_cache(searches[0])
    with pytest.raises(BinariesMissing):
        searches[-1].binaries()


def test_missing_programs_are_named_together_with_what_to_do(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PATH": NOT_THERE}
    with pytest.raises(BinariesMissing, match=r"etcd, kube-apiserver.*tradingbot-sandbox tools.*KUBEBUILDER_ASSETS"):
        find_binaries(environ)


def test_assets_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"KUBEBUILDER_ASSETS=.*is not a folder"):
        search(tmp_path, assets=tmp_path / "nothing").find("etcd")


@pytest.mark.parametrize("given", SERVERS)
def test_server_of_another_minor_without_its_partner_is_refused(tmp_path: Path, given: str) -> None:
    at = search(tmp_path, assets=tmp_path / "assets")
    fill_cache(at)
    program(tmp_path / "assets", given, "Kubernetes v1.34.1")
    with pytest.raises(SandboxError, match=rf"has {given} 1\.34\.1 and no kube-.*same minor"):
        at.find_all()


def test_api_server_of_our_minor_goes_with_our_controller_manager(tmp_path: Path) -> None:
    at = search(tmp_path, assets=tmp_path / "assets")
    cached = fill_cache(at)
    given = program(tmp_path / "assets", "kube-apiserver", "Kubernetes v1.36.9")
    binaries = at.binaries()
    assert binaries.kube_apiserver == given
    assert binaries.kube_controller_manager == cached["kube-controller-manager"]


def test_two_servers_of_another_minor_are_the_users_choice(tmp_path: Path) -> None:
    at = search(tmp_path, assets=tmp_path / "assets")
    fill_cache(at)
    given = {name: program(tmp_path / "assets", name, "Kubernetes v1.34.1") for name in SERVERS}
    assert at.binaries().kube_apiserver == given["kube-apiserver"]
