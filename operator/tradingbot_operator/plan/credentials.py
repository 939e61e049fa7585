"""PURE. The exchange keys: whether there are any, whether the live trader has one in force, and how old that is.

Two know something: External Secrets, about the Secret that it makes, and the live trader, about the key in it. Nobody
else does: the operator reads no Secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tradingbot_api.conditions import Reason
from tradingbot_api.duration import format_duration
from tradingbot_api.spec import HOUR_NS, Credentials, ExternalSecretRef, Mode
from tradingbot_api.status import CredentialsReport
from tradingbot_operator import kinds
from tradingbot_operator.manifest import Manifest, mapping, number, sequence, text
from tradingbot_operator.plan.drift import Ownership, find_owner
from tradingbot_operator.plan.view import BotView
from tradingbot_operator.timestamps import format_time, parse_time_ns

LEAST_NOTICE_NS = 24 * HOUR_NS
"""So long before `maxAge` the condition speaks at least, unless that is more than half of it."""
_REASON = re.compile(r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
_MAX_REASON = 256
_MAX_WARNING = 512
_UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CredentialsVerdict:
    """The condition CredentialsReady, and what follows from the key's age."""

    status: bool
    reason: str
    message: str
    is_too_old: bool = False
    """No new live permit. The one that is held stays: to stop a trader for its key's age helps nobody."""
    recheck_at_ns: int | None = None
    """When the answer changes without any event."""


def judge_credentials(
    view: BotView, *, external_secret: Manifest | None, is_installed: bool, warning: str, now_ns: int
) -> CredentialsVerdict | None:
    """None: there is nothing to say. The bot names no keys, or names a Secret that no live trader has looked into yet.

    `is_installed`: the API server has ExternalSecrets. `warning`: what External Secrets said last in an event.
    """
    credentials = view.spec.credentials if view.spec is not None else None
    trader = view.trader if view.trader is not None and view.trader.mode is Mode.LIVE else None
    report = trader.credentials if trader is not None else None
    verdict = _judge_report(report) if trader is not None else None
    if verdict is not None and report is not None and credentials is not None:
        verdict = _judge_age(verdict, report, credentials, now_ns)
    if credentials is None or credentials.external_secret is None:
        return verdict
    asked = credentials.external_secret
    problem = _find_store_problem(view, asked, external_secret, is_installed=is_installed, warning=warning)
    if problem is None:
        return verdict or CredentialsVerdict(True, Reason.NOT_LIVE, _UNTRIED.format(view.ref.child_name))
    if verdict is None:
        return problem
    kept = ""
    if report is not None and report.ready:
        kept = f"The trader keeps the key with fingerprint {report.fingerprint}."
    message = f"{problem.message} {verdict.message if verdict.is_too_old else kept}".rstrip()
    return replace(verdict, status=False, reason=problem.reason, message=message)


_UNTRIED = (
    "External Secrets has made the Secret {}. No live trader has looked into it yet: a paper pod mounts no key, and a "
    "live one checks it before it trades."
)


def is_made(external_secret: Manifest) -> bool:
    """Whether External Secrets says that the Secret is there, and as the ExternalSecret asks for it now."""
    return text(_ready(external_secret), "status") == "True" and not _is_behind(external_secret)


def _ready(external_secret: Manifest | None) -> Manifest:
    conditions = sequence(external_secret, "status", "conditions")
    return next((dict(mapping(each)) for each in conditions if text(each, "type") == "Ready"), {})


def _is_behind(external_secret: Manifest) -> bool:
    """`syncedResourceVersion` is generation, a dash and a hash (External Secrets 0.20.4): another form is no news."""
    synced, _, _ = text(external_secret, "status", "syncedResourceVersion").partition("-")
    return synced.isdecimal() and int(synced) < number(external_secret, "metadata", "generation")


def _find_store_problem(
    view: BotView, asked: ExternalSecretRef, external_secret: Manifest | None, *, is_installed: bool, warning: str
) -> CredentialsVerdict | None:
    name = view.ref.child_name
    if not is_installed:
        return CredentialsVerdict(False, Reason.EXTERNAL_SECRETS_NOT_INSTALLED, _NOT_INSTALLED)
    if external_secret is not None and _is_another(view, external_secret):
        message = f"The ExternalSecret {name} is not this bot's: the condition Stalled says what to do."
        return CredentialsVerdict(False, Reason.EXTERNAL_SECRET_NOT_READY, message)
    if external_secret is not None and is_made(external_secret):
        return None
    ready = _ready(external_secret)
    if text(ready, "status") in ("", "True"):
        # The same before it is made as after: its making is no news that is worth a write.
        message = f"External Secrets has not looked at the ExternalSecret {name} yet. If that lasts, it is not running."
        return CredentialsVerdict(False, Reason.WAITING_FOR_SECRET, message)
    said = [f"{text(ready, 'reason') or 'Not ready'}: {text(ready, 'message') or 'no message'}"]
    if warning and warning not in said[0]:
        said.append(_stable(warning))
    # The key is named by us: what is said of a missing one is "Secret does not exist" (provider kubernetes, 0.20.4).
    message = (
        f"External Secrets cannot make the Secret {name} from {asked.key} in {asked.store_ref.kind} "
        f"{asked.store_ref.name}. {'. '.join(each.rstrip('. ') for each in said)}. Correct "
        "spec.credentials.externalSecret or the store."
    )
    return CredentialsVerdict(False, Reason.EXTERNAL_SECRET_NOT_READY, message)


def _is_another(view: BotView, external_secret: Manifest) -> bool:
    return find_owner(kinds.EXTERNAL_SECRET, external_secret, view.ref) is not Ownership.OURS


_NOT_INSTALLED = (
    "spec.credentials.externalSecret needs External Secrets (external-secrets.io/v1), which this cluster does not "
    "have: ask your platform engineer, or name a Secret in spec.credentials.secretName."
)


def _stable(warning: str) -> str:
    """Without the ids of single requests, or each attempt of the store's would be news and a write."""
    return _UUID.sub("...", warning)[:_MAX_WARNING]


def _judge_report(report: CredentialsReport | None) -> CredentialsVerdict:
    if report is None:
        message = "The live trader has not reported about its keys yet."
        return CredentialsVerdict(False, Reason.WAITING_FOR_TRADER, message)
    if report.ready:
        message = report.message or f"The key with fingerprint {report.fingerprint} is in force."
        return CredentialsVerdict(True, _word(report.reason, Reason.PASSED), message)
    message = report.message or "No key is in force: the trader's log says why."
    return CredentialsVerdict(False, _word(report.reason, Reason.FAILED), message)


def _word(given: str, otherwise: Reason) -> str:
    """The trader's own word, if it can be a condition's reason."""
    return given if len(given) <= _MAX_REASON and _REASON.fullmatch(given) else otherwise


def _judge_age(
    verdict: CredentialsVerdict, report: CredentialsReport, credentials: Credentials, now_ns: int
) -> CredentialsVerdict:
    since_ns = parse_time_ns(report.since)
    if since_ns is None:
        return verdict
    ends_ns = since_ns + credentials.max_age
    notice_ns = min(max(credentials.max_age // 10, LEAST_NOTICE_NS), credentials.max_age // 2)
    key = f"The key with fingerprint {report.fingerprint} was first seen at {format_time(since_ns)}, and maxAge is"
    age = format_duration(credentials.max_age)
    if now_ns >= ends_ns:
        old = replace(verdict, is_too_old=True)
        if not verdict.status:
            return old  # what stops it already is said first
        message = (
            f"{key} {age}: it is too old. Rotate it (put a new one in its place). Until then no new live permit is "
            f"granted; the one that is held stays. {report.message}"
        )
        return replace(old, status=False, reason=Reason.CREDENTIALS_TOO_OLD, message=message.rstrip())
    if now_ns < ends_ns - notice_ns:
        return replace(verdict, recheck_at_ns=ends_ns - notice_ns)
    if not verdict.status:
        return replace(verdict, recheck_at_ns=ends_ns)
    message = (
        f"{key} {age}: from {format_time(ends_ns)} on no new live permit is granted with it. Rotate it before (put a "
        f"new one in its place). {report.message}"
    )
    return replace(verdict, reason=Reason.CREDENTIALS_EXPIRING, message=message.rstrip(), recheck_at_ns=ends_ns)
