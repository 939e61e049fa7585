from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tradingbot_operator import kinds
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.plan.drift import APPLIED_HASH, Ownership, find_owner, is_up_to_date, stamp

Make = Callable[..., Any]
BOT = BotRef("desk-a", "btc", "11111111-2222-3333-4444-555555555555")


def owned_by(**owner: Any) -> dict[str, Any]:
    full = {"apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingBot", "name": "btc", "uid": BOT.uid} | owner
    return {"metadata": {"ownerReferences": [full]}}


@pytest.mark.parametrize(
    ("observed", "ownership"),
    [
        (owned_by(), Ownership.OURS),
        (owned_by(uid="another"), Ownership.LEFTOVER),
        (owned_by(uid="another", apiVersion="tradingbot.dev/v2"), Ownership.LEFTOVER),
        (owned_by(uid="another", name="eth"), Ownership.FOREIGN),
        (owned_by(uid="another", kind="Helm"), Ownership.FOREIGN),
        (owned_by(uid="another", apiVersion="elsewhere.dev/v1"), Ownership.FOREIGN),
        ({"metadata": {}}, Ownership.FOREIGN),
        ({"metadata": {"ownerReferences": "many"}}, Ownership.FOREIGN),
        ({"metadata": {"labels": {"tradingbot.dev/bot": "btc"}}}, Ownership.FOREIGN),
    ],
)
def test_owner_reference_decides_whose_a_child_is(observed: dict[str, Any], ownership: Ownership) -> None:
    assert find_owner(kinds.SERVICE, observed, BOT) is ownership


@pytest.mark.parametrize(
    ("labels", "ownership"),
    [
        ({"tradingbot.dev/bot": "btc", "app.kubernetes.io/managed-by": "tradingbot-operator"}, Ownership.OURS),
        ({"tradingbot.dev/bot": "eth", "app.kubernetes.io/managed-by": "tradingbot-operator"}, Ownership.FOREIGN),
        ({"tradingbot.dev/bot": "btc", "app.kubernetes.io/managed-by": "Helm"}, Ownership.FOREIGN),
        ({}, Ownership.FOREIGN),
    ],
)
def test_labels_decide_whose_a_volume_is(labels: dict[str, str], ownership: Ownership) -> None:
    assert find_owner(kinds.VOLUME, {"metadata": {"labels": labels}}, BOT) is ownership


def test_stamp_depends_on_nothing_but_the_manifest() -> None:
    one = stamp(kinds.SERVICE, {"metadata": {"name": "a"}, "spec": {"x": 1, "y": 2}})
    same = stamp(kinds.SERVICE, {"spec": {"y": 2, "x": 1}, "metadata": {"name": "a"}})
    other = stamp(kinds.SERVICE, {"metadata": {"name": "a"}, "spec": {"x": 1}})
    assert one == same
    assert one["metadata"]["annotations"][APPLIED_HASH] != other["metadata"]["annotations"][APPLIED_HASH]


def test_field_that_is_no_longer_wanted_is_a_difference() -> None:
    before = stamp(kinds.SERVICE, {"metadata": {"name": "a"}, "spec": {"x": 1, "y": 2}})
    after = stamp(kinds.SERVICE, {"metadata": {"name": "a"}, "spec": {"x": 1}})
    assert is_up_to_date(before, before)
    assert not is_up_to_date(after, before)


def test_every_child_as_the_api_server_stores_it_is_up_to_date(make_running: Make, store_as: Make) -> None:
    fresh = make_running()
    fresh.children = dict.fromkeys(kinds.BUILT_IN)
    for apply in fresh.plan().applies:
        assert is_up_to_date(apply.manifest, store_as(apply.kind, apply.manifest, None)), apply.kind


def pod(child: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = child["spec"]["template"]["spec"]
    return found


def container(child: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod(child)["containers"][0]
    return found


Spoil = Callable[[dict[str, Any]], object]
SPOILED: list[tuple[str, kinds.Kind, Spoil]] = [
    ("replicas", kinds.DEPLOYMENT, lambda child: child["spec"].update(replicas=3)),
    ("strategy", kinds.DEPLOYMENT, lambda child: child["spec"].update(strategy={"type": "RollingUpdate"})),
    ("image", kinds.DEPLOYMENT, lambda child: container(child).update(image="evil")),
    ("argument more", kinds.DEPLOYMENT, lambda child: container(child)["args"].append("--verbose")),
    ("argument changed", kinds.DEPLOYMENT, lambda child: container(child)["args"].__setitem__(1, "--namespace=x")),
    ("environment", kinds.DEPLOYMENT, lambda child: container(child)["env"][4].update(value="CET")),
    ("privilege", kinds.DEPLOYMENT,
        lambda child: container(child)["securityContext"].update(allowPrivilegeEscalation=True)),
    ("capability", kinds.DEPLOYMENT, lambda child: container(child)["securityContext"]["capabilities"].update(drop=[])),
    ("limit", kinds.DEPLOYMENT, lambda child: container(child)["resources"]["limits"].update(memory="1Gi")),
    ("mount", kinds.DEPLOYMENT, lambda child: container(child)["volumeMounts"].pop(0)),
    ("account", kinds.DEPLOYMENT, lambda child: pod(child).update(serviceAccountName="default")),
    ("volume", kinds.DEPLOYMENT, lambda child: pod(child)["volumes"][0]["persistentVolumeClaim"].update(claimName="x")),
    ("rule more", kinds.ROLE, lambda child: child["rules"].append({"verbs": ["*"]})),
    ("verb more", kinds.ROLE, lambda child: child["rules"][0]["verbs"].append("delete")),
    ("every name", kinds.ROLE, lambda child: child["rules"][0].pop("resourceNames")),
    ("subject more", kinds.ROLE_BINDING, lambda child: child["subjects"].append({"kind": "User", "name": "eve"})),
    ("subject otherwise", kinds.ROLE_BINDING, lambda child: child["subjects"][0].update(apiGroup="x")),
    ("selector more", kinds.SERVICE, lambda child: child["spec"]["selector"].update(x="y")),
    ("port", kinds.SERVICE, lambda child: child["spec"]["ports"][0].update(port=1)),
    ("rule more", kinds.NETWORK_POLICY, lambda child: child["spec"]["egress"].append({})),
    ("peer more", kinds.NETWORK_POLICY, lambda child: child["spec"]["egress"][0]["to"].append({"podSelector": {}})),
    ("any peer", kinds.NETWORK_POLICY, lambda child: child["spec"]["ingress"][0].pop("from")),
    ("fewer peers", kinds.NETWORK_POLICY,
        lambda child: child["spec"]["egress"][1].update(to=[{"ipBlock": {"cidr": "10.0.0.1/32"}}])),
    ("port", kinds.NETWORK_POLICY, lambda child: child["spec"]["ingress"][0]["ports"][0].update(port=1)),
    ("range", kinds.NETWORK_POLICY, lambda child: child["spec"]["egress"][1]["ports"][0].update(endPort=65535)),
    ("exception less", kinds.NETWORK_POLICY, lambda child: child["spec"].update(egress=[])),
    ("other pods", kinds.NETWORK_POLICY,
        lambda child: child["spec"]["podSelector"].update(matchExpressions=[{"key": "x", "operator": "Exists"}])),
    ("one direction", kinds.NETWORK_POLICY, lambda child: child["spec"]["policyTypes"].remove("Egress")),
    ("token for all", kinds.SERVICE_ACCOUNT, lambda child: child.update(automountServiceAccountToken=True)),
    ("label", kinds.LEASE, lambda child: child["metadata"]["labels"].pop("tradingbot.dev/bot")),
    ("owner", kinds.LEASE, lambda child: child["metadata"]["ownerReferences"][0].update(controller=False)),
    ("hash", kinds.LEASE, lambda child: child["metadata"]["annotations"].clear()),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spoil"), [row[1:] for row in SPOILED], ids=[row[0] for row in SPOILED])
def test_what_somebody_changed_is_applied_again(make_running: Make, kind: kinds.Kind, spoil: Spoil) -> None:
    cluster = make_running()
    before = copy.deepcopy(cluster.children[kind])
    spoil(cluster.children[kind])
    assert cluster.children[kind] != before
    assert [apply.kind for apply in cluster.plan().applies] == [kind]


ADDED: list[tuple[str, kinds.Kind, Spoil]] = [
    ("label", kinds.SERVICE, lambda child: child["metadata"]["labels"].update(team="x")),
    (
        "annotation",
        kinds.DEPLOYMENT,
        lambda child: child["metadata"]["annotations"].update({"deployment/revision": "2"}),
    ),
    ("finalizer", kinds.VOLUME, lambda child: child["metadata"].update(finalizers=["kubernetes.io/pvc-protection"])),
    ("status", kinds.VOLUME, lambda child: child.update(status={"phase": "Bound"})),
    ("volume name", kinds.VOLUME, lambda child: child["spec"].update(volumeName="pv-1", storageClassName="standard")),
    ("lease", kinds.LEASE, lambda child: child.update(spec={"holderIdentity": "btc-trader-1", "leaseTransitions": 4})),
    ("environment", kinds.DEPLOYMENT, lambda child: container(child)["env"].append({"name": "X", "value": "y"})),
    ("sidecar", kinds.DEPLOYMENT, lambda child: pod(child)["containers"].insert(0, {"name": "mesh", "image": "m"})),
    ("quantity", kinds.DEPLOYMENT, lambda child: container(child)["resources"]["limits"].update(memory="0.5Gi")),
    ("CPU", kinds.DEPLOYMENT, lambda child: container(child)["resources"]["requests"].update(cpu="0.05")),
    ("secret", kinds.SERVICE_ACCOUNT, lambda child: child.update(imagePullSecrets=[{"name": "registry"}])),
]


@pytest.mark.parametrize(("kind", "add"), [row[1:] for row in ADDED], ids=[row[0] for row in ADDED])
def test_what_others_own_is_left_to_them(make_running: Make, kind: kinds.Kind, add: Spoil) -> None:
    cluster = make_running()
    before = copy.deepcopy(cluster.children[kind])
    add(cluster.children[kind])
    assert cluster.children[kind] != before
    assert cluster.plan().applies == ()


def test_rule_where_none_is_wanted_is_a_difference() -> None:
    wanted = stamp(
        kinds.NETWORK_POLICY, {"kind": "NetworkPolicy", "metadata": {}, "spec": {"ingress": [], "egress": []}}
    )
    observed = copy.deepcopy(wanted)
    for stored in ({}, {"ingress": [{}]}):
        observed["spec"] = stored
        assert is_up_to_date(wanted, observed) == (stored == {})


OPTIONAL_CHILD: list[tuple[str, kinds.Kind, Spoil]] = [
    ("interval", kinds.POD_MONITOR, lambda child: child["spec"]["podMetricsEndpoints"][0].update(interval="1h")),
    ("endpoint more", kinds.POD_MONITOR, lambda child: child["spec"]["podMetricsEndpoints"].append({"port": "x"})),
    ("label", kinds.POD_MONITOR, lambda child: child["metadata"]["labels"].pop("tradingbot.dev/bot")),
    ("store", kinds.EXTERNAL_SECRET, lambda child: child["spec"]["secretStoreRef"].update(name="evil")),
    ("key", kinds.EXTERNAL_SECRET, lambda child: child["spec"]["dataFrom"][0]["extract"].update(key="other")),
    ("source more", kinds.EXTERNAL_SECRET, lambda child: child["spec"]["dataFrom"].append({"extract": {"key": "x"}})),
    ("target", kinds.EXTERNAL_SECRET, lambda child: child["spec"]["target"].update(name="other")),
]


@pytest.mark.parametrize(("kind", "spoil"), [row[1:] for row in OPTIONAL_CHILD], ids=[row[0] for row in OPTIONAL_CHILD])
def test_optional_child_that_somebody_changed_is_applied_again(
    make_running: Make, kind: kinds.Kind, spoil: Spoil
) -> None:
    asked = {"externalSecret": {"storeRef": {"name": "vault"}, "key": "trading/binance"}}
    cluster = make_running({"spec.credentials": asked}, children=dict.fromkeys(kinds.OPTIONAL))
    spoil(cluster.children[kind])
    assert [apply.kind for apply in cluster.plan().applies] == [kind]


def test_number_and_switch_and_text_are_not_the_same() -> None:
    for wanted, observed in ((1, True), (True, 1), ("1", 1), (0, False)):
        assert not is_up_to_date({"a": wanted}, {"a": observed})
