"""SHELL. kopf: the only import of it, and its start. It watches, and what it sees goes to the intake; nothing else.

`on.event` handlers alone: all other kinds of handlers patch what they watch, add finalizers, or retry by themselves.
The connections are ours (watch_connections.py): kopf closes those of a login when that has expired.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from tradingbot_operator import kinds
from tradingbot_operator.intake import Intake
from tradingbot_operator.kinds import Kind
from tradingbot_operator.kube import CHILD_SELECTOR, Connect
from tradingbot_operator.settings import Settings
from tradingbot_operator.watch_connections import WatchConnections

CLIENT_TIMEOUT_MARGIN_SECONDS = 10.0
"""The client waits so much longer than the server, so that it is the server who ends a watch."""
LOGIN_LIFETIME = timedelta(minutes=5)
"""After which kopf logs in again, and so reads the renewed token: a kubelet renews it 12 minutes before its end."""
LATEST_EXIT_MARGIN_SECONDS = 5.0
IDENTITY = "tradingbot-operator"
"""Given, because kopf asks the system for the user's name otherwise, and the image's user has none."""

Handler = Callable[..., Awaitable[None]]


def build_registry(
    intake: Intake, connect: Connect, connections: WatchConnections, *, sees_halts: bool
) -> kopf.OperatorRegistry:
    """`sees_halts`: they may be listed. kopf takes a 403 of a watch for fatal, which would end the process."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login_handler(connect, connections))
    for kind in (*kinds.WATCHED, *((kinds.HALT,) if sees_halts else ())):
        place = {"group": kind.group, "version": kind.version, "plural": kind.plural}
        kopf.on.event(**place, id=kind.plural, registry=registry)(_event_handler(intake, kind))
    return registry


def _event_handler(intake: Intake, kind: Kind) -> Handler:
    async def see(event: Any, **_: Any) -> None:
        intake.see(kind, dict(event["object"]), is_gone=event["type"] == "DELETED")

    return see


def _login_handler(connect: Connect, connections: WatchConnections) -> Callable[..., Awaitable[kopf.AiohttpSession]]:
    async def login(**_: Any) -> kopf.AiohttpSession:
        given = connect()
        session = connections.open_session(given)
        return kopf.AiohttpSession(
            server=given.server, aiohttp_session=session, expiration=datetime.now(UTC) + LOGIN_LIFETIME
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


async def watch(
    settings: Settings, intake: Intake, connect: Connect, connections: WatchConnections, *, sees_halts: bool
) -> None:
    """Until SIGTERM or SIGINT, which kopf takes while it runs."""
    await kopf.operator(
        registry=build_registry(intake, connect, connections, sees_halts=sees_halts),
        settings=build_kopf_settings(settings),
        clusterwide=not settings.namespaces,
        namespaces=list(settings.namespaces),
        identity=IDENTITY,
    )
