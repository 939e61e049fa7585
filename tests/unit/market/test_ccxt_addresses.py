from __future__ import annotations

import pytest

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.venues import binance
from tradingbot_trader.venues.ccxt_port import build_market_data, choose_addresses, scrub
from tradingbot_trader.venues.port import AddressRefused, UnsupportedExchange


@pytest.mark.parametrize("exchange", [each for each in ExchangeId if each is not ExchangeId.BINANCE])
def test_exchange_without_an_adapter_is_refused_by_name(exchange: ExchangeId) -> None:
    with pytest.raises(UnsupportedExchange, match=f"trades on binance; {exchange.value} comes with a later one"):
        build_market_data(exchange, Network.MAINNET, clock=SystemClock())


def test_addresses_of_the_main_network_are_fixed() -> None:
    assert choose_addresses(Network.MAINNET, rest_url=None, stream_url=None) == binance.ADDRESSES[Network.MAINNET]
    for given in ({"rest_url": "http://evil"}, {"stream_url": "ws://evil"}):
        with pytest.raises(AddressRefused, match="Mainnet are fixed"):
            choose_addresses(Network.MAINNET, **({"rest_url": None, "stream_url": None} | given))


def test_addresses_of_the_test_network_can_be_replaced_both_at_once() -> None:
    assert choose_addresses(Network.TESTNET, rest_url=None, stream_url=None) == binance.ADDRESSES[Network.TESTNET]
    assert choose_addresses(Network.TESTNET, rest_url="http://a/", stream_url="ws://b") == ("http://a", "ws://b")
    with pytest.raises(AddressRefused, match="Testnet needs both"):
        choose_addresses(Network.TESTNET, rest_url="http://a", stream_url=None)


def test_sandbox_has_no_address_of_its_own() -> None:
    with pytest.raises(AddressRefused, match="Sandbox needs both --rest-url and --stream-url"):
        choose_addresses(Network.SANDBOX, rest_url=None, stream_url=None)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("binance GET https://h/api/v3/account?a=1&signature=f00", "binance GET https://h/api/v3/account"),
        ("'https://h:8/p?signature=f00' and ws://i/ws#x then", "'https://h:8/p' and ws://i/ws then"),
        ("https://user:secret@h/p?x", "https://h/p"),
        ("no address? none", "no address? none"),
    ],
)
def test_queries_and_credentials_of_addresses_are_left_out(text: str, clean: str) -> None:
    assert scrub(text) == clean


def test_page_instead_of_an_answer_is_cut_short() -> None:
    assert len(scrub("x" * 10_000)) == 300
