"""What the workers of a node share; put together in `agent.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .addresses import Addresses
from .claims import Claims
from .clock import Clock
from .events import Events
from .images import Images
from .kube import KubeApi
from .prober import Prober
from .references import References
from .settings import Settings
from .tokens import Tokens


@dataclass(frozen=True)
class Parts:
    settings: Settings
    api: KubeApi
    clock: Clock
    events: Events
    images: Images
    addresses: Addresses
    references: References
    tokens: Tokens
    claims: Claims
    prober: Prober
    services: Mapping[str, str]
    """Variables that every container gets because of a Service: where the API server is."""
    boot_id: str

    @property
    def pods_folder(self) -> Path:
        return self.settings.state / "pods"
