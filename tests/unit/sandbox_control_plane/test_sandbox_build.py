"""Building from source, with a Go that is a small script: what is built, shown, resumed, refused and explained."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tradingbot_sandbox.control_plane.binaries import Search
from tradingbot_sandbox.control_plane.build import Step, build_lock, provide_binaries, provide_chart_tools
from tradingbot_sandbox.control_plane.pins import BINARIES, CHART_TOOLS, helm_set, kubernetes_set
from tradingbot_sandbox.control_plane.toolchain import build_environ, find_go
from tradingbot_sandbox.supervisor.errors import BuildFailed
from tradingbot_sandbox.supervisor.process import ProcessId

DEADLINE_SECONDS = 20.0

FAKE_GO = r"""#!/bin/sh
# A Go whose every package but one has to be compiled. $FAILURE: what it says before it fails to build kubectl.
last() { for last; do :; done; echo "$last"; }
echo "$@" >> "$CALLS"
case "$1" in
env) echo "$GO_SAYS"; echo "https://proxy.golang.org,direct" ;;
list) echo "go: downloading example.com/module v1.0.0" >&2; echo example.com/a; echo example.com/b; last "$@" ;;
build)
    test -f go.mod && test -f go.sum || exit 9
    test "$GOPROXY" = https://proxy.golang.org || exit 8
    for package in example.com/a example.com/b "$(last "$@")"; do echo "$package" >&2; done
    while [ "$1" != -o ]; do shift; done
    case "$3" in *kubectl) if [ -n "$FAILURE" ]; then echo "$FAILURE" >&2; exit 1; fi ;; esac
    printf '#!/bin/sh\n' > "$2"; chmod +x "$2" ;;
esac
"""


class Recorder:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[str] = []
        self.advances: list[tuple[int, int, str]] = []
        self.finished = 0

    def say(self, text: str) -> None:
        self.said.append(text)

    def begin(self, step: Step) -> None:
        self.steps.append(f"{step.number}/{step.of} {step.title}")

    def advance(self, *, done: int, total: int, doing: str) -> None:
        self.advances.append((done, total, doing))

    def tick(self) -> None:
        pass

    def finish(self, *, seconds: float) -> None:
        assert seconds >= 0
        self.finished += 1


@pytest.fixture
def search(tmp_path: Path) -> Search:
    folder = tmp_path / "go"
    folder.mkdir()
    (folder / "go").write_text(FAKE_GO)
    (folder / "go").chmod(0o755)
    environ = {
        "HOME": str(tmp_path),
        "PATH": f"{folder}:/usr/bin:/bin",
        "CALLS": str(tmp_path / "calls"),
        "GO_SAYS": "go1.26.8",
    }
    return Search(environ, kubernetes_set(), helm_set(), version_of=lambda _: "")


def calls(search: Search) -> list[str]:
    return Path(search.environ["CALLS"]).read_text().splitlines()


def failing(search: Search, failure: str) -> Search:
    environ = {**search.environ, "FAILURE": failure}
    return Search(environ, search.kubernetes, search.helm, version_of=search.version_of)


def test_everything_that_is_missing_is_built_step_by_step(search: Search) -> None:
    progress = Recorder()
    binaries = provide_binaries(search, progress)
    assert set(binaries.as_mapping().values()) == {search.cached(name) for name in BINARIES}
    assert progress.steps == [f"{number}/5 {name}" for number, name in enumerate(BINARIES, start=1)]
    assert progress.finished == 5
    assert "Building etcd, kube-apiserver" in progress.said[0]


def test_second_time_nothing_is_built(search: Search) -> None:
    provide_binaries(search, Recorder())
    before = calls(search)
    progress = Recorder()
    provide_binaries(search, progress)
    assert calls(search) == before
    assert (progress.said, progress.steps) == ([], [])


def test_tools_of_the_chart_are_built_once_and_never_taken_from_path(search: Search) -> None:
    for name in CHART_TOOLS:
        theirs = Path(search.environ["PATH"].partition(":")[0]) / name
        theirs.write_text("#!/bin/sh\n")
        theirs.chmod(0o755)
    progress = Recorder()
    found = provide_chart_tools(search, progress)
    assert found == {name: search.cached(name) for name in CHART_TOOLS}
    assert progress.steps == [f"{number}/4 {name}" for number, name in enumerate(CHART_TOOLS, start=1)]
    assert not set(found) & (set(BINARIES) - {"helm"})

    found["kubeconform"].unlink()
    again = Recorder()
    provide_chart_tools(search, again)
    assert again.steps == ["1/1 kubeconform"]


def test_progress_counts_packages_and_names_the_one_in_work(search: Search) -> None:
    progress = Recorder()
    provide_binaries(search, progress)
    package = "go.etcd.io/etcd/server/v3"
    assert progress.advances[:5] == [
        (0, 0, "downloading modules: 1, example.com/module"),
        (0, 4, package),
        (1, 4, "example.com/a"),
        (2, 4, "example.com/b"),
        (3, 4, "linking etcd"),
    ]


def test_modules_are_taken_only_as_they_are_pinned(search: Search) -> None:
    provide_binaries(search, Recorder())
    built = [call for call in calls(search) if call.startswith(("build", "list"))]
    assert len(built) == 10
    assert all("-mod=readonly" in call and "-trimpath" in call for call in built)
    assert any(f"gitVersion=v{search.kubernetes.version}" in call for call in built)


def test_interrupted_build_goes_on_with_what_is_left(search: Search) -> None:
    with pytest.raises(BuildFailed):
        provide_binaries(failing(search, "something"), Recorder())
    assert search.cached("kube-controller-manager").exists()
    assert not search.cached("kubectl").exists()
    progress = Recorder()
    provide_binaries(search, progress)
    assert progress.steps == ["1/2 kubectl", "2/2 helm"]


@pytest.mark.parametrize(
    ("said", "explained"),
    [
        ("write /x: no space left on device", "no space left while building kubectl.*GiB"),
        ("verifying example.com/a@v1: checksum mismatch", "not the one that go.sum pins"),
        ("example.com/a: missing go.sum entry", "not the one that go.sum pins"),
        ("k8s.io/api: /go/compile: signal: killed", "want of memory.*GOFLAGS=-p=1"),
        ("go: example.com/a: Get x: dial tcp: lookup proxy: no such host", "cannot fetch.*dial tcp.*Set GOPROXY"),
        ("example.com/a/x.go:1:2: undefined: y", "go could not build kubectl: .*undefined: y.*kubectl.log"),
    ],
)
def test_failure_is_one_sentence_that_says_what_to_do(search: Search, said: str, explained: str) -> None:
    with pytest.raises(BuildFailed, match=explained) as failure:
        provide_binaries(failing(search, said), Recorder())
    assert "\n" not in str(failure.value)


def test_builders_that_waited_for_another_do_not_build_again(search: Search) -> None:
    waiting = [Recorder(), Recorder()]
    threads = [threading.Thread(target=provide_binaries, args=(search, recorder)) for recorder in waiting]
    with build_lock(search.cache, Recorder()):
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not all(recorder.said for recorder in waiting):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert {recorder.said[0] for recorder in waiting} == {
            f"Another build is running (process {os.getpid()}); waiting for it."
        }
        assert not search.cached("etcd").exists()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert [call.split()[0] for call in calls(search)].count("build") == 5
    assert sorted(len(recorder.steps) for recorder in waiting) == [0, 5]


def test_build_ends_with_its_builder(search: Search, tmp_path: Path) -> None:
    """A builder that is killed must not leave compilers behind: they would build into a lock that nobody holds."""
    go = tmp_path / "go" / "go"
    go.write_text(FAKE_GO.replace("list) ", f"list) sleep 600 & echo $! > {tmp_path}/compiler.pid; wait; "))
    code = (
        "import os\n"
        "from tradingbot_sandbox.control_plane.binaries import Search\n"
        "from tradingbot_sandbox.control_plane.build import provide_binaries\n"
        "from tradingbot_sandbox.control_plane.progress import PlainProgress\n"
        "provide_binaries(Search.here(), PlainProgress())\n"
    )
    builder = subprocess.Popen([sys.executable, "-c", code], env=dict(search.environ), stderr=subprocess.DEVNULL)
    compiling = read_pid(tmp_path / "compiler.pid")
    builder.kill()
    builder.wait()
    assert compiling.wait_gone(DEADLINE_SECONDS)


def read_pid(file: Path) -> ProcessId:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process = ProcessId.of(int(file.read_text()))
    assert process is not None
    return process


def test_go_on_path_must_be_new_enough(search: Search) -> None:
    found = find_go(search.environ, at_least=(1, 26, 0))
    assert found is not None
    assert found.version == "1.26.8"
    for old in ("go1.25.9", "go1.4", "nonsense", ""):
        assert find_go({**search.environ, "GO_SAYS": old}, at_least=(1, 26, 0)) is None
    assert find_go({"PATH": "/nowhere"}, at_least=(1, 26, 0)) is None


def test_release_candidate_is_older_than_the_release(search: Search) -> None:
    assert find_go({**search.environ, "GO_SAYS": "go1.26rc1"}, at_least=(1, 26, 0)) is None


def test_default_proxy_is_used_without_falling_back_to_git(search: Search) -> None:
    found = find_go(search.environ, at_least=(1, 26))
    assert found is not None
    assert found.environ["GOPROXY"] == "https://proxy.golang.org"


def test_users_settings_are_kept_but_for_those_that_build_something_else() -> None:
    mine = {"GOFLAGS": "-p=1", "GOPROXY": "https://mirror", "GOOS": "windows", "GOARCH": "arm", "GOWORK": "/x"}
    settled = build_environ(mine)
    assert {settled[name] for name in ("GOFLAGS", "GOPROXY")} == {"-p=1", "https://mirror"}
    assert "GOOS" not in settled
    assert "GOARCH" not in settled
    assert (settled["GOWORK"], settled["GOTOOLCHAIN"], settled["CGO_ENABLED"]) == ("off", "local", "0")
