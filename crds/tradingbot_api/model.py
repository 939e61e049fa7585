"""PURE. What all models of the API share, and the metadata keys that the CRD generator reads."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


def rule(expression: str, message: str, **extra: Any) -> dict[str, Any]:
    """One entry of `x-kubernetes-validations`; messages say what to do."""
    return {"rule": expression, "message": message, **extra}


def validations(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"x-kubernetes-validations": list(rules)}


class ApiModel(BaseModel):
    """Immutable, camelCase on the wire, described by the sentence below each field.

    Unknown fields are dropped, as the API server's pruning does: a newer field that this version does not know
    changes the digest that the other program computes, and so withholds the permit.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )
