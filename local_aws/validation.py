"""Whether a request agrees with AWS's own service model, in AWS's words.

botocore's clients check types and required members before they send; what the model also has (lengths,
patterns, enumerations, ranges) only the service checks, and so does this. The model is the one that botocore
carries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from moto.core.utils import get_service_model

# The model's patterns are Java's. Python's `re` lacks the classes by Unicode category; these are close, and
# never stricter.
_JAVA_CLASSES = {r"\p{Alnum}": "a-zA-Z0-9", r"\p{L}": r"\w", r"\p{N}": r"\d", r"\p{Z}": r"\s"}

_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
    "structure": (dict,),
    "list": (list,),
    "map": (dict,),
}

_LONGEST_SHOWN = 256


class WrongTypeError(ValueError):
    """A member of a request has another JSON type than the model says."""


def input_shape(service: str, operation: str) -> Shape:
    """The shape of an operation's request in botocore's model; the service by its name in boto3."""
    # moto keeps the parsed model; SageMaker's is three megabytes of JSON.
    shape: Shape = get_service_model(service).operation_model(operation).input_shape
    return shape


def violations(shape: Shape, value: object) -> list[str]:
    """What in a request's JSON document disagrees with its shape, in AWS's words, one sentence each.

    Raises:
        WrongTypeError: a member has the wrong type; AWS refuses such a document before it looks at values.
    """
    return list(_violations(shape, value, ""))


def _violations(shape: Shape, value: object, path: str) -> Iterator[str]:
    expected = _PYTHON_TYPES.get(shape.type_name, (object,))
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in (*expected, object)):
        raise WrongTypeError(f"{_json_type(value)} can not be converted to {shape.type_name} at '{path or 'request'}'")
    for constraint in _own_constraints(shape, value):
        yield f"Value {_shown(value)} at '{path}' failed to satisfy constraint: {constraint}"
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        for name in shape.required_members:
            if value.get(name) is None:
                member = _member_path(path, name)
                yield f"Value null at '{member}' failed to satisfy constraint: Member must not be null"
        for name, member_shape in shape.members.items():
            if value.get(name) is not None:
                yield from _violations(member_shape, value[name], _member_path(path, name))
    elif isinstance(shape, ListShape) and isinstance(value, list):
        for number, item in enumerate(value, start=1):
            yield from _violations(shape.member, item, f"{path}.{number}.member")
    elif isinstance(shape, MapShape) and isinstance(value, dict):
        for key, item in value.items():
            yield from _violations(shape.key, key, f"{path}.{key}.key")
            yield from _violations(shape.value, item, f"{path}.{key}.value")


def _own_constraints(shape: Shape, value: object) -> Iterator[str]:
    size: float | None = None
    what = "length"
    if isinstance(value, (str, list, dict)) and not isinstance(shape, StructureShape):
        size = len(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        size, what = value, "value"
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if size is not None and least is not None and size < float(least):
        yield f"Member must have {what} greater than or equal to {least}"
    if size is not None and most is not None and size > float(most):
        yield f"Member must have {what} less than or equal to {most}"
    elif isinstance(shape, StringShape) and isinstance(value, str):
        if shape.enum and value not in shape.enum:
            yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
        pattern = shape.metadata.get("pattern")
        compiled = _compiled(pattern) if pattern else None
        if compiled and not compiled.fullmatch(value):
            yield f"Member must satisfy regular expression pattern: {pattern}"


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    translated = pattern
    for java, python in _JAVA_CLASSES.items():
        translated = translated.replace(java, python)
    try:
        return re.compile(translated)
    except re.error:
        return None


def _member_path(path: str, name: str) -> str:
    name = name[0].lower() + name[1:]
    return f"{path}.{name}" if path else name


def _shown(value: object) -> str:
    return "'[...]'" if isinstance(value, (list, dict)) else f"'{str(value)[:_LONGEST_SHOWN]}'"


def _json_type(value: object) -> str:
    if value is None:
        return "NULL_VALUE"
    names = {str: "STRING_VALUE", bool: "BOOLEAN_VALUE", dict: "OBJECT_VALUE", list: "ARRAY_VALUE"}
    return names.get(type(value), "NUMBER_VALUE")
