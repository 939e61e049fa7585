"""From a cut to the API server, which nobody is told of, until no entry passes any more. SHELL.

Whole session and real API server as in kill_latency.py, with a relay between the two that goes on taking bytes and
passes none on: no FIN, no RST, as behind a firewall that has forgotten the connection. Cuts come at different moments
between two reads of the trader, because its deadline counts from the last of them that was answered.
"""

from __future__ import annotations

import asyncio
import time

from tests.integration.operator import conftest as parts

from bench.composed import until
from bench.figure import Figure, percentile
from bench.governed import NAME, NAMESPACE, Governed, create_bot, governed, required_gate
from bench.operator_process import running_cluster
from bench.setting import Setting
from support.watch_proxy import WatchProxy
from tradingbot_sandbox.venues.process import running_venue

TIMEOUTS_SECONDS = (3, 3, 3, 3, 30)
"""`controlPlaneTimeout` of each cut. The API takes anything above zero; in less than three seconds the three reads that
have to fit into it would be missed by a busy machine alone. The last one is the default."""
PHASES = (0.0, 0.35, 0.7, 0.95, 0.5)
"""How far after an answered read each cut comes, in parts of the pause between two reads."""
READS = 3
"""Within one timeout (Session._poll_seconds)."""
GOAL = 1.5
CAUSE = "ControlPlaneLost"
DEADLINES = 4
"""Timeouts after which a trader that goes on is told as one that did not stop."""


async def measure(setting: Setting) -> list[Figure]:
    shares: list[float] = []
    seconds: list[float] = []
    with running_cluster(setting, "cluster", controllers=False) as cluster, running_venue("binance") as venue:
        create_bot(cluster, kill_switch={"controlPlaneTimeout": f"{TIMEOUTS_SECONDS[0]}s"})
        desk, folder = parts.Desk(cluster.control_plane.admin, NAMESPACE), setting.folder / "proxy"
        folder.mkdir()
        proxy = WatchProxy(cluster.control_plane.url, cluster.control_plane.ca, folder)
        try:
            async with governed(cluster, venue, setting.folder, url=proxy.url, ca=proxy.ca) as trader:
                for number, (timeout, phase) in enumerate(zip(TIMEOUTS_SECONDS, PHASES, strict=True)):
                    switch = {"controlPlaneTimeout": f"{timeout}s"}
                    patched = await asyncio.to_thread(desk.patch, {"killSwitch": switch}, NAME)
                    generation = patched["metadata"]["generation"]
                    await until("the new timeout", lambda wanted=generation: trader.taken_up >= wanted)
                    took = await _cut(trader, proxy, timeout_seconds=timeout, phase=phase)
                    seconds.append(took)
                    shares.append(took / timeout)
                    setting.say(f"contact-cut: {number + 1} of {len(PHASES)}, {took:.1f} s of {timeout} s")
        finally:
            proxy.close()
    return [
        Figure(
            name="contact-cut",
            what="API server cut off without a word -> the next entry refused; the longest",
            value=max(shares),
            unit="x",
            relative_to="killSwitch.controlPlaneTimeout",
            goal=GOAL,
            samples=len(shares),
            p50=percentile(shares, 50),
            p99=percentile(shares, 99),
            detail={"timeouts_s": list(TIMEOUTS_SECONDS), "took_s": [round(each, 3) for each in seconds]},
        )
    ]


async def _cut(trader: Governed, proxy: WatchProxy, *, timeout_seconds: int, phase: float) -> float:
    """Seconds. At its end there is contact again, and entries pass."""
    gate = required_gate(trader)
    before_ns = trader.contact_ns
    await until("an answered read", lambda: trader.contact_ns != before_ns)
    await asyncio.sleep(timeout_seconds / READS * phase)
    await until("an open gate", lambda: gate.is_open)
    trader.forget()
    began_ns = time.monotonic_ns()
    proxy.swallow_everything()
    await until("the refusal", lambda: gate.refused_ns(CAUSE), seconds=float(timeout_seconds * DEADLINES))
    took = (gate.refused_ns(CAUSE) - began_ns) / 1e9
    proxy.pass_on()
    await until("an open gate", lambda: gate.is_open, seconds=120.0)
    return took
