"""The functions of the user's own that answer requests, in the signatures of SageMaker's framework containers.

Like sources.py it imports no user's module, so that the user's machine checks by it what it deploys.
"""

from pathlib import Path

from container.modeling.own_parts.sources import Choice, Kind, declared_in_sources
from container.modeling.serving_settings import Serving

MODEL_FN = Kind("serving.model_fn", "model_fn", ("model_dir",))
INPUT_FN = Kind("serving.input_fn", "input_fn", ("request_body", "content_type"))
PREDICT_FN = Kind("serving.predict_fn", "predict_fn", ("data", "model"))
OUTPUT_FN = Kind("serving.output_fn", "output_fn", ("prediction", "accept"))


def chosen_serving_functions(settings: Serving) -> tuple[Choice, ...]:
    """Return what the settings name of the user's own."""
    names = (
        (MODEL_FN, settings.model_fn),
        (INPUT_FN, settings.input_fn),
        (PREDICT_FN, settings.predict_fn),
        (OUTPUT_FN, settings.output_fn),
    )
    return tuple(Choice(kind, *name.split(":")) for kind, name in names if name)


def check_serving_functions(settings: Serving, folder: Path) -> None:
    """Check by their source text that the chosen functions exist.

    Args:
        settings: which functions are chosen.
        folder: container/parts.

    Raises:
        SettingsError: a module or a function does not exist.
        PartError: a module is no Python, or a function does not take what it is called with.
    """
    declared_in_sources(chosen_serving_functions(settings), folder)
