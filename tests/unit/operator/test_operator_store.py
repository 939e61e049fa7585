from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_operator import kinds
from tradingbot_operator.kinds import Key
from tradingbot_operator.store import Store, bot_key, is_ours_by_label

KEY = Key("desk-a", "btc")


def bot(version: int, name: str = "btc", namespace: str = "desk-a", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "resourceVersion": str(version)}, **more}


def seen_version(store: Store, key: Key = KEY) -> int | None:
    found = store.bot(key)
    return None if found is None else int(found["metadata"]["resourceVersion"])


def test_newer_is_news_and_older_is_not() -> None:
    store = Store()
    assert store.put(kinds.BOT, bot(5))
    assert not store.put(kinds.BOT, bot(5))
    assert not store.put(kinds.BOT, bot(4))
    assert store.put(kinds.BOT, bot(6))
    assert seen_version(store) == 6


def test_what_went_stays_gone_for_old_news() -> None:
    store = Store()
    store.put(kinds.BOT, bot(5))
    assert store.remove(kinds.BOT, bot(7))
    assert not store.put(kinds.BOT, bot(6))
    assert store.bot(KEY) is None
    assert store.put(kinds.BOT, bot(8))


def test_old_farewell_does_not_take_what_was_made_again() -> None:
    store = Store()
    store.put(kinds.BOT, bot(9))
    assert not store.remove(kinds.BOT, bot(7))
    assert seen_version(store) == 9


def test_list_takes_what_it_does_not_have() -> None:
    store = Store()
    store.put(kinds.BOT, bot(5))
    store.put(kinds.BOT, bot(6, "eth"))
    store.replace(kinds.BOT, [bot(6, "eth")], version=10, namespace=None)
    assert store.bot_keys() == [Key("desk-a", "eth")]
    assert not store.put(kinds.BOT, bot(5))


def test_old_list_does_not_take_what_is_newer() -> None:
    store = Store()
    store.put(kinds.BOT, bot(12))
    store.replace(kinds.BOT, [], version=10, namespace=None)
    assert seen_version(store) == 12


def test_old_list_does_not_bring_back_what_went() -> None:
    store = Store()
    store.put(kinds.BOT, bot(5))
    store.remove(kinds.BOT, bot(12))
    store.replace(kinds.BOT, [bot(5)], version=10, namespace=None)
    assert store.bot(KEY) is None


def test_list_of_one_namespace_leaves_the_others() -> None:
    store = Store()
    store.put(kinds.BOT, bot(5))
    store.put(kinds.BOT, bot(5, namespace="desk-b"))
    store.replace(kinds.BOT, [], version=10, namespace="desk-b")
    assert store.bot_keys() == [KEY]


def test_children_are_found_under_their_derived_name() -> None:
    store = Store()
    lease = {"metadata": {"name": "btc-trader", "namespace": "desk-a", "resourceVersion": "3"}}
    store.put(kinds.LEASE, lease)
    children = store.children(KEY)
    assert set(children) == set(kinds.BUILT_IN)
    assert children[kinds.LEASE] == lease
    assert children[kinds.SERVICE] is None


@pytest.mark.parametrize("kind", kinds.OPTIONAL, ids=lambda kind: kind.name)
def test_optional_kind_is_known_from_the_list_that_shows_it_to_the_one_that_does_not(kind: kinds.Kind) -> None:
    child = {"metadata": {"name": "btc-trader", "namespace": "desk-a", "resourceVersion": "6"}}
    store = Store()
    assert kind not in store.children(KEY)
    store.replace(kind, [], version=5, namespace="desk-a")
    assert store.children(KEY)[kind] is None
    store.replace(kind, [child], version=7, namespace="desk-a")
    assert store.children(KEY)[kind] == child
    store.forget(kind)
    assert kind not in store.children(KEY)
    store.replace(kind, [], version=9, namespace="desk-a")
    assert store.children(KEY)[kind] is None


def test_kind_that_comes_back_is_not_seen_with_old_eyes() -> None:
    """Its CRD was made again: what was there went with the first one."""
    kind = kinds.POD_MONITOR
    store = Store()
    store.replace(kind, [bot(8, "btc-trader")], version=8, namespace=None)
    store.remove(kind, bot(12, "btc-trader"))
    store.forget(kind)
    store.replace(kind, [bot(10, "btc-trader")], version=11, namespace=None)
    assert store.children(KEY)[kind] is not None


def test_managed_fields_are_not_kept() -> None:
    store = Store()
    given_bot = bot(1)
    given_bot["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    store.put(kinds.BOT, given_bot)
    assert "managedFields" not in (store.bot(KEY) or {})["metadata"]
    assert "managedFields" in given_bot["metadata"]


def test_version_that_is_no_number_is_always_news() -> None:
    store = Store()
    odd = {"metadata": {"name": "btc", "namespace": "desk-a", "resourceVersion": "x"}}
    assert store.put(kinds.BOT, odd)
    assert store.put(kinds.BOT, odd)


def test_child_says_which_bot_it_is_about() -> None:
    labels = {"tradingbot.dev/bot": "btc", "app.kubernetes.io/managed-by": "tradingbot-operator"}
    child = {"metadata": {"name": "btc-trader", "namespace": "desk-a", "labels": labels}}
    assert bot_key(kinds.SERVICE, child) == KEY
    assert is_ours_by_label(child)
    assert bot_key(kinds.SERVICE, {"metadata": {"name": "x", "namespace": "y"}}) is None
    assert bot_key(kinds.BOT, bot(1)) == KEY


@given(st.permutations([("put", 3), ("put", 5), ("remove", 8), ("put", 11), ("list", 4), ("list", 9), ("list", 12)]))
def test_order_of_arrival_does_not_matter(order: list[tuple[str, int]]) -> None:
    """History: made at 3, changed at 5, deleted at 8, made again at 11; lists as of 4, 9 and 12."""
    listed: dict[int, list[dict[str, Any]]] = {4: [bot(3)], 9: [], 12: [bot(11)]}
    store = Store()
    for what, version in order:
        if what == "put":
            store.put(kinds.BOT, bot(version))
        elif what == "remove":
            store.remove(kinds.BOT, bot(version))
        else:
            store.replace(kinds.BOT, listed[version], version=version, namespace=None)
    assert seen_version(store) == 11
