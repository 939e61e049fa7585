"""An API server that has just started, or has just been told of the kinds, knows no schema of theirs yet. For up to
five seconds it refuses all that a mutating policy matches, whatever its failurePolicy. A kill and a bot on paper must
not be among that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from support.policies import DESK, LIVE, MUTATING, ROOT, Raw, build_bot, install, path_of, render_chart
from support.polling import until
from tradingbot_sandbox.control_plane.api import Answer
from tradingbot_sandbox.control_plane.binaries import find_binaries
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

DELAY = "There can be a delay"
"""What the API server says while it does not know a kind's schema."""
STARTS = 5
"""On a busy machine it may have learnt the kinds before anybody asks."""


@pytest.fixture
def young(tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane of its own, with the stamps in force and no kind of ours yet."""
    with ControlPlane.start(tmp_path, find_binaries()) as running:
        admin = running.admin
        if not any(
            item["kind"] == "MutatingAdmissionPolicy"
            for item in admin.get("/apis/admissionregistration.k8s.io/v1").body["resources"]
        ):
            pytest.skip("this API server has no MutatingAdmissionPolicy v1: nothing is stamped")
        install(admin, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": DESK}})
        version = admin.get("/version").body["gitVersion"]
        for item in render_chart({"watch": {"namespaces": [DESK]}}, kubernetes=version, api_versions=[MUTATING]):
            if item["kind"].startswith("MutatingAdmissionPolicy"):
                install(admin, item)
        _until_in_force(running)
        yield running


def _until_in_force(running: ControlPlane) -> None:
    """A policy that was made after the others is in force after them."""
    versions, name = "admissionregistration.k8s.io/v1", "canary.start"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    expression = '[JSONPatch{op: "add", path: "/data", value: {"stamped": "yes"}}]'
    spec: Raw = {
        "failurePolicy": "Ignore",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [rule]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    for kind, content in (
        ("MutatingAdmissionPolicy", spec),
        ("MutatingAdmissionPolicyBinding", {"policyName": name}),
    ):
        install(running.admin, {"apiVersion": versions, "kind": kind, "metadata": {"name": name}, "spec": content})
    bird = {"metadata": {"name": "canary"}}
    path = f"/api/v1/namespaces/{DESK}/configmaps?dryRun=All"
    until("the canary is stamped", lambda: "data" in running.admin.create(path, bird).body)


def _is_too_young(running: ControlPlane) -> bool:
    """Whether a request that needs the stamp is refused for the delay."""
    answer = running.admin.create(path_of("TradingBot") + "?dryRun=All", build_bot(LIVE | {"metadata.name": "probe"}))
    return answer.status == 503 and DELAY in answer.body["message"]


def _ask_while_young(running: ControlPlane, ask: Callable[[], Answer]) -> Answer:
    """The answer to a request before and after which the API server was too young for one that needs the stamp."""
    for _ in range(STARTS):
        running.kill("kube-apiserver")
        running.resume("kube-apiserver")
        if _is_too_young(running):
            answer = ask()
            if _is_too_young(running):
                return answer
    raise AssertionError(
        f"the API server was never too young in {STARTS} starts: is the delay gone, and the test with it?"
    )


def test_kill_and_bot_on_paper_pass_an_api_server_that_has_just_started(young: ControlPlane) -> None:
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        install(young.admin, yaml.safe_load(path.read_text(encoding="utf-8")))
    bot = LIVE | {"metadata.annotations": {"tradingbot.dev/requested-by": "sandbox-admin"}}
    until("a live bot", lambda: young.admin.create(path_of("TradingBot"), build_bot(bot)).is_success)

    kill = {"spec": {"killSwitch": {"engaged": True, "reason": "night"}}}
    answer = _ask_while_young(young, lambda: young.admin.merge(path_of("TradingBot", "btc"), kill))
    assert answer.is_success, answer.body

    names = (f"paper-{number}" for number in range(STARTS))
    answer = _ask_while_young(
        young, lambda: young.admin.create(path_of("TradingBot"), build_bot({"metadata.name": next(names)}))
    )
    assert answer.is_success, answer.body
