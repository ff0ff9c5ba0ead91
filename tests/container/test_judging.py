"""Metrics against scikit-learn's, for any predictions."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, log_loss

from container.modeling.evaluate import as_report
from container.modeling.insight_settings import Evaluation
from container.report.judging import judge


@st.composite
def predictions(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[Any], list[str]]:
    """Labels and probabilities; classes may never occur, or never be predicted."""
    count = draw(st.integers(1, 5))
    labels = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=20))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    # A small concentration makes probabilities of nearly 0 and 1, as trained models do.
    probabilities = random.dirichlet(np.full(count, draw(st.sampled_from([0.01, 1.0]))), len(labels))
    return np.array(labels), probabilities.astype(np.float32), [f"class {number}" for number in range(count)]


@given(predictions())
def test_the_metrics_are_those_of_scikit_learn(case: tuple[NDArray[Any], NDArray[Any], list[str]]) -> None:
    labels, probabilities, classes = case
    predicted, positions = probabilities.argmax(axis=1), range(len(classes))
    judged = judge(labels, probabilities, classes, Evaluation())

    report = classification_report(
        labels, predicted, labels=positions, target_names=classes, output_dict=True, zero_division=0
    )
    ours = as_report(judged)
    assert ours.keys() == report.keys()
    for row, values in report.items():
        assert ours[row] == pytest.approx(values)
    assert judged.accuracy == accuracy_score(labels, predicted)
    np.testing.assert_array_equal(judged.confusion_matrix, confusion_matrix(labels, predicted, labels=positions))
    if len(classes) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # float32 probabilities add up to 1 only nearly
            assert judged.loss == pytest.approx(log_loss(labels, probabilities, labels=list(positions)), rel=1e-5)


def test_one_image_of_one_class() -> None:
    judged = judge(np.array([0]), np.array([[1.0]], dtype=np.float32), ["only"], Evaluation())
    assert (judged.accuracy, judged.classes[0].support) == (1.0, 1)
    assert judged.loss == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(0, 2), (3, 2), (2, 3)])
def test_shapes_must_fit(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        judge(np.zeros(2 if shape[0] else 0, int), np.zeros(shape, np.float32), ["a", "b"], Evaluation())
