from __future__ import annotations
from pathlib import Path
from support.account import *
from support.virtual import VirtualClock, run

def test_smoke(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        rig = await Rig(tmp_path, clock, FakeAccount(clock)).start()
        order = rig.enter()
        await rig.settle()
        assert rig.state(order) is OrderState.OPEN
        rig.account.fill(order, "0.1")
        assert rig.held() == Decimal("0.1")
        rig.account.fill(order, "0.101")
        print(rig.order(order), rig.held())
        report = await rig.reconcile()
        print(report)
        rig.leave()
        await rig.settle()
        print(rig.kinds())
        await rig.end()
    run(go())
