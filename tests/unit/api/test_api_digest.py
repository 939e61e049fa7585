"""The digest is what a permit and a signature speak for: it may never change by notation, and always by meaning."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_api.digest import canonical_form, digest_spec
from tradingbot_api.spec import TradingBotSpec

Raw = dict[str, Any]
RawSpec = Callable[..., Raw]
VECTORS = json.loads((Path(__file__).parent / "digest_vectors.json").read_text(encoding="utf-8"))

DEFAULTS: Raw = {
    "exchange.network": "Mainnet",
    "strategy.timeframe": "1m",
    "strategy.parameters": {},
    "capital.approvals": {"required": 1},
    "capital.approvals.required": 1,
    "capital.stages.0.gate": {},
    "risk.maxPositionPercent": "40",
    "risk.maxExposurePercent": "80",
    "risk.maxOpenPositions": 3,
    "risk.maxDailyLossPercent": "5",
    "risk.maxDrawdownPercent": "10",
    "risk.maxTradeLossPercent": "5",
    "risk.maxOrdersPerMinute": 10,
    "risk.cooldownAfterLoss": "15m",
    "risk.stopLossPercent": "2",
    "risk.priceCollarPercent": "2",
    "risk.maxPriceAge": "60s",
    "risk.maxClockSkew": "1s",
    "risk.maxLeverage": "1",
    "reconciliation": {"interval": "1h", "tolerance": "0.00001", "onMismatch": "ReduceOnly"},
    "reconciliation.interval": "60m",
    "reconciliation.tolerance": "0.000010",
}
"""Frozen with v1: a changed default here is a new version of the digest."""

CHANGES: Raw = {
    "exchange.id": "kraken",
    "exchange.network": "Mainnet",
    "symbols": ["BTC/USDT"],
    "strategy.name": "mean-reversion",
    "strategy.timeframe": "1h",
    "strategy.parameters.fast": 11,
    "strategy.parameters.extra": "x",
    "capital.stages.0.limit": "49",
    "capital.stages.1.name": "medium",
    "capital.stages.0.gate": {"minOrders": 1},
    "capital.stages.1.gate": {"maxDesyncs": 0},
    "capital.approvals": {"required": 2},
    "capital.demotion": {"maxDrawdownPercent": "5"},
    "risk.maxOrderNotional": "20.000000001",
    "risk.maxPositionPercent": "41",
    "risk.maxExposurePercent": "81",
    "risk.maxOpenPositions": 4,
    "risk.maxDailyLossPercent": "6",
    "risk.maxDrawdownPercent": "11",
    "risk.maxTradeLossPercent": "6",
    "risk.maxDailyNotional": "1000",
    "risk.maxOrdersPerMinute": 11,
    "risk.cooldownAfterLoss": "14m",
    "risk.stopLossPercent": "3",
    "risk.priceCollarPercent": "3",
    "risk.maxPriceAge": "61s",
    "risk.maxClockSkew": "2s",
    "risk.maxLeverage": "0.5",
    "credentials": {"secretName": "keys"},
    "reconciliation.interval": "2h",
    "reconciliation.tolerance": "0.00002",
    "reconciliation.onMismatch": "Flatten",
}

IRRELEVANT: Raw = {
    "capital.stage": "small",
    "suspend": True,
    "killSwitch": {"engaged": True},
    "notifications": {"secretName": "alerts"},
    "storage": {"size": "2Gi"},
    "onDelete": "Hold",
    "updatePolicy": "Auto",
}


def digest(raw: Raw) -> str:
    return digest_spec(TradingBotSpec.model_validate(raw))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_golden_vector_holds_for_ever(vector: Raw) -> None:
    spec = TradingBotSpec.model_validate(vector["spec"])
    assert canonical_form(spec) == vector["canonical"]
    assert digest_spec(spec) == vector["digest"]


@pytest.mark.parametrize("path", DEFAULTS)
def test_default_given_is_default_left_out(raw_spec: RawSpec, path: str) -> None:
    left_out = raw_spec({path: None}) if not path.endswith("gate") else raw_spec()
    given_spec = copy.deepcopy(left_out)
    *parents, last = path.split(".")
    place: Any = given_spec
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    place[last] = DEFAULTS[path]
    assert digest(given_spec) == digest(left_out)


@pytest.mark.parametrize("path", CHANGES)
def test_change_that_matters_to_risk_changes_the_digest(raw_spec: RawSpec, path: str) -> None:
    assert digest(raw_spec({path: CHANGES[path]})) != digest(raw_spec())


def test_two_changes_never_share_a_digest(raw_spec: RawSpec) -> None:
    digests = [digest(raw_spec({path: value})) for path, value in CHANGES.items()]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("path", IRRELEVANT)
def test_change_that_is_no_risk_leaves_the_digest(raw_spec: RawSpec, path: str) -> None:
    assert digest(raw_spec({path: IRRELEVANT[path]})) == digest(raw_spec())


def test_mode_is_granted_and_not_part_of_what_it_is_granted_for(raw_spec: RawSpec) -> None:
    live = {"credentials": {"secretName": "keys"}}
    assert digest(raw_spec(live | {"mode": "Live"})) == digest(raw_spec(live))


@given(rng=st.randoms(), zeros=st.integers(min_value=0, max_value=5))
def test_notation_does_not_matter(raw_spec: RawSpec, rng: Random, zeros: int) -> None:
    shuffled = raw_spec()
    rng.shuffle(shuffled["symbols"])
    shuffled = {key: shuffled[key] for key in rng.sample(sorted(shuffled), len(shuffled))}
    if zeros:
        shuffled["risk"]["maxOrderNotional"] = f"20.{'0' * zeros}"
        shuffled["capital"]["stages"][0]["limit"] = f"50.{'0' * zeros}"
    shuffled["strategy"]["parameters"] = {"slow": rng.choice([30, "30", "30.0", 30.0]), "fast": rng.choice(["10", 10])}
    shuffled["risk"]["cooldownAfterLoss"] = rng.choice(["900s", "15m", "0.25h", "14m60s"])
    shuffled["risk"]["maxPriceAge"] = rng.choice(["60s", "1m", "60000ms"])
    assert digest(shuffled) == digest(raw_spec())


@given(st.integers(min_value=1, max_value=10**15 - 1), st.integers(min_value=0, max_value=10**9 - 1))
def test_every_decimal_has_its_own_digest(raw_spec: RawSpec, whole: int, billionths: int) -> None:
    text = f"{whole}.{billionths:09d}"
    same = digest(raw_spec({"risk.maxOrderNotional": text})) == digest(raw_spec())
    assert same == (Decimal(text) == 20)


def test_parameter_with_an_exponent_stays_text(raw_spec: RawSpec) -> None:
    spec = TradingBotSpec.model_validate(raw_spec({"strategy.parameters": {"fast": "1e999999999"}}))
    assert '"fast":"1e999999999"' in canonical_form(spec)


def test_parameter_of_another_type_has_its_own_form(raw_spec: RawSpec) -> None:
    values: list[Any] = [True, "true", 1, None, [1], {"a": 1}, "x", 0.5]
    digests = [digest(raw_spec({"strategy.parameters": {"p": value}})) for value in values]
    assert len(set(digests)) == len(values)
