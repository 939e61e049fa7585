"""The command lines of the servers: what makes them safe to run beside other people's processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradingbot_sandbox.control_plane.binaries import Binaries
from tradingbot_sandbox.control_plane.components import PORTS, Layout, control_plane
from tradingbot_sandbox.control_plane.control_plane import server_environ
from tradingbot_sandbox.supervisor.component import Component

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm")
BINARIES = Binaries.of({name: Path("/bin") / name for name in PROGRAMS})
LAYOUT = Layout(Path("/state"), {name: 40_000 + number for number, name in enumerate(PORTS)})
ETCD, API_SERVER, CONTROLLER_MANAGER = control_plane(LAYOUT, BINARIES, {})


def flags(component: Component) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in component.argv[1:])


@pytest.mark.parametrize("component", [ETCD, API_SERVER, CONTROLLER_MANAGER], ids=lambda c: c.name)
def test_nothing_listens_beyond_loopback(component: Component) -> None:
    found = flags(component)
    addresses = [v for k, v in found.items() if k == "bind-address" or k.endswith("-urls")]
    assert addresses
    assert all("127.0.0.1" in address for address in addresses)


def test_etcd_wants_certificates_from_its_clients_and_peers() -> None:
    found = flags(ETCD)
    assert found["client-cert-auth"] == found["peer-client-cert-auth"] == "true"
    assert found["trusted-ca-file"] == found["peer-trusted-ca-file"] == "/state/pki/etcd-ca.crt"
    assert found["listen-client-urls"].startswith("https://")


def test_api_server_authorizes_with_rbac_and_signs_tokens_itself() -> None:
    found = flags(API_SERVER)
    assert found["authorization-mode"] == "Node,RBAC"
    assert "anonymous-auth" not in found
    assert {"Priority", "NodeRestriction"} <= set(found["enable-admission-plugins"].split(","))
    assert "disable-admission-plugins" not in found
    assert found["service-account-signing-key-file"] == "/state/pki/service-account.key"


def test_api_server_writes_an_audit_log_into_the_state_folder() -> None:
    assert flags(API_SERVER)["audit-log-path"] == str(LAYOUT.audit_log)
    assert LAYOUT.audit_log.is_relative_to(LAYOUT.root)


def test_controllers_have_their_own_accounts_and_publish_the_authority() -> None:
    found = flags(CONTROLLER_MANAGER)
    assert found["use-service-account-credentials"] == "true"
    assert found["root-ca-file"] == "/state/pki/ca.crt"
    assert found["leader-elect"] == "false"


def test_clients_stop_before_the_server_and_the_server_before_the_store() -> None:
    assert CONTROLLER_MANAGER.stop_order < API_SERVER.stop_order < ETCD.stop_order


def test_settings_of_other_etcds_do_not_reach_ours() -> None:
    environ = {"ETCD_NAME": "theirs", "HOME": "/home/x", "KUBECONFIG": "/theirs", "PATH": "/bin"}
    assert server_environ(environ) == {"HOME": "/home/x", "PATH": "/bin"}
