"""classification_report, of predictions however they are given."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from container.modeling.evaluate import predictions
from container.report import facts
from container.report.classification import classification_report

CLASSES = ("cat", "dog", "eel")
AVERAGES = {"macro average": "macro avg", "weighted average": "weighted avg"}


def refused(y_true: Any, y_pred: Any, labels: Any = CLASSES) -> str:
    """What it says to arguments that are wrong."""
    with pytest.raises(ValueError, match=r"\w") as raised:
        classification_report(y_true, y_pred, labels)
    text = str(raised.value)
    assert "\n" not in text
    return text


class TestFigures:
    @settings(max_examples=30)
    @given(pairs=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20))
    def test_they_are_those_of_scikit_learn(self, pairs: list[tuple[int, int]]) -> None:
        y_true, y_pred = map(list, zip(*pairs, strict=True))
        found = classification_report(y_true, y_pred, CLASSES)
        expected = sklearn_metrics.classification_report(
            y_true, y_pred, labels=range(3), target_names=CLASSES, output_dict=True, zero_division=0
        )
        for row in [*CLASSES, *AVERAGES]:
            of_row = expected[AVERAGES.get(row, row)]
            assert found.loc[row, ["precision", "recall", "f1", "support"]].tolist() == pytest.approx(
                [of_row["precision"], of_row["recall"], of_row["f1-score"], of_row["support"]]
            )
        assert found.loc["accuracy", "f1"] == sklearn_metrics.accuracy_score(y_true, y_pred)

    def test_a_worked_example(self) -> None:
        found = classification_report(["cat", "cat", "dog", "dog"], ["cat", "dog", "dog", "dog"], ["cat", "dog", "eel"])
        nan, root = float("nan"), 0.5**0.5
        expected = pd.DataFrame(
            {
                "precision": [1, 2 / 3, 0, 0.75, nan, 5 / 9, 5 / 6],
                "recall": [0.5, 1, 0, 0.75, 0.75, 0.5, 0.75],
                "specificity": [1, 0.5, 1, nan, nan, 5 / 6, 0.75],
                "f1": [2 / 3, 0.8, 0, 0.75, nan, 22 / 45, 11 / 15],
                "geometric_mean": [root, root, 0, nan, nan, root * 2 / 3, root],
                "support": [2, 2, 0, 4, 4, 4, 4],
            },
            index=pd.Index(
                ["cat", "dog", "eel", "accuracy", "balanced accuracy", "macro average", "weighted average"],
                name="class",
            ),
        )
        pd.testing.assert_frame_equal(found, expected)

    def test_one_image_of_one_class(self) -> None:
        found = classification_report([0], [0], ["only"])
        assert found.loc["only", ["precision", "recall", "f1", "support"]].tolist() == [1, 1, 1, 1]

    def test_a_class_may_be_called_as_an_average(self) -> None:
        found = classification_report(["accuracy", "cat"], ["cat", "cat"], ["accuracy", "cat"])
        assert found.loc["accuracy", "recall"].tolist() == [0.0, 0.5]


class TestForms:
    @pytest.mark.parametrize(
        "y_true",
        [
            ["cat", "eel", "dog"],
            np.array(["cat", "eel", "dog"]),
            pd.Series(["cat", "eel", "dog"]),
            pd.Series(["cat", "eel", "dog"], dtype="category"),
            [0, 2, 1],
            np.array([0, 2, 1], np.uint8),
            pd.Series([0, 2, 1], dtype="Int64"),
        ],
    )
    @pytest.mark.parametrize(
        "y_pred",
        [
            ["cat", "dog", "dog"],
            (0, 1, 1),
            [[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.2, 0.8, 0.0]],
            np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]]),
        ],
    )
    def test_names_positions_and_probabilities_say_the_same(self, y_true: Any, y_pred: Any) -> None:
        expected = classification_report(["cat", "eel", "dog"], ["cat", "dog", "dog"], CLASSES)
        pd.testing.assert_frame_equal(classification_report(y_true, y_pred, CLASSES), expected)

    def test_predictions_csv_gives_the_same_by_both_of_its_readers(self, tmp_path: Path) -> None:
        classes, labels = ("0", "=1", "NA"), np.array([0, 1, 2, 2])
        probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.5, 0.3], [0, 0.1, 0.9], [0.6, 0.1, 0.3]], np.float32)
        file = tmp_path / facts.PREDICTIONS_FILE
        predictions("evaluation", ("a", "b", "c", "d"), labels, probabilities, classes).write(file)
        expected = classification_report(labels, probabilities, classes)

        read = facts.Predictions.read(file).of_set("evaluation")
        pd.testing.assert_frame_equal(classification_report(read.labels, read.probabilities, classes), expected)

        rows = pd.read_csv(file, dtype={"label": str, "prediction": str}, keep_default_na=False)
        rows = rows[rows["set"] == "evaluation"]
        plain = rows[["label", "prediction"]].apply(lambda column: column.str.removeprefix("'"))
        pd.testing.assert_frame_equal(classification_report(plain["label"], plain["prediction"], classes), expected)


class TestRefusals:
    def test_an_unknown_class_is_named(self) -> None:
        assert "y_true has 'cta', which is no class: did you mean 'cat'?" in refused(["cta"], ["cat"])
        assert "y_pred has 'zebra'" in refused(["cat"], ["zebra"])
        assert "the classes are 'cat', 'dog', 'eel'" in refused(["cat"], ["zebra"])
        assert "y_pred has 'None'" in refused(["cat"], [None])

    @pytest.mark.parametrize("position", [-1, 3])
    def test_a_position_beyond_the_classes(self, position: int) -> None:
        assert f"position {position}" in refused([0], [position])

    def test_numbers_that_may_be_names(self) -> None:
        assert "give names as text" in refused([1, 10], [1, 10], ["1", "10", "2"])
        assert classification_report([0, 1], [0, 1], ["0", "1"]).loc["1", "recall"] == 1

    @pytest.mark.parametrize(
        ("y_true", "y_pred", "said"),
        [
            ([], [], "y_true is empty"),
            ([0, 1], [0], "2 images and y_pred 1"),
            ([[1, 0, 0]], [0], "argmax(axis=1)"),
            ([0], [[0.5, 0.5]], "must have (1, 3)"),
            ([0, 1], [[0.5, 0.5], [1]], "y_pred must be one array"),
            ([0], [0.7], "of shape (images, 3)"),
            ([0], [[np.nan, 0, 1]], "no finite number"),
            ([0], [[-4.0, 3.0, 9.0]], "softmax"),
            ([0], [["a", "b", "c"]], "no finite number"),
        ],
    )
    def test_shapes_and_values_that_do_not_fit(self, y_true: Any, y_pred: Any, said: str) -> None:
        assert said in refused(y_true, y_pred)

    @pytest.mark.parametrize(
        ("labels", "said"),
        [([], "labels is empty"), (["a", "a"], "'a' twice"), ("cat", "class names"), ({"cat": 0}, "class names")],
    )
    def test_labels_that_are_no_list_of_names(self, labels: Any, said: str) -> None:
        assert said in refused([0], [0], labels)
