"""Named sets of settings: each is the defaults plus the differences that stand here (`--preset`).

They override config.py, and are overridden by `--set`.
"""

from collections.abc import Mapping
from typing import Any

from container.errors import SettingsError, hint
from container.modeling.overrides import to_text

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # A small network from random weights, for images that are small themselves.
    "baseline": {
        "model.name": "baseline",
        "model.head": ((128, 0.5),),
        "training.epochs": 40,
        "training.batch_size": 64,
        "training.learning_rate": 3e-3,
        "training.patience": 0,  # the schedule counts on all epochs
        "optimizer.name": "adamw",
        "optimizer.weight_decay": 0.05,
        "schedule.name": "cosine",
        "schedule.warmup_epochs": 1,
        "loss.label_smoothing": 0.1,
        "augmentation.layers": {
            "RandomFlip": {"mode": "horizontal"},
            "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
            "RandomZoom": {"height_factor": 0.1},
        },
    },
    # A new head on a network that saw a million photos, then its last layers, for photos.
    "fine_tune": {
        "image.height": 224,
        "image.width": 224,
        "image.channels": 3,
        "image.resize": "crop",
        "model.name": "fine_tune",
        "model.head": ((256, 0.4),),
        "training.epochs": 10,
        "training.batch_size": 32,
        "training.learning_rate": 1e-3,
        "training.patience": 3,
        "fine_tuning.backbone": "MobileNetV2",
        "fine_tuning.weights": "imagenet",
        "fine_tuning.epochs": 20,
        "fine_tuning.released_layers": 40,
        "fine_tuning.learning_rate": 1e-5,
        "loss.label_smoothing": 0.1,
        "augmentation.layers": {
            "RandomFlip": {"mode": "horizontal"},
            "RandomRotation": {"factor": 0.05},
            "RandomZoom": {"height_factor": 0.1},
        },
    },
}


def preset(name: str) -> dict[str, str]:
    """Return the settings of a preset as texts by their names, as `overrides.override` takes them.

    Raises:
        SettingsError: there is no preset of this name.
    """
    if name not in PRESETS:
        others = f"; there are {', '.join(PRESETS)}"
        raise SettingsError(f"there is no preset {name!r}{hint(name, PRESETS, others)}")
    return {setting: to_text(value) for setting, value in PRESETS[name].items()}
