"""PURE. How long a container waits before it is started again: the kubelet's exponential back-off."""

from __future__ import annotations

from dataclasses import dataclass

from .timestamps import NS


@dataclass(frozen=True)
class BackOffSettings:
    base_seconds: float = 10.0
    """The first delay; each further one is twice as long. The kubelet's value."""
    cap_seconds: float = 300.0
    """The longest delay. After twice this time without a restart the back-off starts anew, as the kubelet's does."""

    @property
    def base_ns(self) -> int:
        return int(self.base_seconds * NS)

    @property
    def cap_ns(self) -> int:
        return int(self.cap_seconds * NS)


@dataclass(frozen=True, slots=True)
class BackOff:
    delay_ns: int = 0
    """What the next restart waits for, counted from the end of the process. The first restart waits for nothing."""
    updated_ns: int = 0

    def allowed_ns(self, finished_ns: int, settings: BackOffSettings) -> int:
        """When a container that ended at `finished_ns` may start again."""
        if self._is_stale(finished_ns, settings):
            return finished_ns
        return finished_ns + self.delay_ns

    def after_restart(self, finished_ns: int, now_ns: int, settings: BackOffSettings) -> BackOff:
        if self.delay_ns == 0 or self._is_stale(finished_ns, settings):
            return BackOff(settings.base_ns, now_ns)
        return BackOff(min(self.delay_ns * 2, settings.cap_ns), now_ns)

    def _is_stale(self, finished_ns: int, settings: BackOffSettings) -> bool:
        return finished_ns - self.updated_ns > 2 * settings.cap_ns


NO_BACK_OFF = BackOff()
