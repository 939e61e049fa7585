"""The client against an HTTP server of our own: what it sends, and what it makes of the answers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tradingbot_operator import kinds, kube
from tradingbot_operator.errors import Conflict, NotConfigured, Refused, Transient
from tradingbot_operator.kinds import Key
from tradingbot_operator.kube import AioKubeApi, Connection, kubeconfig_connection, service_account_connection


class Server:
    """Records requests and answers with what was prepared."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answers: list[tuple[int, Any]] = []
        self.token = "first"
        self.counted: list[tuple[str, str, int]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.requests.append(
            {
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "type": request.headers.get("Content-Type", ""),
                "authorization": request.headers.get("Authorization"),
                "agent": request.headers.get("User-Agent"),
                "body": json.loads(body) if body else None,
            }
        )
        status, answer = self.answers.pop(0) if self.answers else (200, {})
        if isinstance(answer, str):
            return web.Response(status=status, text=answer)
        return web.json_response(answer, status=status)

    @property
    def last(self) -> dict[str, Any]:
        return self.requests[-1]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def api(server: Server) -> AsyncIterator[AioKubeApi]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]

    def count(verb: str, resource: str, code: int, seconds: float) -> None:
        assert seconds >= 0.0
        server.counted.append((verb, resource, code))

    client = AioKubeApi(
        lambda: Connection(f"http://127.0.0.1:{port}", None, token=server.token),
        request_timeout_seconds=5,
        user_agent="tradingbot-operator/test",
        count=count,
    )
    yield client
    await client.close()
    await runner.cleanup()


async def test_list_of_children_asks_for_our_label_page_by_page(server: Server, api: AioKubeApi) -> None:
    server.answers = [
        (200, {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [{"metadata": {"name": "a"}}]}),
        (200, {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]}),
    ]
    listing = await api.list(kinds.DEPLOYMENT, None)
    assert listing is not None
    assert [item["metadata"]["name"] for item in listing.items] == ["a", "b"]
    assert {(item["apiVersion"], item["kind"]) for item in listing.items} == {("apps/v1", "Deployment")}
    assert listing.version == 7
    first, second = server.requests
    assert first["path"] == "/apis/apps/v1/deployments"
    assert first["query"] == {"limit": "500", "labelSelector": "app.kubernetes.io/managed-by=tradingbot-operator"}
    assert second["query"]["continue"] == "more"


async def test_list_of_bots_of_a_namespace_asks_for_all(server: Server, api: AioKubeApi) -> None:
    await api.list(kinds.BOT, "desk-a")
    assert server.last["path"] == "/apis/tradingbot.dev/v1alpha1/namespaces/desk-a/tradingbots"
    assert "labelSelector" not in server.last["query"]


@pytest.mark.parametrize("kind", kinds.OPTIONAL, ids=lambda kind: kind.name)
async def test_optional_kind_that_is_not_there_is_no_error(server: Server, api: AioKubeApi, kind: kinds.Kind) -> None:
    server.answers = [(404, "404 page not found")]
    assert await api.list(kind, None) is None
    server.answers = [(403, {"message": "forbidden"})]
    with pytest.raises(Refused):
        await api.list(kind, "desk-a")


async def test_kind_that_every_api_server_has_must_be_there(server: Server, api: AioKubeApi) -> None:
    server.answers = [(404, {"message": "the server could not find the requested resource"})]
    with pytest.raises(Refused):
        await api.list(kinds.BOT, None)


async def test_core_objects_have_the_old_path(server: Server, api: AioKubeApi) -> None:
    await api.get(kinds.SERVICE, "desk-a", "btc-trader")
    assert server.last["path"] == "/api/v1/namespaces/desk-a/services/btc-trader"


async def test_what_is_not_there_is_none(server: Server, api: AioKubeApi) -> None:
    server.answers = [(404, {"message": "not found"})]
    assert await api.get(kinds.SERVICE, "desk-a", "btc-trader") is None


async def test_apply_is_server_side_and_strict(server: Server, api: AioKubeApi) -> None:
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "desk-a", "name": "btc-trader"}}
    await api.apply(kinds.SERVICE, manifest, force=False)
    assert (server.last["method"], server.last["type"]) == ("PATCH", "application/apply-patch+yaml")
    assert server.last["query"] == {
        "fieldManager": "tradingbot-operator",
        "force": "false",
        "fieldValidation": "Strict",
    }
    assert server.last["body"] == manifest
    assert server.last["agent"] == "tradingbot-operator/test"


async def test_status_is_written_about_the_version_that_was_seen(server: Server, api: AioKubeApi) -> None:
    await api.apply_status(Key("desk-a", "btc"), {"phase": "Running"}, resource_version="41")
    assert server.last["path"] == "/apis/tradingbot.dev/v1alpha1/namespaces/desk-a/tradingbots/btc/status"
    assert server.last["query"]["force"] == "true"
    assert server.last["body"]["metadata"] == {"namespace": "desk-a", "name": "btc", "resourceVersion": "41"}
    assert server.last["body"]["status"] == {"phase": "Running"}


async def test_delete_names_the_very_object(server: Server, api: AioKubeApi) -> None:
    await api.delete(kinds.ROLE_BINDING, "desk-a", "btc-trader", uid="u-1")
    assert server.last["method"] == "DELETE"
    assert server.last["body"]["preconditions"] == {"uid": "u-1"}
    server.answers = [(404, {"message": "gone"})]
    await api.delete(kinds.ROLE_BINDING, "desk-a", "btc-trader", uid="u-1")
    server.answers = [(409, {"message": "another uid"})]
    with pytest.raises(Conflict):
        await api.delete(kinds.ROLE_BINDING, "desk-a", "btc-trader", uid="u-1")


async def test_event_that_was_told_before_is_no_error(server: Server, api: AioKubeApi) -> None:
    server.answers = [(409, {"message": "already exists"}), (403, {"message": "forbidden"})]
    event = {"metadata": {"namespace": "desk-a", "name": "btc.1"}}
    await api.create_event(event)
    assert server.last["path"] == "/apis/events.k8s.io/v1/namespaces/desk-a/events"
    with pytest.raises(Refused):
        await api.create_event(event)


async def test_refusal_carries_the_servers_words(server: Server, api: AioKubeApi) -> None:
    server.answers = [(403, {"message": 'cannot get resource "services"'})]
    with pytest.raises(Refused, match='get services desk-a/btc-trader: cannot get resource "services"'):
        await api.get(kinds.SERVICE, "desk-a", "btc-trader")


async def test_busy_server_says_when_to_come_again(server: Server, api: AioKubeApi) -> None:
    server.answers = [(429, {"message": "busy", "details": {"retryAfterSeconds": 4}})]
    with pytest.raises(Transient) as caught:
        await api.get(kinds.SERVICE, "desk-a", "btc-trader")
    assert caught.value.retry_after_seconds == 4.0


async def test_namespace_that_is_going_is_nothing_to_mend(server: Server, api: AioKubeApi) -> None:
    causes = [{"reason": "NamespaceTerminating", "message": "namespace desk-a is being terminated"}]
    server.answers = [(403, {"message": "forbidden", "details": {"causes": causes}})]
    with pytest.raises(Transient, match="namespace is being deleted"):
        await api.apply(kinds.ROLE, {"metadata": {"namespace": "desk-a", "name": "btc-trader"}}, force=False)


async def test_answer_of_a_proxy_is_transient(server: Server, api: AioKubeApi) -> None:
    server.answers = [(502, "<html>bad gateway</html>")]
    with pytest.raises(Transient, match="status 502"):
        await api.get(kinds.SERVICE, "desk-a", "btc-trader")


async def test_each_request_carries_the_newest_token_and_is_counted(server: Server, api: AioKubeApi) -> None:
    await api.get(kinds.ROLE, "a", "b")
    server.token = "renewed"
    await api.get(kinds.ROLE, "a", "b")
    assert [request["authorization"] for request in server.requests] == ["Bearer first", "Bearer renewed"]
    assert server.counted == [("get", "roles", 200)] * 2


async def test_no_answer_is_transient() -> None:
    counted: list[int] = []
    api = AioKubeApi(
        lambda: Connection("http://127.0.0.1:1", None),
        request_timeout_seconds=5,
        user_agent="x",
        count=lambda _verb, _resource, code, _seconds: counted.append(code),
    )
    with pytest.raises(Transient, match="no answer"):
        await api.get(kinds.ROLE, "a", "b")
    assert counted == [0]
    await api.close()


def test_service_account_is_read_from_its_folder_each_time(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n", encoding="ascii")
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    connect = service_account_connection(tmp_path, environ)
    assert connect() == Connection("https://10.0.0.1:443", str(tmp_path / "ca.crt"), token="one")
    (tmp_path / "token").write_text("two", encoding="ascii")
    assert connect().token == "two"
    (tmp_path / "token").unlink()
    with pytest.raises(NotConfigured, match="token"):
        connect()


def test_address_may_be_of_version_6(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one", encoding="ascii")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert service_account_connection(tmp_path, environ)().server == "https://[fd00::1]:6443"


def test_process_outside_of_a_cluster_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="--kubeconfig"):
        service_account_connection(tmp_path, {})


async def test_kubeconfig_gives_server_and_token(tmp_path: Path) -> None:
    path = tmp_path / "config"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    connection = (await kubeconfig_connection(path))()
    assert (connection.server, connection.token) == ("http://127.0.0.1:9", "secret")
    with pytest.raises(NotConfigured):
        await kubeconfig_connection(tmp_path / "missing")


def test_table_of_rights_names_each_kind_that_is_read_or_written() -> None:
    table = kube.__doc__ or ""
    for kind in (kinds.BOT, kinds.EVENT, *kinds.CHILDREN):
        assert re.search(rf"\b{kind.plural}\b", table), kind.plural


async def test_lease_is_made_once_and_replaced_as_it_was_read(server: Server, api: AioKubeApi) -> None:
    lease = {"metadata": {"namespace": "system", "name": "operator", "resourceVersion": "7"}}
    await api.replace(kinds.LEASE, lease)
    path = "/apis/coordination.k8s.io/v1/namespaces/system/leases"
    assert (server.last["method"], server.last["path"]) == ("PUT", f"{path}/operator")
    assert server.last["body"] == lease
    server.answers = [(409, {"message": "already exists"})]
    with pytest.raises(Conflict):
        await api.create(kinds.LEASE, lease)
    assert (server.last["method"], server.last["path"]) == ("POST", path)
    assert [each[:2] for each in server.counted] == [("update", "leases"), ("create", "leases")]
