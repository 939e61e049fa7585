"""`capital.stage` scales a paper bot up and down at once, without a restart."""

from __future__ import annotations

from decimal import Decimal

from support.stack import Stack, build_bot


def test_stage_scales_the_limit_without_a_restart(stack: Stack, desk: str) -> None:
    stack.apply(build_bot("btc", desk))
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready").get("status") == "True")
    pod = stack.pods(desk, "btc")[0]["metadata"]["uid"]
    for stage, limit in (("small", "100"), ("micro", "50"), ("small", "100")):
        stack.patch(desk, "btc", {"capital": {"stage": stage}})
        stack.wait(f"the limit of {stage}", lambda limit=limit: stack.trader(desk, "btc")["limit"] == limit)
        # A tighter limit holds at once; the permit follows, as soon as the operator has looked.
        stack.wait(
            f"a permit of {limit}",
            lambda limit=limit: stack.get("tb", "btc", desk)["status"]["permit"]["limit"] == limit,
        )
    assert stack.pods(desk, "btc")[0]["metadata"]["uid"] == pod
    assert stack.pods(desk, "btc")[0]["status"]["containerStatuses"][0]["restartCount"] == 0


def test_exposure_never_exceeds_what_the_permit_allows(stack: Stack, desk: str) -> None:
    risk = {"maxOrderNotional": "15", "maxExposurePercent": "60", "maxPositionPercent": "60", "cooldownAfterLoss": "0s"}
    stack.apply(build_bot("btc", desk, risk=risk, symbols=["BTC/USDT", "ETH/USDT", "SOL/USDT"]))
    stack.wait("fills", lambda: stack.metrics(desk, "btc").get("fills_total", 0) >= 4, seconds=120)
    for _ in range(20):
        assert Decimal(str(stack.metrics(desk, "btc")["exposure_quote"])) <= Decimal(30)
