"""How the plugin reaches an API server and what it says when it does not; `status -w`; questions at a real terminal's
end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tradingbot_sandbox.control_plane.control_plane import ControlPlane

READ = {"apiGroups": ["tradingbot.dev"], "resources": ["tradingbots"], "verbs": ["get", "list"]}


def changed(kubeconfig: Path, to: Path, **cluster: Any) -> Path:
    config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    config["clusters"][0]["cluster"] |= cluster
    to.write_text(yaml.safe_dump(config), encoding="utf-8")
    return to


def test_namespace_is_the_contexts_when_none_is_named(plugin: Any, desk: Any, tmp_path: Path) -> None:
    desk.create()
    config = yaml.safe_load(plugin.kubeconfig.read_text(encoding="utf-8"))
    here = config["contexts"][0]
    there = {"name": "there", "context": here["context"] | {"namespace": "default"}}
    here["context"]["namespace"] = desk.namespace
    config["contexts"].append(there)
    config["current-context"] = here["name"]
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    plugin.kubeconfig, plugin.namespace = file, ""
    assert [bot["name"] for bot in plugin.run("status", "-o", "json").json] == ["btc"]
    assert plugin.run("status", "--context", "there", "-o", "json").json == []
    assert plugin.run("status", "--context", "nosuch").code == 1


def test_kubeconfig_is_found_by_the_environment(plugin: Any, desk: Any) -> None:
    desk.create()
    environ = {"KUBECONFIG": str(plugin.kubeconfig)}
    plugin.kubeconfig = ""
    assert [bot["name"] for bot in plugin.run("status", "-o", "json", environ=environ).json] == ["btc"]


def test_pod_without_a_kubeconfig_is_its_service_account(
    control_plane: ControlPlane, plugin: Any, desk: Any, allow: Callable[..., str], tmp_path: Path
) -> None:
    desk.create()
    accounts = f"/api/v1/namespaces/{desk.namespace}/serviceaccounts"
    assert desk.admin.create(accounts, {"metadata": {"name": "drill"}}).is_success
    role = allow("reader", [READ])
    binding = {
        "metadata": {"name": "drill"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "namespace": desk.namespace, "name": "drill"}],
    }
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    assert desk.admin.create(f"{rbac}/namespaces/{desk.namespace}/rolebindings", binding).is_success
    token = desk.admin.create(
        f"{accounts}/drill/token", {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    )
    (tmp_path / "token").write_text(token.body["status"]["token"], encoding="ascii")
    (tmp_path / "ca.crt").write_bytes(control_plane.ca.read_bytes())
    (tmp_path / "namespace").write_text(desk.namespace, encoding="ascii")
    host, _, port = control_plane.url.removeprefix("https://").partition(":")
    environ = {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
        "KUBECONFIG": "",
        "HOME": str(tmp_path),
    }
    plugin.kubeconfig, plugin.namespace = "", ""
    done = plugin.run("status", "--service-account-dir", str(tmp_path), "-o", "json", environ=environ)
    assert done.code == 0, done.err
    assert [bot["name"] for bot in done.json] == ["btc"]
    done = plugin.run("kill", "btc", "--service-account-dir", str(tmp_path), environ=environ)
    assert done.code == 1
    assert "cannot patch" in done.out


def test_api_server_that_does_not_answer_is_1_and_says_so(plugin: Any, desk: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert desk.namespace
    plugin.kubeconfig = changed(plugin.kubeconfig, tmp_path / "config", server=f"https://127.0.0.1:{port}")
    done = plugin.run("kill", "btc", "--timeout", "1s")
    assert done.code == 1
    assert "does not answer" in done.out
    assert "killall" in done.err
    assert plugin.run("status").code == 1


def test_unknown_authority_is_told_in_a_line(
    plugin: Any, desk: Any, tmp_path: Path, control_plane: ControlPlane
) -> None:
    assert desk.namespace
    config = yaml.safe_load(control_plane.kubeconfig.read_text(encoding="utf-8"))
    for key in ("certificate-authority", "certificate-authority-data"):
        config["clusters"][0]["cluster"].pop(key, None)
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    plugin.kubeconfig = file
    done = plugin.run("status")
    assert done.code == 1
    assert "certificate" in done.err.lower()


def test_question_that_nobody_answers_is_no(plugin: Any, desk: Any) -> None:
    desk.create()
    done = plugin.run("kill", "--all")
    assert done.code == 1
    assert "--yes" in done.err
    assert desk.bot()["spec"]["killSwitch"]["engaged"] is False
    done = plugin.run("kill", "--all", "--timeout", "1s", stdin="y\n")
    assert done.code == 3
    assert desk.bot()["spec"]["killSwitch"]["engaged"] is True


@pytest.mark.parametrize("form", ["table", "json"])
def test_status_watches(plugin: Any, desk: Any, play: Any, form: str) -> None:
    desk.create()
    desk.create("eth")
    play()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background may ignore it
    try:
        process = subprocess.Popen(
            plugin.command("status", "btc", "-w", "-o", form), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        assert process.stdout is not None
        if form == "table":
            assert process.stdout.readline().split()[:2] == ["NAMESPACE", "NAME"]
        first = process.stdout.readline()
        assert "Armed" not in first
        desk.patch({"engaged": True})
        seen = [process.stdout.readline()]
        while "Stopped" not in seen[-1]:
            seen.append(process.stdout.readline())
        assert all("eth" not in line for line in [first, *seen])
        if form == "json":
            assert json.loads(seen[-1])["stop"]["state"] == "Stopped"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
