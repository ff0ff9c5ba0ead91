"""How much each setting of a tuning job mattered, and how sure that is. It needs scikit-learn.

A random forest (Breiman, 2001, doi:10.1023/A:1010933404324) learns to tell the objective from the settings, whatever
their scale. Of trials that it was not trained on it is asked twice: with their own values, and with those of another
trial for one setting. The more its error grows, the more that setting matters. Half of that growth is the share of the
variance that goes with the setting, alone or together with others (Jansen, 1999, doi:10.1016/S0010-4655(98)00154-4).
What the forest cannot tell of such trials, the trials do not tell either.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from container.report.tuning_axes import is_number, value_text
from container.words import percent, plural

# Of fewer trials a forest learns nothing that holds for others.
LEAST_TRIALS = 10
# A forest that explains less of the held-out trials' differences knows too little to be asked.
LEAST_EXPLAINED = 0.1
# Of the variance; what goes with less of it is not worth a thought.
LEAST_SHARE = 0.01
FOLDS, REPEATS, SHUFFLES, TREES = 5, 4, 10, 50
# Of the normal distribution: two-sided, 95 %.
DEVIATIONS = 1.96


@dataclass(frozen=True)
class ParameterImportance:
    """How much a setting mattered."""

    name: str
    share: float
    """Of the objective's variance between the trials, what goes with the setting, alone or together with others; about
    0 where it does not matter. As settings can matter together, the shares of all may add up to more than 1."""
    margin: float
    """The true share lies within so much of it with a confidence of 95 %, as far as these trials can tell."""

    @property
    def is_sure(self) -> bool:
        """Whether it matters at all, with that confidence."""
        return self.share > max(self.margin, LEAST_SHARE)


@dataclass(frozen=True)
class Importance:
    """How much the settings mattered."""

    parameters: tuple[ParameterImportance, ...]
    """The most important first; none where it cannot be told."""
    explained: float
    """Which share of the variance of held-out trials' objectives the forest explains; NaN where it was not asked."""
    why_unknown: str = ""
    """Why it cannot be told."""


def judge_importance(values: Mapping[str, Sequence[object]], objectives: Sequence[float]) -> Importance:
    """Return how much each setting mattered.

    Args:
        values: of each setting by its name, in the order of the trials; None: a trial has none.
        objectives: of the same trials.
    """
    varied = [name for name, column in values.items() if len({value_text(value) for value in column}) > 1]
    if not varied:
        return _unknown("no setting had more than one value")
    if len(objectives) < LEAST_TRIALS:
        return _unknown(f"it takes {LEAST_TRIALS} trials with an objective, and there are {len(objectives)}")
    target = np.asarray(objectives, dtype=np.float64)
    variance = float(np.var(target))
    if not math.isfinite(variance) or variance <= 1e-24 * max(1.0, float(np.abs(target).max())) ** 2:
        return _unknown("all trials reached the same objective" if math.isfinite(variance) else "it is too large")
    columns = [_encoded(values[name]) for name in varied]
    errors, raised = _held_out_errors(columns, target)
    explained = 1 - float(errors.mean()) / variance
    if explained < LEAST_EXPLAINED:
        return Importance(
            (),
            explained,
            f"from {plural(len(target), 'trial')} a forest does not learn to tell the objective of others, of whose "
            f"variance it explains {percent(max(explained, 0), 0)}: chance, or a pattern that takes more trials to "
            "learn, mattered more",
        )
    found = [_importance(name, growth / (2 * variance)) for name, growth in zip(varied, raised, strict=True)]
    return Importance(tuple(sorted(found, key=lambda item: -item.share)), explained)


def _unknown(reason: str) -> Importance:
    return Importance((), math.nan, reason)


def _importance(name: str, growth: NDArray[np.float64]) -> ParameterImportance:
    """Return a setting's importance from how much the error of each trial grew."""
    margin = DEVIATIONS * float(growth.std(ddof=1)) / math.sqrt(len(growth))
    return ParameterImportance(name, float(growth.mean()), margin)


def _encoded(column: Sequence[object]) -> NDArray[np.float64]:
    """Return a setting's values as a forest takes them, shape (trials, columns): a column for each category."""
    if all(is_number(value) for value in column):
        # Trees ask for more or less only: beyond single precision, which they use, lies nothing to tell apart.
        return np.clip(np.array([[float(str(value))] for value in column]), -1e30, 1e30)
    texts = np.array([value_text(value) for value in column])
    return (texts[:, None] == np.unique(texts)).astype(np.float64)


def _held_out_errors(
    columns: Sequence[NDArray[np.float64]], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each trial's squared error where it was held out, shape (trials,), and how much each setting's exchange
    raises it, shape (settings, trials)."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold

    random = np.random.default_rng(0)
    features = np.hstack(columns)
    parts = np.split(np.arange(features.shape[1]), np.cumsum([column.shape[1] for column in columns])[:-1])
    errors, raised = np.zeros(len(target)), np.zeros((len(columns), len(target)))
    for repeat in range(REPEATS):
        for training, held_out in KFold(FOLDS, shuffle=True, random_state=repeat).split(features):
            forest = RandomForestRegressor(TREES, random_state=repeat).fit(features[training], target[training])
            exchanged = [_exchanged(features, held_out, part, random) for part in parts]
            # One question for all, since each has costs of its own.
            told = forest.predict(np.vstack([features[held_out], *exchanged]))
            wrong = (told.reshape(-1, len(held_out)) - target[held_out]) ** 2
            errors[held_out] += wrong[0] / REPEATS
            growth = wrong[1:].reshape(len(parts), SHUFFLES, len(held_out)).mean(axis=1) - wrong[0]
            raised[:, held_out] += growth / REPEATS
    return errors, raised


def _exchanged(
    features: NDArray[np.float64], rows: NDArray[np.int64], part: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.float64]:
    """Return rows SHUFFLES times, each with another trial's values for a part of the features."""
    asked = np.tile(features[rows], (SHUFFLES, 1))
    asked[:, part] = features[random.integers(0, len(features), len(asked))][:, part]
    return asked
