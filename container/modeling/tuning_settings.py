"""The settings of a tuning job: which settings it varies, by what it judges, and how many training jobs it may run."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from container.modeling.section import Section

# SageMaker's own limits: how many settings a tuning job may vary, how many values a choice may have, what Hyperband
# takes for an epoch's number, and how many trials there may be.
# https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-limits.html
MOST_PARAMETERS, MOST_VALUES = 30, 30
MOST_EPOCHS = 20_000
MOST_JOBS = {"Bayesian": 750, "Hyperband": 750, "Grid": 750, "Random": 10_000}


class Range(Section):
    """A number that a tuning job chooses; of a setting of integers, an integer."""

    minimum: float
    """The least value that is tried."""
    maximum: float
    """The largest value that is tried."""
    scaling: Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"] = "Auto"
    """`Logarithmic`: as many trials from 0.001 to 0.01 as from 0.01 to 0.1. `ReverseLogarithmic`: finest below 1."""

    @model_validator(mode="after")
    def _bounds_fit_the_scaling(self) -> Self:
        if self.minimum >= self.maximum:
            raise ValueError(f"its minimum {self.minimum:g} must be less than its maximum {self.maximum:g}")
        if self.scaling == "Logarithmic" and self.minimum <= 0:
            raise ValueError(f"its minimum {self.minimum:g} must be above 0 where scaling is Logarithmic")
        if self.scaling == "ReverseLogarithmic" and not 0 <= self.minimum < self.maximum < 1:
            raise ValueError("it must lie within 0 and 1, 1 left out, where scaling is ReverseLogarithmic")
        return self


def _json(values: tuple[Any, ...]) -> tuple[Any, ...]:
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(
            "its values must be numbers, texts, true or false, or lists and tables of these, as --set takes them"
        ) from None
    return values


class Choice(Section):
    """One of several values that a tuning job chooses."""

    values: Annotated[tuple[Any, ...], Field(min_length=1, max_length=MOST_VALUES), AfterValidator(_json)]
    """What is tried, each as the setting itself takes it."""


def _kind(value: Any) -> str:
    is_choice = "values" in value if isinstance(value, dict) else isinstance(value, Choice)
    return "choice" if is_choice else "range"


Values = Annotated[Annotated[Range, Tag("range")] | Annotated[Choice, Tag("choice")], Discriminator(_kind)]


class Tuning(Section):
    """What `--launch_tuning` searches, and by how many training jobs."""

    ranges: dict[str, Values] = Field({}, max_length=MOST_PARAMETERS)
    """What is varied, by the name of the setting: `{"training.learning_rate": Range(minimum=1e-4, maximum=1e-1)}`."""
    objective: str = Field("best_val_accuracy", min_length=1, max_length=255)
    """The metric that tells trials apart, among those of the training job's template; the last value logged counts."""
    direction: Literal["auto", "Maximize", "Minimize"] = "auto"
    """Whether the largest or the least `objective` is the best; `auto`: the least loss, the largest of all others."""
    strategy: Literal["Bayesian", "Random", "Hyperband", "Grid"] = "Bayesian"
    """How values are chosen: by what earlier trials gave, at random, stopping the worst early, or all combinations."""
    jobs: int = Field(12, ge=1, le=10_000)
    """Training jobs in all; at most 750, save for `Random`. `Grid` runs one for each combination instead."""
    parallel: int = Field(2, ge=1, le=100)
    """Training jobs at the same time, as far as the account's quota goes; fewer let `Bayesian` learn more."""
    early_stopping: bool = False
    """Stop training jobs that are unlikely to become better than those before; `Hyperband` does so by itself."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Seed of the choice of values."""
    min_epochs: int = Field(1, ge=1, le=MOST_EPOCHS)
    """`Hyperband`: epochs that each training job gets, however bad it is."""
    max_epochs: int = Field(0, ge=0, le=MOST_EPOCHS)
    """`Hyperband`: epochs after which a training job is stopped; 0: all that it would train."""

    @model_validator(mode="after")
    def _sagemaker_takes_the_combination(self) -> Self:
        if self.strategy == "Hyperband" and self.early_stopping:
            raise ValueError("Hyperband stops bad training jobs by itself: leave out early_stopping")
        if self.strategy != "Grid" and self.jobs > MOST_JOBS[self.strategy]:
            raise ValueError(f"jobs={self.jobs} must be at most {MOST_JOBS[self.strategy]} with {self.strategy}")
        if self.max_epochs and self.max_epochs < self.min_epochs:
            raise ValueError(f"max_epochs={self.max_epochs} must not be less than min_epochs={self.min_epochs}")
        return self
