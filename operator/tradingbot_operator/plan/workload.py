"""PURE. Which children to apply or to delete, and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tradingbot_api.conditions import Reason
from tradingbot_api.spec import Exchange
from tradingbot_operator import kinds
from tradingbot_operator.children.deployment import PodPlan, build_deployment
from tradingbot_operator.children.lease import build_lease
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.platform import Platform
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
"""What is there under the derived name of each child, ours or not; None: nothing."""

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
    going = [kind for kind, seen in children.items() if seen is not None and _is_going(kind, seen, view.ref)]
    foreign = [
        kind
        for kind, seen in children.items()
        if seen is not None and kind not in going and find_owner(kind, seen, view.ref) is Ownership.FOREIGN
    ]
    intended, problem = _intend(view, pod, children, platform)
    if foreign:
        problem = _conflict(view.ref, foreign)
    applies, deletes = [], []
    for kind in kinds.CHILDREN:
        if kind not in intended or kind in foreign or kind in going:
            continue
        manifest, seen = intended[kind], children.get(kind)
        is_stop = view.suspended and seen is not None
        if kind == kinds.DEPLOYMENT and (foreign or going) and not is_stop:
            continue  # it would run under somebody else's account, or on somebody else's volume
        if seen is None:
            applies.append(Apply(kind, manifest, is_new=True))
        elif _must_be_remade(kind, manifest, seen):
            deletes.append(Delete(kind, view.ref.namespace, view.ref.child_name, uid_of(seen)))
        elif not is_up_to_date(manifest, seen):
            # With the uid of what we saw: another object of that name is refused by the API server, not overwritten.
            metadata = manifest["metadata"] | {"uid": uid_of(seen)}
            applies.append(Apply(kind, manifest | {"metadata": metadata}, is_new=False))
    in_order = tuple(kind for kind in kinds.CHILDREN if kind in going)
    return Workload(tuple(applies), tuple(deletes), problem, going=in_order)


def _intend(
    view: BotView, pod: PodPlan | None, children: Children, platform: Platform
) -> tuple[dict[Kind, Manifest], Problem | None]:
    """The children as they should be. What cannot be known from a bad spec is left as it is."""
    wanted = {kind: build(view.ref) for kind, build in _INDEPENDENT.items()}
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
    if problem is not None and children.get(kinds.DEPLOYMENT) is None:
        wanted = {}  # nothing runs yet that would need them
    return {kind: stamp(kind, manifest) for kind, manifest in wanted.items()}, problem


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


def _is_going(kind: Kind, seen: Manifest, bot: BotRef) -> bool:
    return is_terminating(seen) or find_owner(kind, seen, bot) is Ownership.LEFTOVER


def _must_be_remade(kind: Kind, manifest: Manifest, seen: Manifest) -> bool:
    """The API server lets nobody change what a binding grants."""
    return kind == kinds.ROLE_BINDING and dict(mapping(seen, "roleRef")) != manifest["roleRef"]
