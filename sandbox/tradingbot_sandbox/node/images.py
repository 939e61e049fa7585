"""SHELL. What an image name stands for here: a console script that is installed beside the running Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .errors import StartProblem
from .image_name import program_name, programs_of

CONSOLE_SCRIPTS = ("tradingbot-operator", "tradingbot-trader", "tradingbot-sandbox")


class Images:
    def __init__(self, bin_folder: Path, extra: Mapping[str, Path] | None = None) -> None:
        """`extra` names further programs (the tests' own); it wins over the console scripts."""
        self._paths = {name: bin_folder / name for name in CONSOLE_SCRIPTS} | dict(extra or {})
        self._bin_folder = bin_folder

    @property
    def bin_folder(self) -> Path:
        return self._bin_folder

    def resolve(self, image: str, command: str = "") -> Path:
        """The image's own program, or that of its others that the command names; StartProblem (ErrImagePull), naming
        what is known, if there is none."""
        name = program_name(image)
        path = self._paths.get(name)
        if path is not None and command != name and command in programs_of(image):
            path = self._bin_folder / command
        if path is not None and os.access(path, os.X_OK) and path.is_file():
            return path
        why = "this node has no program of that name" if path is None else f"{path} is not an executable file"
        known = ", ".join(sorted(self._paths))
        raise StartProblem("ErrImagePull", f'image "{image}" cannot be run as a process: {why} (known: {known})')

    def find_command(self, name: str) -> str:
        """What a probe's or hook's command starts with: a known program, else the name itself, looked up on PATH."""
        path = self._paths.get(name)
        return name if path is None else str(path)
