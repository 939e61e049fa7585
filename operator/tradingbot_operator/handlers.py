"""SHELL. kopf: the only import of it, and its start. It watches, and what it sees goes to the intake; nothing else.

`on.event` handlers alone: all other kinds of handlers patch what they watch, add finalizers, or retry by themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from tradingbot_operator import kinds
from tradingbot_operator.health import Health
from tradingbot_operator.intake import Intake
from tradingbot_operator.kinds import Kind
from tradingbot_operator.kube import CHILD_SELECTOR, Connect
from tradingbot_operator.settings import Settings

CLIENT_TIMEOUT_MARGIN_SECONDS = 10.0
"""The client waits so much longer than the server, so that it is the server who ends a watch."""
LOGIN_LIFETIME = timedelta(minutes=5)
"""After which kopf logs in again, and so reads the renewed token: a kubelet renews it 12 minutes before its end."""
LATEST_EXIT_MARGIN_SECONDS = 5.0
IDENTITY = "tradingbot-operator"
"""Given, because kopf asks the system for the user's name otherwise, and the image's user has none."""

Handler = Callable[..., Awaitable[None]]


def build_registry(intake: Intake, connect: Connect) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login_handler(connect))
    for kind in kinds.WATCHED:
        place = {"group": kind.group, "version": kind.version, "plural": kind.plural}
        kopf.on.event(**place, id=kind.plural, registry=registry)(_event_handler(intake, kind))
    return registry


def _event_handler(intake: Intake, kind: Kind) -> Handler:
    async def see(event: Any, **_: Any) -> None:
        intake.see(kind, dict(event["object"]), is_gone=event["type"] == "DELETED")

    return see


def _login_handler(connect: Connect) -> Callable[..., Awaitable[kopf.ConnectionInfo]]:
    async def login(**_: Any) -> kopf.ConnectionInfo:
        given = connect()
        return kopf.ConnectionInfo(
            server=given.server,
            ca_path=given.ca_path,
            token=given.token,
            certificate_path=given.certificate_path,
            private_key_path=given.key_path,
            expiration=datetime.now(UTC) + LOGIN_LIFETIME,
        )

    return login


def build_kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    ours = kopf.OperatorSettings()
    ours.peering.standalone = True
    ours.posting.enabled = False
    # Kinds that appear later are looked for where we may list CRDs; a namespaced installation may not.
    ours.scanning.disabled = bool(settings.namespaces)
    ours.watching.server_timeout = settings.watch_server_timeout_seconds
    ours.watching.client_timeout = settings.watch_server_timeout_seconds + CLIENT_TIMEOUT_MARGIN_SECONDS
    ours.watching.inactivity_timeout = settings.watch_inactivity_timeout_seconds
    ours.watching.connect_timeout = settings.request_timeout_seconds
    ours.networking.request_timeout = settings.request_timeout_seconds
    ours.process.ultimate_exiting_timeout = settings.graceful_exit_seconds + LATEST_EXIT_MARGIN_SECONDS
    for kind in kinds.WATCHED:
        if kind != kinds.BOT:
            ours.watching.label_selectors[_only(kind)] = CHILD_SELECTOR
    return ours


def _only(kind: Kind) -> Callable[[Any], bool]:
    return lambda resource: (resource.group, resource.plural) == (kind.group, kind.plural)


async def watch(settings: Settings, intake: Intake, connect: Connect, health: Health) -> None:
    """Until SIGTERM or SIGINT, which kopf takes while it runs."""
    registry = build_registry(intake, connect)
    kopf.on.startup(registry=registry)(_startup_handler(health))
    await kopf.operator(
        registry=registry,
        settings=build_kopf_settings(settings),
        clusterwide=not settings.namespaces,
        namespaces=list(settings.namespaces),
        identity=IDENTITY,
    )


def _startup_handler(health: Health) -> Handler:
    async def note(**_: Any) -> None:
        health.is_watching = True

    return note
