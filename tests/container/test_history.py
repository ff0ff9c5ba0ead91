"""The history of a training run, for any course of its metrics."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from container.modeling.optimization.history import VALIDATION_METRICS, History
from container.modeling.settings import Training
from container.report.facts import Epoch

# As few values as there are, so that equal ones come about.
VALUES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=12)


def history(values: list[float], training: Training) -> History:
    result = History()
    for number, value in enumerate(values, start=1):
        row = Epoch(
            epoch=number,
            phase=1,
            seconds=1,
            learning_rate=0.1,
            loss=value,
            accuracy=value,
            val_loss=value,
            val_accuracy=value,
            val_f1=value,
        )
        result = result.with_epoch(row, training)
    return result


@given(VALUES, st.sampled_from(VALIDATION_METRICS))
def test_the_best_epoch_is_the_first_of_the_best_ones(values: list[float], monitor: str) -> None:
    found = history(values, Training(monitor=monitor))
    best = min(values) if monitor == "val_loss" else max(values)
    assert found.best is not None
    assert found.best.epoch == values.index(best) + 1
    assert found.without_improvement == len(values) - found.best.epoch
    assert found.best_value(monitor) == best


@given(VALUES, st.sampled_from([0.0, 0.25, 0.3, 2.0]))
def test_only_a_change_beyond_the_least_is_an_improvement(values: list[float], least: float) -> None:
    found = history(values, Training(monitor="val_accuracy", min_delta=least))
    kept = list(accumulate(values, lambda best, value: value if value - best > least else best))
    assert found.best is not None
    assert found.best.val_accuracy == kept[-1]


@given(VALUES)
def test_it_survives_as_json_and_a_new_phase_has_its_patience_anew(values: list[float]) -> None:
    found = history(values, Training())
    assert History.model_validate_json(found.model_dump_json()) == found
    renewed = found.with_new_phase()
    assert (renewed.without_improvement, renewed.best, renewed.epochs) == (0, found.best, found.epochs)


@given(VALUES)
def test_the_log_line_has_the_last_epoch_and_the_best_values(values: list[float]) -> None:
    words = dict(word.split("=") for word in history(values, Training()).line(planned=20).split())
    assert (words["epoch"], words["epochs"]) == (str(len(values)), "20")
    assert float(words["val_loss"]) == values[-1]
    assert float(words["best_val_loss"]) == min(values)
    assert float(words["best_val_f1"]) == max(values)
