"""Pictures of trials for notebooks: what they show, and which arguments they refuse."""

import io
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from container.report.tuning_visualizer import TuningVisualizer
from manager.tuning_results import frame
from tests.container.tuned import made_up_tuning, trial, tuning_of

NUMBERS = ["training.learning_rate", "training.batch_size", "training.epochs"]
CATEGORIES = ["training.optimizer", "training.xla"]


def visualizer(trials: int = 20) -> TuningVisualizer:
    return TuningVisualizer(tune_data=frame(made_up_tuning(trials)), cat_params=CATEGORIES, num_params=NUMBERS)


def dimensions(figure: Any) -> dict[str, Any]:
    """Return the axes of a chart by their labels."""
    return {dimension.label: dimension for dimension in figure.data[0].dimensions}


def pixels(figure: Any) -> np.ndarray:
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return np.asarray(Image.open(written).convert("RGB"))


def test_each_column_has_an_axis_and_the_last_one_gives_the_color() -> None:
    data = frame(made_up_tuning(20, failures=0))
    columns = ["training.xla", "training.learning_rate", "FinalObjectiveValue"]
    figure = TuningVisualizer(data, CATEGORIES, NUMBERS).plot_parallel_coordinate(columns=columns, figsize=(900, 500))
    axes = dimensions(figure)
    assert list(axes) == columns
    assert (figure.layout.width, figure.layout.height) == (900, 500)
    assert list(axes["training.xla"].ticktext) == ["false", "true"]
    assert list(axes["training.xla"].values) == data["training.xla"].astype(float).tolist()
    # Three orders of magnitude.
    assert list(axes["training.learning_rate"].values) == pytest.approx(np.log10(data["training.learning_rate"]))
    assert {"0.001", "0.01"} <= set(axes["training.learning_rate"].ticktext)
    assert list(figure.data[0].line.color) == data["FinalObjectiveValue"].tolist()


def test_without_columns_all_are_drawn() -> None:
    axes = dimensions(visualizer().plot_parallel_coordinate())
    assert list(axes) == [*CATEGORIES, *NUMBERS, "FinalObjectiveValue"]


def test_another_number_can_be_the_objective() -> None:
    data = frame(made_up_tuning(20))
    seconds = "TrainingElapsedTimeSeconds"
    figure = TuningVisualizer(data, [], [*NUMBERS, seconds]).plot_parallel_coordinate(columns=[*NUMBERS, seconds])
    assert set(figure.data[0].line.color) == {90.0}


def test_trials_without_an_objective_are_left_out_and_counted() -> None:
    data = frame(made_up_tuning(20, failures=0.3))
    judged = data["FinalObjectiveValue"].notna().sum()
    assert judged < 20
    figure = TuningVisualizer(data, CATEGORIES, NUMBERS).plot_parallel_coordinate()
    assert len(figure.data[0].line.color) == judged
    assert figure.layout.title.text == f"{judged} trials by FinalObjectiveValue, {20 - judged} of 20 left out"


def test_what_was_written_as_csv_is_drawn_alike() -> None:
    data = frame(made_up_tuning(20, failures=0))
    again = pd.read_csv(io.StringIO(data.to_csv(index=False)))
    charts = [TuningVisualizer(each, CATEGORIES, NUMBERS).plot_parallel_coordinate() for each in (data, again)]
    assert charts[0].to_json() == charts[1].to_json()


def test_a_static_picture_is_of_the_size_and_shows_the_lines() -> None:
    picture = pixels(visualizer().plot_parallel_coordinate(static=True, figsize=(800, 400)))
    assert picture.shape == (400, 800, 3)
    blue = np.abs(picture.astype(int) - [10, 94, 168]).sum(axis=2) < 90
    orange = np.abs(picture.astype(int) - [194, 81, 12]).sum(axis=2) < 90
    # Lines from the left to the right, not only the scale at the right.
    for color in (blue, orange):
        assert color[:, :600].any(axis=0).sum() > 200


@pytest.mark.parametrize("static", [True, False])
def test_categories_that_are_hostile_or_long_have_a_place_each(static: bool) -> None:
    names = ["<b>bold</b>", "$\\alpha$", "$", "line\nbreak", "a" * 100, "a" * 99 + "b", "%{x}"]
    data = frame(tuning_of(*(trial(number, {"model.name": name}, number) for number, name in enumerate(names))))
    figure = TuningVisualizer(data, ["model.name"]).plot_parallel_coordinate(static=static)
    if static:
        texts = {text.get_text() for axes in figure.axes for text in axes.texts}
        pixels(figure)
    else:
        texts = set(dimensions(figure)["model.name"].ticktext)
    # Equal texts would be one place to plotly.
    assert len(texts - {"model.name", "FinalObjectiveValue"}) >= len(names)
    assert {"<b>bold</b>", "$\\alpha$", "line\\nbreak"} <= texts


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("trials", [1, 300])
def test_one_trial_and_many_are_drawn(trials: int, static: bool) -> None:
    figure = TuningVisualizer(
        frame(made_up_tuning(trials, failures=0)), CATEGORIES, [*NUMBERS, "training.label_smoothing"]
    ).plot_parallel_coordinate(static=static)
    if static:
        pixels(figure)
    else:
        assert len(figure.data[0].line.color) == trials


@pytest.mark.parametrize(
    ("cat_params", "num_params", "message"),
    [
        (
            ["training.optimiser"],
            [],
            "tune_data has no column 'training.optimiser': did you mean 'training.optimizer'?",
        ),
        ([], ["nothing"], "tune_data has no column 'nothing'; there are: TrainingJobName, "),
        (["training.epochs"], ["training.epochs"], "'training.epochs' is in cat_params and in num_params"),
        ([], ["training.epochs"] * 2, "num_params has 'training.epochs' twice"),
        ([], ["training.optimizer"], "'training.optimizer' in num_params holds '"),
        ([], ["training.xla"], "'training.xla' in num_params holds true and false"),
        ("training.xla", [], "cat_params is 'training.xla': give a list of names"),
        ([], [3], "num_params is [3]: give a list of names"),
    ],
)
def test_columns_that_do_not_fit_are_named(cat_params: Any, num_params: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        TuningVisualizer(frame(made_up_tuning(20)), cat_params, num_params)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"columns": ["training.xla", "TrainingJobName", "FinalObjectiveValue"]},
            "'TrainingJobName', which is in neither",
        ),
        ({"columns": ["training.epoch", "FinalObjectiveValue"]}, "did you mean 'training.epochs'?"),
        ({"columns": ["FinalObjectiveValue"]}, "1 column cannot be drawn: give a parameter and the objective"),
        ({"columns": []}, "0 columns cannot be drawn"),
        ({"columns": ["training.epochs", "training.epochs"]}, "columns has 'training.epochs' twice"),
        ({"columns": ["training.epochs", "training.xla"]}, "columns ends with 'training.xla', which holds categories"),
        ({"figsize": (11, 7)}, "figsize is (11, 7): give width and height in pixels"),
        ({"figsize": 700}, "figsize is 700"),
        ({"figsize": (float("nan"), 700)}, "figsize is (nan, 700)"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        visualizer().plot_parallel_coordinate(**arguments)


def test_without_any_objective_there_is_nothing_to_draw() -> None:
    data = frame(made_up_tuning(5, failures=1.0))
    with pytest.raises(ValueError, match="no trial has a FinalObjectiveValue"):
        TuningVisualizer(data, CATEGORIES, NUMBERS).plot_parallel_coordinate()
    with pytest.raises(ValueError, match="tune_data has no column 'FinalObjectiveValue'"):
        TuningVisualizer(data[NUMBERS], [], NUMBERS).plot_parallel_coordinate()
    with pytest.raises(ValueError, match="tune_data is of dict: give a DataFrame"):
        TuningVisualizer({"a": [1]})  # type: ignore[arg-type]


def test_a_column_that_is_there_twice_is_named() -> None:
    data = frame(made_up_tuning(5))
    twice = pd.concat([data, data[["training.xla"]]], axis=1)
    with pytest.raises(ValueError, match=re.escape("tune_data has 2 columns 'training.xla'")):
        TuningVisualizer(twice, ["training.xla"])


def test_trials_that_lack_a_number_are_left_out() -> None:
    data = frame(tuning_of(trial(1, {"model.dropout": 0.1}, 1.0), trial(2, {"model.dropout": None}, 2.0)))
    figure = TuningVisualizer(data, [], ["model.dropout"]).plot_parallel_coordinate()
    assert list(figure.data[0].line.color) == [1.0]
    with pytest.raises(ValueError, match=r"no trial has a number in each of model\.dropout, FinalObjectiveValue"):
        TuningVisualizer(data[1:], [], ["model.dropout"]).plot_parallel_coordinate()
