"""The documentation says what the code says: generated pages, links, commands and names that it mentions."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tradingbot_api.conditions import ConditionType, ConfigReason, Reason
from tradingbot_sandbox.cli import main as sandbox
from tradingbot_trader.__main__ import main as trader
from tradingbot_trader.control.state import Cause

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MAX_COLUMNS = 120


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(text: str) -> str:
    """Without blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    """Targets, without what only looks like a link: a pattern in a code span."""
    return LINK.findall(re.sub(r"`[^`]*`", "", prose(page.read_text(encoding="utf-8"))))


def headings(page: Path) -> set[str]:
    """Anchors, as GitHub makes them of headings."""
    found = re.findall(r"^#+ (.*)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def commands(program: str) -> Iterator[tuple[str, list[str]]]:
    """Page and words of each command line of that program in a console block; continued lines joined."""
    for page in PAGES:
        for block in CONSOLE.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                for match in re.finditer(rf"(?:^|[\s(]|\.venv/bin/){program} ([^\"'|;)]*)", line):
                    yield name_of(page), match[1].split("#")[0].split()


def test_generated_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate_reference.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in headings(place)):
            dead.append(target)
    assert not dead


def test_every_page_is_in_an_index() -> None:
    """Decisions in their own, all others in docs/README.md."""
    listed: set[Path] = set()
    for index in (DOCS / "README.md", DOCS / "explanation" / "decisions" / "README.md"):
        listed |= {index} | {(index.parent / each.partition("#")[0]).resolve() for each in links(index)}
    assert [name_of(page) for page in DOCS.rglob("*.md") if page not in listed] == []


def test_make_targets_exist() -> None:
    known = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = [
        (name_of(page), target)
        for page in PAGES
        for target in re.findall(r"(?:`|\$ |^[A-Z_]+=\S+ )make ([a-z0-9-]+)", page.read_text(encoding="utf-8"))
    ]
    assert named
    assert [each for each in named if each[1] not in known] == []


@pytest.mark.parametrize(("program", "group"), [("tradingbot-sandbox", sandbox), ("tradingbot-trader", trader)])
def test_commands_and_options_of_ours_exist(program: str, group: click.Group) -> None:
    found = list(commands(program))
    assert found
    assert [f"{page}: {problem}" for page, words in found for problem in unknown_words(group, words)] == []


def unknown_words(group: click.Group, words: list[str]) -> Iterator[str]:
    """Sub-commands and options that click does not know."""
    command: click.Command = group
    rest = iter(words)
    for word in rest:
        if isinstance(command, click.Group):
            inner = command.get_command(click.Context(command), word)
            if inner is None:
                yield word
                return
            command = inner
        elif word.startswith("-") and word not in ("--help", "-h"):
            options = {each for parameter in command.params for each in (*parameter.opts, *parameter.secondary_opts)}
            if word.partition("=")[0] not in options:
                yield f"{command.name} {word}"


def test_reference_of_the_sandbox_names_every_command_and_option() -> None:
    text = read("reference/sandbox.md")
    venue = sandbox.get_command(click.Context(sandbox), "venue")
    assert isinstance(venue, click.Group)
    groups: list[tuple[click.Group, str]] = [(sandbox, name) for name in sandbox.list_commands(click.Context(sandbox))]
    groups += [(venue, name) for name in venue.list_commands(click.Context(venue))]
    missing = []
    for group, name in groups:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if command.hidden:
            continue
        if name not in text:
            missing.append(name)
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                missing += [f"{name} {each}" for each in [max(parameter.opts, key=len)] if not is_told(each, text)]
    assert missing == []


def is_told(option: str, text: str) -> bool:
    """A switch with two sides is told by the side that is not the default."""
    return option in text or option.replace("--", "--no-", 1) in text


def test_reference_names_every_condition_reason_and_cause() -> None:
    conditions, states = read("reference/conditions.md"), read("explanation/trading-states.md")
    assert [each for each in (*ConditionType, *Reason, *ConfigReason) if each.value not in conditions] == []
    assert [each for each in Cause if f"`{each.value}`" not in states] == []


def test_fields_without_effect_are_read_nowhere() -> None:
    """Fails when a later version begins to read one: then the reference has to say so."""
    texts = (DOCS / "reference_texts.py").read_text(encoding="utf-8")
    block = re.search(r"^WITHOUT_EFFECT = \{(.*?)^\}", texts, re.MULTILINE | re.DOTALL)
    assert block is not None
    attributes = re.findall(r'": "(\w+)"', block[1])
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("operator/tradingbot_operator", "trader/tradingbot_trader")
        for path in sorted((ROOT / folder).rglob("*.py"))
    )
    assert attributes
    assert [each for each in attributes if re.search(rf"\.{each}\b", code)] == []
    assert "tradingapprovals" not in code
    assert re.search(r"ReviewKind\.GATES|['\"]Gates['\"]", code) is None, "no gate of a stage is judged"


def test_promises_cite_tests_that_exist() -> None:
    cited = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", read("explanation/promises.md"))
    assert len(cited) > 20
    missing = []
    for path, name in cited:
        file = ROOT / path
        if not file.is_file() or (name and f"def {name}(" not in file.read_text(encoding="utf-8")):
            missing.append(f"{path}::{name}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES[1:], ids=name_of)
def test_page_is_made_to_be_read(page: Path) -> None:
    """Lines of 120 columns but for tables and code, one title, and no path of the machine that it was written on."""
    text = page.read_text(encoding="utf-8")
    lines = prose(text).splitlines()
    assert [line for line in lines if len(line) > MAX_COLUMNS and not line.startswith("|")] == []
    assert len([line for line in lines if line.startswith("# ")]) == 1
    assert str(ROOT) not in text
    assert str(Path.home()) not in text
