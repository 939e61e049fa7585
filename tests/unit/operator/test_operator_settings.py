from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_operator import kinds
from tradingbot_operator.children.platform import Addresses, MonitorRules, NetworkRules
from tradingbot_operator.handlers import build_kopf_settings
from tradingbot_operator.settings import Settings


def parse(*arguments: str) -> Settings:
    return CliApp.run(Settings, cli_args=list(arguments))


def test_arguments_of_the_chart_are_understood() -> None:
    addresses = {"binance": {"Sandbox": {"rest": "http://venue:1", "stream": "ws://venue:1/ws"}}}
    settings = parse(
        "--listen=127.0.0.7:8080",
        "--service-account-dir=/somewhere",
        "--namespaces=desk-a,desk-b",
        "--installation=ns.release",
        "--resync-interval-seconds=60",
        "--workers=8",
        "--log-level=INFO",
        "--trader-image=registry.example:5000/tradingbot-trader@sha256:00",
        "--trader-image-pull-policy=Always",
        '--trader-resources={"limits":{"memory":"1Gi"},"requests":{"cpu":"100m","memory":"1Gi"}}',
        "--storage-class=fast",
        "--storage-access-mode=ReadWriteOncePod",
        f"--exchange-addresses={json.dumps(addresses)}",
    )
    assert settings.namespaces == ("desk-a", "desk-b")
    assert (settings.listen_host, settings.listen_port) == ("127.0.0.7", 8080)
    assert settings.service_account_dir == Path("/somewhere")
    assert settings.log_level == "info"
    platform = settings.platform
    assert platform.trader_limits == {"memory": "1Gi"}
    assert platform.trader_requests == {"cpu": "100m", "memory": "1Gi"}
    assert platform.addresses == {
        (ExchangeId.BINANCE, Network.SANDBOX): Addresses(rest="http://venue:1", stream="ws://venue:1/ws")
    }


def test_account_address_of_a_venue_may_be_set() -> None:
    venue = {"rest": "http://venue:1", "stream": "ws://venue:1/ws", "account": "ws://venue:1/ws-api/v3"}
    settings = parse(f"--exchange-addresses={json.dumps({'binance': {'Sandbox': venue}})}")
    assert settings.platform.addresses == {
        (ExchangeId.BINANCE, Network.SANDBOX): Addresses("http://venue:1", "ws://venue:1/ws", "ws://venue:1/ws-api/v3")
    }


def test_rules_of_the_network_and_of_the_monitors_are_understood_in_the_charts_words() -> None:
    peer = {"ipBlock": {"cidr": "10.0.0.0/8"}}
    rules = {
        "enabled": False,
        "metricsFrom": [peer],
        "dns": [],
        "apiServer": {"cidrs": ["10.0.0.1/32", "fd00::/64"], "ports": [6443]},
        "extraEgress": [{"to": [peer]}],
    }
    monitors = {"enabled": False, "interval": "1m30s", "labels": {"release": "prometheus"}}
    platform = parse(
        f"--trader-network-policy={json.dumps(rules)}", f"--trader-pod-monitor={json.dumps(monitors)}"
    ).platform
    assert platform.network == NetworkRules(
        is_enabled=False,
        metrics_from=(peer,),
        dns=(),
        api_server_cidrs=("10.0.0.1/32", "fd00::/64"),
        api_server_ports=(6443,),
        extra_egress=({"to": [peer]},),
    )
    assert platform.monitor == MonitorRules(is_enabled=False, interval="1m30s", labels={"release": "prometheus"})


def test_rules_that_are_not_set_are_the_same_in_every_part() -> None:
    assert parse().platform.network == NetworkRules()
    assert parse('--trader-network-policy={"enabled": true}').platform.network == NetworkRules()
    assert parse().platform.monitor == MonitorRules()


def test_nothing_has_to_be_set() -> None:
    settings = parse()
    assert settings.namespaces == ()
    assert settings.kubeconfig is None
    assert settings.graceful_exit_seconds < 30, "below the grace period of the operator's pod"


@pytest.mark.parametrize(
    "argument",
    [
        "--workers=0",
        "--resync-interval-seconds=0",
        "--listen=8080",
        "--log-level=loud",
        "--trader-image=",
        "--storage-access-mode=ReadWriteMany",
        "--installation=with space",
        "--lease-renew-deadline-seconds=15",
        "--lease-duration-seconds=10",
        "--lease-retry-seconds=10",
        "--lease-duration-seconds=0",
        "--no-election",
        "--watch-grace-seconds=0",
        "--loop-lag-limit-seconds=0",
        '--trader-resources={"limit":{}}',
        '--trader-resources={"limits":{"gpu":"1"}}',
        '--exchange-addresses={"binance":{"Mainnet":{"rest":"http://x","stream":"ws://x"}}}',
        '--exchange-addresses={"ftx":{"Sandbox":{"rest":"http://x","stream":"ws://x"}}}',
        '--exchange-addresses={"binance":{"Sandbox":{"rest":"http://x"}}}',
        '--exchange-addresses={"binance":{"Sandbox":{"rest":"http://x:99999","stream":"ws://x"}}}',
        '--exchange-addresses={"binance":{"Sandbox":{"rest":"http://[fd00::1","stream":"ws://x"}}}',
        '--exchange-addresses={"binance":{"Sandbox":{"rest":"http://:80","stream":"ws://x"}}}',
        '--trader-network-policy={"apiServer":{"cidrs":["10.0.0.1/8"]}}',
        '--trader-network-policy={"apiServer":{"ports":[]}}',
        '--trader-network-policy={"apiServer":{"ports":[0]}}',
        '--trader-network-policy={"metricFrom":[]}',
        '--trader-pod-monitor={"interval":"often"}',
        '--exchange-addresses={"binance":{"Sandbox":{"rest":"ws://x","stream":"http://x"}}}',
        '--exchange-addresses={"binance":{"Sandbox":{"rest":"http://x","stream":"ws://x","account":"http://x"}}}',
    ],
)
def test_mistake_is_refused(argument: str) -> None:
    with pytest.raises(ValidationError):
        parse(argument)


def test_unknown_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--resync-interval=60")
    assert "--resync-interval" in capsys.readouterr().err


def test_election_may_be_left_out_with_a_kubeconfig_alone() -> None:
    assert parse().election
    assert not parse("--no-election", "--kubeconfig=/somewhere").election


def test_leader_stops_well_before_a_standby_may_begin() -> None:
    settings = parse()
    assert settings.lease_duration_seconds - settings.lease_renew_deadline_seconds >= 5.0
    assert settings.lease_renew_deadline_seconds >= 3 * settings.lease_retry_seconds


def test_dead_watch_is_proved_within_two_resync_intervals() -> None:
    settings = parse()
    assert settings.watch_grace_seconds < settings.resync_interval_seconds


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if isinstance(field.default, float):
            assert name.endswith("_seconds"), name


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        parse().workers = 3  # type: ignore[misc]  # that it is refused is the point


@pytest.mark.parametrize(("arguments", "scans"), [((), True), (("--namespaces=desk-a",), False)])
def test_kopf_does_nothing_but_watch(arguments: tuple[str, ...], *, scans: bool) -> None:
    kopf: Any = build_kopf_settings(parse(*arguments))
    assert kopf.peering.standalone
    assert not kopf.posting.enabled
    assert kopf.scanning.disabled != scans
    assert kopf.watching.client_timeout > kopf.watching.server_timeout
    assert isinstance(kopf.watching.server_timeout, int), "the API server takes whole seconds alone"
    assert len(kopf.watching.label_selectors) == len(kinds.WATCHED) - 1
    assert set(kopf.watching.label_selectors.values()) == {"app.kubernetes.io/managed-by=tradingbot-operator"}
