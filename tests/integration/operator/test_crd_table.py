"""What people see of the API: `kubectl get` and its columns, selectors, short names, and `kubectl explain`."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from support import crd_sins
from support.api_line import Line
from support.crd_sins import AT, Raw
from tradingbot_api import GROUP, VERSION, crd
from tradingbot_sandbox.control_plane.binaries import find_binaries
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

pytestmark = pytest.mark.control_plane
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
BASE = f"/apis/{GROUP}/{VERSION}"
STATUS: Raw = {
    "phase": "Running",
    "conditions": [
        {"type": "Stalled", "status": "False", "reason": "NotStalled", "message": "", "lastTransitionTime": AT},
        {"type": "Ready", "status": "True", "reason": "Trading", "message": "", "lastTransitionTime": AT},
    ],
    "permit": {
        "uid": "u", "mode": "Paper", "stage": "micro", "limit": "50", "digest": crd_sins.DIGEST, "specGeneration": 1,
        "issuedAt": AT,
    },
    "killSwitch": {"state": "Armed"},
    "trader": {
        "uid": "u", "pod": "p", "version": "0", "mode": "Paper", "state": "ReduceOnly", "startedAt": AT,
        "heartbeatAt": AT, "epoch": 1, "config": {"generation": 1, "accepted": True, "reason": "Accepted"},
        "openPositions": 2, "performance": {"dayPnl": "-1.25"},
    },
}  # fmt: skip


@pytest.fixture
def line(control_plane: ControlPlane, crds: list[Raw]) -> Any:
    assert crds
    opened = Line(control_plane.admin)
    yield opened
    opened.close()


def path_of(kind: str, namespace: str) -> str:
    (found,) = (each for each in crd.KINDS if each.name == kind)
    return f"{BASE}/{f'namespaces/{namespace}/' if found.scope == 'Namespaced' else ''}{found.plural}"


def table_of(line: Line, path: str) -> tuple[dict[str, Any], list[str]]:
    """The cells of the only row by their column, and the columns that are shown with `-o wide` alone."""
    answer = line.get(path, accept=TABLE).body
    columns = answer["columnDefinitions"]
    (row,) = answer["rows"]
    names = [column["name"] for column in columns]
    return dict(zip(names, row["cells"], strict=True)), [each["name"] for each in columns if each["priority"]]


def test_bot_tells_its_story_in_one_line(line: Line, desk: Any) -> None:
    desk.create_bot({"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}})
    path = desk.path("TradingBot", "btc")
    assert line.merge(f"{path}/status", {"status": STATUS}).is_success
    cells, wide = table_of(line, path)
    ages = [cells.pop("Age"), cells.pop("Heartbeat")]
    assert list(cells.items()) == [
        ("Name", "btc"), ("Mode", "Live"), ("Granted", "Paper"), ("Stage", "micro"), ("Limit", "50"), ("Stop", "Armed"),
        ("Ready", "True"), ("Reason", "Trading"), ("Day P&L", "-1.25"), ("Positions", 2), ("State", "ReduceOnly"),
    ]  # fmt: skip
    assert wide == ["Reason", "Day P&L", "Positions", "Heartbeat", "State"]
    assert all(age[-1] in "smhdy" for age in ages), ages


def test_bot_that_nobody_has_looked_at_yet_has_empty_cells(line: Line, desk: Any) -> None:
    desk.create_bot()
    cells, _ = table_of(line, desk.path("TradingBot", "btc"))
    assert (cells["Mode"], cells["Granted"], cells["Ready"], cells["Reason"]) == ("Paper", None, None, None)


@pytest.mark.parametrize(
    ("kind", "expected", "wide"),
    [
        ("TradingHalt",
         {"Action": "CancelOrders", "Namespaces": '["desk-a"]', "Bots": '["btc"]', "Reason": "night", "Expires": AT},
         {"Labels": '{"team":"a"}'}),
        ("TradingApproval", {"Bot": "btc", "Stage": "small", "Expires": "2030-01-01T00:00:00Z"},
         {"Digest": crd_sins.DIGEST}),
        ("TradingReview", {"Bot": "btc", "Kind": "Gates", "Stage": "small", "Verdict": "GO"},
         {"Message": "all gates passed"}),
    ],
)  # fmt: skip
def test_other_kinds_tell_theirs(line: Line, desk: Any, kind: str, expected: Raw, wide: Raw) -> None:
    body = crd_sins.build(kind, desk.namespace)
    path = path_of(kind, desk.namespace)
    assert line.create(path, body).is_success
    try:
        cells, is_wide = table_of(line, f"{path}/{desk.namespace}")
    finally:
        line.delete(f"{path}/{desk.namespace}")
    assert cells.pop("Age")[-1] == "s"
    assert list(cells.items()) == [("Name", desk.namespace), *expected.items(), *wide.items()]
    assert is_wide == list(wide)


def names(line: Line, path: str, selector: str) -> list[str]:
    answer = line.get(f"{path}?fieldSelector={selector}")
    assert answer.is_success, answer.body
    return sorted(item["metadata"]["name"] for item in answer.body["items"])


SELECTED = [
    ("spec.mode=Live", ["live"]),
    ("spec.mode!=Live", ["paper"]),
    ("spec.exchange.id=kraken", ["paper"]),
    ("status.permit.mode=Paper", ["live"]),
    ("status.killSwitch.state=Stopped", ["paper"]),
    ("status.killSwitch.state!=Armed", ["paper"]),
    ("status.phase=Running", ["live"]),
    ("spec.mode=Live,status.permit.mode=Paper", ["live"]),
    ("spec.mode=Live,status.permit.mode=Live", []),
]


def test_bots_are_found_by_what_matters_at_night(line: Line, desk: Any) -> None:
    desk.create_bot({"metadata.name": "live", "spec.mode": "Live", "spec.credentials": {"secretName": "keys"}})
    desk.create_bot({"metadata.name": "paper", "spec.exchange.id": "kraken"})
    path = desk.path("TradingBot")
    assert line.merge(f"{path}/live/status", {"status": STATUS}).is_success
    stopped = {"status": {"phase": "Stopped", "killSwitch": {"state": "Stopped"}}}
    assert line.merge(f"{path}/paper/status", stopped).is_success
    assert {selector: names(line, path, selector) for selector, _ in SELECTED} == dict(SELECTED)


@pytest.mark.parametrize("kind", ["TradingApproval", "TradingReview"])
def test_what_is_about_a_bot_is_found_by_its_name(line: Line, desk: Any, kind: str) -> None:
    path = path_of(kind, desk.namespace)
    for bot in ("btc", "eth"):
        body = crd_sins.build(kind, f"of-{bot}")
        body["spec"]["bot"] = bot
        assert line.create(path, body).is_success
    assert names(line, path, "spec.bot=btc") == ["of-btc"]


def test_every_selectable_field_is_tried_here() -> None:
    told = {part.split("!=")[0].split("=")[0] for selector, _ in SELECTED for part in selector.split(",")}
    told_of = {kind.name: {f".{field}" for field in told} for kind in crd.KINDS if kind.name == "TradingBot"}
    told_of |= {"TradingHalt": set(), "TradingApproval": {".spec.bot"}, "TradingReview": {".spec.bot"}}
    assert {kind.name: set(kind.selectable) for kind in crd.KINDS} == told_of


def kubectl(control_plane: ControlPlane, *arguments: str) -> str:
    done = subprocess.run(
        [find_binaries().kubectl, f"--kubeconfig={control_plane.kubeconfig}", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("short", "kind"), [(short, kind.name) for kind in crd.KINDS for short in kind.short_names])
def test_short_name_is_taken(control_plane: ControlPlane, desk: Any, short: str, kind: str) -> None:
    body = crd_sins.build(kind, desk.namespace)
    path = path_of(kind, desk.namespace)
    assert desk.admin.create(path, body).is_success
    try:
        found = kubectl(control_plane, f"--namespace={desk.namespace}", "get", short, "-o", "name").split()
    finally:
        desk.admin.delete(f"{path}/{desk.namespace}")
    assert found == [f"{kind.lower()}.{GROUP}/{desk.namespace}"]


def test_one_word_lists_all_that_is_about_trading(control_plane: ControlPlane, desk: Any) -> None:
    for kind in ("TradingBot", "TradingApproval", "TradingReview"):
        assert desk.admin.create(path_of(kind, desk.namespace), crd_sins.build(kind)).is_success
    found = kubectl(control_plane, f"--namespace={desk.namespace}", "get", "trading", "-o", "name").split()
    assert found == [f"{kind}.{GROUP}/btc" for kind in ("tradingapproval", "tradingbot", "tradingreview")]


def test_wide_output_of_kubectl_has_the_story(control_plane: ControlPlane, line: Line, desk: Any) -> None:
    desk.create_bot()
    assert line.merge(f"{desk.path('TradingBot', 'btc')}/status", {"status": STATUS}).is_success
    head, row = kubectl(control_plane, f"--namespace={desk.namespace}", "get", "tb", "-o", "wide").splitlines()
    assert " ".join(head.split()) == (
        "NAME MODE GRANTED STAGE LIMIT STOP READY AGE REASON DAY P&L POSITIONS HEARTBEAT STATE"
    )
    assert row.split()[:7] == ["btc", "Paper", "Paper", "micro", "50", "Armed", "True"]


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("tb.spec.updatePolicy", "annotation `tradingbot.dev/roll-out`"),
        ("tb.spec.onDelete", "nothing is waited for"),
        ("tb.spec.killSwitch.action", "Flatten also sells"),
        ("tb.spec.capital.stages.gate.minSharpe", "annualised Sharpe ratio"),
        ("tb.status.trader.latch.orders.result", "PresumedAbsent"),
        ("tb.status.trader.credentials", "Never the key"),
        ("halt.spec.expiresAt", "An expiry never re-arms by itself"),
        ("tba.spec.digest", "status.trader.config.digest"),
        ("tbr.spec.verdict", "INCONCLUSIVE"),
    ],
)
def test_explain_teaches(control_plane: ControlPlane, crds: list[Raw], field: str, words: str) -> None:
    assert crds
    said = " ".join(kubectl(control_plane, "explain", field).split())
    assert "<empty>" not in said
    assert words in said


@pytest.mark.parametrize("kind", [kind.name for kind in crd.KINDS])
def test_explain_has_no_empty_place_anywhere(line: Line, kind: str) -> None:
    """As the server publishes it: kubectl explain prints these descriptions and no others."""
    published = line.get(f"/openapi/v3/apis/{GROUP}/{VERSION}").body["components"]["schemas"]
    schema = published[f"dev.tradingbot.{VERSION}.{kind}"]
    empty = []
    for path, node in crd_sins.walk(schema):
        described = node.get("description") or (path == ("metadata",) and node.get("allOf"))
        if path and path[-1] not in (0, "x") and not described:
            empty.append(path)
    assert empty == []
    assert schema["description"]
