from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.platform import Platform
from tradingbot_operator.children.volume import build_volume

BOT = BotRef("desk-a", "btc", "uid-1")


def claim(size: str, **spec: Any) -> dict[str, Any]:
    return {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}} | spec}


def test_new_volume_follows_the_settings(platform: Platform) -> None:
    fast = replace(platform, storage_class="fast", storage_access_mode="ReadWriteOncePod")
    assert build_volume(BOT, fast, size="2Gi", observed=None)["spec"] == {
        "accessModes": ["ReadWriteOncePod"],
        "resources": {"requests": {"storage": "2Gi"}},
        "storageClassName": "fast",
    }


def test_volume_outlives_its_bot(platform: Platform) -> None:
    metadata = build_volume(BOT, platform, size="1Gi", observed=None)["metadata"]
    assert "ownerReferences" not in metadata
    assert metadata["labels"]["tradingbot.dev/bot"] == "btc"


def test_default_class_is_left_to_the_cluster(platform: Platform) -> None:
    assert "storageClassName" not in build_volume(BOT, platform, size="1Gi", observed=None)["spec"]


@pytest.mark.parametrize(
    ("asked", "present", "expected"),
    [
        ("2Gi", "1Gi", "2Gi"),
        ("1Gi", "2Gi", "2Gi"),
        ("1024Mi", "1Gi", "1Gi"),
        ("1Gi", "garbage", "1Gi"),
        ("1Ti", "900Gi", "1Ti"),
    ],
)
def test_volume_grows_and_never_shrinks(platform: Platform, asked: str, present: str, expected: str) -> None:
    built = build_volume(BOT, platform, size=asked, observed=claim(present))
    assert built["spec"]["resources"]["requests"]["storage"] == expected


def test_what_cannot_change_follows_the_volume_that_is_there(platform: Platform) -> None:
    observed = claim("1Gi", storageClassName="slow", accessModes=["ReadWriteOncePod"])
    built = build_volume(BOT, replace(platform, storage_class="fast"), size="1Gi", observed=observed)
    assert built["spec"]["storageClassName"] == "slow"
    assert built["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_claim_for_a_volume_without_a_class_keeps_saying_so(platform: Platform) -> None:
    built = build_volume(BOT, platform, size="1Gi", observed=claim("1Gi", storageClassName=""))
    assert built["spec"]["storageClassName"] == ""
