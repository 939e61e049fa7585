"""What the operator makes of answers about admission policies: in force is only what was proved."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from support.virtual import run
from tradingbot_operator.errors import Conflict, Refused, Transient
from tradingbot_operator.guard import Guard, check_at_start
from tradingbot_operator.plan.guard import (
    BINDING,
    PARTS,
    POLICY,
    GuardReport,
    build_probes,
    digest_of,
    find_absent,
    judge_denial,
    judge_objects,
)

Raw = dict[str, Any]
NAMES = {part: f"{part}.release.system" for part in PARTS}
BOT: Raw = {"metadata": {"name": "btc", "namespace": "desk-a", "uid": "u-1", "generation": 3}}


def build_policy(name: str) -> Raw:
    match: Raw = {
        "resourceRules": [{"apiGroups": ["tradingbot.dev"], "operations": ["CREATE"], "resources": ["tradingbots"]}],
        "matchPolicy": "Equivalent",
        "namespaceSelector": {},
        "objectSelector": {},
    }
    return {
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": match,
            "variables": [{"name": "a", "expression": "1"}],
            "validations": [{"expression": f"'{name}' != ''", "message": "no", "reason": "Forbidden"}],
        },
    }


def build_binding(name: str) -> Raw:
    match = {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}}
    return {
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": match},
    }


def denial(policy: str) -> str:
    return (
        f"tradingbots.tradingbot.dev \"btc\" is forbidden: ValidatingAdmissionPolicy '{policy}' with binding "
        f"'{policy}' denied request: no"
    )


class Server:
    """An API server in memory that has what a good release has installed; a test changes what it likes."""

    def __init__(self) -> None:
        self.policies = {name: build_policy(name) for name in NAMES.values()}
        self.bindings = {name: build_binding(name) for name in NAMES.values()}
        self.digests = {name: digest_of(self.policies[name], self.bindings[name]) for name in NAMES.values()}
        self.tried: list[tuple[str, str]] = []
        self.answer: Callable[[str, str], str | Exception | None] = self.deny
        """Kind and subresource -> what it refuses with, or what goes wrong."""
        self.read_error: Exception | None = None

    def deny(self, kind: str, _: str) -> str:
        return denial(NAMES["workloads" if kind == "Deployment" else "bots"])

    async def get(self, kind: Any, namespace: str, name: str) -> Raw | None:
        assert namespace == ""
        if self.read_error:
            raise self.read_error
        return copy.deepcopy({POLICY: self.policies, BINDING: self.bindings}[kind].get(name))

    async def dry_run(self, kind: Any, manifest: Raw, *, subresource: str = "") -> None:
        self.tried.append((kind.name, subresource))
        assert manifest["metadata"]["namespace"] == "desk-a"
        said = self.answer(kind.name, subresource)
        if isinstance(said, Exception):
            raise said
        if said is not None:
            raise Refused("patch", said, status=403)


@pytest.fixture
def server() -> Server:
    return Server()


async def check(server: Server) -> GuardReport:
    return await Guard(server, server.digests).check(BOT)  # type: ignore[arg-type]  # a part of the protocol


async def test_denials_that_name_our_policies_and_objects_as_installed_are_in_force(server: Server) -> None:
    report = await check(server)
    assert report == GuardReport(())
    assert report.is_in_force
    assert sorted(server.tried) == [("Deployment", ""), ("TradingBot", ""), ("TradingBot", "status")]


async def test_without_policies_in_the_chart_nothing_is_in_force(server: Server) -> None:
    server.digests = {}
    report = await check(server)
    assert not report.is_in_force
    assert "set the value admissionPolicies.enabled to true" in report.missing[0]
    assert server.tried == []
    assert not (await Guard(server).check_installed()).is_in_force  # type: ignore[arg-type]  # a part of the protocol


def test_check_at_the_start_goes_on_until_they_are_there_and_tells_each_change_once() -> None:
    async def scenario() -> tuple[list[bool], list[Any]]:
        server, answers = Server(), []
        policy = server.policies.pop(NAMES["bots"])
        guard = Guard(server, server.digests, told=lambda report: answers.append(report.is_in_force))  # type: ignore[arg-type]  # a part of the protocol
        with structlog.testing.capture_logs() as logged:
            task = asyncio.create_task(check_at_start(guard, interval_seconds=60.0))
            await asyncio.sleep(150)
            assert not task.done()
            server.policies[NAMES["bots"]] = policy
            await asyncio.wait_for(task, 61)
        assert server.tried == [], "no bot, no dry run"
        return answers, [line["log_level"] for line in logged]

    assert run(scenario()) == ([False, False, False, True], ["error", "info"])


@pytest.mark.parametrize("part", PARTS)
async def test_part_that_is_not_expected_is_not_in_force(server: Server, part: str) -> None:
    del server.digests[NAMES[part]]
    report = await check(server)
    assert [each for each in report.missing if f"no admission policy '{part}' is expected" in each]


@pytest.mark.parametrize("kind", [("Deployment", ""), ("TradingBot", ""), ("TradingBot", "status")], ids=str)
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "was not refused"),
        ('tradingbots "btc" is forbidden: User "op" cannot patch resource', "something else refused it"),
        ("TradingBot is invalid: spec.mode: Required value", "something else refused it"),
        ('admission webhook "x" denied the request', "something else refused it"),
        (denial("bots.other-release.elsewhere"), "something else refused it"),
        (denial("bots.release.system2"), "something else refused it"),
        (denial("bots.release.system") + ": expression 'x' resulted in error: no such key", "is broken"),
        (Transient("patch", "no answer", status=0), "could not be checked: no answer"),
        (Conflict("patch", "try again", status=409), "could not be checked: try again"),
    ],
    ids=str,
)
async def test_every_other_answer_to_one_probe_is_not_in_force(
    server: Server, kind: tuple[str, str], answer: Any, said: str
) -> None:
    part = "workloads" if kind[0] == "Deployment" else "bots"
    if isinstance(answer, str) and "resulted in error" in answer:
        answer = answer.replace(NAMES["bots"], NAMES[part])
    server.answer = lambda name, sub: answer if (name, sub) == kind else server.deny(name, sub)
    report = await check(server)
    (found,) = report.missing
    assert said in found
    assert NAMES[part] in found


async def test_error_while_reading_is_not_in_force(server: Server) -> None:
    for error in (Transient("get", "no answer"), Refused("get", "cannot get resource", status=403)):
        server.read_error = error
        report = await check(server)
        assert len(report.missing) == len(PARTS)
        assert all("could not be checked" in each for each in report.missing)


def change(path: str, value: Any) -> Callable[[Raw, Raw], None]:
    """`policy.spec.failurePolicy`: of which object, and where."""

    def apply(policy: Raw, binding: Raw) -> None:
        place: Any = {"policy": policy, "binding": binding}
        *parents, last = path.split(".")
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        place[int(last) if isinstance(place, list) else last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("policy.spec.failurePolicy", "Ignore"),
        ("policy.spec.validations", []),
        ("policy.spec.validations.0.expression", "true"),
        ("policy.spec.variables.0.expression", "2"),
        ("policy.spec.matchConditions", [{"name": "x", "expression": "false"}]),
        ("policy.spec.paramKind", {"apiVersion": "v1", "kind": "ConfigMap"}),
        ("policy.spec.matchConstraints.resourceRules", []),
        ("policy.spec.matchConstraints.excludeResourceRules", [{"resources": ["*"]}]),
        ("policy.spec.matchConstraints.objectSelector", {"matchLabels": {"a": "b"}}),
        ("policy.spec.matchConstraints.namespaceSelector", {"matchLabels": {"a": "b"}}),
        ("policy.spec.matchConstraints.matchPolicy", "Exact"),
        ("binding.spec.policyName", "another"),
        ("binding.spec.paramRef", {"name": "x"}),
        ("binding.spec.matchResources.objectSelector", {"matchLabels": {"a": "b"}}),
        ("binding.spec.matchResources.excludeResourceRules", [{"resources": ["*"]}]),
        ("binding.spec.matchResources.resourceRules", [{"resources": ["pods"]}]),
        ("binding.spec.validationActions", ["Audit"]),
        ("binding.spec.validationActions", ["Warn", "Audit"]),
        ("binding.spec.validationActions", []),
        ("binding.spec.validationActions", None),
        ("binding.spec", None),
        ("policy.spec", None),
    ],
    ids=str,
)
@pytest.mark.parametrize("part", PARTS)
async def test_object_that_decides_otherwise_is_not_in_force(server: Server, part: str, path: str, value: Any) -> None:
    change(path, value)(server.policies[NAMES[part]], server.bindings[NAMES[part]])
    (found,) = (await check(server)).missing
    assert NAMES[part] in found


def test_what_decides_nothing_is_not_compared() -> None:
    policy, binding = build_policy("p"), build_binding("p")
    digest = digest_of(policy, binding)
    policy["metadata"] |= {"labels": {"a": "b"}, "generation": 7}
    policy["spec"]["validations"][0] |= {"message": "other words", "messageExpression": "'x'", "reason": "Invalid"}
    policy["spec"]["aFieldOfALaterRelease"] = 1
    policy["status"] = {"observedGeneration": 7}
    assert judge_objects("p", digest, policy, binding) == ""


def test_one_sentence_says_what_is_missing_and_what_to_do() -> None:
    policy, binding, audit = build_policy("p"), build_binding("p"), build_binding("p")
    audit["spec"]["validationActions"] = ["Warn", "Audit"]
    for found, said in (
        (judge_objects("p", "d", None, binding), "admission policy p is missing"),
        (judge_objects("p", "d", policy, None), "the binding of admission policy p is missing"),
        (judge_objects("p", "d", policy, audit), "the binding of admission policy p says Warn, Audit and not Deny"),
        (
            judge_objects("p", "d", policy, binding),
            "admission policy p or its binding is not what this release installs",
        ),
    ):
        assert found.startswith(said)
        assert found.endswith("install this release of the chart again (helm upgrade)")


def test_probe_changes_what_is_there() -> None:
    """Writing what stands there already would be no change, and no policy would have a reason to refuse it."""
    bot = BOT | {"spec": {"killSwitch": {"rearm": "guard-probe"}}}
    (rearm,) = (probe for probe in build_probes(bot) if not probe.subresource and probe.part == "bots")
    assert rearm.manifest["spec"]["killSwitch"]["rearm"] not in {"", "guard-probe"}


def test_message_of_many_lines_is_cut() -> None:
    (probe, *_) = build_probes(BOT)
    assert "second" not in judge_denial(probe, "p", "first\nsecond")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(json_values, json_values)
def test_whatever_the_objects_look_like_they_are_judged_and_never_taken_for_ours(policy: Any, binding: Any) -> None:
    good = digest_of(build_policy("p"), build_binding("p"))
    assert judge_objects("p", good, {"spec": policy}, {"spec": binding})


@given(st.text())
def test_no_message_but_our_policys_denial_counts(message: str) -> None:
    (probe, *_) = build_probes(BOT)
    assert judge_denial(probe, NAMES["bots"], message)


def test_absent_is_nothing_when_all_parts_are_expected() -> None:
    assert find_absent(dict.fromkeys(NAMES.values(), "digest")) == ()
