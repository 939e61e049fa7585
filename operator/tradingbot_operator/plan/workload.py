"""PURE. Which children to apply or to delete, and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tradingbot_api.conditions import Reason
from tradingbot_api.spec import Exchange, ExternalSecretRef
from tradingbot_operator import kinds
from tradingbot_operator.children.deployment import PodPlan, build_deployment, read_pod_plan
from tradingbot_operator.children.external_secret import build_external_secret
from tradingbot_operator.children.lease import build_lease
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.network_policy import build_network_policy
from tradingbot_operator.children.platform import Platform
from tradingbot_operator.children.pod_monitor import build_pod_monitor
from tradingbot_operator.children.role import build_role
from tradingbot_operator.children.role_binding import build_role_binding
from tradingbot_operator.children.service import build_service
from tradingbot_operator.children.service_account import build_service_account
from tradingbot_operator.children.volume import build_volume
from tradingbot_operator.kinds import Kind
from tradingbot_operator.manifest import Manifest, is_terminating, mapping, uid_of
from tradingbot_operator.plan.drift import Ownership, find_owner, is_up_to_date, stamp
from tradingbot_operator.plan.view import BotView

Children = Mapping[Kind, Manifest | None]
"""What is there under the derived name of each child, ours or not; None: nothing. A kind that the API server does not
have is not in it."""

_INDEPENDENT: dict[Kind, Callable[[BotRef], Manifest]] = {
    kinds.SERVICE_ACCOUNT: build_service_account,
    kinds.ROLE: build_role,
    kinds.ROLE_BINDING: build_role_binding,
    kinds.LEASE: build_lease,
    kinds.SERVICE: build_service,
}
"""Children that depend on nothing in the spec."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the spec cannot be carried out until a person changes something."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Apply:
    kind: Kind
    manifest: Manifest
    is_new: bool
    """Nothing of that name was there. Then it is applied without force: whoever was faster is not overwritten."""


@dataclass(frozen=True, slots=True)
class Delete:
    kind: Kind
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Workload:
    applies: tuple[Apply, ...] = ()
    deletes: tuple[Delete, ...] = ()
    problem: Problem | None = None
    going: tuple[Kind, ...] = ()
    """Being deleted, or left by an earlier bot of this name: nothing is done to them until they are gone."""


def plan_workload(view: BotView, pod: PodPlan | None, children: Children, platform: Platform) -> Workload:
    """`pod`: what the trader's pod is made for; None when that cannot be known."""
    if view.is_deleting:
        return Workload()  # children go with their owner, the volume stays
    unwanted = _find_unwanted(view, pod, children, platform)
    there = {kind: seen for kind, seen in children.items() if seen is not None and kind not in unwanted}
    going = [kind for kind, seen in there.items() if _is_going(kind, seen, view.ref)]
    foreign = [
        kind
        for kind, seen in there.items()
        if kind not in going and find_owner(kind, seen, view.ref) is Ownership.FOREIGN
    ]
    intended, problem = _intend(view, pod, children, platform)
    if foreign:
        problem = _conflict(view.ref, foreign)
    is_held = any(kind in kinds.NEEDED_BY_PODS for kind in (*foreign, *going))
    applies, deletes = [], []
    for kind in kinds.CHILDREN:
        seen = children.get(kind)
        if kind in unwanted and seen is not None and _is_ours_and_stays(kind, seen, view.ref):
            deletes.append(_delete(kind, seen, view.ref))
        if kind not in intended or kind not in children or kind in unwanted or kind in foreign or kind in going:
            continue
        manifest = intended[kind]
        is_stop = view.suspended and seen is not None
        if kind == kinds.DEPLOYMENT and is_held and not is_stop:
            continue  # it would run under somebody else's account, on somebody else's volume, or unprotected
        if seen is None:
            applies.append(Apply(kind, manifest, is_new=True))
        elif _must_be_remade(kind, manifest, seen):
            deletes.append(_delete(kind, seen, view.ref))
        elif not is_up_to_date(manifest, seen):
            # With the uid of what we saw: another object of that name is refused by the API server, not overwritten.
            metadata = manifest["metadata"] | {"uid": uid_of(seen)}
            applies.append(Apply(kind, manifest | {"metadata": metadata}, is_new=False))
    in_order = tuple(kind for kind in kinds.CHILDREN if kind in going)
    return Workload(tuple(applies), tuple(deletes), problem, going=in_order)


def _find_unwanted(view: BotView, pod: PodPlan | None, children: Children, platform: Platform) -> frozenset[Kind]:
    """Children that this bot is not to have: what is there of them and ours goes, what is not ours disturbs nobody."""
    found = set()
    if not platform.network.is_enabled:
        found.add(kinds.NETWORK_POLICY)
    if not platform.monitor.is_enabled:
        found.add(kinds.POD_MONITOR)
    if view.spec is not None and _find_asked_secret(view) is None:
        # Its Secret goes with it, and must not be taken from a live pod: from the one that runs, or from the next.
        pods = (pod, read_pod_plan(children.get(kinds.DEPLOYMENT) or {}))
        if not any(each is not None and each.keys_secret == view.ref.child_name for each in pods):
            found.add(kinds.EXTERNAL_SECRET)
    return frozenset(found)


def _find_asked_secret(view: BotView) -> ExternalSecretRef | None:
    credentials = view.spec.credentials if view.spec is not None else None
    return credentials.external_secret if credentials is not None else None


def _intend(
    view: BotView, pod: PodPlan | None, children: Children, platform: Platform
) -> tuple[dict[Kind, Manifest], Problem | None]:
    """The children as they should be. What cannot be known from a bad spec is left as it is."""
    wanted = {kind: build(view.ref) for kind, build in _INDEPENDENT.items()}
    wanted[kinds.POD_MONITOR] = build_pod_monitor(view.ref, platform)
    venues = _find_venues(pod, children.get(kinds.DEPLOYMENT))
    if venues and all(platform.can_reach(venue) for venue in venues):
        wanted[kinds.NETWORK_POLICY] = build_network_policy(view.ref, platform, venues=venues)
    if (asked := _find_asked_secret(view)) is not None:
        wanted[kinds.EXTERNAL_SECRET] = build_external_secret(view.ref, asked)
    problem = None
    if view.spec is None or pod is None:
        problem = Problem(
            Reason.INVALID_SPEC, f"{view.spec_error}. Correct the spec; until then what is running stays as it is."
        )
    else:
        problem = _find_missing_addresses(view.spec.exchange, pod.exchange, platform=platform)
        wanted[kinds.VOLUME] = build_volume(
            view.ref, platform, size=view.spec.storage.size, observed=children.get(kinds.VOLUME)
        )
        if problem is None:
            wanted[kinds.DEPLOYMENT] = build_deployment(
                view.ref, platform, pod=pod, addresses=platform.find_addresses(pod.exchange), suspended=view.suspended
            )
    if problem is not None and view.suspended and pod is not None:
        # No pod at all needs no valid spec.
        wanted[kinds.DEPLOYMENT] = build_deployment(
            view.ref, platform, pod=pod, addresses=platform.find_addresses(pod.exchange), suspended=True
        )
    if problem is not None and children.get(kinds.DEPLOYMENT) is None:
        wanted = {}  # nothing runs yet that would need them
    return {kind: stamp(kind, manifest) for kind, manifest in wanted.items()}, problem


def _find_venues(pod: PodPlan | None, deployment: Manifest | None) -> tuple[Exchange, ...]:
    """Of the pod that is to run, and of a live one that still has orders to close. None: not known."""
    running = read_pod_plan(deployment or {})
    pods = (pod, running if running is not None and running.is_live else None)
    return tuple(dict.fromkeys(each.exchange for each in pods if each is not None))


def _find_missing_addresses(*exchanges: Exchange, platform: Platform) -> Problem | None:
    for exchange in exchanges:
        if not platform.can_reach(exchange):
            return Problem(
                Reason.UNSUPPORTED_EXCHANGE,
                f"no address of {exchange.id.value} {exchange.network.value} is known: ask your platform engineer to "
                "set it in the operator's exchange addresses, or use another exchange.network.",
            )
    return None


def _conflict(bot: BotRef, foreign: list[Kind]) -> Problem:
    objects = ", ".join(f"{kind.name} {bot.child_name}" for kind in sorted(foreign, key=kinds.CHILDREN.index))
    return Problem(
        Reason.OWNERSHIP_CONFLICT,
        f"{objects} in namespace {bot.namespace} exists and does not belong to this bot; it was not touched. "
        "Delete or rename it, or give the bot another name.",
    )


def _delete(kind: Kind, seen: Manifest, bot: BotRef) -> Delete:
    return Delete(kind, bot.namespace, bot.child_name, uid_of(seen))


def _is_ours_and_stays(kind: Kind, seen: Manifest, bot: BotRef) -> bool:
    return not is_terminating(seen) and find_owner(kind, seen, bot) is Ownership.OURS


def _is_going(kind: Kind, seen: Manifest, bot: BotRef) -> bool:
    return is_terminating(seen) or find_owner(kind, seen, bot) is Ownership.LEFTOVER


def _must_be_remade(kind: Kind, manifest: Manifest, seen: Manifest) -> bool:
    """The API server lets nobody change what a binding grants."""
    return kind == kinds.ROLE_BINDING and dict(mapping(seen, "roleRef")) != manifest["roleRef"]
