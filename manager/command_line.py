"""What the project's two command lines share: the options that override settings, and the only catch of errors."""

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Imported where they are used: --help and wrong usage must answer in a blink.
if TYPE_CHECKING:
    from container.modeling.settings import Settings
    from manager.console import Terminal

# Of a value's text: a longer one is not shown.
LONG = 24


def add_settings_options(group: argparse._ActionsContainer) -> None:
    """Add --set, --preset, --config and --debug."""
    group.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override a setting; repeatable"
    )
    group.add_argument(
        "--preset", metavar="NAME", help="settings that go well together: baseline or fine_tune; --set overrides them"
    )
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="a file like config.py, or a YAML of overrides to it"
    )
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")


def parse(grammar: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed arguments; wrong usage ends the program with 2."""
    arguments = grammar.parse_args(argv)
    if malformed := [text for text in arguments.set if "=" not in text]:
        grammar.error(f"--set takes NAME=VALUE, not {malformed[0]!r}")
    return arguments


def settings(arguments: argparse.Namespace) -> "Settings":
    """Return the settings that the options name.

    Raises:
        SettingsError: the file is missing or cannot be read, or a setting is unknown or wrong.
    """
    from container.modeling.config_file import CONFIG_FILE, load_settings

    return load_settings(arguments.config or CONFIG_FILE, assignments(arguments))


def assignments(arguments: argparse.Namespace) -> dict[str, str]:
    """Return what --preset and --set override: texts by the settings' names.

    Raises:
        SettingsError: there is no such preset.
    """
    from container.modeling.presets import preset

    chosen = preset(arguments.preset) if arguments.preset is not None else {}
    return chosen | dict(text.split("=", maxsplit=1) for text in arguments.set)


def show_preset(arguments: argparse.Namespace, terminal: "Terminal") -> None:
    """Say what --preset replaces of the settings' file.

    Raises:
        SettingsError: the file is missing or cannot be read, or a setting is unknown or wrong.
    """
    if arguments.preset is None:
        return
    from container.modeling import overrides
    from container.modeling.config_file import CONFIG_FILE, load_settings
    from container.modeling.presets import PRESETS

    file = arguments.config or CONFIG_FILE
    before, after = (dict(overrides.flatten(each)) for each in (load_settings(file), settings(arguments)))
    own = {text.partition("=")[0] for text in arguments.set}
    replaced = [name for name in PRESETS[arguments.preset] if name not in own and before[name] != after[name]]
    texts = {name: (overrides.to_text(before[name]), overrides.to_text(after[name])) for name in replaced}
    shown = [name if max(map(len, pair)) > LONG else f"{name} {pair[0]} -> {pair[1]}" for name, pair in texts.items()]
    if shown:
        terminal.prose(f"preset {arguments.preset} replaces settings of {file.name}: {', '.join(shown)}")


def run(action: Callable[["Terminal"], None], *, debug: bool, after_interrupt: str) -> int:
    """Do what the command line is asked to do; return 0 when done, 1 when it failed.

    An error is one line on standard error; its traceback is shown only with `debug`.

    Args:
        action: what to do, given the terminal.
        debug: whether an error is let through with its traceback.
        after_interrupt: what Ctrl-C leaves behind, in words, unless the KeyboardInterrupt itself tells it.
    """
    from container.errors import ProjectError
    from manager.console import Terminal

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # File names hold characters that not every terminal's encoding has.
            stream.reconfigure(errors="backslashreplace")
    terminal = Terminal()
    try:
        action(terminal)
    except KeyboardInterrupt as interrupt:
        # Of its own: the one that was interrupted may be in the midst of printing, and would hold this back.
        Terminal().error(f"interrupted; {str(interrupt) or after_interrupt}")
        return 1
    except Exception as error:
        if debug:
            raise
        unforeseen = "" if isinstance(error, ProjectError) else f"{type(error).__name__}: "
        hint = " (--debug shows where)" if unforeseen else ""
        terminal.error(unforeseen + " ".join(str(error).split()) + hint)
        return 1
    return 0
