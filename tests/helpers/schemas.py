"""The schemas in docs/reference."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((REFERENCE / name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)
