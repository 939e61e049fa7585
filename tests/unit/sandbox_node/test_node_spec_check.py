"""A pod field is honoured, accepted by name, or refused by name: never ignored."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_sandbox.node.spec_check import MESSAGE_LIMIT, Findings, check_pod
from tradingbot_sandbox.node.spec_fields import RULES

Json = dict[str, Any]


def trader_spec() -> Json:
    """What the API server makes of a trader's pod: the restricted profile, a claim, a token, defaults written out."""
    token = {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        token,
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    probe = {"httpGet": {"path": "/readyz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 5, "timeoutSeconds": 1}
    return {
        "automountServiceAccountToken": True,
        "containers": [
            {
                "name": "trader",
                "image": "registry.example/tradingbot-trader:0.1.0",
                "imagePullPolicy": "IfNotPresent",
                "args": ["run", "--store=/var/lib/tradingbot"],
                "env": [
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}
                ],
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "livenessProbe": probe,
                "readinessProbe": copy.deepcopy(probe),
                "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "256Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    {"name": "store", "mountPath": "/var/lib/tradingbot"},
                    {"name": "account", "mountPath": account, "readOnly": True},
                    {"name": "tmp", "mountPath": "/tmp"},
                ],
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": False,
        "nodeName": "process-node",
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {
            "fsGroup": 65532,
            "fsGroupChangePolicy": "OnRootMismatch",
            "runAsGroup": 65532,
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "serviceAccount": "bot-trader",
        "serviceAccountName": "bot-trader",
        "terminationGracePeriodSeconds": 30,
        "tolerations": [{"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
        "volumes": [
            {"name": "store", "persistentVolumeClaim": {"claimName": "bot-trader"}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "account", "projected": {"defaultMode": 420, "sources": sources}},
        ],
    }


def changed(*path: Any, value: Any) -> Json:
    spec = trader_spec()
    place: Any = spec
    for step in path[:-1]:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
    place[path[-1]] = value
    return spec


def test_trader_pod_is_taken_and_what_is_not_enforced_is_named() -> None:
    findings = check_pod(trader_spec())
    assert findings.unsupported == ()
    assert set(findings.not_enforced) == {
        "spec.containers[0].resources.requests",
        "spec.containers[0].resources.limits",
        "spec.containers[0].securityContext.capabilities.drop",
        "spec.containers[0].securityContext.readOnlyRootFilesystem",
        "spec.containers[0].volumeMounts[1].readOnly",
        "spec.securityContext.fsGroup",
        "spec.securityContext.fsGroupChangePolicy",
        "spec.securityContext.runAsGroup",
        "spec.securityContext.runAsNonRoot",
        "spec.securityContext.runAsUser",
        "spec.securityContext.seccompProfile.type",
    }


CONTAINER = ("containers", 0)
REFUSED = [
    (("hostNetwork",), True, "spec.hostNetwork=True"),
    (("hostPID",), True, "spec.hostPID=True"),
    (("hostUsers",), False, "spec.hostUsers=False"),
    (("imagePullSecrets",), [{"name": "x"}], "spec.imagePullSecrets"),
    (("affinity",), {"nodeAffinity": {}}, "spec.affinity"),
    (("topologySpreadConstraints",), [{}], "spec.topologySpreadConstraints"),
    (("dnsPolicy",), "None", "spec.dnsPolicy=None"),
    (("hostAliases",), [{"ip": "1.2.3.4"}], "spec.hostAliases"),
    (("hostname",), "x", "spec.hostname"),
    (("subdomain",), "x", "spec.subdomain"),
    (("runtimeClassName",), "gvisor", "spec.runtimeClassName"),
    (("shareProcessNamespace",), True, "spec.shareProcessNamespace=True"),
    (("os",), {"name": "windows"}, "spec.os"),
    (("resourceClaims",), [{"name": "gpu"}], "spec.resourceClaims"),
    (("securityContext", "runAsUser"), 0, "spec.securityContext.runAsUser=0"),
    (("securityContext", "supplementalGroups"), [1], "spec.securityContext.supplementalGroups"),
    (("securityContext", "sysctls"), [{"name": "a", "value": "b"}], "spec.securityContext.sysctls"),
    (("securityContext", "seccompProfile", "type"), "Localhost", "spec.securityContext.seccompProfile.type=Localhost"),
    (("volumes", 0), {"name": "x", "hostPath": {"path": "/"}}, "spec.volumes[0].hostPath"),
    (("volumes", 0), {"name": "x", "image": {}}, "spec.volumes[0].image"),
    (("volumes", 1, "emptyDir"), {"medium": "Memory"}, "spec.volumes[1].emptyDir.medium=Memory"),
    (
        ("volumes", 2, "projected", "sources", 0),
        {"clusterTrustBundle": {"path": "x"}},
        "spec.volumes[2].projected.sources[0].clusterTrustBundle",
    ),
    (
        (*CONTAINER, "command"),
        ["sh"],
        "spec.containers[0].command[0]=sh (only the image's own program, tradingbot-trader)",
    ),
    ((*CONTAINER, "tty"), True, "spec.containers[0].tty=True"),
    ((*CONTAINER, "workingDir"), "/app", "spec.containers[0].workingDir=/app (lies under no mountPath)"),
    ((*CONTAINER, "ports", 0, "hostPort"), 80, "spec.containers[0].ports[0].hostPort"),
    ((*CONTAINER, "volumeMounts", 0, "subPath"), "x", "spec.containers[0].volumeMounts[0].subPath"),
    ((*CONTAINER, "volumeMounts", 0, "mountPath"), "/", "spec.containers[0].volumeMounts[0].mountPath=/"),
    ((*CONTAINER, "volumeDevices"), [{"name": "x"}], "spec.containers[0].volumeDevices"),
    ((*CONTAINER, "securityContext", "privileged"), True, "spec.containers[0].securityContext.privileged=True"),
    (
        (*CONTAINER, "securityContext", "capabilities", "add"),
        ["NET_ADMIN"],
        "spec.containers[0].securityContext.capabilities.add",
    ),
    ((*CONTAINER, "livenessProbe"), {"grpc": {"port": 1}}, "spec.containers[0].livenessProbe.grpc"),
    (
        (*CONTAINER, "livenessProbe", "httpGet", "port"),
        "metrics",
        "spec.containers[0].livenessProbe.httpGet.port=metrics (no port of the container has that name)",
    ),
    ((*CONTAINER, "lifecycle"), {"postStart": {"exec": {}}}, "spec.containers[0].lifecycle.postStart"),
    (
        (*CONTAINER, "env", 0, "valueFrom"),
        {"resourceFieldRef": {}},
        "spec.containers[0].env[0].valueFrom.resourceFieldRef",
    ),
    (
        (*CONTAINER, "env", 0, "valueFrom", "fieldRef", "fieldPath"),
        "spec.restartPolicy",
        "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath=spec.restartPolicy",
    ),
    ((*CONTAINER, "restartPolicy"), "Always", "spec.containers[0].restartPolicy"),
    ((*CONTAINER, "resources", "claims"), [{"name": "gpu"}], "spec.containers[0].resources.claims"),
    (
        ("initContainers",),
        [{"name": "i", "image": "x", "restartPolicy": "Always"}],
        "spec.initContainers[0].restartPolicy",
    ),
]


def test_command_may_name_any_program_of_its_image() -> None:
    pod = changed(*CONTAINER, "image", value="x/tradingbot-operator:1")
    pod["containers"][0]["command"] = ["kubectl-tradingbot"]
    assert check_pod(pod).unsupported == ()
    pod["containers"][0] |= {"image": "x/tradingbot-trader:1"}
    assert "spec.containers[0].command[0]=kubectl-tradingbot" in check_pod(pod).unsupported[0]


@pytest.mark.parametrize(("path", "value", "named"), REFUSED, ids=[row[2].split("=")[0] for row in REFUSED])
def test_field_that_is_not_honoured_is_refused_by_its_path(path: tuple[Any, ...], value: Any, named: str) -> None:
    assert check_pod(changed(*path, value=value)).unsupported == (named,)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("hostNetwork",), False),
        (("affinity",), {}),
        (("imagePullSecrets",), []),
        (("topologySpreadConstraints",), None),
        (("securityContext", "supplementalGroups"), []),
        ((*CONTAINER, "securityContext", "privileged"), False),
        ((*CONTAINER, "command"), ["tradingbot-trader", "run"]),
        ((*CONTAINER, "workingDir"), "/tmp/x"),
        ((*CONTAINER, "stdin"), False),
    ],
)
def test_field_that_asks_for_nothing_is_taken(path: tuple[Any, ...], value: Any) -> None:
    assert check_pod(changed(*path, value=value)).unsupported == ()


def objects(value: Any, path: str = "spec") -> list[tuple[str, Json]]:
    """Every object in a spec with its path, but for those whose keys are data."""
    found: list[tuple[str, Json]] = []
    if isinstance(value, dict):
        found.append((path, value))
        for key, item in value.items():
            found += objects(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += objects(item, f"{path}[{index}]")
    return found


FREE = ("requests", "limits", "tolerations")
"""Honoured or excused as a whole, whatever is in them."""


@given(
    st.data(),
    st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=6, max_size=12),
    st.sampled_from([True, 1, "x", {"a": 1}, [1], {}]),
)
def test_unknown_field_is_refused_wherever_it_stands(data: st.DataObject, name: str, value: Any) -> None:
    spec = copy.deepcopy(trader_spec())
    places = [(path, item) for path, item in objects(spec) if not any(word in path for word in FREE)]
    path, item = data.draw(st.sampled_from(places))
    if name in item or any(f".{name}" in rule or rule == name for rule in RULES):
        return
    item[name] = value
    assert check_pod(spec).unsupported == (f"{path}.{name}",)


def test_message_names_as_many_fields_as_fit() -> None:
    paths = tuple(f"spec.containers[{number}].securityContext.privileged" for number in range(100))
    message = Findings(unsupported=paths).refusal()
    assert paths[0] in message
    assert len(message) <= MESSAGE_LIMIT + len(" and 100 more")
    assert message.endswith("more")


def test_every_rule_that_accepts_without_effect_says_why() -> None:
    assert [path for path, rule in RULES.items() if not rule.enforced and not rule.why] == []
