"""An image of one's own, as far as the sandbox's node knows images: a Python with the product and one more strategy.

It is a virtual environment beside ours: its packages come first, ours after them, and the programs in it are ours with
its interpreter. With `edits` the trader in it is a mutant (simulation/mutant.py).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from support.simulation.mutant import Edit, build_mutant
from support.stop_matrix import prompted

PROGRAMS = ("tradingbot-operator", "tradingbot-trader", "tradingbot-sandbox")
MODULE = "stop_matrix_prompted"


def build_image(folder: Path, edits: Iterable[Edit] = ()) -> Path:
    """The interpreter: a sandbox that is started with it runs its pods from here."""
    ours = Path(sys.prefix)
    packages = Path("lib") / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    programs, site = folder / "bin", folder / packages
    for each in (programs, site):
        each.mkdir(parents=True)
    shutil.copy(ours / "pyvenv.cfg", folder)
    python = programs / "python"
    python.symlink_to(Path(sys.executable).resolve())
    # Not `ours / packages` as a line of its own: its .pth files, which name the product's folders, have to be read too.
    (site / "ours.pth").write_text(f"import site; site.addsitedir({str(ours / packages)!r})\n")
    if edits := tuple(edits):
        build_mutant(site, edits)
    _install_strategy(site)
    for name in PROGRAMS:
        lines = (ours / "bin" / name).read_text().splitlines(keepends=True)
        program = programs / name
        program.write_text("".join([f"#!{python}\n", *lines[1:]]))
        program.chmod(0o755)
    return python


def _install_strategy(site: Path) -> None:
    shutil.copy(prompted.__file__, site / f"{MODULE}.py")
    about = site / f"{MODULE}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        f"[tradingbot.strategies]\n{prompted.NAME} = {MODULE}:{prompted.Prompted.__name__}\n"
    )
