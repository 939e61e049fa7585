from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from tradingbot_api import GROUP, crd
from tradingbot_api.model import ApiModel

Schema = dict[str, Any]
ROOT = Path(__file__).parents[3]
FOLDERS = [ROOT / "crds", ROOT / "charts" / "tradingbot-operator" / "files" / "crds"]


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from walk(schema["additionalProperties"], f"{path}.*")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")


def schema_of(kind: crd.Kind) -> Schema:
    version = crd.build_crd(kind)["spec"]["versions"][0]
    schema: Schema = version["schema"]["openAPIV3Schema"]
    return schema


EVERYWHERE = [(kind.name, path, node) for kind in crd.KINDS for path, node in walk(schema_of(kind))]


@pytest.mark.parametrize("folder", FOLDERS, ids=["crds", "chart"])
def test_manifests_are_what_the_models_say(folder: Path) -> None:
    assert crd.main(["--check", str(folder)]) == 0


def test_stale_manifest_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main(["--write", str(tmp_path)]) == 0
    assert crd.main(["--check", str(tmp_path)]) == 0
    stale = tmp_path / f"{GROUP}_tradingbots.yaml"
    stale.write_text(stale.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    assert crd.main(["--check", str(tmp_path)]) == 1
    assert str(stale) in capsys.readouterr().err


def test_nothing_is_left_that_a_structural_schema_does_not_know() -> None:
    unknown = {
        "$ref",
        "$defs",
        "anyOf",
        "const",
        "title",
        "prefixItems",
        "patternProperties",
        "examples",
        "uniqueItems",
    }
    assert [(kind, path) for kind, path, node in EVERYWHERE if unknown & set(node)] == []


def test_every_node_has_a_type() -> None:
    untyped = [(kind, path) for kind, path, node in EVERYWHERE if "type" not in node]
    assert untyped == [("TradingBot", ".spec.strategy.parameters.*")]


def test_every_string_and_list_has_an_end() -> None:
    """The cost of CEL rules is counted by it, and nobody fills etcd with one field."""
    endless = [
        (kind, path)
        for kind, path, node in EVERYWHERE
        if (node.get("type") == "string" and not {"maxLength", "enum"} & set(node))
        or (node.get("type") == "array" and "maxItems" not in node)
    ]
    assert [place for place in endless if place[1] not in {".apiVersion", ".kind"}] == []


def test_nothing_may_be_nested_without_end() -> None:
    """Python cannot read JSON that is nested a thousand deep: one such bot would blind the operator for all."""
    assert [(kind, path) for kind, path, node in EVERYWHERE if node.get("x-kubernetes-preserve-unknown-fields")] == []


def test_no_float_and_no_default_in_status() -> None:
    assert [(kind, path) for kind, path, node in EVERYWHERE if node.get("type") == "number"] == []
    assert [path for _, path, node in EVERYWHERE if path.startswith(".status") and "default" in node] == []


def test_every_list_map_key_is_required() -> None:
    for _, path, node in EVERYWHERE:
        for key in node.get("x-kubernetes-list-map-keys", []):
            assert key in node["items"]["required"], path


def test_rules_of_spec_and_root_let_pass_what_was_already_so() -> None:
    """Ratcheting does not reach them: without this a newer rule would refuse a kill patch on an older object."""
    bot = schema_of(next(kind for kind in crd.KINDS if kind.name == "TradingBot"))
    for node in (bot, bot["properties"]["spec"]):
        for rule in node.get("x-kubernetes-validations", []):
            assert rule.get("optionalOldSelf") or "oldSelf" in rule["rule"], rule


def test_no_rule_fails_on_a_value_that_its_pattern_would_refuse() -> None:
    """An unchanged old value passes a rule that is false, but not one that ends in an error: quantity() and duration()
    end in one on what they cannot read, and would refuse every patch of an older object, a kill included."""
    for _, path, node in EVERYWHERE:
        for rule in node.get("x-kubernetes-validations", []):
            assert "duration(" not in rule["rule"], path
            assert "int(" not in rule["rule"], path
            guarded = rule["rule"].count("isQuantity(")
            assert bool(guarded) == ("quantity(" in rule["rule"]), path


def test_kill_switch_itself_has_no_rule_and_asks_for_nothing() -> None:
    """A kill changes it, so nothing about it as a whole is ratcheted."""
    bot = schema_of(next(kind for kind in crd.KINDS if kind.name == "TradingBot"))
    switch = bot["properties"]["spec"]["properties"]["killSwitch"]
    assert set(switch) == {"type", "description", "default", "properties"}
    for schema in (bot, bot["properties"]["spec"]):
        assert not {"maxProperties", "minProperties"} & set(schema)


def test_no_format_stands_in_a_spec() -> None:
    """Where one stands the API server takes any list for the string (seen on Kubernetes 1.36)."""
    assert [(kind, path) for kind, path, node in EVERYWHERE if path.startswith(".spec") and "format" in node] == []


def test_every_property_has_a_description_that_teaches() -> None:
    """`kubectl explain` prints them. The API server describes metadata itself, and takes no words about it."""
    silent = [
        (kind, path)
        for kind, path, node in EVERYWHERE
        if path != ".metadata" and not path.endswith(("[]", ".*")) and len(node.get("description", "")) < 5
    ]
    assert silent == []


def test_generated_manifest_shares_nothing_with_the_next_one() -> None:
    """Whoever changes one, as tests do, must not change what is generated afterwards."""
    for kind in crd.KINDS:
        first, again = crd.build_crd(kind), crd.build_crd(kind)
        metadata = first["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["metadata"]
        metadata["properties"]["name"].clear()
        assert crd.build_crd(kind) == again


def test_columns_and_selectors_lead_to_fields_that_are_there() -> None:
    for kind in crd.KINDS:
        known = {path for path, _ in walk(schema_of(kind))}
        for column in kind.columns:
            path = re.sub(r"\[\?\(.*\)\]", "[]", column.path)
            assert path in known or path == ".metadata.creationTimestamp", column
        assert set(kind.selectable) <= known


def test_time_that_is_to_come_is_no_date_column() -> None:
    """kubectl prints a date as its age, and one in the future as <invalid>."""
    columns = [column for kind in crd.KINDS for column in kind.columns]
    assert [each for each in columns if "expires" in each.path.lower() and each.type == "date"] == []


def test_required_fields_of_spec_are_frozen() -> None:
    """A new one would refuse each patch of an older object, a kill included."""
    bot = schema_of(next(kind for kind in crd.KINDS if kind.name == "TradingBot"))
    assert set(bot["properties"]["spec"]["required"]) == {"exchange", "symbols", "strategy", "capital", "risk"}


def test_every_message_is_a_sentence_for_a_person() -> None:
    for _, path, node in EVERYWHERE:
        for rule in node.get("x-kubernetes-validations", []):
            assert len(rule["message"]) > 15, path
            assert "\n" not in rule["message"], path


def test_defaults_are_written_as_users_write_them() -> None:
    bot = schema_of(next(kind for kind in crd.KINDS if kind.name == "TradingBot"))
    risk = bot["properties"]["spec"]["properties"]["risk"]["properties"]
    assert risk["cooldownAfterLoss"]["default"] == "15m"
    assert risk["maxPositionPercent"]["default"] == "40"


def test_recursive_model_is_refused() -> None:
    class Node(ApiModel):
        child: Node | None = None

    Node.model_rebuild()
    with pytest.raises(ValueError, match="recursive"):
        crd.structural_schema(Node)


def test_union_is_refused() -> None:
    class Either(ApiModel):
        value: int | str = Field()

    with pytest.raises(ValueError, match="no unions"):
        crd.structural_schema(Either)
