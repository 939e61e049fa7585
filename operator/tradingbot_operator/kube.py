"""SHELL. The API server: the protocol that the operator needs, and its implementation with the Kubernetes client.

The only import of that client. Whole objects as JSON, no typed models: what we do not know stays as it is.

What the operator may do (the chart's role lists the same; each verb with its use):

| group                     | resources                                        | verbs                    | why
|---------------------------|--------------------------------------------------|--------------------------|----
| tradingbot.dev            | tradingbots                                      | grant                    | no request: by this verb the admission policies know who writes permits, and TradingReviews
| tradingbot.dev            | tradingbots                                      | get list watch patch     | reconcile; `get` after a conflict; these three are granted on to each trader for its own bot; `patch` for our finalizer alone (an admission policy refuses the rest)
| tradingbot.dev            | tradingbots/status                               | get patch                | write our part; `get` is only granted on
| tradingbot.dev            | tradingbots/finalizers                           | update                   | owner references that block deletion, where the cluster checks them (OpenShift)
| tradingbot.dev            | tradinghalts                                     | list watch               | latch a bot that no trader runs for; by this role in cluster-wide installations alone, else by the chart's role `...:halts`, which every service account has
| tradingbot.dev            | tradingreviews                                   | list create              | the record of a drill; `list` at the start: which are recorded, and the age of the last one
| ""                        | serviceaccounts, services, persistentvolumeclaims| get list watch create patch | children; an apply of what is not there needs `create`
| apps                      | deployments                                      | get list watch create patch | child
| rbac.authorization.k8s.io | roles                                            | get list watch create patch | child
| rbac.authorization.k8s.io | rolebindings                                     | get list watch create patch delete | child; deleted when somebody changed its role, which nobody can change back
| networking.k8s.io         | networkpolicies                                  | get list watch create patch delete | child; deleted when the platform engineer turns it off
| monitoring.coreos.com     | podmonitors                                      | get list create patch delete | child, where the cluster has the kind; only listed (see kinds.WATCHED); deleted when it is turned off
| external-secrets.io       | externalsecrets                                  | get list create patch delete | child, where the cluster has the kind; only listed; deleted when the bot asks for it no more
| coordination.k8s.io       | leases                                           | get list create patch update | child; `update` is only granted on
| coordination.k8s.io       | leases                                           | get create update        | our own by name, in the namespace of the operator: who of several leads
| events.k8s.io             | events                                           | create list              | transitions; `list` of one ExternalSecret that is not ready: only its events name the key
| admissionregistration.k8s.io | validatingadmissionpolicies, validatingadmissionpolicybindings | get    | our own by name, in the cluster: are they in force, before a live permit
| apiextensions.k8s.io      | customresourcedefinitions                        | list watch               | kopf, cluster-wide installations alone

No verb on Secrets, Pods or Namespaces.
"""  # noqa: E501  a table

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from kubernetes.aio import client, config

from tradingbot_api.labels import MANAGED_BY, OPERATOR_MANAGER
from tradingbot_operator import kinds
from tradingbot_operator.errors import ApiError, NotConfigured, Refused, Transient, classify
from tradingbot_operator.kinds import Key, Kind
from tradingbot_operator.manifest import Manifest, mapping, number, sequence, text
from tradingbot_operator.plan.guard import PROBE_MANAGER

CHILD_SELECTOR = f"{MANAGED_BY}={OPERATOR_MANAGER}"
"""What a list or a watch of a child's kind asks for."""
_PAGE = 500
"""Objects a page: what the API server's own controllers use."""


@dataclass(frozen=True, slots=True)
class Listing:
    items: list[Manifest]
    version: int
    """Resource version of the whole list."""


class KubeApi(Protocol):
    """What the operator asks of the API server. Each call raises an ApiError when it does not succeed."""

    async def list(self, kind: Kind, namespace: str | None) -> Listing | None:
        """All bots, all halts (of the cluster), or all children that carry our label, of one namespace or of all.

        None: the API server does not have this kind, which is one of the optional.
        """

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """None when it is not there."""

    async def apply(self, kind: Kind, manifest: Manifest, *, force: bool) -> Manifest:
        """Server-side apply with our field manager."""

    async def apply_finalizers(self, key: Key, finalizers: Sequence[str], *, uid: str) -> Manifest:
        """Our whole part of a bot's metadata: these finalizers, and no other field of it. A bot of that uid alone."""

    async def apply_status(self, key: Key, status: Manifest, *, resource_version: str) -> Manifest:
        """Our whole part of a bot's status, if the bot is still as it was seen."""

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Conflict when it is there. Refused, if the API server does not know every field of it."""

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """That very object; no error when it is gone."""

    async def create_event(self, event: Manifest) -> None:
        """No error when it was told before."""

    async def dry_run(self, kind: Kind, manifest: Manifest, *, subresource: str = "") -> None:
        """A server-side apply that changes nothing, by a field manager of its own: no error when it would be taken."""

    async def find_warning(self, namespace: str, kind: Kind, name: str) -> str:
        """Note of the newest Warning event about an object; empty when there is none."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and who we are; read anew whenever somebody connects, because tokens are renewed."""

    server: str
    ca_path: str | None
    token: str | None = None
    certificate_path: str | None = None
    key_path: str | None = None


Connect = Callable[[], Connection]


def service_account_connection(folder: Path, environ: Mapping[str, str] | None = None) -> Connect:
    """In a cluster: address from the environment that every pod has, token and CA from the files in `folder`."""
    given = os.environ if environ is None else environ
    host, port = given.get("KUBERNETES_SERVICE_HOST", ""), given.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise NotConfigured(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: outside of a cluster, pass --kubeconfig"
        )
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def connect() -> Connection:
        try:
            token = (folder / "token").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotConfigured(f"the service account's token cannot be read: {error}") from error
        return Connection(server, str(folder / "ca.crt"), token=token)

    connect()
    return connect


async def kubeconfig_connection(path: Path) -> Connect:
    """For development: server and identity of the current context."""
    configuration = client.Configuration()
    try:
        await config.load_kube_config(config_file=str(path), client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise NotConfigured(f"{path}: {error}") from error

    def connect() -> Connection:
        token = configuration.api_key.get("BearerToken") or ""
        return Connection(
            configuration.host,
            configuration.ssl_ca_cert,
            token=token.split(" ")[-1] or None,
            certificate_path=configuration.cert_file,
            key_path=configuration.key_file,
        )

    return connect


class AioKubeApi:
    """`KubeApi` with `kubernetes.aio`."""

    def __init__(
        self,
        connect: Connect,
        *,
        request_timeout_seconds: float,
        user_agent: str,
        count: Callable[[str, str, int, float], None],
    ) -> None:
        """`count` is told of each request: verb, resource, status code (0: no answer), seconds that it took."""
        configuration = client.Configuration()
        configuration.retries = None  # the queue repeats, with back-off, and sees what it repeats
        first = connect()
        configuration.host = first.server
        configuration.ssl_ca_cert = first.ca_path
        configuration.cert_file = first.certificate_path
        configuration.key_file = first.key_path

        def refresh(target: Any) -> None:
            with contextlib.suppress(NotConfigured):  # the token that we have may still be good
                if (token := connect().token) is not None:
                    target.api_key["BearerToken"] = f"Bearer {token}"

        configuration.refresh_api_key_hook = refresh
        refresh(configuration)
        self._client = client.ApiClient(configuration)
        self._client.user_agent = user_agent
        self._timeout = aiohttp.ClientTimeout(total=request_timeout_seconds)
        self._count = count

    async def close(self) -> None:
        await self._client.close()

    async def list(self, kind: Kind, namespace: str | None) -> Listing | None:
        query = {"limit": str(_PAGE)} | ({} if kind in (kinds.BOT, kinds.HALT) else {"labelSelector": CHILD_SELECTOR})
        items: list[Manifest] = []
        while True:
            try:
                page = await self._request("GET", "list", kind, namespace, query=query)
            except Refused as error:
                if error.status == 404 and kind in kinds.OPTIONAL:
                    return None
                raise
            # the items of a list do not say what they are
            head = {"apiVersion": kind.api_version, "kind": kind.name}
            items += [head | item for item in sequence(page, "items")]
            if not (further := text(page, "metadata", "continue")):
                version = text(page, "metadata", "resourceVersion")
                return Listing(items, int(version) if version.isdecimal() else 0)
            query["continue"] = further

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        try:
            return await self._request("GET", "get", kind, namespace, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def apply(self, kind: Kind, manifest: Manifest, *, force: bool) -> Manifest:
        metadata = manifest["metadata"]
        return await self._apply(kind, metadata["namespace"], metadata["name"], "", manifest, force=force)

    async def apply_finalizers(self, key: Key, finalizers: Sequence[str], *, uid: str) -> Manifest:
        body = {
            "apiVersion": kinds.BOT.api_version,
            "kind": kinds.BOT.name,
            "metadata": {"namespace": key.namespace, "name": key.name, "uid": uid, "finalizers": [*finalizers]},
        }
        return await self._apply(kinds.BOT, key.namespace, key.name, "", body, force=True)

    async def apply_status(self, key: Key, status: Manifest, *, resource_version: str) -> Manifest:
        body = {
            "apiVersion": kinds.BOT.api_version,
            "kind": kinds.BOT.name,
            "metadata": {"namespace": key.namespace, "name": key.name, "resourceVersion": resource_version},
            "status": status,
        }
        return await self._apply(kinds.BOT, key.namespace, key.name, "status", body, force=True)

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        # Strict: an older CRD would drop what tells a drill's GO from a stage's.
        query = {"fieldManager": OPERATOR_MANAGER, "fieldValidation": "Strict"}
        return await self._request(
            "POST", "create", kind, manifest["metadata"]["namespace"], query=query, body=manifest
        )

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """If it is still of the version that `manifest` carries."""
        metadata = manifest["metadata"]
        return await self._request("PUT", "update", kind, metadata["namespace"], metadata["name"], body=manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._request("DELETE", "delete", kind, namespace, name, body=body)
        except ApiError as error:
            if error.status != 404:
                raise

    async def create_event(self, event: Manifest) -> None:
        try:
            await self._request("POST", "create", kinds.EVENT, event["metadata"]["namespace"], body=event)
        except ApiError as error:
            if error.status != 409:
                raise

    async def find_warning(self, namespace: str, kind: Kind, name: str) -> str:
        fields = f"type=Warning,regarding.kind={kind.name},regarding.name={name}"
        page = await self._request("GET", "list", kinds.EVENT, namespace, query={"fieldSelector": fields})
        found = sorted(sequence(page, "items"), key=_last_seen)
        return text(found[-1], "note") if found else ""

    async def dry_run(self, kind: Kind, manifest: Manifest, *, subresource: str = "") -> None:
        metadata = manifest["metadata"]
        query = {"dryRun": "All", "fieldManager": PROBE_MANAGER, "force": "true", "fieldValidation": "Strict"}
        await self._request(
            "PATCH", "patch", kind, metadata["namespace"], metadata["name"], subresource=subresource, query=query,
            body=manifest,
        )  # fmt: skip

    async def _apply(
        self, kind: Kind, namespace: str, name: str, subresource: str, body: Manifest, *, force: bool
    ) -> Manifest:
        query = {"fieldManager": OPERATOR_MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        return await self._request(
            "PATCH", "patch", kind, namespace, name, subresource=subresource, query=query, body=body
        )

    async def _request(
        self,
        method: str,
        verb: str,
        kind: Kind,
        namespace: str | None,
        name: str = "",
        *,
        subresource: str = "",
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
    ) -> Manifest:
        root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
        parts = ["namespaces", namespace] if namespace else []
        path = "/".join([root, *parts, kind.plural, *([name] if name else []), *([subresource] if subresource else [])])
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        what = f"{verb} {resource} {f'{namespace}/' if namespace else ''}{name}".rstrip()
        content_type = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        status, started_at = 0, time.monotonic()
        try:
            request = await self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(*request, _request_timeout=self._timeout)
            raw = await response.read()
            status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise classify(
                what, f"no answer from the API server ({type(error).__name__}: {error})", status=0
            ) from error
        finally:
            self._count(verb, resource, status, time.monotonic() - started_at)
        answer = _parse(raw)
        if 200 <= status < 300:
            return answer
        details = mapping(answer, "details")
        if any(text(cause, "reason") == "NamespaceTerminating" for cause in sequence(details, "causes")):
            # Forbidden, but nothing that a person should mend: the bot goes with its namespace in a moment.
            raise Transient(what, "its namespace is being deleted", status=status)
        raise classify(
            what,
            text(answer, "message") or f"status {status}",
            status=status,
            retry_after_seconds=float(number(details, "retryAfterSeconds")),
        )


def _last_seen(event: object) -> str:
    """RFC 3339 in UTC sorts as text."""
    times = (text(event, "deprecatedLastTimestamp"), text(event, "eventTime"))
    return max(*times, text(mapping(event, "series"), "lastObservedTime"))


def _parse(raw: bytes) -> Manifest:
    try:
        answer = json.loads(raw)
    except ValueError:  # a proxy's page
        return {}
    return answer if isinstance(answer, dict) else {}
