"""Nobody borrows a trader's account: pods, what makes pods, ways into pods, tokens."""

from __future__ import annotations

from typing import Any

import pytest

from support.policies import Answer, Raw, build_workload, is_denied, path_of

KINDS = ["ReplicationController", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"]
THIEF = "thief"


def is_refused(answer: Answer) -> bool:
    """By any admission policy."""
    return "ValidatingAdmissionPolicy" in answer.body.get("message", "")


def template_path(kind: str) -> tuple[str, ...]:
    inner = ("template", "spec")
    return {"Pod": ("spec",), "CronJob": ("spec", "jobTemplate", "spec", *inner)}.get(kind, ("spec", *inner))


def build_patch(kind: str, spec: Raw) -> Raw:
    body: Any = spec
    for key in reversed(template_path(kind)):
        body = {key: body}
    found: Raw = body
    return found


def test_pod_does_not_borrow_a_traders_account(desk: Any) -> None:
    denied = desk.person("deployer").create(build_workload("Pod", THIEF, "btc-trader"))
    assert is_denied(denied, "workloads", "the service account btc-trader is a trader's"), denied.body
    assert desk.person("deployer").create(build_workload("Pod", THIEF, "default")).is_success


def test_pod_does_not_borrow_it_by_its_old_name(desk: Any) -> None:
    """`serviceAccount`, which the API server still takes."""
    pod = build_workload("Pod", THIEF, "btc-trader")
    pod["spec"]["serviceAccount"] = pod["spec"].pop("serviceAccountName")
    assert is_denied(desk.person("deployer").create(pod), "workloads")


@pytest.mark.parametrize("kind", KINDS)
def test_workload_does_not_borrow_a_traders_account(desk: Any, kind: str) -> None:
    denied = desk.person("deployer").create(build_workload(kind, THIEF, "btc-trader"), dry_run=True)
    assert is_denied(denied, "workloads", "only the operator makes and changes its Deployment"), denied.body
    assert desk.person("deployer").create(build_workload(kind, THIEF, "default"), dry_run=True).is_success


@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_workload_does_not_turn_to_a_traders_account(desk: Any, kind: str) -> None:
    deployer = desk.person("deployer")
    assert deployer.create(build_workload(kind, THIEF, "default")).is_success
    turn = build_patch(kind, {"serviceAccountName": "btc-trader"})
    assert is_denied(deployer.patch(kind, THIEF, turn), "workloads", "btc-trader")
    assert desk.admin.delete(path_of(kind, THIEF)).is_success


@pytest.mark.parametrize("controller", ["job-controller", "statefulset-controller", "daemon-set-controller"])
def test_other_controllers_make_no_trader_pods(desk: Any, controller: str) -> None:
    """Their objects cannot name the account, so neither need they."""
    user = f"system:serviceaccount:kube-system:{controller}"
    person = desk.person(user, "system:masters")  # RBAC out of the way
    assert is_denied(person.create(build_workload("Pod", THIEF, "btc-trader"), dry_run=True), "workloads")


def test_operator_uses_the_account_for_its_own_deployment_alone(desk: Any) -> None:
    denied = desk.operator.create(build_workload("Deployment", THIEF, "btc-trader"), dry_run=True)
    assert is_denied(denied, "workloads", "btc-trader"), denied.body
    assert desk.operator.create(build_workload("Deployment", "btc-trader", "btc-trader"), dry_run=True).is_success


def test_traders_pod_comes_about_through_the_operator(desk: Any) -> None:
    """With the real controllers, and nobody can change what it runs."""
    deployment = build_workload("Deployment", "btc-trader", "btc-trader")
    deployment["spec"]["replicas"] = 1
    assert desk.operator.create(deployment).is_success

    def find() -> Raw | None:
        items = desk.admin.get(path_of("Pod") + "?labelSelector=app%3Dbtc-trader").body["items"]
        return items[0] if items else None

    pod = desk.until("the ReplicaSet has made its pod", find)
    deployer, name = desk.person("deployer"), pod["metadata"]["name"]
    image = {"containers": [{"name": "main", "image": "example/other:2"}]}
    strategic = "application/strategic-merge-patch+json"
    denied = deployer.patch("Pod", name, {"spec": image}, content_type=strategic)
    assert is_denied(denied, "workloads", "keeps its images"), denied.body
    replica_set = pod["metadata"]["ownerReferences"][0]["name"]
    for kind, target in (("Deployment", "btc-trader"), ("ReplicaSet", replica_set)):
        changed = deployer.patch(kind, target, build_patch(kind, image), content_type=strategic)
        assert is_denied(changed, "workloads", "only the operator"), changed.body
        scaled = {"spec": {"replicas": 1}, "metadata": {"annotations": {"a": "b"}}}
        assert deployer.patch(kind, target, scaled).is_success, "what does not touch the pod"
    restarted = {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}}
    assert deployer.patch("Deployment", "btc-trader", restarted).is_success
    debug = {"spec": {"ephemeralContainers": [{"name": "look", "image": "example/debug:1"}]}}
    entered = deployer.patch("Pod", name, debug, sub="ephemeralcontainers", content_type=strategic)
    assert is_denied(entered, "workloads", "needs get on all Secrets in policies-desk"), entered.body
    allowed = desk.person("secretary").patch("Pod", name, debug, sub="ephemeralcontainers", content_type=strategic)
    assert allowed.is_success, allowed.body


@pytest.mark.parametrize("way", ["exec", "attach"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_way_into_a_traders_pod_needs_the_right_to_read_secrets(desk: Any, way: str, method: str) -> None:
    def enter(user: str, pod: str) -> Answer:
        return desk.person(user).request(method, f"{path_of('Pod', pod)}/{way}?command=id&stdout=true")

    denied = enter("deployer", "btc-trader-7d4b9c-x2x4z")
    assert is_denied(denied, "workloads", "needs get on all Secrets"), denied.body
    assert not is_refused(enter("secretary", "btc-trader-7d4b9c-x2x4z"))
    assert not is_refused(enter("deployer", "web-7d4b9c-x2x4z"))


def test_token_of_a_trader_is_for_nodes(desk: Any) -> None:
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}

    def ask(person: Any, account: str = "btc-trader") -> Answer:
        answer: Answer = person.request("POST", f"{path_of('ServiceAccount', account)}/token", request)
        return answer

    for user in ("deployer", "secretary"):
        denied = ask(desk.person(user))
        assert is_denied(denied, "workloads", "tokens of a trader's service account"), denied.body
    assert ask(desk.person("deployer"), "default").is_success
    assert not is_refused(ask(desk.person("system:node:worker", "system:nodes", "system:authenticated")))


def test_token_of_a_trader_is_not_stored_in_a_secret(desk: Any) -> None:
    def build(name: str, account: str, **more: Any) -> Raw:
        annotations = {"kubernetes.io/service-account.name": account}
        metadata = {"name": name, "namespace": desk.namespace, "annotations": annotations}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata} | more

    deployer, stored = desk.person("deployer"), {"type": "kubernetes.io/service-account-token"}
    denied = deployer.create(build("token", "btc-trader", **stored))
    assert is_denied(denied, "workloads", "stored in a Secret"), denied.body
    assert deployer.create(build("note", "btc-trader")).is_success, "an annotation without a meaning"
    assert deployer.create(build("token", "default", **stored)).is_success
    turned = deployer.patch("Secret", "token", {"metadata": build("token", "btc-trader")["metadata"]})
    assert is_denied(turned, "workloads", "stored in a Secret"), turned.body
    assert deployer.patch("Secret", "token", {"metadata": {"labels": {"a": "b"}}}).is_success
    for name in ("token", "note"):
        desk.admin.delete(path_of("Secret", name))


def test_users_of_the_values_may_make_pods(desk: Any) -> None:
    velero = desk.person("system:serviceaccount:velero:velero")
    for kind in ("Pod", "Deployment"):
        assert velero.create(build_workload(kind, THIEF, "btc-trader"), dry_run=True).is_success
