"""The JSON Schema of what wproj writes and reads."""

from typing import Any, Literal

import msgspec

from wproj.report import Report
from wproj.selection.recipe_tables import RecipeTable

SchemaName = Literal["report", "recipe"]


def json_schema(name: SchemaName) -> dict[str, Any]:
    """The JSON Schema of a report, or of a recipe as its TOML decodes."""
    types: dict[SchemaName, type] = {"report": Report, "recipe": RecipeTable}
    schema = msgspec.json.schema(types[name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
