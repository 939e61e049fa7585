from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tradingbot_api.spec import TradingBotSpec
from tradingbot_operator.children.external_secret import build_external_secret, find_keys_secret
from tradingbot_operator.children.metadata import BotRef

Make = Callable[..., Any]
BOT = BotRef("desk-a", "btc", "uid-1")
ASKED = {
    "storeRef": {"kind": "ClusterSecretStore", "name": "vault"},
    "key": "trading/binance",
    "refreshInterval": "90m",
}


@pytest.fixture
def read(make_bot: Make) -> Make:
    return lambda credentials: TradingBotSpec.model_validate(make_bot({"spec.credentials": credentials})["spec"])


def test_external_secret_reads_as_a_whole(read: Make) -> None:
    built = build_external_secret(BOT, read({"externalSecret": ASKED}).credentials.external_secret)
    assert (built["apiVersion"], built["kind"]) == ("external-secrets.io/v1", "ExternalSecret")
    assert built["metadata"]["name"] == "btc-trader"
    assert built["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert built["spec"] == {
        "refreshInterval": "1h30m",
        "secretStoreRef": {"kind": "ClusterSecretStore", "name": "vault"},
        "target": {"name": "btc-trader", "creationPolicy": "Owner", "deletionPolicy": "Retain"},
        "dataFrom": [{"extract": {"key": "trading/binance"}}],
    }


def test_live_pod_mounts_the_secret_that_is_named_or_the_one_that_is_made(read: Make) -> None:
    assert find_keys_secret(read({"secretName": "my-keys"}), BOT) == "my-keys"
    spec = read({"externalSecret": ASKED})
    made = build_external_secret(BOT, spec.credentials.external_secret)
    assert find_keys_secret(spec, BOT) == made["spec"]["target"]["name"]
