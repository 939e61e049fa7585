"""PURE. Whether the chart's admission policies are in force: what to ask of the API server, and what its answers prove.

Before a live permit. Two kinds of proof, because neither is enough:

- A request that must be denied is sent as a dry run, and the denial has to name our policy: one for `bots` (spec),
  one for its part about `tradingbots/status`, one for `workloads`. That the API server enforces is seen and not read.
- Policies and bindings are read and compared with what this release installs. A single changed rule is found, and so is
  `records`, and what `workloads` says about pods, for which the operator has no verb that could be refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tradingbot_api.labels import child_name
from tradingbot_operator import kinds
from tradingbot_operator.kinds import Kind
from tradingbot_operator.manifest import Manifest, mapping, name_of, namespace_of, number, sequence, text, uid_of

POLICY = Kind("ValidatingAdmissionPolicy", "admissionregistration.k8s.io/v1", "validatingadmissionpolicies")
BINDING = Kind(
    "ValidatingAdmissionPolicyBinding", "admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings"
)
PARTS = ("bots", "records", "workloads")
"""Each has a policy `<part>.<release>.<namespace>`, and a binding of that name."""
PROBE_MANAGER = "tradingbot-guard"
"""Field manager of the dry runs: what they would write belongs to nobody."""
PROBE = "guard-probe"
"""What a probe would write; never kept."""
_REINSTALL = "install this release of the chart again (helm upgrade)"


@dataclass(frozen=True, slots=True)
class GuardReport:
    """What stands between a bot and a live permit."""

    missing: tuple[str, ...]
    """Sentences that a person can act on; empty: all policies are in force."""

    @property
    def is_in_force(self) -> bool:
        return not self.missing


@dataclass(frozen=True, slots=True)
class Probe:
    """A dry run that the policy of `part` must deny."""

    part: str
    tries: str
    """For a person: the operator's account tries to ..."""
    kind: Kind
    manifest: Manifest
    """For server-side apply."""
    subresource: str = ""


def find_parts(expected: Mapping[str, str]) -> dict[str, str]:
    """Part -> name of its policy, of those that the chart says it has installed."""
    return {name.partition(".")[0]: name for name in expected}


def find_absent(expected: Mapping[str, str]) -> tuple[str, ...]:
    """What the chart did not even install."""
    if not expected:
        return (
            f"the chart's admission policies are off: set the value admissionPolicies.enabled to true and {_REINSTALL}",
        )
    parts = find_parts(expected)
    return tuple(f"no admission policy {part!r} is expected: {_REINSTALL}" for part in PARTS if part not in parts)


def build_probes(bot: Manifest) -> tuple[Probe, ...]:
    """For this bot: its name and namespace decide which policies apply. Valid, so that nothing else refuses them."""
    name, namespace = name_of(bot), namespace_of(bot)
    head = {
        "apiVersion": kinds.BOT.api_version,
        "kind": kinds.BOT.name,
        "metadata": {"namespace": namespace, "name": name},
    }
    account = child_name(name)
    return (
        Probe("bots", "re-arm a stop", kinds.BOT, head | {"spec": {"killSwitch": {"rearm": _other_than_asked(bot)}}}),
        Probe("bots", "write a trader's report", kinds.BOT, head | {"status": {"trader": _report(bot)}}, "status"),
        Probe("workloads", "run a pod with a trader's account", kinds.DEPLOYMENT, _borrower(namespace, name, account)),
    )


def judge_denial(probe: Probe, policy: str, message: str | None) -> str:
    """What a person should know about the answer to a probe; empty when it is the denial that it must be.

    `message`: what the API server said when it refused; None when it did not refuse.
    """
    what = f"the operator's account tried to {probe.tries}, as a dry run"
    if message is None:
        return f"admission policy {policy} is not in force: {what}, and was not refused; {_REINSTALL}"
    if f"ValidatingAdmissionPolicy '{policy}'" not in message:
        return (
            f"admission policy {policy} could not be checked: {what}, and something else refused it: {_first(message)}"
        )
    if "resulted in error" in message:
        return f"admission policy {policy} is broken, and may refuse kills as well: {_first(message)}; {_REINSTALL}"
    return ""


def judge_unanswered(what: str, message: str) -> str:
    """No proof either way is no proof."""
    return f"admission policy {what} could not be checked: {_first(message)}. The operator tries again"


def judge_objects(policy: str, digest: str, found: Manifest | None, binding: Manifest | None) -> str:
    """What is wrong with a policy and its binding as they were read; empty when they are what this release installs."""
    if found is None:
        return f"admission policy {policy} is missing: {_REINSTALL}"
    if binding is None:
        return f"the binding of admission policy {policy} is missing, so it refuses nothing: {_REINSTALL}"
    if "Deny" not in (actions := sequence(binding, "spec", "validationActions")):
        said = ", ".join(str(action) for action in actions) or "nothing"
        return f"the binding of admission policy {policy} says {said} and not Deny: {_REINSTALL}"
    if digest_of(found, binding) != digest:
        return f"admission policy {policy} or its binding is not what this release installs: {_REINSTALL}"
    return ""


def digest_of(policy: Manifest, binding: Manifest) -> str:
    """SHA-256 of what decides, as the chart computes it (templates/policies/_policies.tpl).

    Messages do not count; of what a newer API server might add by itself, nothing does.
    """
    spec, bound = mapping(policy, "spec"), mapping(binding, "spec")
    decides: dict[str, Any] = {
        "policy": {
            "failurePolicy": text(spec, "failurePolicy"),
            "match": _match(mapping(spec, "matchConstraints"), "resourceRules"),
            "conditions": list(sequence(spec, "matchConditions")),
            "variables": [
                {"name": text(each, "name"), "expression": text(each, "expression")}
                for each in sequence(spec, "variables")
            ],
            "validations": [text(each, "expression") for each in sequence(spec, "validations")],
        },
        "binding": {
            "policyName": text(bound, "policyName"),
            "validationActions": list(sequence(bound, "validationActions")),
            "matchResources": _match(mapping(bound, "matchResources")),
        },
    }
    for where, given in (("policy", mapping(spec, "paramKind")), ("binding", mapping(bound, "paramRef"))):
        if given:  # ours have none
            decides[where]["param"] = dict(given)
    return hashlib.sha256(
        json.dumps(decides, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    ).hexdigest()


def _match(resources: Mapping[str, Any], *lists: str) -> dict[str, Any]:
    """Where it applies. A list that ours do not have counts when it is there."""
    found: dict[str, Any] = {
        "matchPolicy": text(resources, "matchPolicy"),
        "namespaceSelector": dict(mapping(resources, "namespaceSelector")),
        "objectSelector": dict(mapping(resources, "objectSelector")),
    }
    for name in ("resourceRules", "excludeResourceRules"):
        rules = [dict(mapping(each)) for each in sequence(resources, name)]
        if rules or name in lists:
            found[name] = rules
    return found


def _other_than_asked(bot: Manifest) -> str:
    """Something that `rearm` is not yet: writing what is there already would change nothing."""
    return f"{PROBE}-2" if text(bot, "spec", "killSwitch", "rearm") == PROBE else PROBE


def _report(bot: Manifest) -> dict[str, Any]:
    """A whole valid report of no trader."""
    started = "2026-01-01T00:00:00Z"
    return {
        "uid": uid_of(bot),
        "pod": PROBE,
        "version": PROBE,
        "mode": "Paper",
        "state": "Halted",
        "startedAt": started,
        "heartbeatAt": started,
        "epoch": 0,
        "config": {"generation": number(bot, "metadata", "generation"), "accepted": False, "reason": "GuardProbe"},
    }


def _borrower(namespace: str, bot: str, account: str) -> Manifest:
    """A Deployment that is not the trader's, with the trader's account; other policies should find nothing wrong."""
    labels = {"tradingbot.dev/guard-probe": bot}
    container = {
        "name": PROBE,
        "image": PROBE,
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "serviceAccountName": account,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "apiVersion": kinds.DEPLOYMENT.api_version,
        "kind": kinds.DEPLOYMENT.name,
        "metadata": {"namespace": namespace, "name": f"{bot}-{PROBE}"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _first(message: str) -> str:
    """Below the first line the API server may have drawn a whole difference."""
    return message.partition("\n")[0].rstrip(". ")
