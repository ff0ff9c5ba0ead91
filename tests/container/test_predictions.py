"""predictions.csv, with any names that files and classes may have."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.errors import DataError
from container.report import facts
from tests.container.refusals import refusal

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
HEADER = "set,path,label,prediction,loss,"
FLOATS = st.floats(0, 1, width=32)


@st.composite
def any_predictions(draw: st.DrawFn) -> facts.Predictions:
    """Predictions with any names that files and classes may have."""
    classes = tuple(draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)))
    metrics = ("brier", "in_top")[: draw(st.integers(0, 2))]
    row = st.builds(
        facts.Prediction,
        set=st.sampled_from(["validation", "evaluation"]),
        path=NAMES,
        label=st.sampled_from(classes),
        prediction=st.sampled_from(classes),
        loss=FLOATS,
        probabilities=st.tuples(*[FLOATS] * len(classes)),
        metrics=st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * len(metrics)),
    )
    return facts.Predictions(classes, metrics, tuple(draw(st.lists(row, max_size=3))))


class TestPredictions:
    @given(written=any_predictions())
    def test_any_names_come_back(self, tmp_path_factory: pytest.TempPathFactory, written: facts.Predictions) -> None:
        file = tmp_path_factory.mktemp("predictions") / facts.PREDICTIONS_FILE
        written.write(file)
        read = facts.Predictions.read(file)
        assert (read.classes, read.metrics) == (written.classes, written.metrics)
        for row, original in zip(read.rows, written.rows, strict=True):
            assert (row.set, row.loss) == (original.set, pytest.approx(original.loss, rel=1e-7))
            assert (row.path, row.label, row.prediction) == (original.path, original.label, original.prediction)
            assert row.metrics == original.metrics
            np.testing.assert_array_equal(np.float32(row.probabilities), np.float32(original.probabilities))

    @pytest.mark.parametrize("name", ["=1+1", "+1-1", "-x", "@SUM(1)", "\t=1", "\r=1", "'=1"])
    def test_no_text_is_a_formula(self, tmp_path: Path, name: str) -> None:
        file = tmp_path / facts.PREDICTIONS_FILE
        rows = (facts.Prediction("validation", name, name, name, 0.0, (1.0,)),)
        facts.Predictions((name,), (), rows).write(file)
        for cell in file.read_text(encoding="utf-8").replace('"', "").split(","):
            assert not cell.lstrip("\r\n").startswith(tuple("=+-@\t"))
        assert facts.Predictions.read(file).rows == rows

    def test_a_name_that_is_a_number_stays_one(self, tmp_path: Path) -> None:
        file = tmp_path / facts.PREDICTIONS_FILE
        facts.Predictions(("-1",), (), (facts.Prediction("validation", "-1/+2.5", "-1", "-1", 0.5, (1.0,)),)).write(
            file
        )
        assert file.read_text().splitlines()[1] == "validation,'-1/+2.5,-1,-1,0.5,1"

    @pytest.mark.parametrize(
        "content",
        ["", "a,b,c\r\n", HEADER + "probability_a\r\nvalidation,x,a,a,0\r\n", HEADER + '\r\n"x', "\0"],
    )
    def test_what_is_no_table_of_predictions_is_refused(self, tmp_path: Path, content: str) -> None:
        file = tmp_path / facts.PREDICTIONS_FILE
        file.write_text(content)
        assert "predictions.csv cannot be read" in refusal(lambda: facts.Predictions.read(file), DataError)
