"""A kill gets through every policy and whatever else is wrong with the object, by people who may only patch bots."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.policies import APPLY, DESK, LIVE, Raw, build_bot, install, is_denied, path_of

KILL: Raw = {"killSwitch": {"engaged": True, "reason": "night"}}
GROUP = "tradingbot.dev"
# What an older or looser API may have let in. The same patch must pass as on a good bot.
SINS: dict[str, Raw] = {
    "live": LIVE,
    "Secrets that nobody may read": {
        "spec.credentials": {"secretName": "root-ca"}, "spec.notifications": {"secretName": "root-ca"},
    },
    "a store that nobody may use": {
        "spec.credentials": {"externalSecret": {"storeRef": {"name": "v"}, "key": "k"}}, "spec.mode": "Live",
    },
    "rearm from long ago": {"spec.killSwitch": {"rearm": "t-1"}},
    "negative limit": LIVE | {"spec.capital.stages.0.limit": "-50"},
    "no decimal as limit": LIVE | {"spec.capital.stages.0.limit": "some1"},
    "stage not in the list": LIVE | {"spec.capital.stage": "large"},
    "no stages": LIVE | {"spec.capital.stages": []},
    "a thousand stages": LIVE | {"spec.capital.stages": [{"name": f"s{n}", "limit": f"{n + 1}"} for n in range(1000)]},
    "stage twice": LIVE | {"spec.capital.stages.1.name": "micro"},
    "Live without keys": {"spec.mode": "Live"},
    "keys from two places": LIVE | {
        "spec.credentials": {"secretName": "a", "externalSecret": {"storeRef": {"name": "v"}, "key": "k"}},
    },
    "unknown mode": {"spec.mode": "Yolo"},
    "no duration": LIVE | {"spec.risk.maxPriceAge": "soon1"},
    "no finite duration": LIVE | {"spec.risk.cooldownAfterLoss": "99999999999999h"},
    "no decimal as risk": LIVE | {"spec.risk.maxOrderNotional": "lots1"},
    "unknown exchange": LIVE | {"spec.exchange.id": "ftx"},
    "ten thousand symbols": LIVE | {"spec.symbols": [f"X{n}/USDT" for n in range(10_000)]},
    "long texts": LIVE | {"spec.strategy.parameters": {f"p{n}": "x" * 1000 for n in range(300)}},
}  # fmt: skip


@pytest.fixture(scope="module")
def old_bots(make_desk: Any, crds: dict[str, Raw]) -> Iterator[Callable[[str], str]]:
    """Bots from before today's rules, by their sin."""
    desk = make_desk()
    strict, loose = crds["TradingBot"], copy.deepcopy(crds["TradingBot"])
    _loosen(loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    names = {sin: f"old-{number}" for number, sin in enumerate(SINS)}
    install(desk.admin, loose)
    try:
        for sin, changes in SINS.items():
            mark = {"metadata.annotations": {"tradingbot.dev/requested-by": "sandbox-admin"}}
            bot = build_bot(mark | changes | {"metadata.name": names[sin]})
            desk.until(f"the loose API takes {sin}", lambda bot=bot: _is_made(desk.admin, bot))
    finally:
        install(desk.admin, strict)
    yield names.__getitem__
    for name in names.values():
        desk.admin.delete(path_of("TradingBot", name))


def _is_made(admin: Any, bot: Raw) -> bool:
    answer = admin.create(path_of("TradingBot"), bot)
    assert answer.status in {201, 409, 422}, answer.body
    return answer.status != 422


def _loosen(node: Any) -> None:
    """Keeps the types, and takes all rules away."""
    if isinstance(node, list):
        for item in node:
            _loosen(item)
    if isinstance(node, dict):
        for key in ("x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"):
            node.pop(key, None)
        if isinstance(node.get("type"), str) or "x-kubernetes-int-or-string" in node:
            for key in ("pattern", "enum", "maxLength", "maximum", "minimum", "maxItems", "minItems", "maxProperties"):
                node.pop(key, None)
        for value in node.values():
            _loosen(value)


@pytest.fixture
def killed(make_desk: Any, old_bots: Callable[[str], str]) -> Callable[..., Any]:
    """What the API server answers to a kill of the bot with that sin, by somebody who may only patch bots."""
    desk = make_desk()

    def kill(sin: str, spec: Raw = KILL, *, by_apply: bool = False, dry_run: bool = False) -> Any:
        name = old_bots(sin)
        bad = build_bot({"metadata.name": "bad", "spec.capital.stages": [{"name": "micro", "limit": "-1"}]})
        dry_run = f"{path_of('TradingBot')}?dryRun=All"
        desk.until("the strict rules are in force", lambda: desk.admin.create(dry_run, bad).status == 422)
        if by_apply:
            body = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "TradingBot", "spec": spec}
            path = f"{name}?fieldManager=duty&force=true"
            return desk.person("killer").patch("TradingBot", path, body, content_type=APPLY)
        return desk.person("killer").patch_bot(spec, name=f"{name}?dryRun=All" if dry_run else name)

    return kill


@pytest.mark.parametrize("sin", SINS)
def test_kill_passes_every_policy(killed: Any, sin: str) -> None:
    answer = killed(sin)
    assert answer.status == 200, answer.body
    assert answer.body["spec"]["killSwitch"]["engaged"] is True
    assert answer.body["metadata"]["annotations"] == {"tradingbot.dev/requested-by": "sandbox-admin"}


@pytest.mark.parametrize("sin", ["live", "no decimal as limit", "a thousand stages"])
@pytest.mark.parametrize(
    "spec",
    [
        {"killSwitch": {"engaged": True, "action": "Flatten"}},
        {"killSwitch": {"engaged": True, "rearm": ""}},
        {"killSwitch": {"engaged": True}, "suspend": True},
        {"killSwitch": {"engaged": True}, "mode": "Paper"},
        {"killSwitch": {"engaged": False}},
    ],
    ids=str,
)
def test_other_ways_to_stop_pass_as_well(killed: Any, sin: str, spec: Raw) -> None:
    answer = killed(sin, spec, dry_run=True)
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    ("sin", "spec"),
    [
        ("no decimal as risk", {"risk": {"maxOrderNotional": "10"}}),
        ("no duration", {"risk": {"maxPriceAge": "30s"}}),
        ("no finite duration", {"risk": {"cooldownAfterLoss": "1h"}}),
        ("no decimal as limit", {"capital": {"stages": [{"name": "micro", "limit": "10"}]}}),
    ],
)
def test_what_is_invalid_is_mended_by_who_may_and_says_so(
    make_desk: Any, old_bots: Callable[[str], str], sin: str, spec: Raw
) -> None:
    """It cannot be compared, so it counts as looser; it is no error of the policy."""
    promoter = make_desk().person("promoter")
    body = {"spec": spec, "metadata": {"annotations": {"tradingbot.dev/requested-by": "promoter"}}}
    answer = promoter.patch("TradingBot", f"{old_bots(sin)}?dryRun=All", body)
    assert answer.is_success, answer.body
    unsaid = promoter.patch("TradingBot", f"{old_bots(sin)}?dryRun=All", {"spec": spec})
    assert is_denied(unsaid, "bots", "must say who asks for them"), unsaid.body


def test_kill_by_server_side_apply_passes(killed: Any) -> None:
    assert killed("live", by_apply=True).status == 200


def test_kill_passes_though_the_stage_falls_with_it(desk: Any) -> None:
    desk.create_live({"spec.capital.stage": "small"})
    answer = desk.person("killer").patch_bot(KILL | {"capital": {"stage": "micro"}, "risk": {"maxOrderNotional": "1"}})
    assert answer.is_success, answer.body


def test_kill_does_not_carry_a_rearm_past_the_policy(desk: Any) -> None:
    desk.create_bot()
    both = {"killSwitch": {"engaged": False, "rearm": "t-1"}}
    assert is_denied(desk.person("killer").patch_bot(both), "bots", "rearm")


def test_git_that_takes_back_a_kill_is_not_refused_for_ever(desk: Any) -> None:
    """`engaged` is a level; what was latched stays latched."""
    desk.create_bot()
    assert desk.person("killer").patch_bot(KILL).is_success
    assert desk.person("owner").patch_bot({"killSwitch": {"engaged": False}}).is_success


def test_halt_needs_no_policy(desk: Any) -> None:
    halt = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "TradingHalt", "metadata": {"name": "night"}}
    halt["spec"] = {"namespaces": [DESK]}
    made = desk.admin.create(f"/apis/{GROUP}/v1alpha1/tradinghalts?dryRun=All", halt)
    assert made.is_success, made.body
