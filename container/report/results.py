"""What a training job left behind, read as a whole and checked to be of one piece: what its report is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from container.errors import DataError
from container.modeling.container_settings import ContainerSettings
from container.modeling.insight_settings import Report
from container.modeling.overrides import flatten
from container.report.facts import (
    CLASSES_FILE,
    CONFIG_FILE,
    DIAGNOSTICS_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    Diagnostics,
    Epoch,
    Judgement,
    Metrics,
    Predictions,
    SetPredictions,
    read_classes,
    read_history,
)
from container.report.facts.files import read_json, unreadable

TRAINING, VALIDATION, EVALUATION = "training", "validation", "evaluation"
# Those that the finished model is judged by; the honest one first.
JUDGED_SETS = (EVALUATION, VALIDATION)


@dataclass(frozen=True)
class SettingValue:
    """A setting of the job."""

    name: str
    """Dotted."""
    value: JsonValue
    is_default: bool


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that a report tells of."""

    classes: tuple[str, ...]
    metrics: Metrics
    history: tuple[Epoch, ...]
    """At least one epoch."""
    sets: Mapping[str, SetPredictions]
    """By the names in JUDGED_SETS; the paths are in the order of the arrays."""
    diagnostics: Diagnostics | None
    """None where the job wrote none."""
    settings: tuple[SettingValue, ...]
    report: Report

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the results in the folder that model.tar.gz was unpacked to.

        Raises:
            DataError: a file is missing or damaged, or is not of the same job as the others.
        """
        classes = read_classes(folder / CLASSES_FILE)
        metrics = Metrics.read(folder / METRICS_FILE)
        history = read_history(folder / HISTORY_FILE)
        sets = _read_sets(folder / PREDICTIONS_FILE, classes, metrics)
        config_file, diagnostics_file = folder / CONFIG_FILE, folder / DIAGNOSTICS_FILE
        config = read_json(config_file, TypeAdapter(dict[str, dict[str, JsonValue]]))
        if not history:
            raise unreadable(folder / HISTORY_FILE, ValueError("it has no epoch"))
        return cls(
            classes=classes,
            metrics=metrics,
            history=history,
            sets=sets,
            diagnostics=Diagnostics.read(diagnostics_file) if diagnostics_file.exists() else None,
            settings=_settings(config),
            report=_report_settings(config_file, config),
        )

    def judgement(self, name: str) -> Judgement:
        """Return how well the model does on one of JUDGED_SETS."""
        return self.metrics if name == EVALUATION else self.metrics.validation


def _read_sets(file: Path, classes: tuple[str, ...], metrics: Metrics) -> dict[str, SetPredictions]:
    predictions = Predictions.read(file)
    names = tuple(scores.name for scores in metrics.classes)
    if not predictions.classes == names == classes:
        raise DataError(f"{file.parent} has files of several training jobs: their classes differ; download them again")
    sets = {}
    for name, judgement in ((EVALUATION, metrics), (VALIDATION, metrics.validation)):
        try:
            sets[name] = predictions.of_set(name)
        except ValueError as error:
            raise unreadable(file, error) from None
        if len(sets[name].labels) != judgement.images:
            raise DataError(
                f"{file} has {len(sets[name].labels)} {name} images, and {METRICS_FILE} tells of {judgement.images}: "
                "download them again"
            )
        if not np.isfinite(sets[name].probabilities).all():
            raise unreadable(file, ValueError("a probability is not a finite number"))
    return sets


def _settings(config: Mapping[str, Mapping[str, JsonValue]]) -> tuple[SettingValue, ...]:
    # As JSON has them: lists for tuples.
    defaults = {name: to_jsonable_python(value) for name, value in flatten(ContainerSettings())}
    return tuple(
        SettingValue(f"{group}.{name}", value, is_default=defaults.get(f"{group}.{name}", ...) == value)
        for group, values in config.items()
        for name, value in values.items()
    )


def _report_settings(file: Path, config: Mapping[str, Mapping[str, JsonValue]]) -> Report:
    known = {name: value for name, value in config.get("report", {}).items() if name in Report.model_fields}
    try:
        return Report.model_validate(known)
    except ValidationError as error:
        raise unreadable(file, error) from None
