"""The process node with a real API server: what it does not do is refused by name and never ignored."""

from __future__ import annotations

from typing import Any

import pytest

Cluster = Any
"""The class of that name in conftest.py, from which nothing can be imported in importlib mode."""

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
RESTRICTED = {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"hostNetwork": True}, "spec.hostNetwork"),
        ({"volumes": [{"name": "x", "hostPath": {"path": "/etc"}}]}, "spec.volumes[0].hostPath"),
        ({"imagePullSecrets": [{"name": "x"}]}, "spec.imagePullSecrets"),
        ({"container": {"securityContext": {"privileged": True}}}, "spec.containers[0].securityContext.privileged"),
        ({"container": {"command": ["sh", "-c"]}}, "spec.containers[0].command[0]=sh"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unsupported_field_fails_the_pod_and_is_named(cluster: Cluster, spec: dict[str, Any], path: str) -> None:
    cluster.run("refused", SLEEP, **spec)
    cluster.wait_event("refused", "UnsupportedField", path)
    cluster.wait_for("it failed", lambda: cluster.status("refused").get("phase") == "Failed")
    status = cluster.status("refused")
    assert status["reason"] == "UnsupportedField"
    assert path in status["message"]
    assert "UnsupportedField" in cluster.kubectl("get", "pod", "refused").stdout
    assert cluster.log("refused") == ""


def test_refused_pod_of_a_deployment_is_kept_pending_and_not_replaced_again_and_again(cluster: Cluster) -> None:
    cluster.deploy("refused", cluster.spec(SLEEP, hostNetwork=True))
    pods = cluster.wait_for("there is a pod", cluster.pods)
    name = pods[0]["metadata"]["name"]
    cluster.wait_event(name, "UnsupportedField", "spec.hostNetwork")
    waiting = cluster.wait_for("it says why", lambda: cluster.container(name).get("state", {}).get("waiting"))
    assert waiting["reason"] == "UnsupportedField"
    assert "spec.hostNetwork" in waiting["message"]
    # The ReplicaSet controller makes ten pods a second when they fail: had it begun, there would be several by now.
    assert [pod["metadata"]["name"] for pod in cluster.pods()] == [name]
    assert cluster.status(name)["phase"] == "Pending"


def test_restricted_profile_and_resources_are_accepted_and_named_once(cluster: Cluster) -> None:
    resources = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}
    container = {"securityContext": RESTRICTED_CONTAINER, "resources": resources}
    cluster.run("restricted", SLEEP, container=container, securityContext=RESTRICTED)
    cluster.wait_ready("restricted")
    message = cluster.wait_event("restricted", "NotEnforced")
    for field in (
        "spec.securityContext.runAsNonRoot",
        "spec.securityContext.runAsUser",
        "spec.securityContext.fsGroup",
        "spec.securityContext.seccompProfile.type",
        "spec.containers[0].securityContext.readOnlyRootFilesystem",
        "spec.containers[0].securityContext.capabilities.drop",
        "spec.containers[0].resources.limits",
        "spec.containers[0].resources.requests",
    ):
        assert field in message
    # This one is enforced: the kernel's no_new_privs.
    assert "allowPrivilegeEscalation" not in message
    pid = cluster.pid("restricted")
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123  a file of the kernel, read once
        assert "NoNewPrivs:\t1" in status.read()
    assert len([reason for reason, _ in cluster.events("restricted") if reason == "NotEnforced"]) == 1


def test_unknown_image_is_not_pulled_and_says_what_is_known(cluster: Cluster) -> None:
    cluster.run("stranger", SLEEP, container={"image": "registry.example/team/nginx:1.27"})
    cluster.wait_event("stranger", "Failed", 'Failed to pull image "registry.example/team/nginx:1.27"')
    message = cluster.wait_event("stranger", "Failed", "known: ")
    assert "program, tradingbot-operator, tradingbot-sandbox, tradingbot-trader" in message
    cluster.wait_for(
        "it backs off",
        lambda: cluster.container("stranger")["state"]["waiting"]["reason"] == "ImagePullBackOff",
    )
    assert cluster.status("stranger")["phase"] == "Pending"


def test_pod_for_another_scheduler_or_another_node_is_left_alone(cluster: Cluster) -> None:
    cluster.run("foreign", SLEEP, schedulerName="somebody-else")
    cluster.wait_event("foreign", "FailedScheduling", "no scheduler named somebody-else")
    cluster.run("elsewhere", SLEEP, nodeSelector={"kubernetes.io/hostname": "no-such-node"})
    cluster.wait_event("elsewhere", "FailedScheduling", "has no label kubernetes.io/hostname=no-such-node")
    assert cluster.conditions("elsewhere")["PodScheduled"] == "False"
    assert "nodeName" not in cluster.get("pods", "elsewhere")["spec"]


def test_cordoned_node_gets_no_new_pods(cluster: Cluster) -> None:
    path = f"/api/v1/nodes/{cluster.node.name}"
    admin = cluster.control_plane.admin
    assert admin.merge(path, {"spec": {"unschedulable": True}}).is_success
    cluster.wait_for("the taint is there", lambda: admin.get(path).body["spec"].get("taints"))
    cluster.run("waiting", SLEEP)
    cluster.wait_event("waiting", "FailedScheduling", "untolerated taint node.kubernetes.io/unschedulable")
    assert admin.merge(path, {"spec": {"unschedulable": None}}).is_success
    cluster.wait_ready("waiting")


def test_gated_pod_waits_until_its_gate_is_removed(cluster: Cluster) -> None:
    cluster.run("gated", SLEEP, schedulingGates=[{"name": "example.com/wait"}])
    cluster.run("free", SLEEP)
    cluster.wait_ready("free")
    assert "nodeName" not in cluster.get("pods", "gated")["spec"]
    cluster.merge("pods", "gated", {"spec": {"schedulingGates": None}})
    cluster.wait_ready("gated")
