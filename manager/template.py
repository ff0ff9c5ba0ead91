"""JSON templates with ${PLACEHOLDERS}: read, and rendered with typed values."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manager.errors import TemplateError

POLICIES = Path(__file__).parent / "policies"

ABSENT = object()
"""The value of a placeholder that stands for nothing: the field that holds it is left out."""

PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def read(path: Path) -> Any:
    """Return the JSON content of a template file.

    Raises:
        TemplateError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TemplateError(f"the template {path} does not exist: restore it from the repository") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"the template {path} cannot be read: {error}") from None
    except json.JSONDecodeError as error:
        raise TemplateError(f"{path}, line {error.lineno}, is not JSON: {error.msg}") from None


def policy(file: str, values: Mapping[str, Any]) -> Any:
    """Return a policy of the folder `policies`, rendered.

    Raises:
        TemplateError: the file is missing or broken, or a placeholder has no value.
    """
    return render(read(POLICIES / file), values, f"policies/{file}")


def render(template: Any, values: Mapping[str, Any], source: str) -> Any:
    """Return the template with its placeholders replaced.

    A text that is one placeholder and nothing else becomes the value itself, so that a number stays a number and a
    table stays a table; within a longer text the value is written out. A field whose placeholder is `ABSENT` is left
    out, and so is a table that loses all its fields by that; within a longer text it is nothing.

    Args:
        template: JSON content.
        values: the placeholders' values by name.
        source: the template's name, for the error.

    Raises:
        TemplateError: a placeholder has no value.
    """
    if isinstance(template, Mapping):
        rendered = {_text(key, values, source): render(value, values, source) for key, value in template.items()}
        present = {key: value for key, value in rendered.items() if value is not ABSENT}
        return present if present or not template else ABSENT
    if isinstance(template, list):
        return [value for value in (render(item, values, source) for item in template) if value is not ABSENT]
    if not isinstance(template, str):
        return template
    whole = PLACEHOLDER.fullmatch(template)
    return _value(whole[1], values, source) if whole else _text(template, values, source)


def _text(template: str, values: Mapping[str, Any], source: str) -> str:
    return PLACEHOLDER.sub(lambda match: _written(_value(match[1], values, source)), template)


def _written(value: Any) -> str:
    return "" if value is ABSENT else str(value)


def _value(name: str, values: Mapping[str, Any], source: str) -> Any:
    if name not in values:
        raise TemplateError(f"{source}: ${{{name}}} has no value; known are {', '.join(sorted(values))}")
    return values[name]
