"""The operator's own check, as the operator, against policies that are in force, and against each that is not."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from support.policies import OPERATOR, PARTS, RELEASE, SYSTEM, Raw, install, path_of
from tradingbot_operator.guard import Guard
from tradingbot_operator.kube import AioKubeApi, Connection
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
PROBED = ("bots", "workloads")
"""Those that the operator can make refuse something."""


def name_of(part: str) -> str:
    return f"{part}.{RELEASE}-tradingbot-operator.{SYSTEM}"


@pytest.fixture
async def api(control_plane: ControlPlane, desk: Any) -> AsyncIterator[AioKubeApi]:
    """The API server with the operator's own token, and so with its rights."""
    account = OPERATOR.rpartition(":")[2]
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    path = f"{path_of('ServiceAccount', account, namespace=SYSTEM)}/token"
    answer = desk.admin.create(path, request)
    assert answer.is_success, answer.body
    token = answer.body["status"]["token"]
    client = AioKubeApi(
        lambda: Connection(control_plane.url, str(control_plane.ca), token=token),
        request_timeout_seconds=30,
        user_agent="test",
        count=lambda *_: None,
    )
    yield client
    await client.close()


@pytest.fixture
def guard(api: AioKubeApi, desk: Any) -> Guard:
    return Guard(api, desk.digests)


async def until_said(guard: Guard, bot: Raw, is_it: Callable[[tuple[str, ...]], bool]) -> tuple[str, ...]:
    """A policy that was changed is in force, or not any more, about a second later."""
    for _ in range(600):
        missing = (await guard.check(bot)).missing
        if is_it(missing):
            return missing
        await asyncio.sleep(0.1)
    raise AssertionError(f"it still says {missing}")


async def test_all_are_in_force(desk: Any, guard: Guard) -> None:
    before = desk.create_bot()
    assert (await guard.check(before)).missing == ()
    assert (await guard.check_installed()).missing == ()
    assert desk.bot() == before, "nothing is kept of a dry run"
    assert desk.admin.get(path_of("Deployment")).body["items"] == []


async def test_bot_that_trades_live_and_reports_is_guarded_as_well(desk: Any, guard: Guard) -> None:
    bot = desk.create_live({"spec.killSwitch": {"rearm": "guard-probe"}})
    desk.report(latch={"state": "Stopped", "id": "t-1"})
    assert (await guard.check(bot)).missing == ()


async def test_bot_of_another_namespace_is_not(desk: Any, guard: Guard, namespace: str) -> None:
    """The policies of this release hold for the desk alone."""
    missing = (await guard.check(desk.build_bot({"metadata.namespace": namespace}))).missing
    assert missing
    assert all("could not be checked" in each or "was not refused" in each for each in missing)


@pytest.mark.parametrize("part", PARTS)
async def test_policy_that_is_deleted_is_missed(desk: Any, guard: Guard, part: str) -> None:
    bot = desk.create_bot()
    desk.admin.delete(path_of(POLICY, name_of(part)))
    missing = await until_said(guard, bot, lambda said: len(said) == 1 + 2 * (part == "bots") + (part == "workloads"))
    assert any(f"admission policy {name_of(part)} is missing" in each for each in missing)
    assert all(name_of(part) in each for each in missing), missing


@pytest.mark.parametrize("part", PARTS)
async def test_binding_that_is_deleted_is_missed(desk: Any, guard: Guard, part: str) -> None:
    bot = desk.create_bot()
    desk.admin.delete(path_of(BINDING, name_of(part)))
    missing = await until_said(
        guard, bot, lambda said: part not in PROBED or any("was not refused" in each for each in said)
    )
    assert any(f"the binding of admission policy {name_of(part)} is missing" in each for each in missing)
    assert all(name_of(part) in each for each in missing), missing


@pytest.mark.parametrize("part", PARTS)
async def test_binding_that_only_audits_is_missed(desk: Any, guard: Guard, part: str) -> None:
    bot = desk.create_bot()
    _change(desk, BINDING, part, lambda spec: spec.update(validationActions=["Audit"]))
    missing = await until_said(
        guard, bot, lambda said: part not in PROBED or any("was not refused" in each for each in said)
    )
    assert any(f"{name_of(part)} says Audit and not Deny" in each for each in missing), missing


def _weaken(spec: Raw) -> None:
    spec["validations"][-1]["expression"] = "true"


def _ignore(spec: Raw) -> None:
    spec["failurePolicy"] = "Ignore"


def _skip(spec: Raw) -> None:
    spec["matchConditions"] = [{"name": "not-him", "expression": "request.userInfo.username != 'him'"}]


def _exclude(spec: Raw) -> None:
    rule = spec["matchConstraints"]["resourceRules"][0]
    spec["matchConstraints"]["excludeResourceRules"] = [rule | {"resourceNames": ["btc"]}]


def _select(spec: Raw) -> None:
    spec["matchConstraints"]["objectSelector"] = {"matchLabels": {"guarded": "yes"}}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("change", [_weaken, _ignore, _skip, _exclude, _select])
async def test_policy_that_was_changed_is_missed(desk: Any, guard: Guard, part: str, change: Any) -> None:
    """The operator sees what it has no verb to try."""
    _change(desk, POLICY, part, change)
    (said,) = (await guard.check_installed()).missing
    assert name_of(part) in said
    assert "is not what this release installs" in said


async def test_binding_that_looks_away_is_missed(desk: Any, guard: Guard) -> None:
    def look_away(spec: Raw) -> None:
        spec["matchResources"]["objectSelector"] = {"matchLabels": {"guarded": "yes"}}

    _change(desk, BINDING, "records", look_away)
    (said,) = (await guard.check_installed()).missing
    assert "is not what this release installs" in said


async def test_server_that_does_not_answer_proves_nothing(desk: Any) -> None:
    bot = desk.create_bot()
    dead = AioKubeApi(
        lambda: Connection("http://127.0.0.1:9", None),
        request_timeout_seconds=5,
        user_agent="test",
        count=lambda *_: None,
    )
    try:
        missing = (await Guard(dead, desk.digests).check(bot)).missing
    finally:
        await dead.close()
    assert {part for part in PARTS if any(name_of(part) in each for each in missing)} == set(PARTS)
    assert all("could not be checked: no answer from the API server" in each for each in missing), missing


async def test_refusal_by_rbac_proves_nothing(desk: Any, api: AioKubeApi, namespace: str) -> None:
    """In a namespace where the operator may do nothing."""
    missing = (await Guard(api, desk.digests).check(desk.build_bot({"metadata.namespace": namespace}))).missing
    assert any("something else refused it" in each and "cannot patch" in each for each in missing), missing


def _change(desk: Any, kind: str, part: str, change: Callable[[Raw], None]) -> None:
    (found,) = (item for item in desk.objects if item["kind"] == kind and item["metadata"]["name"] == name_of(part))
    changed = copy.deepcopy(found)
    change(changed["spec"])
    install(desk.admin, changed)
