"""The chart's policies, CRDs and RBAC on a real API server, in force for one namespace, and the people of that desk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from support.policies import (
    DESK,
    LIVE,
    MUTATING,
    OPERATOR,
    PARTS,
    RELEASE,
    ROOT,
    SYSTEM,
    Person,
    Raw,
    build_bot,
    build_trader_part,
    build_workload,
    digests_of,
    install,
    is_denied,
    path_of,
    render_chart,
)
from support.polling import until
from tradingbot_sandbox.control_plane.api import ApiClient
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

BOTS = ["tradingbots"]
EDIT = ["get", "list", "create", "update", "patch", "delete"]
EVERY_WORKLOAD = [
    {"apiGroups": [""], "resources": ["pods", "replicationcontrollers"], "verbs": ["*"]},
    {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]},
    {"apiGroups": ["batch"], "resources": ["*"], "verbs": ["*"]},
    {"apiGroups": [""], "resources": ["pods/exec", "pods/attach"], "verbs": ["create", "get"]},
    {"apiGroups": [""], "resources": ["pods/ephemeralcontainers"], "verbs": ["patch", "update"]},
    {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "update", "patch"]},
]
READ_SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}


def _ours(resources: list[str], *verbs: str) -> Raw:
    return {"apiGroups": ["tradingbot.dev"], "resources": resources, "verbs": list(verbs)}


RIGHTS: dict[str, list[Raw]] = {
    "owner": [_ours(BOTS, *EDIT)],
    "keeper": [_ours(BOTS, *EDIT), READ_SECRETS | {"resourceNames": ["keys"]}],
    "promoter": [_ours(BOTS, *EDIT, "golive", "promote"), READ_SECRETS],
    "starter": [_ours(BOTS, *EDIT, "golive"), READ_SECRETS],
    "storekeeper": [
        _ours(BOTS, *EDIT),
        {"apiGroups": ["external-secrets.io"], "resources": ["externalsecrets"], "verbs": ["create"]},
    ],
    "duty": [_ours(BOTS, "get", "patch", "delete", "rearm")],
    "killer": [_ours(BOTS, "patch")],
    "signer": [_ours(["tradingapprovals"], *EDIT)],
    "forger": [_ours(["tradingapprovals", "tradingreviews"], *EDIT), _ours(["tradingbots/status"], "get", "patch")],
    "deployer": EVERY_WORKLOAD,
    "secretary": [*EVERY_WORKLOAD, READ_SECRETS],
    # Wider than the operator grants: the policy has to hold alone.
    f"system:serviceaccount:{DESK}:btc-trader": [_ours([*BOTS, "tradingbots/status"], "get", "patch")],
    f"system:serviceaccount:{DESK}:eth-trader": [_ours([*BOTS, "tradingbots/status"], "get", "patch")],
    "system:serviceaccount:kube-system:namespace-controller": [_ours(BOTS, "delete")],
    "system:serviceaccount:velero:velero": EVERY_WORKLOAD,
    "system:node:worker": EVERY_WORKLOAD,
}
"""Rights by user; none of them is the policies' doing."""


@dataclass(frozen=True)
class Desk:
    """One namespace for which the policies are in force."""

    admin: ApiClient
    digests: dict[str, str]
    """As the operator gets them from the chart."""
    objects: list[Raw]
    """Policies and bindings, as rendered."""
    until = staticmethod(until)
    build_bot = staticmethod(build_bot)
    namespace = DESK

    def person(self, user: str, *groups: str) -> Person:
        return Person(self.admin, user, groups or ("system:authenticated",))

    @property
    def operator(self) -> Person:
        groups = ("system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{SYSTEM}")
        return self.person(OPERATOR, *groups)

    def trader(self, bot: str = "btc") -> Person:
        return self.person(f"system:serviceaccount:{DESK}:{bot}-trader")

    def create_bot(self, changes: Raw | None = None, *, creator: str = "sandbox-admin") -> Raw:
        """As somebody who may do all."""
        mark = {"metadata.annotations": {"tradingbot.dev/requested-by": creator}}
        answer = self.admin.create(path_of("TradingBot"), build_bot(mark | (changes or {})))
        assert answer.is_success, answer.body
        return answer.body

    def create_live(self, changes: Raw | None = None) -> Raw:
        return self.create_bot(LIVE | (changes or {}))

    def bot(self, name: str = "btc") -> Raw:
        answer = self.admin.get(path_of("TradingBot", name))
        assert answer.is_success, answer.body
        return answer.body

    def report(self, name: str = "btc", **more: Any) -> None:
        """As the bot's trader."""
        part = build_trader_part(self.bot(name)["metadata"]["uid"], **more)
        answer = self.trader(name).patch("TradingBot", name, {"status": {"trader": part}}, sub="status")
        assert answer.is_success, answer.body


def _grant(admin: ApiClient, user: str, rules: list[Raw]) -> None:
    name = f"test:{user.replace(':', '.')}"
    rbac = "rbac.authorization.k8s.io"
    head = {"apiVersion": f"{rbac}/v1", "metadata": {"name": name, "namespace": DESK}}
    install(admin, head | {"kind": "Role", "rules": rules})
    reference = {"apiGroup": rbac, "kind": "Role", "name": name}
    subject = {"apiGroup": rbac, "kind": "User", "name": user}
    install(admin, head | {"kind": "RoleBinding", "roleRef": reference, "subjects": [subject]})


def _is_established(admin: ApiClient, name: str) -> bool:
    status = admin.get(path_of("CustomResourceDefinition", name)).body.get("status", {})
    return any(item["type"] == "Established" and item["status"] == "True" for item in status.get("conditions") or [])


@pytest.fixture(scope="session")
def crds(control_plane: ControlPlane) -> dict[str, Raw]:
    """By kind, installed."""
    found = {}
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
        install(control_plane.admin, manifest)
        found[manifest["spec"]["names"]["kind"]] = manifest
        name = manifest["metadata"]["name"]
        until(f"{name} is established", lambda name=name: _is_established(control_plane.admin, name))
        everywhere = f"/apis/tradingbot.dev/v1alpha1/{manifest['spec']['names']['plural']}"
        until(f"{name} is served", lambda path=everywhere: control_plane.admin.get(path).is_success)
    return found


@pytest.fixture(scope="session")
def rendered(control_plane: ControlPlane) -> list[Raw]:
    """The chart, for the namespace of the desk alone: other tests share this API server."""
    values = {
        "watch": {"namespaces": [DESK]},
        "admissionPolicies": {"podCreators": ["system:serviceaccount:velero:velero"]},
    }
    versions = control_plane.admin.get("/apis/admissionregistration.k8s.io/v1").body["resources"]
    has_stamp = any(item["kind"] == "MutatingAdmissionPolicy" for item in versions)
    version = control_plane.admin.get("/version").body["gitVersion"]
    return render_chart(values, kubernetes=version, api_versions=[MUTATING] if has_stamp else [])


@pytest.fixture(scope="session")
def make_desk(control_plane: ControlPlane, crds: dict[str, Raw], rendered: list[Raw]) -> Callable[[], Desk]:
    """Installs everything but what stamps requests; again after a test has spoilt it."""
    admin = control_plane.admin
    assert crds
    for namespace in (SYSTEM, DESK):
        install(admin, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for item in rendered:
        if item["kind"] in {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"}:
            install(admin, item)
    for user, rules in RIGHTS.items():
        _grant(admin, user, rules)
    for account in ("default", "btc-trader", "eth-trader"):
        manifest = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": DESK}}
        install(admin, manifest)
    validating = [item for item in rendered if item["kind"].startswith("ValidatingAdmissionPolicy")]
    desk = Desk(admin, digests_of(rendered), validating)

    generations: dict[str, int] = {}

    def make() -> Desk:
        before = dict(generations)
        generations.update({item["kind"] + item["metadata"]["name"]: install(admin, item) for item in validating})
        if before != generations:
            until_others_are_in_force(admin)
        for part in PARTS:
            until(f"{part} is in force", lambda part=part: _is_in_force(desk, part))
        return desk

    return make


def until_others_are_in_force(admin: ApiClient) -> None:
    """A policy takes about a second; one that is made after the others is in force after them."""
    name, versions = "canary.policies", {"apiVersion": "admissionregistration.k8s.io/v1"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    spec: Raw = {
        "matchConstraints": {"resourceRules": [rule], "objectSelector": {"matchLabels": {"canary": "yes"}}},
        "validations": [{"expression": "false"}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    kinds = {"ValidatingAdmissionPolicy": spec, "ValidatingAdmissionPolicyBinding": binding}
    for kind, content in kinds.items():
        install(admin, versions | {"kind": kind, "metadata": {"name": name}, "spec": content})
    bird = {"metadata": {"name": "canary", "labels": {"canary": "yes"}}}
    path = f"/api/v1/namespaces/{DESK}/configmaps?dryRun=All"
    until("the canary is in force", lambda: not admin.create(path, bird).is_success)
    for kind in reversed(kinds):
        admin.delete(path_of(kind, name))
    until("the canary is gone", lambda: admin.create(path, bird).is_success)


def _is_in_force(desk: Desk, part: str) -> bool:
    """Of the dry runs of people who may by RBAC, one that each policy must deny."""
    if part == "bots":
        bot = build_bot({"metadata.name": "probe"} | LIVE)
        return is_denied(desk.person("owner").create(bot, dry_run=True), part)
    if part == "records":
        review = build_review("probe", "btc")
        return is_denied(desk.person("forger").create(review, dry_run=True), part)
    return is_denied(desk.person("deployer").create(build_workload("Job", "probe", "btc-trader"), dry_run=True), part)


def build_review(name: str, bot: str) -> Raw:
    spec = {
        "bot": bot, "digest": f"v1:{'0' * 64}", "stage": "micro", "verdict": "GO",
        "windowStart": "2026-01-01T00:00:00Z", "windowEnd": "2026-01-08T00:00:00Z", "gates": [],
    }  # fmt: skip
    metadata = {"name": name, "namespace": DESK}
    return {"apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingReview", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="session")
def review() -> Callable[[str, str], Raw]:
    return build_review


@pytest.fixture
def desk(make_desk: Callable[[], Desk]) -> Iterator[Desk]:
    """Policies in force, and no bot yet."""
    made = make_desk()
    yield made
    for kind in ("TradingBot", "TradingApproval", "TradingReview", "Deployment", "Pod"):
        for item in made.admin.get(path_of(kind)).body["items"]:
            name = item["metadata"]["name"]
            if item["metadata"].get("finalizers"):
                made.admin.merge(path_of(kind, name), {"metadata": {"finalizers": None}})
            made.admin.delete(path_of(kind, name) + "?gracePeriodSeconds=0")
        until(f"no {kind} is left", lambda kind=kind: not made.admin.get(path_of(kind)).body["items"])


@pytest.fixture(scope="session", autouse=True)
def _leave_nothing(control_plane: ControlPlane) -> Iterator[None]:
    """Other tests of this process go on with this API server."""
    yield
    for kind in ("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"):
        for part in PARTS:
            control_plane.admin.delete(path_of(kind, f"{part}.{RELEASE}-tradingbot-operator.{SYSTEM}"))
    for namespace in (DESK, SYSTEM):
        control_plane.admin.delete(path_of("Namespace", namespace))
