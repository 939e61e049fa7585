"""The condition CredentialsReady: who knows what about the keys, and when their age speaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_operator.plan.credentials import CredentialsVerdict, is_made, judge_credentials
from tradingbot_operator.plan.view import BotView, read_bot
from tradingbot_operator.timestamps import SECOND_NS, format_time

Make = Callable[..., Any]
Raw = dict[str, Any]
NOW_NS = 1_750_000_000 * SECOND_NS
HOUR_NS = 3600 * SECOND_NS
UID = "11111111-2222-3333-4444-555555555555"
ASKED = {"externalSecret": {"storeRef": {"name": "vault"}, "key": "trading/binance"}}
NAMED = {"secretName": "keys"}
OWNER = {"apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingBot", "name": "btc", "uid": UID}
FAILED = ("False", "SecretSyncedError", "could not get secret data from provider")
MADE = ("True", "SecretSynced", "secret synced")
SAID = "error processing spec.dataFrom[0].extract, err: Secret does not exist"
"""In an event; of a key that is missing."""


def external_secret(*ready: str, uid: str = UID, synced: str = "", generation: int = 1) -> Raw:
    metadata = {"name": "btc-trader", "generation": generation, "ownerReferences": [OWNER | {"uid": uid}]}
    if not ready:
        return {"metadata": metadata}
    condition = dict(zip(("status", "reason", "message"), ready, strict=True)) | {"type": "Ready"}
    status = {"conditions": [condition]} | ({"syncedResourceVersion": synced} if synced else {})
    return {"metadata": metadata, "status": status}


@pytest.fixture(scope="module")
def view(make_bot: Make, make_report: Make) -> Make:
    def build(credentials: Raw | None = None, *, report: Raw | None = None, mode: str = "Live") -> BotView:
        bot = make_bot({"spec.credentials": credentials} if credentials else {})
        if report is not None or mode == "Live":
            parts = {"credentials": report} if report is not None else {}
            bot["status"] = {"trader": make_report(mode=mode, **parts)}
        return read_bot(bot)

    return build


def judge(view: BotView, **changes: Any) -> CredentialsVerdict | None:
    given: Raw = {"external_secret": None, "is_installed": True, "warning": "", "now_ns": NOW_NS}
    return judge_credentials(view, **(given | changes))


def in_force(**more: Any) -> Raw:
    return {"ready": True, "fingerprint": "0123456789ab", "since": format_time(NOW_NS), "reason": "Accepted"} | more


def test_bot_without_keys_has_nothing_to_say(view: Make) -> None:
    assert judge(view(mode="Paper")) is None


def test_secret_that_no_live_trader_looked_into_is_not_judged(view: Make) -> None:
    assert judge(view(NAMED, mode="Paper")) is None


@pytest.mark.parametrize(
    ("report", "status", "reason", "said"),
    [
        (None, False, "WaitingForTrader", "not reported"),
        (in_force(), True, "Accepted", "0123456789ab"),
        (in_force(reason=""), True, "Passed", "0123456789ab"),
        (in_force(reason="no reason!"), True, "Passed", "0123456789ab"),
        (in_force(reason="KeyTooPowerful", message="the new key may withdraw"), True, "KeyTooPowerful", "withdraw"),
        ({"ready": False, "reason": "CredentialsMissing", "message": "apiKey is not there"}, False,
         "CredentialsMissing", "apiKey"),
        ({"ready": False}, False, "Failed", "log"),
    ],
)  # fmt: skip
def test_live_trader_is_believed_about_its_key(
    view: Make, report: Raw | None, reason: str, said: str, *, status: bool
) -> None:
    found = judge(view(NAMED, report=report))
    assert found is not None
    assert (found.status, found.reason, found.is_too_old) == (status, reason, False)
    assert said in found.message


@pytest.mark.parametrize("mode", ["Paper", "Live"])
def test_cluster_without_external_secrets_is_said_in_any_mode(view: Make, mode: str) -> None:
    found = judge(view(ASKED, mode=mode), is_installed=False)
    assert found is not None
    assert (found.status, found.reason) == (False, "ExternalSecretsNotInstalled")
    assert "spec.credentials.secretName" in found.message


@pytest.mark.parametrize("mode", ["Paper", "Live"])
def test_failing_store_is_said_in_its_own_words_with_key_and_store(view: Make, mode: str) -> None:
    found = judge(view(ASKED, mode=mode), external_secret=external_secret(*FAILED), warning=SAID)
    assert found is not None
    assert (found.status, found.reason) == (False, "ExternalSecretNotReady")
    for said in ("SecretSyncedError", FAILED[2], SAID, "btc-trader from trading/binance in SecretStore vault"):
        assert said in found.message


@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        (None, "WaitingForSecret"),
        (external_secret(), "WaitingForSecret"),
        (external_secret(*MADE, synced="1-abc", generation=2), "WaitingForSecret"),
        (external_secret("Unknown", "Checking", "wait"), "ExternalSecretNotReady"),
        (external_secret(*MADE, uid="another"), "ExternalSecretNotReady"),
    ],
    ids=["none", "without status", "of an older form", "unknown", "somebody else's"],
)
def test_secret_is_not_there_before_it_is_said_to_be(view: Make, observed: Raw | None, reason: str) -> None:
    found = judge(view(ASKED, mode="Paper"), external_secret=observed)
    assert found is not None
    assert (found.status, found.reason) == (False, reason)


def test_making_of_the_external_secret_is_no_news(view: Make) -> None:
    paper = view(ASKED, mode="Paper")
    assert judge(paper, external_secret=None) == judge(paper, external_secret=external_secret())


@pytest.mark.parametrize("synced", ["", "1-abc", "2-abc", "garbage", "-1", "x-1"])
def test_secret_that_is_made_lets_a_paper_bot_go_live(view: Make, synced: str) -> None:
    made = external_secret(*MADE, synced=synced)
    assert is_made(made)
    found = judge(view(ASKED, mode="Paper"), external_secret=made)
    assert found is not None
    assert (found.status, found.reason) == (True, "NotLive")
    assert "btc-trader" in found.message


def test_key_that_the_trader_keeps_is_named_while_the_store_fails(view: Make) -> None:
    found = judge(view(ASKED, report=in_force()), external_secret=external_secret(*FAILED), warning=SAID)
    assert found is not None
    assert (found.status, found.reason) == (False, "ExternalSecretNotReady")
    assert found.message.endswith("The trader keeps the key with fingerprint 0123456789ab.")


def test_attempts_of_the_store_that_differ_by_an_id_alone_say_the_same(view: Make) -> None:
    first, second = (
        judge(view(ASKED, mode="Paper"), external_secret=external_secret(*FAILED), warning=f"denied, request {each}")
        for each in ("0f8fad5b-d9cb-469f-a165-70867728950e", "7C9E6679-7425-40DE-944B-E07FC1F90AE7")
    )
    assert first == second


def test_warning_is_no_message_of_any_length(view: Make) -> None:
    found = judge(view(ASKED, mode="Paper"), external_secret=external_secret(*FAILED), warning="x" * 10_000)
    assert found is not None
    assert len(found.message) < 1024


def aged(hours: float, max_age: str, **more: Any) -> tuple[Raw, Raw]:
    return NAMED | {"maxAge": max_age}, in_force(since=format_time(NOW_NS - int(hours * HOUR_NS)), **more)


@pytest.mark.parametrize(
    ("max_age", "hours", "status", "reason", "next_hours"),
    [
        ("720h", 0, True, "Accepted", 648),  # a tenth of it is three days
        ("720h", 647, True, "Accepted", 1),
        ("720h", 648, True, "CredentialsExpiring", 72),
        ("720h", 719, True, "CredentialsExpiring", 1),
        ("720h", 720, False, "CredentialsTooOld", None),
        ("720h", 9999, False, "CredentialsTooOld", None),
        ("100h", 75, True, "Accepted", 1),  # at least a day
        ("100h", 76, True, "CredentialsExpiring", 24),
        ("10h", 4, True, "Accepted", 1),  # at most half of it
        ("10h", 5, True, "CredentialsExpiring", 5),
        ("10h", -3, True, "Accepted", 8),  # the clocks of two machines
    ],
)
def test_age_of_a_key_is_said_before_it_forbids_a_new_permit(
    view: Make,
    max_age: str,
    hours: float,
    reason: str,
    next_hours: float | None,
    *,
    status: bool,
) -> None:
    credentials, report = aged(hours, max_age)
    found = judge(view(credentials, report=report))
    assert found is not None
    assert (found.status, found.reason, found.is_too_old) == (status, reason, reason == "CredentialsTooOld")
    expected = None if next_hours is None else NOW_NS + int(next_hours * HOUR_NS)
    assert found.recheck_at_ns == expected
    if reason == "CredentialsExpiring":
        assert format_time(NOW_NS + int(next_hours or 0) * HOUR_NS) in found.message
    if reason == "CredentialsTooOld":
        assert "Rotate it" in found.message
        assert "stays" in found.message


@pytest.mark.parametrize("hours", [700, 800])
def test_key_that_was_refused_is_said_beside_the_age_of_the_one_in_force(view: Make, hours: float) -> None:
    credentials, report = aged(hours, "720h", reason="KeyTooPowerful", message="the new key may withdraw")
    found = judge(view(credentials, report=report))
    assert found is not None
    assert "the new key may withdraw" in found.message
    assert found.reason.startswith("Credentials")


def test_old_key_is_too_old_beside_a_failing_store_too(view: Make) -> None:
    report = in_force(since=format_time(NOW_NS - 721 * HOUR_NS))
    found = judge(view(ASKED, report=report), external_secret=external_secret(*FAILED))
    assert found is not None
    assert (found.reason, found.is_too_old) == ("ExternalSecretNotReady", True)
    assert "Rotate it" in found.message


@pytest.mark.parametrize("since", [None, "yesterday"])
def test_key_of_unknown_age_has_none(view: Make, since: Any) -> None:
    found = judge(view(NAMED, report=in_force(since=since)))
    assert found is not None
    assert (found.status, found.recheck_at_ns) == (True, None)


@given(hours=st.floats(-10, 2000), max_hours=st.integers(1, 900), wait=st.integers(0, 10**6))
def test_verdict_stays_until_it_says_to_look_again(view: Make, hours: float, max_hours: int, wait: int) -> None:
    credentials, report = aged(hours, f"{max_hours}h")
    seen = view(credentials, report=report)
    first = judge(seen)
    assert first is not None
    until_ns = first.recheck_at_ns
    assert until_ns is None or until_ns > NOW_NS
    later_ns = NOW_NS + wait * SECOND_NS
    if until_ns is None or later_ns < until_ns:
        assert judge(seen, now_ns=later_ns) == first
    else:
        assert judge(seen, now_ns=until_ns) != first
