"""SHELL: `tradingbot-sandbox demo`: the whole story in a terminal, told by the commands that a user would type.

Every figure is read from the API server, the trader's metrics or its audit at that moment; nothing is acted.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import yaml

from tradingbot_sandbox.supervisor.errors import SandboxError

NAMESPACE, BOT, SYSTEM = "desk-a", "btc-trend", "tradingbot-system"
CHART = Path(__file__).resolve().parents[2] / "charts" / "tradingbot-operator"
LIVE_MARKET = "live"
FILL_SECONDS = 120.0
"""How long the strategy may take to find an entry; the synthetic market turns every few seconds."""


class Demo:
    """One run: a sandbox of its own, the chart, one bot."""

    def __init__(self, state: Path, *, market: str, speed: str | None) -> None:
        self.state, self.market, self.speed = state, market, speed
        self._begun = time.monotonic()
        self._environment: dict[str, str] = {}

    def tell(self, text: str) -> None:
        click.echo(f"\n[{time.monotonic() - self._begun:5.1f} s] " + click.style(text, bold=True))

    def run(self, *command: str, shown: bool = True, stdin: str | None = None) -> str:
        """Run a command of the user's, show it and what it answers."""
        if shown:
            click.echo(click.style(f"$ {shlex.join(command)}", fg="cyan"))
        program = shutil.which(command[0], path=self._environment.get("PATH")) or command[0]
        done = subprocess.run(
            [program, *command[1:]],
            env=self._environment or None,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SandboxError(f"`{shlex.join(command)}` failed:\n{done.stderr.strip() or done.stdout.strip()}")
        if shown and done.stdout.strip():
            click.echo(done.stdout.rstrip())
        return done.stdout

    def sandbox(self, *arguments: str, quiet: bool = False) -> None:
        """A command of this program; what it reports on stderr, like the progress of a build, is always shown."""
        output = subprocess.DEVNULL if quiet else None
        done = subprocess.run([sys.executable, "-m", "tradingbot_sandbox", *arguments], stdout=output, check=False)
        if done.returncode != 0:
            raise SandboxError(f"tradingbot-sandbox {arguments[0]} failed; its logs: {self.state / 'logs'}")

    def start(self) -> None:
        self.tell("A control plane, a node that runs pods as processes, and a market")
        if (self.state / "kubeconfig").exists():
            self.sandbox("down", "--clean", "--state", str(self.state), quiet=True)
        arguments = ["up"]
        if self.market == LIVE_MARKET:
            arguments.append("--no-venue")
        elif self.market:
            arguments += ["--market", str(Path(self.market).resolve())]
        if self.speed:
            arguments += ["--speed", self.speed]
        self.sandbox("tools", quiet=True)
        self.sandbox(*arguments, "--state", str(self.state), quiet=True)
        self.sandbox("status", "--state", str(self.state))
        text = subprocess.run(
            [sys.executable, "-m", "tradingbot_sandbox", "env", "--state", str(self.state)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        self._environment = dict(re.findall(r"^export (\w+)=(.*)$", text, re.MULTILINE))
        path = self._environment["PATH"].replace(":$PATH", "")
        self._environment |= {"PATH": f"{path}:/usr/bin:/bin", "HOME": str(self.state)}

    def install(self) -> None:
        self.tell("The operator, from its Helm chart")
        command = ["helm", "install", "tradingbot-operator", str(CHART), "--namespace", SYSTEM, "--create-namespace"]
        for kind in ("REST", "STREAM", "ACCOUNT"):
            if url := self._environment.get(f"TRADINGBOT_BINANCE_{kind}_URL"):
                command += ["--set", f"exchanges.binance.sandbox.{kind.lower()}Url={url}"]
        click.echo(click.style(f"$ {shlex.join([*command, '--wait'])}", fg="cyan"))
        self.run(*command, "--wait", "--timeout", "60s", shown=False)
        self.run("kubectl", "-n", SYSTEM, "get", "pods")

    def apply(self) -> None:
        self.tell("A bot: paper trading, at most 50 USDT at risk")
        self.run("kubectl", "create", "namespace", NAMESPACE, shown=False)
        manifest = yaml.safe_dump(
            build_bot(network="Mainnet" if self.market == LIVE_MARKET else "Sandbox"), sort_keys=False
        )
        click.echo(manifest.rstrip())
        click.echo(click.style("$ kubectl apply -f -", fg="cyan"))
        click.echo(self.run("kubectl", "apply", "-f", "-", shown=False, stdin=manifest).rstrip())
        self.run("kubectl", "-n", NAMESPACE, "wait", "tb", BOT, "--for=condition=Ready", "--timeout=60s")
        self.run("kubectl", "-n", NAMESPACE, "get", "tb")

    def trade(self) -> None:
        self.tell("Waiting for the strategy's first fill")
        fills = self.wait("a fill", lambda: self.metrics().get("fills_total"), seconds=FILL_SECONDS)
        self.tell(f"First fill. {fills:.0f} so far; the ledger, as the trader sees it now:")
        figures = self.metrics()
        for name, text in (
            ("market_trades_total", "trades of the market taken"),
            ("market_dropped_messages", "of them dropped"),
            ("fills_total", "fills"),
            ("exposure_quote", "at risk, USDT"),
            ("realized_pnl_quote", "realized P&L, USDT"),
            ("unrealized_pnl_quote", "unrealized P&L, USDT"),
            ("fees_quote", "fees paid, USDT"),
        ):
            click.echo(f"  {figures.get(name, 0.0):>14.{6 if 'quote' in name else 0}f}  {text}")

    def scale(self) -> None:
        self.tell("More capital, by one patch: no restart, the next decision has it")
        before = self.restarts()
        self.patch({"capital": {"stage": "small"}})
        self.wait("the new limit", lambda: self.trader().get("limit") == "100", seconds=20)
        trader = self.trader()
        same = before == self.restarts()
        click.echo(f"  the trader enforces {trader['limit']} USDT (stage {trader['stage']}), same pod: {same}")

    def stop(self) -> str:
        self.tell("Stop")
        self.patch({"killSwitch": {"engaged": True, "reason": "demo"}})
        self.wait("the proof", lambda: self.trader().get("latch", {}).get("state") == "Stopped", seconds=20)
        latch: dict[str, Any] = self.trader()["latch"]
        click.echo("What the stop proves (status.trader.latch, written by the trader itself):")
        for key in ("id", "state", "action", "reason", "engagedAt", "acknowledgedAt", "ordersCancelled", "flat"):
            click.echo(f"  {key:<16} {latch.get(key)}")
        self.run("kubectl", "-n", NAMESPACE, "get", "tb")
        return str(latch["id"])

    def rearm(self, latch_id: str) -> None:
        self.tell("Taking the patch back releases nothing; naming the latch does")
        self.patch({"killSwitch": {"engaged": False}})
        self.run(
            "kubectl",
            "-n",
            NAMESPACE,
            "wait",
            "tb",
            BOT,
            "--for=condition=Reconciling=False",
            "--timeout=20s",
            shown=False,
        )
        click.echo(f"  trading state: {self.trader()['state']}, latch: {self.trader()['latch']['state']}")
        self.patch({"killSwitch": {"rearm": latch_id}})
        self.wait("the release", lambda: self.trader().get("latch", {}).get("state") == "Armed", seconds=20)
        self.run("kubectl", "-n", NAMESPACE, "wait", "tb", BOT, "--for=condition=Ready", "--timeout=20s")
        self.run("kubectl", "-n", NAMESPACE, "get", "tb", "-o", "wide")

    def audit(self) -> None:
        self.tell("The audit: every decision in a hash chain")
        volumes = json.loads(self.run("kubectl", "get", "pv", "-o", "json", shown=False))["items"]
        path = next(v["spec"]["local"]["path"] for v in volumes if v["spec"]["claimRef"]["namespace"] == NAMESPACE)
        head = self.trader()["auditHead"]
        trader = str(Path(sys.executable).with_name("tradingbot-trader"))
        click.echo(
            click.style(
                f"$ tradingbot-trader audit verify --store {path} --head {head['sequence']}:{head['hash'][:12]}...",
                fg="cyan",
            )
        )
        click.echo(
            self.run(
                trader, "audit", "verify", "--store", path, "--head", f"{head['sequence']}:{head['hash']}", shown=False
            ).rstrip()
        )

    def patch(self, spec: dict[str, Any]) -> None:
        self.run("kubectl", "-n", NAMESPACE, "patch", "tb", BOT, "--type", "merge", "-p", json.dumps({"spec": spec}))

    def trader(self) -> dict[str, Any]:
        """`status.trader` now."""
        text = self.run("kubectl", "-n", NAMESPACE, "get", "tb", BOT, "-o", "jsonpath={.status.trader}", shown=False)
        part: dict[str, Any] = json.loads(text or "{}")
        return part

    def pod(self) -> dict[str, Any]:
        selector = f"tradingbot.dev/bot={BOT}"
        text = self.run("kubectl", "-n", NAMESPACE, "get", "pods", "-l", selector, "-o", "json", shown=False)
        pod: dict[str, Any] = json.loads(text)["items"][0]
        return pod

    def restarts(self) -> tuple[str, int]:
        pod = self.pod()
        return pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]

    def metrics(self) -> dict[str, float]:
        """The trader's metrics of one moment, summed over their labels."""
        address = f"http://{self.pod()['status']['podIP']}:8080/metrics"
        with urllib.request.urlopen(address, timeout=5) as answer:
            text = answer.read().decode()
        found: dict[str, float] = {}
        for name, value in re.findall(r"^tradingbot_trader_(\w+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE):
            found[name] = found.get(name, 0.0) + float(value)
        return found

    @staticmethod
    def wait(what: str, look: Callable[[], Any], *, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            if time.monotonic() > deadline:
                raise SandboxError(f"{what} did not come within {seconds:.0f} s")
            time.sleep(0.2)


def build_bot(*, network: str) -> dict[str, Any]:
    return {
        "apiVersion": "tradingbot.dev/v1alpha1",
        "kind": "TradingBot",
        "metadata": {"name": BOT, "namespace": NAMESPACE},
        "spec": {
            "mode": "Paper",
            "exchange": {"id": "binance", "network": network},
            "symbols": ["BTC/USDT"],
            "strategy": {
                "name": "sma-cross",
                "timeframe": "1s",
                "parameters": {"fast": 2, "slow": 5, "rsiPeriod": 7, "rsiOverbought": 95},
            },
            "capital": {
                "currency": "USDT",
                "stage": "micro",
                "stages": [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "100"}],
            },
            "risk": {"maxOrderNotional": "20", "cooldownAfterLoss": "0s"},
        },
    }


@click.command()
@click.option("--state", type=click.Path(path_type=Path), help="Folder of the demo's sandbox.")
@click.option("--keep", is_flag=True, help="Leave everything running, and say what to try next.")
@click.option("--market", default="", metavar="FILE|live", help="A recording, or the venue's real public stream.")
@click.option("--speed", metavar="N", help="How much faster than real time the market is played.")
def demo(*, state: Path | None, keep: bool, market: str, speed: str | None) -> None:
    """Install the operator from its chart, trade on paper, scale, stop, prove, re-arm."""
    show = Demo(state or Path.home() / ".local" / "state" / "tradingbot-demo", market=market, speed=speed)
    try:
        show.start()
        show.install()
        show.apply()
        show.trade()
        show.scale()
        latch_id = show.stop()
        show.rearm(latch_id)
        show.audit()
    except BaseException:
        click.echo(f"\nThe demo did not finish. Logs: tradingbot-sandbox logs --state {show.state}", err=True)
        if not keep:
            click.echo(f"It is still running: tradingbot-sandbox down --clean --state {show.state}", err=True)
        raise
    if keep:
        show.tell("Still running. Try:")
        click.echo(f'  eval "$({Path(sys.executable).with_name("tradingbot-sandbox")} env --state {show.state})"')
        click.echo(f"  kubectl -n {NAMESPACE} get tb -w")
        click.echo(f"  kubectl -n {NAMESPACE} logs -f -l tradingbot.dev/bot={BOT}")
        click.echo(f'  kubectl -n {NAMESPACE} patch tb {BOT} --type merge -p \'{{"spec":{{"suspend":true}}}}\'')
        click.echo(f"  {Path(sys.executable).with_name('tradingbot-sandbox')} down --clean --state {show.state}")
    else:
        show.tell("Cleaning up")
        show.sandbox("down", "--clean", "--state", str(show.state), quiet=True)
        click.echo("Done. `make demo KEEP=1` leaves it running.")
