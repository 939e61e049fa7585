"""Folders: volumes that change all at once, what is kept of a pod, and its last words."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.node.atomic_folder import write_folder
from tradingbot_sandbox.node.exits import describe_exit, read_end
from tradingbot_sandbox.node.payload import File
from tradingbot_sandbox.node.pod_folder import PodFolder, find_pod_folders, forget_retired
from tradingbot_sandbox.node.records import PodRecord, Running
from tradingbot_sandbox.node.timestamps import NS

NOW = 1_700_000_000 * NS


def content(folder: Path) -> dict[str, File]:
    names = [path for path in folder.iterdir() if not path.name.startswith("..")]
    assert all(path.exists() for path in names), "a link leads nowhere"
    files = [path for name in names for path in ([name] if name.is_file() else name.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): File(path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in files}


def test_files_and_modes_are_those_that_were_asked_for(tmp_path: Path) -> None:
    files = {"a": File(b"1", 0o440), "deep/b": File(b"2", 0o600), "deep/c": File(b"", 0o644)}
    assert write_folder(tmp_path / "v", files, NOW)
    assert content(tmp_path / "v") == files


def test_same_files_are_not_written_again(tmp_path: Path) -> None:
    files = {"a": File(b"1", 0o440)}
    write_folder(tmp_path, files, NOW)
    before = (tmp_path / "..data").readlink()
    assert not write_folder(tmp_path, files, NOW + NS)
    assert (tmp_path / "..data").readlink() == before


def test_change_of_content_or_mode_swaps_the_whole_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": File(b"1", 0o600), "b": File(b"1", 0o600)}, NOW)
    opened = (tmp_path / "a").open("rb")
    assert write_folder(tmp_path, {"a": File(b"2", 0o600), "c": File(b"2", 0o640)}, NOW + 1)
    assert content(tmp_path) == {"a": File(b"2", 0o600), "c": File(b"2", 0o640)}
    with opened:
        assert opened.read() == b"1"  # who had it open goes on with the old one
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("..2")]) == 1
    assert write_folder(tmp_path, {"a": File(b"2", 0o400), "c": File(b"2", 0o640)}, NOW + 2)


def test_interrupted_swap_is_finished_by_the_next_one(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": File(b"1", 0o600)}, NOW)
    (tmp_path / "..data_tmp").symlink_to("nowhere")
    (tmp_path / "..2000_01_01_00_00_00.000000000").mkdir()
    assert write_folder(tmp_path, {"a": File(b"2", 0o600)}, NOW + 1)
    assert content(tmp_path) == {"a": File(b"2", 0o600)}


NAMES = st.text(alphabet="ab", min_size=1, max_size=2)
FILES = st.dictionaries(
    NAMES, st.builds(File, st.binary(max_size=3), st.sampled_from([0o400, 0o440, 0o644])), max_size=3
)


@given(st.lists(FILES, min_size=1, max_size=5))
def test_folder_holds_what_was_written_last(versions: list[dict[str, File]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for number, files in enumerate(versions):
            write_folder(Path(folder), files, NOW + number)
            assert content(Path(folder)) == files


def pod_folder(root: Path, name: str) -> PodFolder:
    return PodFolder.of(root, "ns", name, f"uid-of-{name}"[:36])


def test_record_is_found_again_and_a_broken_one_is_not_trusted(tmp_path: Path) -> None:
    folder = pod_folder(tmp_path, "p")
    assert folder.load() is None
    record = PodRecord("u", "ns", "p", "127.1.2.3")
    folder.save(record)
    assert [found.load() for found in find_pod_folders(tmp_path)] == [record]
    (folder.path / "pod.json").write_text('{"uid": ')
    assert folder.load() is None


def test_longest_pod_name_still_makes_a_folder(tmp_path: Path) -> None:
    folder = PodFolder.of(tmp_path, "n" * 63, "p" * 253, "u" * 36)
    folder.save(PodRecord("u", "ns", "p"))
    assert folder.load() is not None


def test_retired_pod_keeps_its_logs_alone_and_old_ones_go(tmp_path: Path) -> None:
    for number in range(4):
        folder = pod_folder(tmp_path, f"p{number}")
        folder.save(PodRecord("u", "ns", "p"))
        folder.scratch("main", "home")
        secret = folder.volume("keys")
        secret.mkdir(parents=True)
        (secret / "key").write_text("x")
        secret.chmod(0o500)
        (folder.container("main") / "0.log").write_text("said")
        folder.retire()
        os.utime(folder.path, ns=(number * NS, number * NS))
        left = sorted(str(path.relative_to(folder.path)) for path in folder.path.rglob("*"))
        assert left == ["main", "main/0.log"]
    pod_folder(tmp_path, "alive").save(PodRecord("u", "ns", "p"))
    forget_retired(tmp_path, keep=2)
    assert [folder.path.name.split("_")[1] for folder in find_pod_folders(tmp_path)] == ["alive", "p2", "p3"]


def test_only_the_newest_logs_of_a_container_are_kept(tmp_path: Path) -> None:
    folder = pod_folder(tmp_path, "p")
    for run in range(12):
        (folder.container("main") / f"{run}.log").write_text("x")
    folder.forget_old_logs("main", keep=3)
    assert folder.runs("main") == [9, 10, 11]


def test_log_that_grows_too_long_begins_anew_while_it_is_written_to(tmp_path: Path) -> None:
    folder = pod_folder(tmp_path, "p")
    path = folder.container("main") / "0.log"
    with path.open("a") as program:
        program.write("x" * 100)
        program.flush()
        folder.trim_log("main", 0, limit_bytes=100)
        assert path.stat().st_size == 100
        folder.trim_log("main", 0, limit_bytes=99)
        program.write("new")
        program.flush()
    assert path.read_text() == "new"
    assert path.with_name("0.log.old").read_text() == "x" * 100
    assert folder.runs("main") == [0]
    folder.forget_old_logs("main", keep=5)
    (folder.container("main") / "1.log").touch()
    folder.forget_old_logs("main", keep=1)
    assert [entry.name for entry in folder.container("main").iterdir()] == ["1.log"]


RUNNING = Running("process://r", 1, 1, "boot", NOW, "image")


def test_end_of_a_process_is_described_with_its_message(tmp_path: Path) -> None:
    message, log = tmp_path / "message", tmp_path / "log"
    message.write_text("x" * 5000 + "end")
    log.write_text("".join(f"line {number}\n" for number in range(1000)))
    ended = describe_exit(RUNNING, 3, NOW, container={}, termination_file=message, log_file=log)
    assert (ended.exit_code, ended.signal, ended.reason) == (3, None, "Error")
    assert len(ended.message) == 4096
    assert ended.message.endswith("end")
    killed = describe_exit(RUNNING, -9, NOW, container={}, termination_file=tmp_path / "none", log_file=log)
    assert (killed.exit_code, killed.signal, killed.message) == (137, 9, "")


def test_log_stands_in_for_the_message_only_after_a_failure_and_when_asked(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{number}\n" for number in range(1000)))
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}

    def message(status: int, container: dict[str, str]) -> str:
        return describe_exit(
            RUNNING, status, NOW, container=container, termination_file=tmp_path / "none", log_file=log
        ).message

    assert message(0, policy) == ""
    assert message(1, {}) == ""
    assert message(1, policy).splitlines() == [str(number) for number in range(920, 1000)]


def test_end_of_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_end(tmp_path / "none", 10) == ""
