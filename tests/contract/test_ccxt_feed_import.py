"""One exchange of ccxt without the others: the same code, less of everything else, and a way back when it cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

DESCRIBE = """
import hashlib, json, sys, types

def code_of(cls):
    digest = hashlib.sha256()
    for each in cls.__mro__:
        for name, value in sorted(vars(each).items()):
            if isinstance(value, types.FunctionType):
                code = value.__code__
                digest.update(f"{name} {code.co_filename} {code.co_firstlineno}".encode() + code.co_code)
    return digest.hexdigest()

def resident_kb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

def tell(cls, **more):
    modules = sorted(name for name in sys.modules if name.startswith("ccxt."))
    print(json.dumps({
        "code": code_of(cls), "mro": [f"{each.__module__}.{each.__qualname__}" for each in cls.__mro__],
        "resident_kb": resident_kb(), "modules": modules, **more,
    }))
"""


def run(script: str) -> dict[str, Any]:
    """In an interpreter of its own, because it is about what has been imported."""
    done = subprocess.run([sys.executable, "-c", DESCRIBE + script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    described: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return described


def test_slim_class_is_the_same_code_without_the_other_exchanges() -> None:
    slim = run(
        "from tradingbot_trader.venues.ccxt_slim import load\n"
        "found = load('binance', lambda: 1 / 0)\n"
        "tell(found.exchange_class, is_slim=found.is_slim)"
    )
    whole = run("import ccxt.pro\ntell(ccxt.pro.binance)")
    assert slim["is_slim"]
    assert (slim["code"], slim["mro"]) == (whole["code"], whole["mro"])
    assert "ccxt.pro.kraken" in whole["modules"]
    assert not {"ccxt.pro.kraken", "ccxt.async_support.kraken", "ccxt.kraken", "ccxt.binance"} & set(slim["modules"])
    assert slim["resident_kb"] < whole["resident_kb"]


def test_trader_itself_imports_the_slim_one() -> None:
    found = run(
        "from tradingbot_api.spec import ExchangeId, Network\n"
        "from tradingbot_trader.clock import SystemClock\n"
        "from tradingbot_trader.venues import ccxt_port\n"
        "before = [name for name in sys.modules if name == 'ccxt' or name.startswith('ccxt.')]\n"
        "port = ccxt_port.build_market_data(ExchangeId.BINANCE, Network.TESTNET, clock=SystemClock())\n"
        "tell(type(port), before=before)"
    )
    assert found["before"] == [], "importing the module alone costs nothing"
    assert "ccxt.pro.binance" in found["modules"]
    assert "ccxt.pro.kraken" not in found["modules"]


def test_what_was_left_out_can_still_be_imported() -> None:
    found = run(
        "from tradingbot_trader.venues.ccxt_slim import load\n"
        "load('binance', lambda: 1 / 0)\n"
        "import ccxt, ccxt.pro, ccxt.async_support\n"
        "assert issubclass(ccxt.pro.kraken, ccxt.async_support.kraken)\n"
        "assert issubclass(ccxt.binance, ccxt.Exchange)\n"
        "assert not hasattr(ccxt, 'no_such_exchange')\n"
        "tell(ccxt.pro.binance)"
    )
    assert found["mro"][0] == "ccxt.pro.binance.binance"


def test_whole_package_is_imported_when_the_slim_way_fails() -> None:
    found = run(
        "from tradingbot_trader.venues.ccxt_slim import load\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'ccxt.base.errors' and self in sys.meta_path:\n"
        "            sys.meta_path.remove(self)\n"
        "            raise ImportError('moved')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "def whole():\n"
        "    import ccxt.pro\n"
        "    return ccxt.pro\n"
        "found = load('binance', whole)\n"
        "tell(found.exchange_class, is_slim=found.is_slim, same=found.errors is sys.modules['ccxt.base.errors'])"
    )
    assert not found["is_slim"]
    assert found["same"]
    assert "ccxt.pro.kraken" in found["modules"]


def test_package_that_somebody_has_imported_whole_is_left_alone() -> None:
    found = run(
        "import ccxt.pro\n"
        "from tradingbot_trader.venues.ccxt_slim import load\n"
        "found = load('binance', lambda: ccxt.pro)\n"
        "tell(found.exchange_class, is_slim=found.is_slim, same=found.exchange_class is ccxt.pro.binance)"
    )
    assert (found["is_slim"], found["same"]) == (False, True)
