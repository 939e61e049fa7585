"""The admission policies as Helm renders them: bound once, failing closed, and the operator is told what to expect."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from support.chart import CHART, NAMESPACE, NEWEST_KUBERNETES, RELEASE, Chart, Rendered, settings_of
from tradingbot_api.spec import Risk
from tradingbot_operator.plan.guard import PARTS, digest_of

POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
STAMP = "MutatingAdmissionPolicy"
NAMESPACED = {"watch": {"namespaces": ["desk-a", "desk-b"]}}
BOTH = pytest.mark.parametrize("values", [{}, NAMESPACED], ids=["cluster-wide", "namespaced"])


def by_name(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in items}


def expected_by_operator(rendered: Rendered) -> dict[str, str]:
    """As the operator itself reads it from its arguments."""
    return settings_of(rendered).admission_policies


def render_with_stamp(chart: Chart) -> Rendered:
    """As on an API server that can stamp requests."""
    kind = f"admissionregistration.k8s.io/v1/{STAMP}"
    text = chart.run(
        "template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", NEWEST_KUBERNETES, "-a", kind
    )
    return Rendered([item for item in yaml.safe_load_all(text) if item])


def list_in(rendered: Rendered, name: str) -> list[str]:
    """The strings of a variable of the policy `bots`."""
    (bots,) = [p for p in rendered.of(POLICY) if p["metadata"]["name"].startswith("bots.")]
    (found,) = [each["expression"] for each in bots["spec"]["variables"] if each["name"] == name]
    return re.findall(r"'(\w+)'", found)


@BOTH
def test_every_policy_is_bound_once_with_deny(chart, values):
    rendered = chart.render(values)
    policies, bindings = by_name(rendered.of(POLICY)), by_name(rendered.of(BINDING))
    assert [name.partition(".")[0] for name in policies] == list(PARTS)
    assert set(policies) == set(bindings)
    for name, binding in bindings.items():
        assert binding["spec"]["policyName"] == name
        assert binding["spec"]["validationActions"] == ["Deny"]
        assert policies[name]["spec"]["failurePolicy"] == "Fail"


@BOTH
def test_operator_expects_what_is_installed(chart, values):
    rendered = chart.render(values)
    policies, bindings = by_name(rendered.of(POLICY)), by_name(rendered.of(BINDING))
    assert expected_by_operator(rendered) == {
        name: digest_of(policy, bindings[name]) for name, policy in policies.items()
    }


def test_names_beyond_ascii_are_digested_as_the_operator_does(chart):
    rendered = chart.render({"admissionPolicies": {"podCreators": ["oidc:zoë&<x>"]}})
    policies, bindings = by_name(rendered.of(POLICY)), by_name(rendered.of(BINDING))
    for name, digest in expected_by_operator(rendered).items():
        assert digest == digest_of(policies[name], bindings[name])


def test_policies_hold_where_bots_are_served(chart):
    for binding in chart.render().of(BINDING):
        assert binding["spec"]["matchResources"]["namespaceSelector"] == {}
    for binding in chart.render(NAMESPACED).of(BINDING):
        (only,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert only == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["desk-a", "desk-b"]}


@BOTH
def test_operator_reads_its_own_policies_and_no_others(chart, values):
    rendered = chart.render(values)
    (role,) = [r for r in rendered.of("ClusterRole") if r["metadata"]["name"].endswith(":policies")]
    (rule,) = role["rules"]
    assert rule["verbs"] == ["get"]
    assert set(rule["resourceNames"]) == set(by_name(rendered.of(POLICY))) == set(expected_by_operator(rendered))
    (binding,) = [b for b in rendered.of("ClusterRoleBinding") if b["metadata"]["name"] == role["metadata"]["name"]]
    (account,) = rendered.of("ServiceAccount")
    assert [(s["name"], s["namespace"]) for s in binding["subjects"]] == [
        (account["metadata"]["name"], chart.namespace)
    ]


def test_policy_knows_each_limit_and_which_way_is_tighter(chart):
    """A limit that it does not know counts as looser however it is changed: safe, but a nuisance."""
    rendered = chart.render()
    known = [name for group in ("amounts", "counts", "times") for name in list_in(rendered, group)]
    assert sorted(known) == sorted(field.alias or name for name, field in Risk.model_fields.items())


def test_operator_is_known_by_the_account_that_it_runs_with(chart):
    rendered = chart.render({"serviceAccount": {"name": "mine"}})
    for part in ("bots", "workloads"):
        (policy,) = [p for p in rendered.of(POLICY) if p["metadata"]["name"].startswith(f"{part}.")]
        assert f"'system:serviceaccount:{chart.namespace}:mine'" in json.dumps(policy)


def test_every_validation_says_what_to_do_and_is_forbidden(chart):
    for policy in chart.render().of(POLICY):
        for validation in policy["spec"]["validations"]:
            assert validation["reason"] == "Forbidden"
            assert ("message" in validation) != ("messageExpression" in validation)
            assert len(validation.get("message", validation.get("messageExpression"))) > 40


def test_fields_that_may_be_missing_are_asked_for_carefully(chart):
    """An error in CEL denies: it would refuse a kill. What is read without `?` is there, or was looked at before."""
    always = (
        r"(object|oldObject)\.(metadata\.name|metadata\.annotations|status|spec\.capital\.demotion\.maxDrawdownPercent)"
    )
    for policy in chart.render().of(POLICY):
        texts = [each["expression"] for each in (*policy["spec"]["variables"], *policy["spec"]["validations"])]
        for text in texts:
            bare = re.findall(r"\b(?:object|oldObject)\.(?!\?)[\w.]+", text)
            assert [each for each in bare if not re.fullmatch(always, each)] == [], text


def test_nothing_is_left_when_switched_off(chart):
    rendered = chart.render({"admissionPolicies": {"enabled": False}})
    assert not [item for item in rendered.objects if "AdmissionPolicy" in item["kind"]]
    assert not [item for item in rendered.of("ClusterRole") if item["metadata"]["name"].endswith(":policies")]
    assert not [each for each in rendered.container["args"] if "admission-policies" in each]


def test_requests_are_stamped_where_the_api_server_can(chart):
    assert chart.render().of(STAMP) == []
    rendered = render_with_stamp(chart)
    policies, bindings = by_name(rendered.of(STAMP)), by_name(rendered.of(f"{STAMP}Binding"))
    assert [name.partition(".")[0] for name in policies] == ["stamp-bots", "stamp-approvals"]
    for name, policy in policies.items():
        assert policy["spec"]["failurePolicy"] == "Ignore", "a convenience never refuses a kill"
        assert bindings[name]["spec"]["policyName"] == name


def test_stamp_and_policy_find_the_same(chart):
    """Whoever is asked for a name by the one must be stamped by the other."""
    rendered = render_with_stamp(chart)
    (bots,) = [p for p in rendered.of(POLICY) if p["metadata"]["name"].startswith("bots.")]
    (stamp,) = [p for p in rendered.of(STAMP) if p["metadata"]["name"].startswith("stamp-bots.")]
    shared = {each["name"]: each["expression"] for each in bots["spec"]["variables"]}
    for variable in stamp["spec"]["variables"]:
        assert variable["name"] == "requester" or shared[variable["name"]] == variable["expression"]


@pytest.mark.parametrize(
    "values",
    [{"enabled": "yes"}, {"podCreators": "velero"}, {"podCreators": ["it's"]}, {"stampRequestedBy": True}],
    ids=str,
)
def test_mistake_is_refused(chart, refused, values):
    with pytest.raises(refused, match="admissionPolicies"):
        chart.render({"admissionPolicies": values})
