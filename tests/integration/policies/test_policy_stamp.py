"""Where the API server can (Kubernetes 1.36), it writes itself who asked and who signed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.policies import DESK, Raw, build_bot, install, is_denied, path_of

ASKED, SIGNED = "tradingbot.dev/requested-by", "tradingbot.dev/approved-by"


@pytest.fixture
def stamped(desk: Any, rendered: list[Raw]) -> Iterator[Any]:
    """The desk, with what stamps requests in force as well."""
    ours = [item for item in rendered if item["kind"].startswith("MutatingAdmissionPolicy")]
    if not ours:
        pytest.skip("this API server has no MutatingAdmissionPolicy v1: whoever asks writes the annotation")
    for item in ours:
        install(desk.admin, item)
    try:
        desk.until(
            "a live bot is stamped",
            lambda: desk.person("promoter").create(build_bot(live("probe")), dry_run=True).is_success,
        )
        desk.until(
            "an approval is stamped",
            lambda: desk.person("signer").create(approval("probe"), dry_run=True).is_success,
        )
        yield desk
    finally:
        for item in ours:
            desk.admin.delete(path_of(item["kind"], item["metadata"]["name"]))
        desk.until(
            "nothing is stamped any more",
            lambda: (
                not (
                    desk.person("promoter").create(build_bot(live("probe")), dry_run=True).is_success
                    or desk.person("signer").create(approval("probe"), dry_run=True).is_success
                )
            ),
        )


def live(name: str) -> Raw:
    return {"metadata.name": name, "spec.mode": "Live", "spec.credentials": {"secretName": "keys"}}


def approval(name: str, **annotations: str) -> Raw:
    spec = {"bot": "btc", "digest": f"v1:{'0' * 64}", "stage": "micro", "expiresAt": "2030-01-01T00:00:00Z"}
    metadata: Raw = {"name": name, "namespace": DESK} | ({"annotations": annotations} if annotations else {})
    return {"apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingApproval", "metadata": metadata, "spec": spec}


def asked_by(answer: Any) -> str:
    assert answer.is_success, answer.body
    return str(answer.body["metadata"].get("annotations", {}).get(ASKED, ""))


def test_whoever_asks_for_more_is_written_down(stamped: Any) -> None:
    promoter, starter = stamped.person("promoter"), stamped.person("starter")
    assert asked_by(promoter.create(build_bot(live("btc")))) == "promoter"
    assert asked_by(starter.patch_bot({"risk": {"maxOrderNotional": "30"}})) == "starter"
    assert asked_by(promoter.patch_bot({"capital": {"stage": "small"}})) == "promoter"


def test_whoever_asks_for_less_or_stops_is_not(stamped: Any) -> None:
    assert asked_by(stamped.person("promoter").create(build_bot(live("btc")))) == "promoter"
    killer = stamped.person("killer")
    assert asked_by(killer.patch_bot({"killSwitch": {"engaged": True, "reason": "night"}})) == "promoter"
    assert asked_by(killer.patch_bot({"risk": {"maxOrderNotional": "1"}, "suspend": True})) == "promoter"
    assert asked_by(killer.patch_bot({"mode": "Paper"})) == "promoter"


def test_paper_bot_has_no_requester_beside_other_annotations(stamped: Any) -> None:
    made = stamped.person("owner").create(build_bot({"metadata.annotations": {"a": "b"}}))
    assert made.is_success, made.body
    assert made.body["metadata"]["annotations"] == {"a": "b"}
    keeper = stamped.person("promoter")
    assert asked_by(keeper.patch_bot({"mode": "Live", "credentials": {"secretName": "keys"}})) == "promoter"
    assert stamped.bot()["metadata"]["annotations"] == {"a": "b", ASKED: "promoter"}


def test_manifest_that_does_not_know_the_annotation_replaces_a_live_bot(stamped: Any) -> None:
    """As GitOps may do it."""
    made = stamped.person("promoter").create(build_bot(live("btc"))).body
    made["metadata"].pop("annotations")
    made["spec"]["killSwitch"]["engaged"] = True
    replaced = stamped.person("owner").request("PUT", path_of("TradingBot", "btc"), made)
    assert asked_by(replaced) == "promoter"


def test_stamp_does_not_hide_a_false_name(stamped: Any) -> None:
    assert stamped.person("promoter").create(build_bot(live("btc"))).is_success
    body = {"metadata": {"annotations": {ASKED: "somebody"}}}
    assert is_denied(stamped.person("owner").patch("TradingBot", "btc", body), "bots", "names who asked")
    denied = stamped.person("signer").create(approval("a", **{SIGNED: "boss"}))
    assert is_denied(denied, "records", "a signature is its maker's own"), denied.body


def test_signature_is_stamped(stamped: Any) -> None:
    for name, given in (("a", {}), ("b", {"x": "y"})):
        answer = stamped.person("signer").create(approval(name, **given))
        assert answer.is_success, answer.body
        assert answer.body["metadata"]["annotations"] == given | {SIGNED: "signer"}
