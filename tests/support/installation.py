"""A life of the chart on a real control plane with a running bot: what Helm is asked for, and what is seen then."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.chart import CHART
from support.stack import SYSTEM, CommandFailed, Stack
from tradingbot_operator.kinds import BUILT_IN
from tradingbot_sandbox.control_plane.audit import AuditEvent, AuditLog

RELEASE = "tradingbot-operator"
OPERATOR = f"system:serviceaccount:{SYSTEM}:{RELEASE}"
CRD = "tradingbots.tradingbot.dev"
HELM_SECONDS = 300


@dataclass
class Seen:
    """What is there at one moment."""

    pods: dict[str, tuple[str, str, int]]
    """Of the bot, by name: uid, start, restarts."""
    children: dict[str, tuple[str, int]]
    """kind/name: uid and generation."""
    bot: tuple[str, int]
    """uid and generation."""
    crd: str
    """uid of the CRD."""


@dataclass
class Installation:
    stack: Stack
    helm: Path
    values: dict[str, Any]
    desk: str
    bot: str = "btc"
    children: list[AuditEvent] = field(default_factory=list)

    def run_helm(self, *arguments: str | Path) -> str:
        done = subprocess.run(
            [self.helm, *arguments, "--namespace", SYSTEM],
            env=self.stack.environment, capture_output=True, text=True, timeout=HELM_SECONDS + 30, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise CommandFailed(f"helm {arguments[0]}: {done.stderr}\n{self.stack.describe()}")
        return done.stdout

    def apply_chart(self, command: str, chart: Path, **changes: Any) -> str:
        """`install` or `upgrade` with these values; what Helm prints."""
        file = self.stack.state / f"{command}.yaml"
        file.write_text(yaml.safe_dump(self.values | changes))
        more = ("--create-namespace",) if command == "install" else ()
        wait = ("--wait", "--timeout", f"{HELM_SECONDS}s")
        return self.run_helm(command, RELEASE, chart, "--values", file, *wait, *more)

    def rollback(self) -> str:
        return self.run_helm("rollback", RELEASE, "--wait", "--timeout", f"{HELM_SECONDS}s")

    def uninstall(self) -> str:
        return self.run_helm("uninstall", RELEASE, "--wait", "--timeout", f"{HELM_SECONDS}s")

    def see(self) -> Seen:
        pods = {}
        for pod in self.stack.pods(self.desk, self.bot):
            restarts = sum(each["restartCount"] for each in pod["status"]["containerStatuses"])
            pods[pod["metadata"]["name"]] = (pod["metadata"]["uid"], pod["status"]["startTime"], restarts)
        resources = ",".join(f"{kind.plural}.{kind.group}".rstrip(".") for kind in BUILT_IN)
        selector = f"tradingbot.dev/bot={self.bot}"
        found = json.loads(self.stack.kubectl("-n", self.desk, "get", resources, "-l", selector, "-o", "json"))["items"]
        bot = self.stack.get("tradingbot", self.bot, self.desk)["metadata"]
        return Seen(
            pods=pods,
            children={
                f"{each['kind']}/{each['metadata']['name']}": (
                    each["metadata"]["uid"],
                    each["metadata"].get("generation", 0),
                )
                for each in found
            },
            bot=(bot["uid"], bot["generation"]),
            crd=self.crd()["metadata"]["uid"],
        )

    def crd(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stack.kubectl("get", "crd", CRD, "-o", "json"))
        return found

    def operator_arguments(self) -> list[str]:
        deployment = self.stack.get("deployment", RELEASE, SYSTEM)
        arguments: list[str] = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        return arguments

    def exists(self, resource: str, name: str) -> bool:
        found = self.stack.kubectl("-n", SYSTEM, "get", resource, name, "--ignore-not-found", "-o", "name")
        return bool(found.strip())

    def may(self, user: str, verb: str, resource: str) -> bool:
        """Whether that service account of the desk may, in the API server's own words."""
        who = f"--as=system:serviceaccount:{self.desk}:{user}"
        done = subprocess.run(
            [f"{self.stack.state}/bin/kubectl", "auth", "can-i", verb, resource, who],
            env=self.stack.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout.strip() == "yes"

    def until_ready(self) -> None:
        self.stack.wait("a ready bot", lambda: self._condition("Ready") == "True", seconds=180)

    def until_looked_at(self) -> None:
        """The operator that runs now has listed the bots in two resync intervals from here, and had time to write."""
        log = self.log()

        def lists() -> bool:
            seen = [e for e in log.events() if e.user == OPERATOR and (e.verb, e.resource) == ("list", "tradingbots")]
            return len(seen) >= 3

        self.stack.wait("an operator that has looked at every bot", lists, seconds=180)

    def log(self) -> AuditLog:
        """The API server's audit log from here on."""
        log = AuditLog(self.stack.state / "audit" / "audit.log")
        log.mark()
        return log

    def child_writes(self, log: AuditLog) -> list[AuditEvent]:
        """What the operator wrote to the bot's children since the mark."""
        kinds = {kind.plural for kind in BUILT_IN}
        return [e for e in log.writes(user=OPERATOR) if e.namespace == self.desk and e.resource in kinds]

    def _condition(self, kind: str) -> str:
        status: str = self.stack.condition(self.desk, self.bot, kind).get("status", "")
        return status


def next_version(folder: Path) -> Path:
    """The chart as a later release might be: another version, another description in a CRD, and a field more."""
    chart = shutil.copytree(CHART, folder / "next" / CHART.name)
    about = chart / "Chart.yaml"
    about.write_text(re.sub(r"^version: .*$", "version: 99.0.0", about.read_text(), flags=re.MULTILINE))
    file = chart / "files" / "crds" / "tradingbot.dev_tradingbots.yaml"
    crd = yaml.safe_load(file.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["description"] = "As the next version describes it."
    schema["properties"]["spec"]["properties"]["later"] = {"type": "string", "description": "Of the next version."}
    file.write_text(yaml.safe_dump(crd, sort_keys=False))
    return chart


def note_commands(printed: str) -> str:
    """The commands of NOTES.txt as a script: what is indented by two, from the first `kubectl` on."""
    notes = printed.partition("NOTES:")[2]
    lines = notes[notes.index("Next, wait") :].splitlines()
    return "\n".join(line[2:] for line in lines if line.startswith("  "))
