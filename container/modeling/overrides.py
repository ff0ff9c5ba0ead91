"""The one way to override a setting: a dotted name and a text, as in `training.learning_rate=1e-4`.

The command line's `--set`, the hyperparameters of a training job and the values that a tuning job chooses all come
as texts, and all pass through `override`. `hyperparameters` is its inverse: the texts that turn the defaults into
the given settings.
"""

import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from container.errors import SettingsError
from container.modeling.settings import ContainerSettings

# SageMaker's limits on CreateTrainingJob's HyperParameters.
MAX_HYPERPARAMETERS = 100
MAX_HYPERPARAMETER_LENGTH = 2500

M = TypeVar("M", bound=BaseModel)


def override(settings: M, assignments: Mapping[str, str]) -> M:
    """Return the settings with each dotted name set to its text, parsed by the setting's type.

    A name may go on into a table: `loss.class_weights.rose=2` sets one entry, and leaves the others.

    Raises:
        SettingsError: a name is unknown, or a value is of the wrong type or out of its range.
    """
    values = settings.model_dump()
    fields = dict(leaves(type(settings)))
    # By name: a table as a whole comes before its entries, in whatever order SageMaker wrote hyperparameters.json.
    for name, text in sorted(assignments.items()):
        leaf, key = _leaf_and_key(name, fields)
        *groups, last = leaf.split(".")
        group = values
        for part in groups:
            group = group[part]
        group[last] = group[last] | _entry(leaf, key, fields[leaf], text) if key else parse(leaf, fields[leaf], text)
    return validated(type(settings), values)


def parse(name: str, field: FieldInfo, text: str) -> Any:
    """Return the value that a text means for a setting.

    Text settings take the text as it is, lists and tables are JSON, the rest is read as by pydantic (`1e-4`, `false`).

    Raises:
        SettingsError: the text is not a value of the setting's type, or out of its range.
    """
    annotation = field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(typing.cast(Any, typing.Annotated[annotation, field]))
    try:
        if typing.get_origin(annotation) is typing.Literal:
            choices = {to_text(choice): choice for choice in typing.get_args(annotation)}
            return adapter.validate_python(choices.get(text, text))
        if typing.get_origin(annotation) in (tuple, list, dict):
            return adapter.validate_json(text)
        return adapter.validate_strings(text)
    except ValidationError as error:
        raise SettingsError(f"{name}={' '.join(text.split())}: {_rule(error.errors()[0], field)}") from None


def value_type(model: type[BaseModel], name: str) -> Any:
    """Return the type of a setting by its dotted name, or that of the entries of its table, such as `int`.

    Raises:
        SettingsError: there is no such setting.
    """
    fields = dict(leaves(model))
    leaf, key = _leaf_and_key(name, fields)
    return _entry_type(fields[leaf]) if key else fields[leaf].annotation


def parse_value(model: type[BaseModel], name: str, text: str) -> Any:
    """Return the value that a text means for a setting by its dotted name, or for an entry of its table.

    Raises:
        SettingsError: there is no such setting, or the text is none of its values.
    """
    fields = dict(leaves(model))
    leaf, key = _leaf_and_key(name, fields)
    return _entry(leaf, key, fields[leaf], text)[key] if key else parse(leaf, fields[leaf], text)


def hyperparameters(settings: ContainerSettings) -> dict[str, str]:
    """Return what differs from the defaults, as CreateTrainingJob's HyperParameters takes it.

    Raises:
        SettingsError: more than SageMaker's 100 entries differ, or a value is longer than its 2500 characters.
    """
    values, defaults = dict(flatten(settings)), dict(flatten(type(settings)()))
    texts = {name: to_text(value) for name, value in values.items() if value != defaults[name]}
    if len(texts) > MAX_HYPERPARAMETERS:
        raise SettingsError(
            f"{len(texts)} settings differ from their defaults; SageMaker takes at most {MAX_HYPERPARAMETERS} "
            "hyperparameters: leave some at their defaults"
        )
    for name, text in texts.items():
        if len(text) > MAX_HYPERPARAMETER_LENGTH:
            raise SettingsError(
                f"{name} is {len(text)} characters long; SageMaker takes at most {MAX_HYPERPARAMETER_LENGTH} "
                "in a hyperparameter: shorten it"
            )
    return texts


def to_text(value: Any) -> str:
    """Return the text that `parse` reads as this value."""
    if isinstance(value, str):
        return value
    return json.dumps(value, default=BaseModel.model_dump)


def flatten(settings: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting's dotted name and value, in the order of their definition."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield each setting's dotted name and field, in the order of their definition."""
    nested = dict(sections(model))
    for name, field in model.model_fields.items():
        if name in nested:
            yield from leaves(nested[name], f"{prefix}{name}.")
        else:
            yield prefix + name, field


def sections(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the name and the type of each group of settings directly under a model."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation


def validated(model: type[M], values: Mapping[str, Any]) -> M:
    """Return the model made of these values.

    Raises:
        SettingsError: naming the first setting that is wrong, and the rule.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(explain(model, error)) from None


def explain(model: type[BaseModel], error: ValidationError, prefix: str = "") -> str:
    """Return the first thing that is wrong, in one line: the setting's dotted name, its value and the rule."""
    first = error.errors()[0]
    name = prefix + ".".join(str(part) for part in first["loc"])
    fields = dict(leaves(model, prefix))
    if first["type"] == "extra_forbidden":
        return f"there is no setting {name!r}{did_you_mean(name, list(fields))}"
    if first["type"] == "missing":
        return f"{name} is missing: {description(fields[name])}"
    field = next((fields[leaf] for leaf in fields if name == leaf or name.startswith(leaf + ".")), None)
    if field is None:
        return ": ".join(filter(None, [name.rstrip("."), _rule(first)]))
    return f"{name}={first['input']!r}: {_rule(first, field)}"


def did_you_mean(name: str, names: list[str]) -> str:
    """Return `: did you mean ...?`, or where to look when no known name is near."""
    # Of several settings with the same last part, the one that is defined first is meant most often.
    last_parts = {known.rpartition(".")[2].lower(): known for known in reversed(names)}
    if name.lower() in (known.lower() for known in names):
        near = [next(known for known in names if known.lower() == name.lower())]
        return f": did you mean {near[0]!r}?"
    name = name.lower()
    if name.rpartition(".")[2] in last_parts:
        return f": did you mean {last_parts[name.rpartition('.')[2]]!r}?"
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    near = near or [last_parts[part] for part in difflib.get_close_matches(name.rpartition(".")[2], last_parts, n=1)]
    return f": did you mean {near[0]!r}?" if near else "; the README's table lists them all"


def description(field: FieldInfo) -> str:
    """Return what a setting means, in one line."""
    return " ".join((field.description or "").split())


def describe_type(field: FieldInfo) -> str:
    """Return a setting's type and range in words: `number > 0, <= 10`."""
    limits = [
        f"{sign} {getattr(rule, limit):,}"
        for rule in field.metadata
        for limit, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if hasattr(rule, limit)
    ]
    return " ".join([_type_words(field.annotation), ", ".join(limits)]).strip()


def _leaf_and_key(name: str, fields: Mapping[str, FieldInfo]) -> tuple[str, str]:
    """Return the setting that a name means, and the entry of its table; empty: all of it."""
    if name in fields:
        return name, ""
    for leaf, field in fields.items():
        if typing.get_origin(field.annotation) is dict and name.startswith(f"{leaf}."):
            return leaf, name.removeprefix(f"{leaf}.")
    members = [field for field in fields if field.startswith(f"{name}.")]
    hint = f": it is a group; name one of {', '.join(members)}" if members else did_you_mean(name, list(fields))
    raise SettingsError(f"there is no setting {name!r}{hint}")


def _entry(leaf: str, key: str, field: FieldInfo, text: str) -> Any:
    value = json.dumps(text) if _entry_type(field) is str else text
    return parse(f"{leaf}.{key}", field, f"{{{json.dumps(key)}: {value}}}")


def _entry_type(field: FieldInfo) -> Any:
    _, annotation = typing.get_args(field.annotation)
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _type_words(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(str(value) for value in arguments)
    if origin is typing.Annotated:
        return _type_words(arguments[0])
    if origin in (tuple, list):
        if arguments[-1] is not ...:
            return f"[{', '.join(map(_type_words, arguments))}]"
        return f"list of {_plural(arguments[0])}"
    if origin is dict:
        return f"table of {_plural(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.__name__.lower()
    words = {int: "integer", float: "number", str: "text", bool: "true or false"}
    return words.get(annotation, str(annotation))


def _plural(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return _type_words(annotation)
    if typing.get_origin(annotation) is dict:
        return "tables"
    if typing.get_origin(annotation) is typing.Annotated:
        return _plural(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(map(_plural, typing.get_args(annotation)))
    words = _type_words(annotation)
    return words if words.startswith("[") else f"{words}s"


def _rule(error: ErrorDetails, field: FieldInfo | None = None) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if field is None or error["type"] == "value_error":
        return message
    if error["type"] == "literal_error" and typing.get_origin(field.annotation) is typing.Literal:
        return f"must be {describe_type(field)}"
    if error["type"] in ("missing", "extra_forbidden"):
        what = "is missing" if error["type"] == "missing" else "is none of its fields"
        return f"{error['loc'][-1]} {what} (it is {describe_type(field)})"
    if error["type"] == "string_pattern_mismatch":
        example = f" For example: {field.default}" if field.default and isinstance(field.default, str) else ""
        return f"does not look like what it means: {description(field)}{example}"
    return f"{message[:1].lower()}{message[1:]} (it is {describe_type(field)})"
