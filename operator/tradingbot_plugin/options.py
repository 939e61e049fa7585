"""SHELL. The options that many commands share, as kubectl spells them, and what becomes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from tradingbot_api.duration import parse_duration_ns
from tradingbot_api.labels import BOT_NAME_PATTERN
from tradingbot_api.spec import StopAction
from tradingbot_plugin.clock import Clock
from tradingbot_plugin.errors import ApiError, NotFound, Refused
from tradingbot_plugin.kube import SERVICE_ACCOUNT, Access, KubeApi
from tradingbot_plugin.view import Ref, read_bot

F = TypeVar("F", bound=Callable[..., Any])
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass
class Invocation:
    """One run of the program: how it reaches the world, and the options that stand before or after a command."""

    connect: Callable[[Access], KubeApi]
    clock: Clock
    ask: Callable[[str], bool] = lambda question: click.confirm(question, err=True)
    """Whether the person says yes; stdout is for the result alone."""
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """As given; empty when it was not."""
        namespace: str = self.given.get("namespace") or ""
        return check_namespace(namespace) if namespace else ""

    @contextmanager
    def api(self) -> Iterator[KubeApi]:
        given = self.given
        access = Access(
            kubeconfig=given.get("kubeconfig") or "",
            context=given.get("context") or "",
            user=given.get("as_user") or "",
            group=given.get("as_group") or "",
            service_account=Path(given.get("service_account_dir") or SERVICE_ACCOUNT),
        )
        kube = self.connect(access)
        try:
            yield kube
        finally:
            kube.close()


class Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else parse_duration_ns(value) / 1e9
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """The last one counts: kubectl takes these before and after the command."""
    invocation: Any = ctx.find_root().obj
    if value is not None and isinstance(invocation, Invocation):
        invocation.given[str(parameter.name)] = value


def _kept(*names: str, **how: Any) -> Callable[[F], F]:
    return click.option(*names, expose_value=False, callback=_keep, default=None, **how)


def connection_options(command: F) -> F:
    """Who asks which API server, and the namespace."""
    for option in reversed(
        (
            _kept("-n", "--namespace", metavar="NAME", help="Namespace; else the one of the kubeconfig's context."),
            _kept("--context", metavar="NAME", help="Context of the kubeconfig."),
            _kept("--kubeconfig", metavar="FILE", help="The kubeconfig; else $KUBECONFIG or ~/.kube/config."),
            _kept("--as", "as_user", metavar="USER", help="Impersonate this user."),
            _kept("--as-group", metavar="GROUP", help="Impersonate this group, with --as."),
            _kept(
                "--service-account-dir",
                metavar="DIR",
                help="In a pod without a kubeconfig: the folder of the service account.",
            ),
        )
    ):
        command = option(command)
    return command


class Action(click.ParamType[StopAction]):
    """In any case: at three in the morning `flatten` is meant."""

    name = "|".join(StopAction)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> StopAction:
        found = next((action for action in StopAction if str(value).lower() == action.value.lower()), None)
        return found or self.fail(f"{value!r} is none of {', '.join(StopAction)}", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002  click's form
        return [CompletionItem(each.value) for each in StopAction if each.value.lower().startswith(incomplete.lower())]


def action_option(help_text: str) -> Callable[[F], F]:
    return click.option("--action", type=Action(), metavar=Action.name, help=help_text)


timeout_option = click.option(
    "--timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    metavar="DURATION",
    help="How long to wait for the proof, like 90s or 5m.",
)
selector_option = click.option("-l", "--selector", default="", metavar="SELECTOR", help="Bots by their labels.")
all_bots_option = click.option(
    "--all", "all_bots", is_flag=True, help="All bots of the namespace; with -A, of the cluster."
)
all_namespaces_option = click.option("-A", "--all-namespaces", is_flag=True, help="Bots of all namespaces.")
no_halt_option = click.option(
    "--no-halt", is_flag=True, help="Patch the bot alone. A GitOps sync can take that back before it is seen."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print."
)


def complete_bots(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001  click's form
    """Names of bots; nothing when they cannot be had."""
    invocation = ctx.find_root().obj
    if not isinstance(invocation, Invocation):
        return []
    try:
        with invocation.api() as kube:
            bots = kube.list_bots(invocation.namespace or kube.namespace).items
        return sorted(name for bot in bots if (name := read_bot(bot).ref.name).startswith(incomplete))
    except (ApiError, Refused):
        return []


def name_argument(*, many: bool) -> Callable[[F], F]:
    names = {"nargs": -1} if many else {}
    parameter = "names" if many else "name"
    return click.argument(parameter, metavar="[NAME]..." if many else "NAME", shell_complete=complete_bots, **names)  # type: ignore[arg-type]


def say(line: str) -> None:
    """Progress; stdout is for the result alone."""
    click.echo(line, err=True)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


def split_values(values: Sequence[str]) -> list[str]:
    """Repeated, or with commas, or both; each once, as the API wants it."""
    parts = (part.strip() for value in values for part in value.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def check_namespace(name: str) -> str:
    if not _NAMESPACE.fullmatch(name):
        raise Refused(f"{name!r} is not the name of a namespace")
    return name


def check_name(name: str) -> str:
    if not re.fullmatch(BOT_NAME_PATTERN, name):
        raise Refused(f"{name!r} is not the name of a bot; one looks like btc-trend")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which bots a command is about."""

    names: Sequence[str] = ()
    selector: str = ""
    all_bots: bool = False
    all_namespaces: bool = False

    def check(self) -> None:
        ways = [bool(self.names), bool(self.selector), self.all_bots]
        if sum(ways) > 1:
            raise Refused("name bots, or give --selector, or --all: only one of them")
        if self.names and self.all_namespaces:
            raise Refused("a name belongs to one namespace: give --namespace instead of --all-namespaces")

    def find(self, kube: KubeApi, namespace: str) -> list[Ref]:
        """Named ones are not looked for: whether they exist shows when they are asked."""
        self.check()
        here = namespace or kube.namespace
        if self.names:
            return [Ref(here, check_name(name)) for name in dict.fromkeys(self.names)]
        try:
            listed = kube.list_bots(None if self.all_namespaces else here, self.selector).items
        except NotFound as error:
            raise Refused("this cluster does not know TradingBots: are the CRDs of the operator installed?") from error
        return sorted(read_bot(each).ref for each in listed)
