"""What trackers show of settings, epochs and results, as names and values."""

import math
from typing import Any

from container.modeling.overrides import flatten
from container.modeling.settings import ContainerSettings
from container.report.facts import Epoch, Metrics

# Groups of settings that are always shown: those that a run is compared by. Of the others, what was changed.
ALWAYS = ("image", "model", "training", "optimizer", "schedule", "loss", "augmentation", "fine_tuning")
# It says where a run is shown, not what it is.
NEVER = ("tracking",)


def shown_settings(settings: ContainerSettings) -> dict[str, Any]:
    """Return the settings that tell runs apart, by their dotted names."""
    defaults = dict(flatten(ContainerSettings()))
    return {
        name: value
        for name, value in flatten(settings)
        if name.partition(".")[0] not in NEVER and (name.partition(".")[0] in ALWAYS or value != defaults[name])
    }


def shown_epoch(row: Epoch) -> dict[str, float]:
    """Return the figures of an epoch; its number and its phase are none."""
    return {name: float(value) for name, value in row.model_dump(exclude={"epoch", "phase"}).items()}


def shown_results(metrics: Metrics) -> dict[str, float]:
    """Return the figures that a finished model is judged by."""
    judgements = {"evaluation": metrics, "validation": metrics.validation}
    figures: dict[str, float | None] = {}
    for name, judgement in judgements.items():
        figures |= {
            f"{name}_{figure}": getattr(judgement, figure)
            for figure in (
                "accuracy",
                "balanced_accuracy",
                "top_k_accuracy",
                "loss",
                "calibration_error",
                "roc_auc",
                "average_precision",
            )
        }
        figures[f"{name}_macro_f1"] = judgement.macro_average.f1
        figures[f"{name}_weighted_f1"] = judgement.weighted_average.f1
    figures |= {f"evaluation_{name}": value for name, value in metrics.own_metrics.items()}
    figures |= {"best_epoch": float(metrics.best_epoch.epoch), "parameters": float(metrics.parameters)}
    return {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}
