"""What the charts of a report show, against the facts that they are made of."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.report import facts
from container.report.charts import axis_labels
from tests.container.made_up import write_results
from tests.container.pages import made, numbers


@pytest.mark.slow
def test_the_curves_have_the_areas_that_the_metrics_tell(tmp_path: Path) -> None:
    metrics = write_results(tmp_path, tuple("abcd"), images=3000)
    charts = made(tmp_path).charts()
    of_mean = {"name": "evaluation", "meta": {"class": "mean"}}
    (roc,) = (trace for trace in charts["roc"]["data"] if trace | of_mean == trace)
    assert np.trapezoid(numbers(roc["y"]), numbers(roc["x"])) == pytest.approx(metrics.roc_auc, abs=2e-3)
    for position, scores in enumerate(metrics.classes):
        of_class = {"name": "evaluation", "meta": {"class": str(position)}}
        (curve,) = (trace for trace in charts["precision-recall"]["data"] if trace | of_class == trace)
        x, y = numbers(curve["x"]), numbers(curve["y"])
        assert len(x) <= 200
        assert np.sum(np.diff(x) * y[1:]) == pytest.approx(scores.average_precision, abs=0.02)


def test_two_classes_of_which_one_never_occurs_have_no_curve(tmp_path: Path) -> None:
    write_results(tmp_path, ("a", "b"), labels=np.array([0, 0]), predicted=np.array([0, 1]))
    page = made(tmp_path)
    assert [trace["name"] for trace in page.charts()["roc"]["data"]] == ["guessing"]
    assert "Area under the curve: not defined (evaluation)" in page.text


def test_the_threshold_of_two_classes_lies_on_their_curves(tmp_path: Path) -> None:
    metrics = write_results(tmp_path, ("healthy", "ill"), images=150)
    charts = made(tmp_path).charts()
    threshold, (healthy, ill) = metrics.threshold, metrics.classes
    assert threshold
    (mark,) = (trace for trace in charts["roc"]["data"] if trace.get("showlegend") and trace["mode"] == "markers")
    assert mark["x"] == [threshold.false_positives / healthy.support]
    assert mark["y"] == [1 - threshold.false_negatives / ill.support]
    curve = next(trace for trace in charts["roc"]["data"] if trace.get("meta") == {"class": "1"})
    points = np.column_stack([numbers(curve["x"]), numbers(curve["y"])])
    assert np.abs(points - [mark["x"][0], mark["y"][0]]).sum(axis=1).min() < 1e-6


@pytest.mark.slow
def test_the_matrix_has_a_level_for_each_pair_that_occurs_and_names_its_images(tmp_path: Path) -> None:
    metrics = write_results(tmp_path, tuple("abcdef"), images=200)
    heatmap = made(tmp_path).charts()["confusion-matrix"]["data"][0]
    counts = np.array(metrics.confusion_matrix)
    levels = numbers(heatmap["z"])
    assert np.array_equal(levels > 0, counts > 0)
    assert np.all(levels.diagonal()[counts.diagonal() > 0] >= 2000)
    assert np.all(levels[~np.eye(6, dtype=bool)] <= 1000)
    for row, column in np.argwhere(counts):
        lines = heatmap["customdata"][row][column].split("<br>")[1:]
        assert lines[0].startswith(f"{counts[row, column]} image")
        files = [line for line in lines if line.endswith(".png")]
        assert len(files) == min(10, counts[row, column])
        assert all(re.fullmatch(r"\d{5}\.png", file) for file in files)


def test_best_epoch_and_the_change_of_phase_are_marked(tmp_path: Path) -> None:
    metrics = write_results(tmp_path, ("a", "b"), epochs=9)
    chart = made(tmp_path).charts()["loss-curve"]
    assert [shape["x0"] for shape in chart["layout"]["shapes"]] == [metrics.best_epoch.epoch, 6.5]
    assert chart["data"][2]["name"] == "best epoch (9)"


@pytest.mark.slow
def test_many_epochs_are_thinned_in_the_tables_only(tmp_path: Path) -> None:
    write_results(tmp_path, ("a", "b"), epochs=3000)
    page = made(tmp_path)
    assert "2,799 epochs are left out; history.csv has all." in page.text
    assert len(page.charts()["loss-curve"]["data"][0]["x"]) == 3000


def test_a_loss_that_is_not_finite_is_called_so(tmp_path: Path) -> None:
    write_results(tmp_path, ("a", "b"))
    file = tmp_path / facts.HISTORY_FILE
    first, *rest = facts.read_history(file)
    facts.write_history(file, [first.model_copy(update={"val_loss": float("nan"), "loss": float("inf")}), *rest])
    page = made(tmp_path)
    assert "not finite" in page.text
    assert [trace["y"][0] for trace in page.charts()["loss-curve"]["data"][:2]] == [None, None]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=60, unique=True))
def test_no_two_classes_share_a_label(names: list[str]) -> None:
    labels = axis_labels(names)
    assert len(set(labels)) == len(names)
    assert not any("<" in label for label in labels)
