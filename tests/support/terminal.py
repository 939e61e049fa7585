"""A terminal for tests of the kubectl plugin: it runs a command line against an API server in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.plugin import Server, Time, Trader, build_bot
from tradingbot_plugin.cli import run
from tradingbot_plugin.kube import Access
from tradingbot_plugin.options import Invocation
from tradingbot_plugin.view import Ref

ETH, OTHER = Ref("desk", "eth"), Ref("other", "btc")


@dataclass
class Terminal:
    """Runs a command line, and keeps what it printed."""

    capsys: pytest.CaptureFixture[str]
    server: Server = field(default_factory=lambda: Server(build_bot(), build_bot(ETH), build_bot(OTHER)))
    clock: Time = field(default_factory=Time)
    accesses: list[Access] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    out: str = ""
    err: str = ""

    def __post_init__(self) -> None:
        self.clock.meanwhile += [Trader(self.server, ref) for ref in self.server.bots]

    def run(self, *arguments: str, answer: bool = False) -> int:
        def connect(access: Access) -> Server:
            self.accesses.append(access)
            return self.server

        def ask(question: str) -> bool:
            self.questions.append(question)
            return answer

        code = run(arguments, Invocation(connect, self.clock, ask))
        self.out, self.err = self.capsys.readouterr()
        return code

    @property
    def json(self) -> Any:
        return json.loads(self.out)
