"""A valid object with some of it changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any


def changed(valid: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """`changes` are dotted paths (a number is a place in a list) and values; None takes the field away."""
    made = copy.deepcopy(dict(valid))
    for path, value in (changes or {}).items():
        place: Any = made
        *parents, last = path.split(".")
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        if isinstance(place, list):
            place[int(last)] = value
        elif value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return made
