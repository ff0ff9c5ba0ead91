"""The functions of the user's own that settings choose, as far as their source text tells.

A setting of such a function is a keyword-only parameter with a type and a default:

    def build(image: Image, class_count: int, *, width: int = 32) -> keras.Model

declares `parts.settings.width`. Nothing here imports a user's module: the user's machine, which has no TensorFlow,
checks by `ast` what it launches. The rules are the same for the imported function, which parts.py brings along.
"""

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from container.errors import SettingsError, hint
from container.modeling import overrides
from container.modeling.container_settings import ContainerSettings
from container.modeling.own_parts.errors import PartError

# The types that a text in the source names beyond doubt; values of others are parsed where the function is imported.
PLAIN_TYPES = {"int": int, "float": float, "str": str, "bool": bool}
MOST_NAMES_SHOWN = 10


@dataclass(frozen=True)
class Kind:
    """A place in training that a function of the user's own can take."""

    setting: str
    """The setting that names the function."""
    title: str
    arguments: tuple[str, ...]
    """What the function is called with, by position."""


MODEL_BUILDER = Kind("model.name", "model builder", ("image", "class_count"))
LOADER = Kind("parts.loader", "loader", ("folder", "image"))
PREPROCESSOR = Kind("parts.preprocessor", "preprocessor", ("image",))
AUGMENTOR = Kind("parts.augmentor", "augmentor", ("image", "class_count", "seed"))
EVALUATOR = Kind("parts.evaluator", "evaluator", ())


@dataclass(frozen=True)
class Choice:
    """A function of the user's own that a setting names."""

    kind: Kind
    module: str
    """Dotted, inside container/parts."""
    function: str

    @property
    def name(self) -> str:
        """The setting's value."""
        return f"{self.module}:{self.function}"

    def __str__(self) -> str:
        return f"the {self.kind.title} {self.name}"


def chosen_functions(settings: ContainerSettings) -> tuple[Choice, ...]:
    """Return what the settings name of the user's own."""
    parts = settings.parts
    names = (
        (MODEL_BUILDER, settings.model.name),
        (LOADER, parts.loader),
        (PREPROCESSOR, parts.preprocessor),
        (AUGMENTOR, parts.augmentor),
        (EVALUATOR, parts.evaluator),
    )
    return tuple(Choice(kind, *name.split(":")) for kind, name in names if ":" in name)


def check_parts(settings: ContainerSettings, folder: Path) -> None:
    """Check by their source text that the chosen functions exist and declare the settings that are given.

    Args:
        settings: which functions are chosen, and the values of their settings.
        folder: container/parts.

    Raises:
        SettingsError: a module or a function does not exist, no chosen function declares a setting, or a value is not
            of its type.
        PartError: a module is no Python, or a function does not take what its kind is called with.
    """
    choices = chosen_functions(settings)
    declared = declared_in_sources(choices, folder)
    if len(declared) == len(choices):
        check_names(settings.parts.settings, declared)
    for choice, parameters in declared.items():
        plain = (parameter for parameter in parameters if parameter.annotation in PLAIN_TYPES)
        own_values(
            choice,
            [parameter.replace(annotation=PLAIN_TYPES[parameter.annotation]) for parameter in plain],
            settings.parts.settings,
        )


def declared_in_sources(choices: Iterable[Choice], folder: Path) -> dict[Choice, tuple[inspect.Parameter, ...]]:
    """Return the parameters by which functions declare settings; those that no plain `def` defines are left out.

    Args:
        choices: the functions.
        folder: container/parts.

    Raises:
        SettingsError: a module or a function does not exist.
        PartError: a module is no Python, or a function does not take what its kind is called with.
    """
    signatures = {choice: _signature_in_source(choice, folder) for choice in choices}
    return {choice: own_parameters(choice, found) for choice, found in signatures.items() if found is not None}


def own_parameters(choice: Choice, signature: inspect.Signature) -> tuple[inspect.Parameter, ...]:
    """Return the parameters by which a function declares settings.

    Raises:
        PartError: the function does not take what its kind is called with, or a setting has no type or no default.
    """
    parameters = signature.parameters.values()
    arguments = choice.kind.arguments
    by_position = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(by_position) > len(arguments) or (len(by_position) < len(arguments) and not takes_any):
        raise PartError(
            f"{choice} takes ({', '.join(by_position)}), but is called with ({', '.join(arguments)}): take these; its "
            "own settings stand behind a `*`"
        )
    own = tuple(p for p in parameters if p.kind is p.KEYWORD_ONLY)
    for p in own:
        if p.annotation is p.empty or p.default is p.empty:
            raise PartError(f"{choice}: its setting {p.name} needs a type and a default, as in `{p.name}: int = 1`")
    return own


def check_names(names: Iterable[str], declared: Mapping[Choice, Iterable[inspect.Parameter]]) -> None:
    """Check that each setting is declared by a chosen function.

    Raises:
        SettingsError: one is not.
    """
    known = sorted({parameter.name for parameters in declared.values() for parameter in parameters})
    for name in names:
        if not declared:
            raise SettingsError(
                f"parts.settings.{name} is set, but no function of your own is chosen that could declare it: name one "
                "by model.name, parts.loader, parts.preprocessor, parts.augmentor or parts.evaluator"
            )
        if name not in known:
            hint = _hint(name, known, f"{' and '.join(map(str, declared))} declare{'s' * (len(declared) == 1)}")
            raise SettingsError(f"there is no setting 'parts.settings.{name}'{hint}")


def own_values(choice: Choice, parameters: Iterable[inspect.Parameter], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of those settings of a function that are given, parsed by their types.

    Raises:
        SettingsError: a text is not a value of the setting's type.
        PartError: the type is none that a text can be parsed by.
    """
    return {p.name: _value(choice, p, texts[p.name]) for p in parameters if p.name in texts}


def _value(choice: Choice, parameter: inspect.Parameter, text: str) -> Any:
    try:
        return overrides.parse(
            f"parts.settings.{parameter.name}", FieldInfo.from_annotation(parameter.annotation), text
        )
    except PydanticUserError:
        raise PartError(
            f"{choice}: no text can be read as the type of its setting {parameter.name}: use int, float, str, bool, "
            "Literal[...] or list[...] of these"
        ) from None


def _signature_in_source(choice: Choice, folder: Path) -> inspect.Signature | None:
    """Return a function's signature, its types as texts; None: it exists, but is not defined there by a plain `def`."""
    file = _module_file(choice, folder)
    shown = f"container/parts/{file.relative_to(folder).as_posix()}"
    try:
        module = ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise PartError(f"{choice}: {shown}:{error.lineno} is no Python: {error.msg}") from None
    except (OSError, ValueError) as error:
        raise PartError(f"{choice}: {shown} cannot be read: {error}") from None
    found = dict(_definitions(module))
    if choice.function not in found and "*" not in found:
        functions = [name for name, definition in found.items() if definition and not name.startswith("_")]
        hint = _hint(choice.function, functions, "it has")
        raise SettingsError(f"{choice.kind.setting}={choice.name}: {shown} has no function {choice.function!r}{hint}")
    definition = found.get(choice.function)
    return _signature(definition.args) if definition else None


def _module_file(choice: Choice, folder: Path) -> Path:
    path = folder.joinpath(*choice.module.split("."))
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file
    modules = sorted(
        ".".join(file.relative_to(folder).with_suffix("").parts)
        for file in folder.rglob("*.py")
        if file.name != "__init__.py"
    )
    shown = f"container/parts/{'/'.join(choice.module.split('.'))}.py"
    hint = _hint(choice.module, modules, "the folder has")
    raise SettingsError(f"{choice.kind.setting}={choice.name}: {shown} does not exist{hint}")


def _definitions(node: ast.AST) -> Iterator[tuple[str, ast.FunctionDef | None]]:
    """Yield the names that a module defines, with the function where it is a plain `def`; `*`: any names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield child.name, None if child.decorator_list else child
        elif isinstance(child, ast.AsyncFunctionDef | ast.ClassDef):
            yield child.name, None
        elif isinstance(child, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name.partition(".")[0], None) for alias in child.names)
        elif isinstance(child, ast.Name):
            if isinstance(child.ctx, ast.Store):
                yield child.id, None
        else:
            # Into `if`, `try` and their like.
            yield from _definitions(child)


def _signature(arguments: ast.arguments) -> inspect.Signature:
    by_position = (*arguments.posonlyargs, *arguments.args)
    parameters = [inspect.Parameter(arg.arg, inspect.Parameter.POSITIONAL_ONLY) for arg in by_position]
    if arguments.vararg:
        parameters.append(inspect.Parameter(arguments.vararg.arg, inspect.Parameter.VAR_POSITIONAL))
    for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters.append(
            inspect.Parameter(
                arg.arg,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if default is None else ast.unparse(default),
                annotation=inspect.Parameter.empty if arg.annotation is None else ast.unparse(arg.annotation),
            )
        )
    return inspect.Signature(parameters)


def _hint(name: str, names: list[str], where: str) -> str:
    """Return `: did you mean ...?`, or what there is instead."""
    more = f" and {len(names) - MOST_NAMES_SHOWN} more" if len(names) > MOST_NAMES_SHOWN else ""
    return hint(name, names, f"; {where} {', '.join(names[:MOST_NAMES_SHOWN]) or 'none'}{more}")
