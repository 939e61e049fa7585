"""The sandbox as a list of components, and the options that change it."""

from __future__ import annotations

from pathlib import Path

from tradingbot_sandbox.control_plane.components import PORTS, Layout
from tradingbot_sandbox.control_plane.pins import BINARIES
from tradingbot_sandbox.supervisor.component import Component
from tradingbot_sandbox.supervisor.plan import VENUE_BINANCE, Options, Surroundings, keys_of, plan, ports_of

LAYOUT = Layout(Path("/state"), {name: 40_000 + n for n, name in enumerate((*PORTS, VENUE_BINANCE))})
PROGRAMS = {name: f"/bin/{name}" for name in BINARIES}
AROUND = Surroundings(python="/venv/bin/python", environ={"TOKEN": "theirs"}, server_environ={})


def planned(options: Options) -> dict[str, Component]:
    return {component.name: component for component in plan(LAYOUT, options, AROUND)}


def test_everything_is_there_by_default() -> None:
    names = ["etcd", "kube-apiserver", "kube-controller-manager", "venue-binance", "node"]
    assert list(planned(Options(PROGRAMS))) == names


def test_node_and_venue_can_be_left_out() -> None:
    options = Options(PROGRAMS, node=False, venue=False)
    assert list(planned(options)) == ["etcd", "kube-apiserver", "kube-controller-manager"]
    assert ports_of(options) == ()


def test_pods_stop_before_everything_that_they_use() -> None:
    components = planned(Options(PROGRAMS))
    node = components.pop("node")
    assert all(node.stop_order < other.stop_order for other in components.values())


def test_node_runs_under_a_guard_and_waits_for_the_api_server() -> None:
    node = planned(Options(PROGRAMS))["node"]
    assert node.guarded
    assert node.after == ("kube-apiserver",)
    assert [check.ready_node for check in node.health] == [True]


def test_market_options_reach_the_simulator_and_others_are_left_to_it() -> None:
    options = Options(PROGRAMS, market="/data/x.jsonl.gz", speed="5", seed=7)
    argv = planned(options)[VENUE_BINANCE].argv
    assert argv[argv.index("venue") :] == (
        "venue", "binance", "--listen=127.0.0.1:40004", "--balance=USDT=10000",
        "--keys-dir=/state/keys/venue-binance", "--market=/data/x.jsonl.gz", "--speed=5", "--seed=7"
    )  # fmt: skip


def test_simulator_writes_the_key_of_its_account_to_where_the_user_is_told() -> None:
    argv = planned(Options(PROGRAMS))[VENUE_BINANCE].argv
    folder = next(each.partition("=")[2] for each in argv if each.startswith("--keys-dir="))
    assert Path(folder) == keys_of(LAYOUT.root, VENUE_BINANCE)
    assert any(each.startswith("--balance=") for each in argv)


def test_servers_get_less_of_the_environment_than_our_own_programs() -> None:
    components = planned(Options(PROGRAMS))
    assert components["etcd"].environ == {}
    assert components["node"].environ == {"TOKEN": "theirs"}


def test_options_survive_the_way_through_a_file() -> None:
    options = Options(PROGRAMS, node=False, market="/data/x", speed="2.5", seed=3, fresh=True)
    assert Options.from_json(options.to_json()) == options


def test_only_what_is_asked_for_can_contradict() -> None:
    running = Options(PROGRAMS, node=False, seed=3)
    assert running.contradictions({}) == []
    assert running.contradictions({"seed": 3, "node": False, "fresh": False}) == []
    assert running.contradictions({"seed": 4}) == ["seed is 3, not 4"]
