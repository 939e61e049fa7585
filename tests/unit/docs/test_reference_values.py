"""The reference of the chart's values: texts from the comments of values.yaml, and no value without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"

VALUES = """\
# About the file.

# How many.
# At most three.
count: 1

outer:
  # What it is.
  inner: {}
  bare: x

# Where:
#   list:
#     - example
list: []
"""


def run(expression: str) -> str:
    """Inside the folder of the scripts, which is no package."""
    code = f"from reference_values import *; import json; print(json.dumps({expression}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=DOCS, capture_output=True, text=True, check=False)
    return done.stdout or done.stderr


def test_text_is_the_comment_above_without_its_example() -> None:
    assert json.loads(run(f"read_comments({VALUES!r})")) == {
        "count": "How many. At most three.",
        "outer": "",
        "outer.inner": "What it is.",
        "outer.bare": "",
        "list": "Where:",
    }


def test_value_without_comment_and_description_is_refused() -> None:
    schema = {"properties": {"bare": {"type": "string"}}}
    assert "no comment above bare" in run(f"list(value_entries({schema!r}, {{}}, {{}}, {{}}))")
    said = json.loads(run(f"list(value_entries({schema!r}, {{'bare': 'x'}}, {{'bare': 'Known'}}, {{}}))"))
    assert said == ['- **`bare`** string, default `"x"`. Known.']
