"""The product on that node: chart, two bots in two namespaces, their venue in a third, and pods that are nobody's."""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from network.cluster import ROOT, TAG
from network.mainnet import build_mainnet_policy
from support.stack import SYSTEM, CommandFailed, Stack, build_bot
from tradingbot_api.labels import selector_labels
from tradingbot_operator.children.deployment import CONTAINER, HTTP_PORT, HTTP_PORT_NAME
from tradingbot_sandbox.control_plane.binaries import Search

RELEASE = "tradingbot"
"""The one of scripts/check-images: CRDs and the roles of traders outlive a release, and belong to its name."""
DESKS = {"trader-a": "network-desk-a", "trader-b": "network-desk-b"}
BOT = "btc"
MAINNET, MAINNET_DESK = "mainnet", "network-mainnet"
"""A pod that carries a trader's labels, and the policy that a trader on the real venue gets: mainnet.py."""
VENUES, ELSEWHERE = "network-venues", "network-elsewhere"
MONITORING = "monitoring"
"""The chart's default for who may scrape."""
NAMESPACES = (SYSTEM, MONITORING, VENUES, ELSEWHERE, MAINNET_DESK, *DESKS.values())
OURS = "tradingbot.dev/network-test"
"""Label of the namespaces that may be deleted."""
BYSTANDERS = {"neighbour": DESKS["trader-a"], "scraper": MONITORING, "stranger": ELSEWHERE, "beside-venue": VENUES}
"""Pods without a policy of their own: name -> namespace. Each listens, and each is a place to try from."""
PODS = {"venue": VENUES, MAINNET: MAINNET_DESK, **BYSTANDERS}
"""All that are made here."""
VENUE_PORT = 8080
"""Of the bystanders as well: a rule that forgets the address would be seen."""
API_LIKE_PORT, MAINNET_PORT, DNS_PORT, UNUSED_PORT, KUBELET_PORT = 6443, 9443, 53, 9999, 10250
RESOLVER_READY_PORT = 8181
"""CoreDNS's plugin `ready`: a port of the resolver that is not for names."""
PROBE_SECONDS = 4.0
"""A refused SYN is sent again after 1 s and 3 s (Linux, tcp_syn_retries): three attempts."""
START_SECONDS = 300.0
HERE = Path(__file__).parent

Targets = dict[str, tuple[str, str, int]]
"""name -> kind, host, port, as reach.py takes them."""
Reached = dict[str, dict[str, str]]
"""source -> target -> what reach.py says."""


@dataclass
class Product(Stack):
    helm: Path = Path("helm")
    applied: dict[str, Any] | None = None
    """The values that the chart has now."""
    targets: Targets = field(default_factory=dict)
    """Those that stay; pods of ours are looked up each time."""

    @classmethod
    def on(cls, kubeconfig: Path, folder: Path) -> Product:
        found = {}
        for name in ("kubectl", "helm"):
            place = Search.here().find(name)
            if place is None:
                raise AssertionError(f"no {name}: `make tools` builds it")
            found[name] = place.path
        (folder / "bin").mkdir()
        (folder / "bin" / "kubectl").symlink_to(found["kubectl"])
        environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(folder), "PATH": os.environ["PATH"]}
        return cls(folder, environment, testnet_port=0, helm=found["helm"])

    # ---- what there is -----------------------------------------------------------------------------------------------
    def build(self) -> None:
        """Everything but the chart and the bots."""
        self.apply(*(_namespace(name) for name in NAMESPACES))
        listening = {**BYSTANDERS, MAINNET: MAINNET_DESK}
        self.apply(*_venue(), *(each for pod in listening.items() for each in _bystander(*pod)))
        for name in PODS:
            self.wait(f"the pod {name}", lambda name=name: _is_ready(self.pod_of(name)[0]), seconds=START_SECONDS)
        self.targets = self._find_targets()

    def add_bots(self) -> None:
        self.apply(*(build_bot(BOT, desk) for desk in DESKS.values()))

    def clean(self) -> None:
        """As if nothing had been here, but for the CRDs and roles that the chart leaves. Deletes what is ours alone."""
        self._refuse_what_is_not_ours()
        if self.kubectl("get", "crd", "tradingbots.tradingbot.dev", "--ignore-not-found"):
            for desk in DESKS.values():
                self.kubectl("-n", desk, "delete", "tradingbots", "--all", "--wait=false")
            self.wait("the bots' end", lambda: not self._list("tradingbots"), seconds=120)
        self._run_helm("uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout", "120s")
        self.kubectl("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--wait=false")
        self.wait("the namespaces' end", self._has_no_namespaces, seconds=180)

    def apply_chart(self, **changes: Any) -> None:
        """Install, or upgrade when the values differ."""
        values = _merge(self._values(), changes)
        if values == self.applied:
            return
        file = self.state / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        chart = str(ROOT / "charts" / "tradingbot-operator")
        more = ("--install", "--reset-values", "--values", str(file), "--wait", "--timeout", "300s")
        self._run_helm("upgrade", RELEASE, chart, *more)
        rules = values["trader"]["networkPolicy"]
        policy = build_mainnet_policy(MAINNET_DESK, BOT, values=rules)
        if rules.get("enabled", True):
            self.apply(policy)
        else:
            self.kubectl("-n", MAINNET_DESK, "delete", "networkpolicy", policy["metadata"]["name"])
        self.applied = values

    def pod_of(self, source: str) -> tuple[dict[str, Any], str]:
        """The one pod that runs, and its container."""
        if source in PODS:
            return self.get("pod", source, PODS[source]), "one"
        pods, container = (
            (self.pods(SYSTEM), "operator") if source == "operator" else (self.pods(DESKS[source], BOT), CONTAINER)
        )
        left = [each for each in pods if _is_ready(each) and "deletionTimestamp" not in each["metadata"]]
        if len(left) != 1:
            raise CommandFailed(f"{source} has {len(left)} pods at this moment")
        return left[0], container

    def policies(self) -> list[dict[str, Any]]:
        return self._list("networkpolicies")

    # ---- what is tried -----------------------------------------------------------------------------------------------
    def try_all(self, sources: tuple[str, ...]) -> Reached:
        """Every target from each source, by a connection of its own process in that very container."""
        targets = self.targets | self._find_own_pods()
        with ThreadPoolExecutor(max_workers=4) as pool:
            asked = {source: pool.submit(self.reach, source, targets) for source in sources}
            return {source: answer.result() for source, answer in asked.items()}

    def reach(self, source: str, targets: Targets) -> dict[str, str]:
        # Not itself: no policy keeps a pod from that.
        others = {name: target for name, target in targets.items() if not name.startswith(source)}
        arguments = ("python", "-", str(PROBE_SECONDS), json.dumps(others))
        found: dict[str, str] = json.loads(self.run_inside(source, *arguments, stdin=(HERE / "reach.py").read_text()))
        return found

    def run_inside(self, source: str, *command: str, stdin: str = "") -> str:
        pod, container = self.pod_of(source)
        place = ("-n", pod["metadata"]["namespace"], pod["metadata"]["name"], "-c", container)
        return self.kubectl("exec", "-i", *place, "--", *command, stdin=stdin)

    def scrape(self, source: str, of: str) -> dict[str, float]:
        """Metrics of a trader as that source gets them: sums over labels, by name without the prefix."""
        address = self.pod_of(of)[0]["status"]["podIP"]
        url = f"http://{address}:{HTTP_PORT}/metrics"
        line = f"import urllib.request; print(urllib.request.urlopen('{url}', timeout=5).read().decode())"
        found: dict[str, float] = {}
        text = self.run_inside(source, "python", "-c", line)
        for name, value in re.findall(r"^tradingbot_trader_(\w+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE):
            found[name] = found.get(name, 0.0) + float(value)
        return found

    def api_server(self) -> tuple[list[str], list[int]]:
        """Its addresses and ports, the Service's and those behind it."""
        service = self.get("service", "kubernetes", "default")["spec"]
        slices = self._list("endpointslices", "-l", "kubernetes.io/service-name=kubernetes", namespace="default")
        behind = [address for each in slices for end in each["endpoints"] for address in end["addresses"]]
        ports = {each["port"] for each in service["ports"]} | {each["port"] for one in slices for each in one["ports"]}
        return [service["clusterIP"], *behind], sorted(ports)

    def describe(self) -> str:
        def say(*arguments: str) -> str:
            try:
                return self.kubectl(*arguments)
            except CommandFailed as error:
                return str(error)

        parts = [
            say("get", "tb,deploy,pods,netpol", "-A", "-o", "wide"),
            say("get", "netpol", "-A", "-o", "yaml"),
            say("get", "events", "-A", "--field-selector=type=Warning"),
            say("-n", SYSTEM, "logs", "-l", "app.kubernetes.io/name=tradingbot-operator", "--tail=20"),
        ]
        traders = ("logs", "-l", f"tradingbot.dev/bot={BOT}", "--tail=20")
        return "\n".join([*parts, *(say("-n", desk, *traders) for desk in DESKS.values())])

    # ---- parts -------------------------------------------------------------------------------------------------------
    def _values(self) -> dict[str, Any]:
        """The chart's defaults, but for the images, the venue and the API server's port where it has one of its own."""
        _, ports = self.api_server()
        default = yaml.safe_load((ROOT / "charts" / "tradingbot-operator" / "values.yaml").read_text())
        needed = sorted({*default["networkPolicy"]["apiServer"]["ports"], *ports})
        venue = f"venue.{VENUES}.svc:{VENUE_PORT}"
        return {
            "image": {"tag": TAG},
            "resyncIntervalSeconds": 5,
            "exchanges": {
                "binance": {"sandbox": {"restUrl": f"http://{venue}/api/v3", "streamUrl": f"ws://{venue}/ws"}}
            },
            "networkPolicy": {"apiServer": {"ports": needed}},
            "trader": {"image": {"tag": TAG}, "networkPolicy": {"apiServer": {"ports": needed}}},
        }

    def _find_targets(self) -> Targets:
        addresses, ports = self.api_server()
        api, *behind = addresses
        node = self._list("nodes")[0]["status"]["addresses"]
        (dns,) = self._list("services", "-l", "k8s-app=kube-dns", namespace="kube-system")
        resolver = dns["spec"]["clusterIP"]
        resolving = self._list("pods", "-l", "k8s-app=kube-dns", namespace="kube-system")[0]["status"]["podIP"]
        found: Targets = {
            "names": ("name", f"venue.{VENUES}.svc", VENUE_PORT),
            "venue": ("tcp", self.get("service", "venue", VENUES)["spec"]["clusterIP"], VENUE_PORT),
            "dns-udp": ("udp", resolver, DNS_PORT),
            "dns-tcp": ("tcp", resolver, DNS_PORT),
            "dns-other-port": ("tcp", resolving, RESOLVER_READY_PORT),
            "api-service": ("tcp", api, 443),
            "api-server": ("tcp", behind[0], next(port for port in ports if port != 443)),
            "kubelet": ("tcp", next(each["address"] for each in node if each["type"] == "InternalIP"), KUBELET_PORT),
        }
        for name, namespace in BYSTANDERS.items():
            found[name] = ("tcp", self.get("service", name, namespace)["spec"]["clusterIP"], VENUE_PORT)
        stranger = found["stranger"][1]
        return found | {
            "stranger-as-api": ("tcp", stranger, API_LIKE_PORT),
            "stranger-as-mainnet": ("tcp", stranger, MAINNET_PORT),
            "stranger-as-dns-udp": ("udp", stranger, DNS_PORT),
            "stranger-as-dns-tcp": ("tcp", stranger, DNS_PORT),
        }

    def _find_own_pods(self) -> Targets:
        addresses = {source: self.pod_of(source)[0]["status"]["podIP"] for source in (*DESKS, MAINNET, "operator")}
        found: Targets = {source: ("tcp", address, HTTP_PORT) for source, address in addresses.items()}
        return found | {f"{source}-unused": ("closed", address, UNUSED_PORT) for source, address in addresses.items()}

    def _refuse_what_is_not_ours(self) -> None:
        there = {each["metadata"]["name"]: each["metadata"]["labels"] for each in self._list("namespaces")}
        foreign = [name for name in NAMESPACES if name in there and OURS not in there[name]]
        if SYSTEM in foreign and not self._list("pods", namespace=SYSTEM):
            foreign.remove(SYSTEM)  # `make image` leaves it, empty
        if self.kubectl("get", "crd", "tradingbots.tradingbot.dev", "--ignore-not-found"):
            bots = {each["metadata"]["namespace"] for each in self._list("tradingbots")}
            foreign += sorted(bots - {*DESKS.values()})
        if foreign:
            raise AssertionError(f"this cluster is in use: namespaces {', '.join(foreign)} are not of this test")

    def _has_no_namespaces(self) -> bool:
        return not self.kubectl("get", "namespace", *NAMESPACES, "--ignore-not-found", "-o", "name")

    def _list(self, resource: str, *arguments: str, namespace: str = "") -> list[dict[str, Any]]:
        where = ("-n", namespace) if namespace else ("--all-namespaces",)
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", resource, *where, *arguments, "-o", "json"))[
            "items"
        ]
        return found

    def _run_helm(self, *arguments: str) -> None:
        done = subprocess.run(
            [self.helm, *arguments, "--namespace", SYSTEM],
            env=self.environment, capture_output=True, text=True, timeout=360, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise AssertionError(f"helm {arguments[0]}: {done.stderr}\n{self.describe()}")


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merge(under[key], over[key]) for key in under.keys() & over.keys() if isinstance(over[key], dict)}
    return under | over | both


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _namespace(name: str) -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted", OURS: "true"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _venue() -> list[dict[str, Any]]:
    arguments = ["tradingbot-sandbox", "venue", "binance", f"--listen=0.0.0.0:{VENUE_PORT}", "--market=synthetic"]
    return _listening("venue", VENUES, arguments, [VENUE_PORT])


def _bystander(name: str, namespace: str) -> list[dict[str, Any]]:
    ports = [VENUE_PORT, API_LIKE_PORT, MAINNET_PORT, DNS_PORT]
    return _listening(name, namespace, ["python", "-c", (HERE / "listen.py").read_text(), *map(str, ports)], ports)


def _listening(name: str, namespace: str, command: list[str], ports: list[int]) -> list[dict[str, Any]]:
    """A pod under the restricted profile, and a Service with the same ports."""
    labels = {"network-test": name, **(selector_labels(BOT) if name == MAINNET else {})}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    served = [{"name": f"tcp-{port}", "port": port, "protocol": "TCP"} for port in ports]
    served += [{"name": "udp-53", "port": DNS_PORT, "protocol": "UDP"}] if DNS_PORT in ports else []
    container = {
        "name": "one",
        "image": f"tradingbot-sandbox:{TAG}",
        "command": command,
        "ports": [{"name": HTTP_PORT_NAME, "containerPort": HTTP_PORT}],
        "readinessProbe": {"tcpSocket": {"port": ports[0]}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],  # for port 53
        },
        "containers": [container],
    }
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": {"network-test": name}, "ports": served},
        },
    ]
