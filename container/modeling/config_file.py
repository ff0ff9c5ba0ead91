"""Reads the file of settings that a user edits: config.py, a file like it, or a YAML file of overrides to config.py."""

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from container.errors import SettingsError
from container.modeling import overrides
from container.modeling.settings import Settings

CONFIG_FILE = Path(__file__).with_name("config.py")


def load_settings(config_file: Path = CONFIG_FILE, assignments: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a config file, overridden by `name = text` assignments.

    A `.py` file sets PROJECT_NAME, ALGORITHM_NAME and one name per section (`TRAINING = Training(...)`).
    A `.yaml` file overrides config.py: nested sections or dotted names.

    Raises:
        SettingsError: the file is missing or cannot be read, or a setting is unknown or wrong.
    """
    if not config_file.is_file():
        raise SettingsError(f"the settings file {config_file} does not exist: --config takes a .py or .yaml file")
    if config_file.suffix == ".py":
        settings = _load_python(config_file)
    elif config_file.suffix in (".yaml", ".yml"):
        settings = overrides.override(_load_python(CONFIG_FILE), _load_yaml(config_file))
    else:
        raise SettingsError(f"{config_file} is neither a .py nor a .yaml file: give --config one of these")
    return overrides.override(settings, assignments or {})


def _load_python(config_file: Path) -> Settings:
    sections = {name.upper(): name for name in Settings.model_fields}
    try:
        names = runpy.run_path(str(config_file))
    except ValidationError as error:
        raise SettingsError(f"{config_file}: {_explain_section(error)}") from None
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"{config_file} cannot be run: {type(error).__name__}: {reason}") from error
    values: dict[str, Any] = {}
    for name, value in names.items():
        if not name.isupper() or name.startswith("_"):
            continue
        if name not in sections:
            hint = overrides.did_you_mean(name, list(sections))
            raise SettingsError(f"{config_file}: there is no setting {name!r}{hint}")
        values[sections[name]] = value
    try:
        return overrides.validated(Settings, values)
    except SettingsError as error:
        raise SettingsError(f"{config_file}: {error}") from None


def _load_yaml(config_file: Path) -> dict[str, str]:
    import yaml

    try:
        # Every scalar stays the text it is written as: what it means is its setting's to say.
        content = yaml.load(config_file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{config_file} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{config_file} must be a table of settings, as in `training: {{epochs: 5}}`")
    return dict(_assignments(content))


def _assignments(content: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, str]]:
    known = {name for name, _ in overrides.leaves(Settings)}
    pairs: list[tuple[str, str]] = []
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in known:
            pairs += _assignments(value, f"{name}.")
        else:
            pairs.append((name, overrides.to_text(value)))
    return pairs


def _explain_section(error: ValidationError) -> str:
    # pydantic titles the error with the name of the class that refused its values, such as Training.
    sections = {section.__name__: (name, section) for name, section in overrides.sections(Settings)}
    if error.title not in sections:
        return " ".join(str(error).split())
    name, section = sections[error.title]
    return overrides.explain(section, error, prefix=f"{name}.")
