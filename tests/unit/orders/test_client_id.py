"""The client order id can be read back, tells bots apart, and nobody can mistype it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_trader.orders.client_id import (
    MAX_EPOCH,
    MAX_SEQUENCE,
    ClientOrderId,
    ClientOrderIds,
    build_client_order_id,
    hash_bot,
    is_own,
    parse_client_order_id,
)

BOTS = st.text(alphabet="0123456789abcdef", min_size=10, max_size=10)
EPOCHS = st.integers(0, MAX_EPOCH)
SEQUENCES = st.integers(0, MAX_SEQUENCE)


@given(BOTS, EPOCHS, SEQUENCES)
def test_what_was_built_is_read_back(bot: str, epoch: int, sequence: int) -> None:
    text = build_client_order_id(bot, epoch, sequence)
    assert len(text) == 32
    assert set(text) <= set("0123456789abcdef")
    assert parse_client_order_id(text) == ClientOrderId(bot, epoch, sequence)
    assert str(parse_client_order_id(text)) == text


@given(BOTS, EPOCHS, SEQUENCES, st.integers(0, 31), st.sampled_from("0123456789abcdef"))
def test_one_wrong_character_is_noticed(bot: str, epoch: int, sequence: int, place: int, character: str) -> None:
    text = build_client_order_id(bot, epoch, sequence)
    wrong = text[:place] + character + text[place + 1 :]
    if wrong != text:
        with pytest.raises(ValueError, match="checksum"):
            parse_client_order_id(wrong)


@given(st.text(max_size=40))
def test_text_of_others_is_refused_and_not_own(text: str) -> None:
    with pytest.raises(ValueError, match="not a client order id"):
        parse_client_order_id(text)
    assert not is_own(text, "0" * 10)


def test_upper_case_is_not_the_same_id() -> None:
    text = build_client_order_id("abcdefabcd", 1, 1)
    with pytest.raises(ValueError, match="lowercase"):
        parse_client_order_id(text.upper())


@pytest.mark.parametrize(
    ("bot", "epoch", "sequence"),
    [("short", 1, 1), ("ABCDEFABCD", 1, 1), ("0" * 10, -1, 1), ("0" * 10, MAX_EPOCH + 1, 1), ("0" * 10, 1, 2**32)],
)
def test_what_does_not_fit_is_refused(bot: str, epoch: int, sequence: int) -> None:
    with pytest.raises(ValueError, match=r"hash of a bot|8 hex digits"):
        build_client_order_id(bot, epoch, sequence)


def test_bots_that_differ_anywhere_have_different_hashes() -> None:
    names = {
        hash_bot(*parts)
        for parts in [("i", "n", "b"), ("j", "n", "b"), ("i", "m", "b"), ("in", "b", ""), ("i", "nb", "")]
    }
    assert len(names) == 5


def test_an_id_belongs_to_the_bot_that_made_it() -> None:
    mine, other = hash_bot("i", "desk-a", "btc"), hash_bot("i", "desk-a", "eth")
    assert is_own(build_client_order_id(mine, 7, 1), mine)
    assert not is_own(build_client_order_id(other, 7, 1), mine)


def test_a_run_never_hands_out_an_id_twice() -> None:
    ids = ClientOrderIds("0" * 10, 7)
    taken = [ids.take() for _ in range(1000)]
    assert len(set(taken)) == 1000
    assert {parse_client_order_id(text).epoch for text in taken} == {7}
