"""PURE: the whole sandbox as a list of components: the control plane, the process node, the venues.

Another part plugs in here: a function that builds its Component, and a line in `plan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tradingbot_sandbox.control_plane.binaries import Binaries
from tradingbot_sandbox.control_plane.components import (
    API_SERVER,
    HOST,
    STOP_CLIENTS,
    STOP_PODS,
    Layout,
    control_plane,
)
from tradingbot_sandbox.supervisor.component import Component, HealthCheck

NODE = "node"
NODE_NAME = "process-node"
VENUE_BINANCE = "venue-binance"

NODE_STOP_GRACE_SECONDS = 30.0
"""The node stops its pods first, each within its own grace period."""

SYNTHETIC = "synthetic"

OPENING_BALANCE = "USDT=10000"
"""What the simulator's first account holds: far above every stage that a bot is likely to have."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `up` was asked for. It is kept in the state folder, as the answer to "with what does it run"."""

    binaries: dict[str, str]
    node: bool = True
    venue: bool = True
    market: str = SYNTHETIC
    """`synthetic`, or the path of a recording."""
    speed: str | None = None
    seed: int | None = None
    play: str | None = None
    start: str | None = None
    fresh: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Options:
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def contradictions(self, asked: Mapping[str, Any]) -> list[str]:
        """Where these options are not what is asked for: a running sandbox would have to be started again."""
        return [
            f"{name} is {getattr(self, name)}, not {value}"
            for name, value in asked.items()
            if hasattr(self, name) and getattr(self, name) != value
        ]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the components need to know of the process that starts them."""

    python: str
    environ: Mapping[str, str]
    server_environ: Mapping[str, str]
    """The part of the environment that etcd and the servers get."""


def ports_of(options: Options) -> tuple[str, ...]:
    return (VENUE_BINANCE,) if options.venue else ()


def plan(layout: Layout, options: Options, around: Surroundings) -> tuple[Component, ...]:
    binaries = Binaries.of({name: Path(path) for name, path in options.binaries.items()})
    components = list(control_plane(layout, binaries, around.server_environ))
    if options.venue:
        components.append(venue_binance(layout, options, around))
    if options.node:
        components.append(node(layout, around))
    return tuple(components)


def node(layout: Layout, around: Surroundings) -> Component:
    """Runs pods as processes, under a guard: when it dies, so do they, and so does whatever they started."""
    state = layout.root / "node"
    node_url = f"{layout.server}/api/v1/nodes/{NODE_NAME}"
    arguments = ("--kubeconfig", str(layout.node_kubeconfig), "--state", str(state), "--client-ca", str(layout.pki.ca))
    return Component(
        name=NODE,
        argv=(around.python, "-P", "-m", "tradingbot_sandbox.node", *arguments),
        health=(HealthCheck(node_url, layout.pki.client("supervisor"), ready_node=True),),
        address=NODE_NAME,
        after=(API_SERVER,),
        stop_order=STOP_PODS,
        stop_grace_seconds=NODE_STOP_GRACE_SECONDS,
        guarded=True,
        environ=around.environ,
    )


def venue_binance(layout: Layout, options: Options, around: Surroundings) -> Component:
    listen = f"{HOST}:{layout.ports[VENUE_BINANCE]}"
    market = {name: getattr(options, name) for name in ("market", "speed", "seed", "play", "start")}
    # What was not asked for is left to the simulator's own defaults.
    arguments = tuple(f"--{name}={value}" for name, value in market.items() if value is not None)
    account = (f"--balance={OPENING_BALANCE}", f"--keys-dir={keys_of(layout.root, VENUE_BINANCE)}")
    command = ("-P", "-m", "tradingbot_sandbox", "venue", "binance")
    return Component(
        name=VENUE_BINANCE,
        argv=(around.python, *command, f"--listen={listen}", *account, *arguments),
        health=(HealthCheck(f"{rest_url(listen)}/ping"),),
        address=f"http://{listen}",
        stop_order=STOP_CLIENTS,
        environ=around.environ,
    )


def keys_of(root: Path, venue: str) -> Path:
    """The folder with `apiKey` and `apiSecret` of the venue's first account: what a live bot's Secret is made from."""
    return root / "keys" / venue


def rest_url(listen: str) -> str:
    return f"http://{listen}/api/v3"


def stream_url(listen: str) -> str:
    return f"ws://{listen}/ws"


def account_url(listen: str) -> str:
    """The WebSocket API, on which an account is told about its own orders and fills."""
    return f"ws://{listen}/ws-api/v3"
