"""What breakers and keys come to is in the audit, once each, and the key only by its fingerprint."""

from __future__ import annotations

from pathlib import Path

from support.account import BUSY, FakeAccount, Rig
from support.virtual import VirtualClock, run
from tradingbot_api.status import CredentialsReport
from tradingbot_trader.control.state import Cause
from tradingbot_trader.keeper import Keeper
from tradingbot_trader.risk.breakers import Breakers


def report(fingerprint: str, reason: str, *, ready: bool) -> CredentialsReport:
    return CredentialsReport(ready=ready, fingerprint=fingerprint, reason=reason)


def test_breaker_that_opens_and_closes_is_told_once_each(tmp_path: Path) -> None:
    async def story() -> None:
        clock = VirtualClock()
        rig = await Rig(tmp_path, clock, FakeAccount(clock)).start()
        rig.account.always("query", BUSY)
        rig.recovery.require("the test")
        await rig.until(lambda: Cause.BREAKER_OPEN in rig.execution.causes(), seconds=120)
        rig.account.works()
        await rig.until(lambda: not list(rig.execution.causes()), seconds=90)
        await rig.settle(2)
        kinds = rig.kinds()
        assert kinds.count("BreakerTripped") == kinds.count("BreakerClosed") == 1
        await rig.end()

    run(story())


def test_change_of_the_key_is_told_once_and_a_refused_one_as_such(tmp_path: Path) -> None:
    async def story() -> None:
        clock = VirtualClock()
        rig = await Rig(tmp_path, clock, FakeAccount(clock)).start()
        told = (
            report("a" * 12, "Accepted", ready=True),
            report("a" * 12, "Accepted", ready=True),
            report("a" * 12, "KeyTooPowerful", ready=True),
            report("a" * 12, "Accepted", ready=True),
            report("b" * 12, "Accepted", ready=True),
        )
        keys = SaidKeys()
        keeper = Keeper(rig.desk, Breakers(), keys, clock, on_change=lambda: None, probe=lambda: None)
        for keys.told in told:
            keeper.on_keys()
        kinds = [kind for kind in rig.kinds() if kind.startswith("Credentials")]
        assert kinds == ["CredentialsChanged", "CredentialsRefused", "CredentialsChanged"]
        await rig.end()

    run(story())


class SaidKeys:
    told: CredentialsReport

    def report(self) -> CredentialsReport:
        return self.told
