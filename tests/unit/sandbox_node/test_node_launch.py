"""From an image and a container's spec to the command that is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.node.addresses import Addresses, candidate
from tradingbot_sandbox.node.errors import StartProblem
from tradingbot_sandbox.node.image_name import program_name
from tradingbot_sandbox.node.images import Images
from tradingbot_sandbox.node.launch import prepare_launch
from tradingbot_sandbox.node.mounts import Mount
from tradingbot_sandbox.node.pod_folder import PodFolder

Json = dict[str, Any]
POD: Json = {"metadata": {"name": "bot", "namespace": "desk", "uid": "u"}, "spec": {}}


@pytest.fixture
def images(tmp_path: Path) -> Images:
    for name in ("tradingbot-trader", "extra"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "tradingbot-operator").write_text("not executable")
    return Images(tmp_path, {"other": tmp_path / "extra"})


@pytest.mark.parametrize(
    "image",
    [
        "tradingbot-trader",
        "tradingbot-trader:0.1.0",
        "registry:5000/team/tradingbot-trader:0.1.0",
        "registry.example/tradingbot-trader@sha256:abc",
        "registry.example/tradingbot-trader:0.1.0@sha256:abc",
    ],
)
def test_last_part_of_an_image_name_is_its_program(image: str) -> None:
    assert program_name(image) == "tradingbot-trader"


def test_image_is_the_program_of_its_name(images: Images, tmp_path: Path) -> None:
    assert images.resolve("x/tradingbot-trader:1") == tmp_path / "tradingbot-trader"
    assert images.resolve("other") == tmp_path / "extra"
    assert images.find_command("other") == str(tmp_path / "extra")
    assert images.find_command("cat") == "cat"


def test_command_may_name_another_program_of_the_image_and_none_of_another(images: Images, tmp_path: Path) -> None:
    (tmp_path / "tradingbot-operator").chmod(0o755)
    plugin = tmp_path / "kubectl-tradingbot"
    plugin.touch(mode=0o755)
    assert images.resolve("x/tradingbot-operator:1", "kubectl-tradingbot") == plugin
    assert images.resolve("x/tradingbot-operator:1", "tradingbot-operator") == tmp_path / "tradingbot-operator"
    assert images.resolve("x/tradingbot-operator:1") == tmp_path / "tradingbot-operator"
    assert images.resolve("x/tradingbot-trader:1", "kubectl-tradingbot") == tmp_path / "tradingbot-trader"


@pytest.mark.parametrize(
    ("image", "why"), [("nginx", "no program of that name"), ("tradingbot-operator", "not an executable")]
)
def test_unknown_image_is_refused_with_what_is_known(images: Images, image: str, why: str) -> None:
    with pytest.raises(StartProblem, match=why) as problem:
        images.resolve(image)
    assert problem.value.reason == "ErrImagePull"
    assert "other, tradingbot-operator, tradingbot-sandbox, tradingbot-trader" in problem.value.message


def launch(container: Json, images: Images, folder: Path, mounts: list[Mount], **extra: str) -> Any:
    return prepare_launch(
        {"name": "main", "image": "tradingbot-trader", **container},
        POD,
        pod_ip="127.1.2.3",
        run=2,
        folder=PodFolder(folder),
        volume_mounts=mounts,
        images=images,
        lookup=lambda _kind, _name: None,
        services={"KUBERNETES_SERVICE_HOST": "127.0.0.1"},
        extra=extra,
    )


def test_process_gets_a_clean_environment_and_folders_of_its_own(images: Images, tmp_path: Path) -> None:
    folder = tmp_path / "pod"
    found = launch({"args": ["run", "--message=/dev/termination-log"]}, images, folder, [], EXTRA="1")
    assert found.command.argv == [
        str(tmp_path / "tradingbot-trader"),
        "run",
        f"--message={folder}/main/termination-log",
    ]
    assert found.command.environment == {
        "PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin",
        "HOME": f"{folder}/main/home",
        "TMPDIR": f"{folder}/main/tmp",
        "HOSTNAME": "bot",
        "TZ": "UTC",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "EXTRA": "1",
    }
    assert found.command.folder == folder / "main/home"
    assert found.log_file == folder / "main/2.log"
    assert not found.command.no_new_privileges


def test_volume_at_tmp_is_where_temporary_files_go(images: Images, tmp_path: Path) -> None:
    found = launch({}, images, tmp_path / "pod", [Mount("/tmp", "/real/tmp")])
    assert found.command.environment["TMPDIR"] == "/real/tmp"


def test_working_folder_is_the_volumes(images: Images, tmp_path: Path) -> None:
    mounts = [Mount("/data", str(tmp_path / "volume"))]
    container = {"workingDir": "/data/deep", "securityContext": {"allowPrivilegeEscalation": False}}
    found = launch(container, images, tmp_path / "pod", mounts)
    assert found.command.folder == tmp_path / "volume/deep"
    assert found.command.folder.is_dir()
    assert found.command.no_new_privileges


def test_command_beside_a_container_has_its_paths_and_no_expansion(images: Images, tmp_path: Path) -> None:
    found = launch({}, images, tmp_path / "pod", [Mount("/data", "/real")])
    beside = found.beside(["tradingbot-trader", "--at=/data/x", "$(POD_IP)"], images)
    assert beside.argv == [str(tmp_path / "tradingbot-trader"), "--at=/real/x", "$(POD_IP)"]
    assert beside.environment == found.command.environment


@given(st.uuids(), st.integers(0, 63))
def test_candidate_is_a_loopback_address_that_nobody_else_uses(uid: object, attempt: int) -> None:
    first, second, third, fourth = (int(part) for part in candidate(str(uid), attempt).split("."))
    assert first == 127
    assert 16 <= second < 240
    assert 0 <= third < 256
    assert 1 <= fourth <= 254


def test_pod_keeps_its_address_and_shares_it_with_nobody() -> None:
    addresses = Addresses()
    taken = [addresses.take(f"uid-{number}") for number in range(50)]
    assert len(set(taken)) == 50
    addresses.give_back("uid-7")
    assert addresses.take("uid-7") == taken[7]
