"""Property tests search as long as they need: no wall-clock speed is asserted, least of all on a busy machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
