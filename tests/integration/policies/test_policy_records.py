"""A signature is its maker's own, and a review is the operator's."""

from __future__ import annotations

from typing import Any

import pytest

from support.policies import Raw, is_denied, path_of


def build_approval(name: str, signer: str | None) -> Raw:
    spec = {"bot": "btc", "digest": f"v1:{'0' * 64}", "stage": "micro", "expiresAt": "2030-01-01T00:00:00Z"}
    metadata: Raw = {"name": name, "namespace": "policies-desk"}
    if signer is not None:
        metadata["annotations"] = {"tradingbot.dev/approved-by": signer}
    return {"apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingApproval", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("signer", ["boss", "", None])
def test_nobody_signs_for_another_or_for_nobody(desk: Any, signer: str | None) -> None:
    denied = desk.person("signer").create(build_approval("a", signer))
    assert is_denied(denied, "records", "write the annotation tradingbot.dev/approved-by: signer into it"), denied.body


def test_everybody_who_may_signs_for_themselves(desk: Any) -> None:
    answer = desk.person("signer").create(build_approval("a", "signer"))
    assert answer.is_success, answer.body


@pytest.mark.parametrize("signer", ["boss", "forger", None])
def test_signature_is_not_passed_on(desk: Any, signer: str | None) -> None:
    assert desk.person("signer").create(build_approval("a", "signer")).is_success
    body = {"metadata": {"annotations": {"tradingbot.dev/approved-by": signer}}}
    for user in ("signer", "forger"):
        denied = desk.person(user).patch("TradingApproval", "a", body)
        assert is_denied(denied, "records", "who signed cannot be changed"), denied.body
    assert desk.person("signer").patch("TradingApproval", "a", {"metadata": {"labels": {"a": "b"}}}).is_success
    assert desk.person("signer").delete("TradingApproval", "a").is_success


def test_review_is_made_by_the_operator_alone(desk: Any, review: Any) -> None:
    denied = desk.person("forger").create(review("r", "btc"))
    assert is_denied(denied, "records", "made by the operator alone"), denied.body


def test_nobody_changes_a_review(desk: Any, review: Any) -> None:
    assert desk.admin.create(path_of("TradingReview"), review("r", "btc")).is_success
    for body in ({"metadata": {"labels": {"a": "b"}}}, {"metadata": {"annotations": {"a": "b"}}}):
        denied = desk.person("forger").patch("TradingReview", "r", body)
        assert is_denied(denied, "records", "nobody changes it"), denied.body
    assert not desk.person("forger").patch("TradingReview", "r", {"spec": {"verdict": "NO-GO"}}).is_success
    finalizers = {"metadata": {"finalizers": ["example.com/archive"]}}
    assert desk.person("forger").patch("TradingReview", "r", finalizers).is_success, "for whoever archives them"
