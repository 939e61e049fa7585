"""SHELL. The API server: what the plugin asks of it, and how it is reached. The only import of the Kubernetes client.

What a person needs to be allowed to (the chart's ClusterRole tradingbot-on-duty has all of it):

| resource     | verbs                  | for
|--------------|------------------------|----
| tradingbots  | get list watch         | status, proof; without them `kill NAME` stops, and proves nothing
| tradingbots  | patch                  | kill, rearm, drill
| tradingbots  | rearm                  | rearm, drill: no request, the admission policies ask for it
| tradinghalts | get list create delete | halt, resume, kill; without them a kill is the patch alone
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import urllib3
from kubernetes import client, config, watch

from tradingbot_plugin.errors import ApiError, Refused, Unreachable, classify
from tradingbot_plugin.view import Raw, Ref

GROUP, VERSION, BOTS, HALTS = "tradingbot.dev", "v1alpha1", "tradingbots", "tradinghalts"
MERGE_PATCH, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
MAX_PARALLEL = 32
"""Requests at once; an API server takes some hundreds from everybody."""
_TIMEOUT_SECONDS = (3.0, 10.0)
"""To connect, to answer. A kill tries again until its own deadline."""
_PAGE = 500
"""Objects a page: what the API server's own controllers use."""
_TRIES = 3
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the API server is, and who asks: the options that kubectl has as well. Empty: as the kubeconfig says."""

    kubeconfig: str = ""
    context: str = ""
    user: str = ""
    """Somebody to impersonate."""
    group: str = ""
    service_account: Path = SERVICE_ACCOUNT
    """In a pod, where there is no kubeconfig: the folder with `token`, `ca.crt` and `namespace`."""


@dataclass(frozen=True, slots=True)
class Listing:
    items: list[Raw]
    version: str


class KubeApi(Protocol):
    """Each call raises an ApiError when it does not succeed. May be used by several threads."""

    @property
    def namespace(self) -> str:
        """The one that is meant when none is named."""

    def get_bot(self, ref: Ref) -> Raw: ...

    def list_bots(self, namespace: str | None, selector: str = "") -> Listing:
        """Of all namespaces with None."""

    def watch_bots(self, namespace: str | None, selector: str, version: str, seconds: int) -> Iterator[Raw]:
        """Events from there on, for so long; a watch that cannot go on just ends."""

    def merge_bot(self, ref: Ref, patch: Raw) -> Raw: ...

    def patch_bot(self, ref: Ref, operations: Sequence[Raw]) -> Raw:
        """A JSON patch; Invalid when one of its tests fails."""

    def create_halt(self, halt: Raw) -> Raw: ...

    def get_halt(self, name: str) -> Raw: ...

    def list_halts(self) -> list[Raw]: ...

    def delete_halt(self, name: str, uid: str) -> None:
        """That very one."""

    def close(self) -> None: ...


class Kube:
    """KubeApi with the Kubernetes client."""

    def __init__(self, configuration: client.Configuration, namespace: str, access: Access) -> None:
        configuration.connection_pool_maxsize = MAX_PARALLEL
        configuration.retries = False  # here: a request that may change something twice is not tried again unseen
        self._namespace = namespace
        self._client = client.ApiClient(configuration)
        self._client.user_agent = "kubectl-tradingbot"
        if access.user:
            self._client.set_default_header("Impersonate-User", access.user)
        if access.group:  # one: the client takes one value a header
            self._client.set_default_header("Impersonate-Group", access.group)
        self._api = client.CustomObjectsApi(self._client)

    @property
    def namespace(self) -> str:
        return self._namespace

    def close(self) -> None:
        self._client.rest_client.pool_manager.clear()
        self._client.close()

    def get_bot(self, ref: Ref) -> Raw:
        return self._again(
            f"get bot {ref}",
            lambda: self._api.get_namespaced_custom_object(
                GROUP, VERSION, ref.namespace, BOTS, ref.name, _request_timeout=_TIMEOUT_SECONDS
            ),
        )

    def list_bots(self, namespace: str | None, selector: str = "") -> Listing:
        what = f"list the bots of {namespace}" if namespace else "list the bots of all namespaces"
        return self._list(what, BOTS, namespace, selector)

    def watch_bots(self, namespace: str | None, selector: str, version: str, seconds: int) -> Iterator[Raw]:
        call: Any = self._api.list_cluster_custom_object
        where: list[str] = []
        if namespace is not None:
            call, where = self._api.list_namespaced_custom_object, [namespace]
        arguments = [GROUP, VERSION, *where, BOTS]
        stream = watch.Watch()
        try:
            yield from stream.stream(
                call, *arguments, label_selector=selector, resource_version=version, timeout_seconds=seconds,
                _request_timeout=(_TIMEOUT_SECONDS[0], seconds + _TIMEOUT_SECONDS[1]),
            )  # fmt: skip
        except (client.ApiException, urllib3.exceptions.HTTPError):
            return  # too old a version, or a broken connection: whoever watches lists again
        finally:
            stream.stop()

    def merge_bot(self, ref: Ref, patch: Raw) -> Raw:
        return self._again(f"patch bot {ref}", lambda: self._patch(ref, patch, MERGE_PATCH))

    def patch_bot(self, ref: Ref, operations: Sequence[Raw]) -> Raw:
        with _told(f"patch bot {ref}"):
            return self._patch(ref, list(operations), JSON_PATCH)

    def create_halt(self, halt: Raw) -> Raw:
        metadata = halt["metadata"]
        with _told(f"create TradingHalt {metadata.get('name') or metadata['generateName']}"):
            made: Raw = self._api.create_cluster_custom_object(
                GROUP, VERSION, HALTS, halt, field_manager="kubectl-tradingbot", _request_timeout=_TIMEOUT_SECONDS
            )
            return made

    def get_halt(self, name: str) -> Raw:
        return self._again(
            f"get TradingHalt {name}",
            lambda: self._api.get_cluster_custom_object(GROUP, VERSION, HALTS, name, _request_timeout=_TIMEOUT_SECONDS),
        )

    def list_halts(self) -> list[Raw]:
        return self._list("list the TradingHalts", HALTS, None, "").items

    def delete_halt(self, name: str, uid: str) -> None:
        with _told(f"delete TradingHalt {name}"):
            self._api.delete_cluster_custom_object(
                GROUP, VERSION, HALTS, name,
                body={"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}},
                _request_timeout=_TIMEOUT_SECONDS,
            )  # fmt: skip

    def _patch(self, ref: Ref, body: Any, content_type: str) -> Raw:
        patched: Raw = self._api.patch_namespaced_custom_object(
            GROUP, VERSION, ref.namespace, BOTS, ref.name, body,
            field_manager="kubectl-tradingbot", _content_type=content_type, _request_timeout=_TIMEOUT_SECONDS,
        )  # fmt: skip
        return patched

    def _list(self, what: str, plural: str, namespace: str | None, selector: str) -> Listing:
        items: list[Raw] = []
        more = ""
        while True:
            arguments = {"label_selector": selector, "limit": _PAGE, "_continue": more}
            page = self._again(what, partial(self._page, plural, namespace, arguments))
            items += [each for each in page.get("items") or [] if isinstance(each, dict)]
            metadata = page.get("metadata") or {}
            more = metadata.get("continue") or ""
            if not more:
                return Listing(items, metadata.get("resourceVersion") or "")

    def _page(self, plural: str, namespace: str | None, arguments: dict[str, Any]) -> Raw:
        page: Raw
        if namespace is None:
            page = self._api.list_cluster_custom_object(
                GROUP, VERSION, plural, _request_timeout=_TIMEOUT_SECONDS, **arguments
            )
        else:
            page = self._api.list_namespaced_custom_object(
                GROUP, VERSION, namespace, plural, _request_timeout=_TIMEOUT_SECONDS, **arguments
            )
        return page

    def _again(self, what: str, call: Callable[[], T]) -> T:
        """For what is the same when it is done twice: the server may just have closed the connection."""
        for left in reversed(range(_TRIES)):
            try:
                with _told(what):
                    return call()
            except Unreachable:
                if not left:
                    raise
        raise AssertionError("unreachable")


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except client.ApiException as error:
        raise classify(what, _message(error), status=int(error.status or 0)) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise classify(what, f"the API server does not answer ({_first_line(error)})", status=0) from error


def _message(error: client.ApiException) -> str:
    try:
        message = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        message = error.reason
    return str(message or f"status {error.status}")


def _first_line(error: object) -> str:
    return str(error).partition("\n")[0][:300]


def connect(access: Access) -> Kube:
    """By the kubeconfig as kubectl would find it; in a pod, without one, as the pod's service account."""
    configuration = client.Configuration()
    given = access.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    is_in_pod = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    if is_in_pod and not access.kubeconfig and not any(Path(p).expanduser().is_file() for p in given.split(os.pathsep)):
        return Kube(configuration, _load_service_account(configuration, access.service_account), access)
    try:
        config.load_kube_config(given, context=access.context or None, client_configuration=configuration)
        contexts, active = config.list_kube_config_contexts(given)
    except (config.ConfigException, OSError, ValueError) as error:
        raise Refused(
            f"no usable kubeconfig in {given}: {_first_line(error).rstrip('.')}. Give --kubeconfig and --context,"
            " or set KUBECONFIG"
        ) from error
    chosen = next((each for each in contexts if each["name"] == access.context), active)
    return Kube(configuration, chosen["context"].get("namespace") or "default", access)


def _load_service_account(configuration: client.Configuration, folder: Path) -> str:
    """Its namespace."""
    try:
        config.incluster_config.InClusterConfigLoader(
            token_filename=str(folder / "token"), cert_filename=str(folder / "ca.crt")
        ).load_and_set(configuration)
        return (folder / "namespace").read_text(encoding="ascii").strip()
    except (config.ConfigException, OSError, ValueError) as error:
        raise Refused(f"the pod's service account cannot be read: {_first_line(error)}") from error


__all__ = ["Access", "ApiError", "Kube", "KubeApi", "Listing", "connect"]
