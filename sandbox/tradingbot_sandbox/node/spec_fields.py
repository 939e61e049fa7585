"""PURE. Every pod field that this node knows, and what it does with it. A field that is not here is refused.

One row a field: its path (`[]` for each item of a list) and a rule. `containers[]` stands for `initContainers[]` too,
but for what the API allows in ordinary containers alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .downward import is_known_field


@dataclass(frozen=True, slots=True)
class Rule:
    accepts: Callable[[Any], bool] = lambda _: True
    enforced: bool = True
    """False: accepted, but nothing here makes it so, and the pod is told by an event."""
    why: str = ""


HONOURED = Rule()


def harmless(why: str) -> Rule:
    """Already true on this node, or a wish that has no meaning here."""
    return Rule(why=why)


def only(*values: Any, why: str = "") -> Rule:
    """What these values ask for is so; any other value is refused."""
    return Rule(_among(values), why=why)


def not_enforced(why: str, *, when: Callable[[Any], bool] = lambda _: True) -> Rule:
    """It only restricts the container, so running without it is what the caller gets, and is told."""
    return Rule(when, enforced=False, why=why)


def _among(values: tuple[Any, ...]) -> Callable[[Any], bool]:
    # By type as well: 0 == False, and a number is not a switch.
    return lambda value: any(type(value) is type(one) and value == one for one in values)


ONE_USER = "all processes of the node run as the node's own user"
NO_RESOURCES = "processes share the machine; nothing meters them"
NO_MOUNTS = "a folder of the node's user, which its processes can write"
NO_SANDBOX = "no kernel sandbox around the process"

POD: dict[str, Rule] = {
    "activeDeadlineSeconds": HONOURED,
    "automountServiceAccountToken": harmless("the admission plugin has acted on it"),
    "dnsPolicy": only("ClusterFirst", "Default", why="the machine's resolver; there is no cluster DNS to prefer"),
    "dnsConfig": only({}),
    "affinity": only({}),
    "enableServiceLinks": harmless("Services have no routes here, so their variables would lead nowhere"),
    "hostNetwork": only(False),
    "hostPID": only(False),
    "hostIPC": only(False),
    "hostUsers": only(True),
    "nodeName": HONOURED,
    "nodeSelector": HONOURED,
    "os": only({"name": "linux"}),
    "preemptionPolicy": harmless("nothing is ever preempted here"),
    "priority": harmless("nothing is ever preempted here"),
    "priorityClassName": harmless("nothing is ever preempted here"),
    "readinessGates": HONOURED,
    "restartPolicy": HONOURED,
    "schedulerName": HONOURED,
    "schedulingGates": HONOURED,
    "serviceAccount": harmless("the old name of serviceAccountName"),
    "serviceAccountName": HONOURED,
    "setHostnameAsFQDN": only(False),
    "shareProcessNamespace": only(False),
    "terminationGracePeriodSeconds": HONOURED,
    "tolerations": HONOURED,
    "resources.requests": not_enforced(NO_RESOURCES),
    "resources.limits": not_enforced(NO_RESOURCES),
    "securityContext.runAsNonRoot": not_enforced(ONE_USER),
    "securityContext.runAsUser": not_enforced(ONE_USER, when=lambda user: user != 0),
    "securityContext.runAsGroup": not_enforced(ONE_USER, when=lambda group: group != 0),
    "securityContext.fsGroup": not_enforced(ONE_USER),
    "securityContext.fsGroupChangePolicy": not_enforced(ONE_USER),
    "securityContext.seccompProfile.type": not_enforced(NO_SANDBOX, when=lambda kind: kind != "Localhost"),
    "securityContext.appArmorProfile.type": not_enforced(NO_SANDBOX, when=lambda kind: kind != "Localhost"),
    "volumes[].name": HONOURED,
    "volumes[].emptyDir.medium": only("", why="a folder on disk"),
    "volumes[].emptyDir.sizeLimit": not_enforced(NO_RESOURCES),
    "volumes[].persistentVolumeClaim.claimName": HONOURED,
    "volumes[].persistentVolumeClaim.readOnly": not_enforced(NO_MOUNTS),
}
_VOLUME_FILES: dict[str, Rule] = {
    "secret.secretName": HONOURED,
    "secret.defaultMode": HONOURED,
    "secret.optional": HONOURED,
    "configMap.name": HONOURED,
    "configMap.defaultMode": HONOURED,
    "configMap.optional": HONOURED,
    "downwardAPI.defaultMode": HONOURED,
    "projected.defaultMode": HONOURED,
    "projected.sources[].secret.name": HONOURED,
    "projected.sources[].secret.optional": HONOURED,
    "projected.sources[].configMap.name": HONOURED,
    "projected.sources[].configMap.optional": HONOURED,
    "projected.sources[].serviceAccountToken.audience": HONOURED,
    "projected.sources[].serviceAccountToken.expirationSeconds": HONOURED,
    "projected.sources[].serviceAccountToken.path": HONOURED,
}
_KEY_ITEMS = ("key", "path", "mode")
_FIELD_ITEMS: dict[str, Rule] = {
    "path": HONOURED,
    "mode": HONOURED,
    "fieldRef.apiVersion": only("v1"),
    "fieldRef.fieldPath": Rule(lambda path: is_known_field(path, as_file=True)),
}
_HTTP: dict[str, Rule] = dict.fromkeys(
    ("httpGet.path", "httpGet.port", "httpGet.host", "httpGet.scheme", "httpGet.httpHeaders"), HONOURED
)
_PROBE: dict[str, Rule] = _HTTP | dict.fromkeys(
    (
        "tcpSocket.port",
        "tcpSocket.host",
        "exec.command",
        "initialDelaySeconds",
        "periodSeconds",
        "timeoutSeconds",
        "successThreshold",
        "failureThreshold",
        "terminationGracePeriodSeconds",
    ),
    HONOURED,
)
CONTAINER: dict[str, Rule] = {
    "name": HONOURED,
    "image": HONOURED,
    "imagePullPolicy": harmless("nothing is pulled: the program is installed or it is not"),
    "command": HONOURED,
    "args": HONOURED,
    "workingDir": HONOURED,
    "stdin": only(False),
    "stdinOnce": only(False),
    "tty": only(False),
    "terminationMessagePath": HONOURED,
    "terminationMessagePolicy": HONOURED,
    "ports[].name": HONOURED,
    "ports[].containerPort": HONOURED,
    "ports[].protocol": harmless("the program opens its ports itself"),
    "env[].name": HONOURED,
    "env[].value": HONOURED,
    "env[].valueFrom.fieldRef.apiVersion": only("v1"),
    "env[].valueFrom.fieldRef.fieldPath": Rule(is_known_field),
    "env[].valueFrom.secretKeyRef": HONOURED,
    "env[].valueFrom.configMapKeyRef": HONOURED,
    "envFrom[].prefix": HONOURED,
    "envFrom[].configMapRef": HONOURED,
    "envFrom[].secretRef": HONOURED,
    "resizePolicy": harmless("nothing is metered, so nothing is resized"),
    "resources.requests": not_enforced(NO_RESOURCES),
    "resources.limits": not_enforced(NO_RESOURCES),
    "volumeMounts[].name": HONOURED,
    "volumeMounts[].mountPath": Rule(lambda path: path.strip("/") != ""),
    "volumeMounts[].mountPropagation": only("None"),
    "volumeMounts[].recursiveReadOnly": only("Disabled", "IfPossible"),
    "volumeMounts[].readOnly": not_enforced(NO_MOUNTS),
    "lifecycle.preStop.exec.command": HONOURED,
    "lifecycle.preStop.sleep.seconds": HONOURED,
    "securityContext.allowPrivilegeEscalation": HONOURED,
    "securityContext.privileged": only(False),
    "securityContext.procMount": only("Default"),
    "securityContext.readOnlyRootFilesystem": not_enforced(NO_MOUNTS),
    "securityContext.capabilities.drop": not_enforced(ONE_USER),
    "securityContext.runAsNonRoot": not_enforced(ONE_USER),
    "securityContext.runAsUser": not_enforced(ONE_USER, when=lambda user: user != 0),
    "securityContext.runAsGroup": not_enforced(ONE_USER, when=lambda group: group != 0),
    "securityContext.seccompProfile.type": not_enforced(NO_SANDBOX, when=lambda kind: kind != "Localhost"),
    "securityContext.appArmorProfile.type": not_enforced(NO_SANDBOX, when=lambda kind: kind != "Localhost"),
}


def _below(prefix: str, rules: dict[str, Rule]) -> dict[str, Rule]:
    return {f"{prefix}.{path}": rule for path, rule in rules.items()}


def build_rules() -> dict[str, Rule]:
    rules = dict(POD) | _below("volumes[]", _VOLUME_FILES)
    for owner in ("secret", "configMap", "projected.sources[].secret", "projected.sources[].configMap"):
        rules |= {f"volumes[].{owner}.items[].{key}": HONOURED for key in _KEY_ITEMS}
    for owner in ("downwardAPI", "projected.sources[].downwardAPI"):
        rules |= _below(f"volumes[].{owner}.items[]", _FIELD_ITEMS)
    for kind in ("containers[]", "initContainers[]"):
        rules |= _below(kind, CONTAINER) | _below(f"{kind}.lifecycle.preStop", _HTTP)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            rules |= _below(f"{kind}.{probe}", _PROBE)
    return rules


RULES = build_rules()
