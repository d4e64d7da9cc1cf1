"""Random JSON schemas, and whether a value keeps to one."""

from __future__ import annotations

import re
from random import Random
from typing import Any


def random_schema(random: Random, depth: int = 0, kind: str = "") -> dict[str, Any]:
    """A schema that some short text keeps to; ``kind`` as "object", or any."""
    kinds = ["string", "integer", "number", "boolean", "null", "enum", "const", "pattern", "length"]
    if depth < 3:
        kinds += ["object", "array", "anyOf", "tuple"] * 2
    kind = kind or random.choice(kinds)
    if kind == "object":
        names = random.sample(["a", "name", "größe", 'quo"te', "x y", "b\n"], random.randint(0, 4))
        required = [name for name in names if random.random() < 0.7]
        properties = {name: random_schema(random, depth + 1) for name in names}
        return {
            "type": kind,
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
    if kind == "array":
        least = random.randint(0, 2)
        items = random_schema(random, depth + 1)
        return {"type": kind, "items": items, "minItems": least, "maxItems": least + 2}
    if kind == "tuple":
        first = [random_schema(random, depth + 1) for _ in range(2)]
        return {"type": "array", "prefixItems": first, "items": False, "minItems": 2}
    if kind == "anyOf":
        return {"anyOf": [random_schema(random, depth + 1) for _ in range(2)]}
    if kind == "enum":
        return {"enum": random.sample([1, "two", None, True, [3], {"four": 4}, "é\n"], 3)}
    if kind == "const":
        return {"const": random.choice(["x", 0, {"a": [1]}])}
    if kind == "pattern":
        return {"type": "string", "pattern": "^[a-f]{2,4}-[0-9]+$", "maxLength": 20}
    if kind in ("string", "length"):
        least = 3 if kind == "length" else 0
        return {"type": "string", "minLength": least, "maxLength": 12}
    if kind == "integer":
        return {"type": kind, "minimum": -5, "maximum": random.randint(0, 2000)}
    if kind == "number":
        return {"type": kind, "minimum": 0, "exclusiveMaximum": 10}
    return {"type": kind}


def keeps(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value is what a schema made by `random_schema` says."""
    if "anyOf" in schema:
        return any(keeps(value, one) for one in schema["anyOf"])
    if "enum" in schema:
        return any(value == one and type(value) is type(one) for one in schema["enum"])
    if "const" in schema:
        return value == schema["const"]
    kind = schema["type"]
    types = {"string": str, "boolean": bool, "object": dict, "array": list, "null": type(None)}
    if kind in types and not isinstance(value, types[kind]):
        return False
    if kind == "object":
        known = schema["properties"]
        return (
            set(schema["required"]) <= value.keys() <= known.keys()
            and list(value) == [name for name in known if name in value]
            and all(keeps(one, known[name]) for name, one in value.items())
        )
    if kind == "array" and "prefixItems" in schema:
        return len(value) == 2 and all(map(keeps, value, schema["prefixItems"]))
    if kind == "array":
        inside = schema["minItems"] <= len(value) <= schema["maxItems"]
        return inside and all(keeps(one, schema["items"]) for one in value)
    if kind == "string":
        matches = re.search(schema.get("pattern", ""), value)
        return bool(matches) and schema.get("minLength", 0) <= len(value) <= schema["maxLength"]
    if kind == "integer":
        return type(value) is int and schema["minimum"] <= value <= schema["maximum"]
    if kind == "number":
        return type(value) in (int, float) and 0 <= value < 10
    return True
