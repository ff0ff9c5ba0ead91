"""The page of a tuning job: what it tells, in which order, and what it does with values from outside."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from container.dataset.text import printable
from container.report.tuning_page import write_tuning_page
from manager.trials import TuningJob
from tests.container.made_up import HOSTILE_NAMES
from tests.container.pages import Page, numbers, read, shown_by_plotly, templates
from tests.container.tuned import LEARNING_RATE, SETTINGS, made_up_tuning, trial, tuning_of

COMMAND = "python project_manager.py --launch_training --from_tuning digits"
STAR = "\N{BLACK STAR}"


def page_of(tuning: TuningJob, folder: Path) -> Page:
    return read(write_tuning_page(folder / "new" / "tuning.html", tuning, COMMAND))


def trial_rows(page: Page) -> list[list[str]]:
    """Return the rows of the table of all trials, without its header."""
    start = next(number for number, cells in enumerate(page.rows) if cells[:2] == ["trial", "status"])
    return page.rows[start + 1 :]


def three_trials(**changes: Any) -> TuningJob:
    rates = {1: 1.0, 2: 0.01, 3: 0.0001}
    made = [trial(number, {LEARNING_RATE: rate}, 0.9 - abs(number - 2) / 10) for number, rate in rates.items()]
    return tuning_of(*made, **changes)


def test_the_best_trial_is_told_with_its_values_and_the_command(tmp_path: Path) -> None:
    page = page_of(three_trials(), tmp_path)
    assert "varies 1 setting to make “best_val_accuracy” as large as possible" in page.text
    assert "The best trial is number 2, with 0.9. Half of the trials reached 0.8 or more." in page.text
    assert [LEARNING_RATE, "0.01"] in page.rows
    assert COMMAND in page.texts


def test_the_direction_decides_what_is_best(tmp_path: Path) -> None:
    text = page_of(three_trials(direction="Minimize", objective="best_val_loss"), tmp_path).text
    assert "to make “best_val_loss” as small as possible" in text
    assert "The best trial is number 1, with 0.8. It is the first of those that reached it: 1 other did." in text
    assert "Half of the trials reached 0.8 or less." in text


def test_trials_are_sorted_and_failed_ones_have_their_reason(tmp_path: Path) -> None:
    failed = trial(4, {LEARNING_RATE: 1.0}, 0.99, "Failed", "AlgorithmError: the loss is not finite")
    running = trial(5, {LEARNING_RATE: 0.5}, None, "InProgress")
    tuning = tuning_of(*three_trials().trials, failed, running)
    page = page_of(tuning, tmp_path)
    rows = trial_rows(page)
    assert [cells[0] for cells in rows] == [f"2 {STAR}", "1", "3", "4", "AlgorithmError: the loss is not finite", "5"]
    assert rows[0][1:] == ["Completed", "0.9", "0.01", "1 min 30 s", "002-0123abcd"]
    assert rows[3][1:4] == ["Failed", "-", "1"]
    assert rows[5][1:5] == ["InProgress", "-", "0.5", "-"]
    assert "2 trials have no objective that counts: 1 Failed, 1 InProgress." in page.text


def test_the_lines_cross_the_axes_at_the_values(tmp_path: Path) -> None:
    traces = page_of(three_trials(), tmp_path).charts()["parallel-coordinates"]["data"]
    # The best is drawn last; between 0.0001 and 1, 0.01 is in the middle.
    lines = [list(trace["y"]) for trace in traces]
    assert lines[-1][:2] == pytest.approx([0.5, 1.0])
    assert sorted(place for line in lines[:-1] for place in line[:1]) == pytest.approx([0.0, 1.0])


def test_the_best_so_far_never_falls(tmp_path: Path) -> None:
    for direction, sign in (("Maximize", 1), ("Minimize", -1)):
        tuning = made_up_tuning(9, direction=direction)  # type: ignore[arg-type]
        (line,) = (
            trace for trace in page_of(tuning, tmp_path).charts()["progress"]["data"] if trace["mode"] == "lines"
        )
        steps = sign * np.diff(numbers(line["y"]))
        assert np.all(steps >= 0)
        objectives = [trial.objective for trial in tuning.trials if trial.objective is not None]
        assert numbers(line["y"])[-1] == (max if sign == 1 else min)(objectives)


def test_each_setting_has_a_chart_of_all_trials(tmp_path: Path) -> None:
    tuning = made_up_tuning(9)
    charts = page_of(tuning, tmp_path).charts()
    for position in range(len(SETTINGS)):
        marks = [trace for trace in charts[f"setting-{position + 1}"]["data"] if trace["mode"] == "markers"]
        assert (
            sum(len(trace["x"]) if isinstance(trace["x"], list) else len(numbers(trace["x"])) for trace in marks) == 9
        )


def test_what_mattered_is_told(tmp_path: Path) -> None:
    page = page_of(made_up_tuning(25, {name: SETTINGS[name] for name in (LEARNING_RATE, "training.xla")}), tmp_path)
    assert "By a forest of scikit-learn, which explains" in page.text
    assert f"Surely more than nothing: {LEARNING_RATE}; gray bars may be chance." in page.text
    shares = [cells for cells in page.rows if cells[-1:] in (["no"], ["yes"])]
    assert [cells[0] for cells in shares] == [LEARNING_RATE, "training.xla"]


def test_objectives_far_apart_are_judged_by_their_logarithm(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    exponents = random.uniform(-4, 0, 30)
    trials = [trial(number, {"model.dropout": float(at)}, float(10**at)) for number, at in enumerate(exponents, 1)]
    text = page_of(tuning_of(*trials, direction="Minimize"), tmp_path).text
    assert "Share of the variance of the objective's logarithm" in text
    assert "Surely more than nothing: model.dropout" in text


def test_too_few_trials_do_not_tell_what_mattered(tmp_path: Path) -> None:
    page = page_of(three_trials(), tmp_path)
    assert "cannot be told: it takes 10 trials with an objective, and there are 3." in page.text
    assert "importance" not in page.charts()


def test_it_tells_whether_the_search_was_still_going_up(tmp_path: Path) -> None:
    rising = tuning_of(*(trial(number, {LEARNING_RATE: number / 10}, number) for number in range(1, 10)))
    assert "It was found late: more trials may find a better one." in page_of(rising, tmp_path).text
    falling = tuning_of(*(trial(number, {LEARNING_RATE: number / 10}, -number) for number in range(1, 10)))
    assert "The 8 trials after it found nothing better." in page_of(falling, tmp_path).text


def test_where_no_trial_has_an_objective_there_is_the_table(tmp_path: Path) -> None:
    for tuning in (made_up_tuning(5, failures=1.0), replace(made_up_tuning(1), trials=())):
        page = page_of(tuning, tmp_path)
        assert "No trial has an objective, so none is the best." in page.text
        assert page.charts() == {}
        assert COMMAND not in page.text
    assert "No trial has been launched yet." in page.text


CASES = {
    "one trial": made_up_tuning(1, failures=0),
    "one setting": made_up_tuning(9, {LEARNING_RATE: SETTINGS[LEARNING_RATE]}),
    "a setting that never changes": made_up_tuning(20, {"training.label_smoothing": lambda random: 0.1}),
    "equal objectives": tuning_of(*(trial(number, {LEARNING_RATE: 0.1 * number}, 0.5) for number in range(1, 15))),
    "an objective that is not finite": tuning_of(
        trial(1, {LEARNING_RATE: 0.1}, float("nan")),
        trial(2, {LEARNING_RATE: 0.2}, float("inf")),
        trial(3, {LEARNING_RATE: 0.3}, 1.0),
    ),
    "missing values": tuning_of(
        trial(1, {LEARNING_RATE: 0.1}, 0.5), trial(2, {}, 0.6), trial(3, {"training.xla": True}, 0.4)
    ),
    "objectives far apart": tuning_of(
        *(trial(number, {LEARNING_RATE: 0.1 * number}, 10.0**number) for number in range(-5, 6) if number)
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_odd_tunings_make_a_page_without_what_is_no_number(tmp_path: Path, case: str) -> None:
    page = page_of(CASES[case], tmp_path)
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", page.text)
    assert {"parallel-coordinates", "progress", "setting-1"} <= set(page.charts())


def test_values_are_shown_as_they_are_and_do_nothing(tmp_path: Path) -> None:
    def tuning(names: tuple[str, ...]) -> TuningJob:
        made = [
            trial(number, {"model.name": name, names[0]: number}, number, names[2], names[3])
            for number, name in enumerate(names, 1)
        ]
        return replace(tuning_of(*made, objective=names[1], status=names[4]), name=names[5])

    plain = page_of(tuning(tuple(f"network {number}" for number in range(len(HOSTILE_NAMES)))), tmp_path)
    hostile = page_of(tuning(HOSTILE_NAMES), tmp_path)
    assert {printable(name) for name in HOSTILE_NAMES} <= set(hostile.texts)
    assert templates(hostile) == templates(plain)
    assert [tag for tag, _ in hostile.tags if tag != "wbr"] == [tag for tag, _ in plain.tags if tag != "wbr"]
    for text in shown_by_plotly(hostile):
        assert "<" not in text.replace("<br>", ""), text
    for chart in hostile.charts().values():
        layout = chart["layout"]
        ticks = [*layout["xaxis"].get("ticktext", []), *layout["yaxis"].get("ticktext", [])]
        for text in (*ticks, *(note["text"] for note in layout.get("annotations", ()))):
            assert "<" not in text.replace("<br>", ""), text


def test_the_page_asks_for_nothing_and_reads_well_aloud(tmp_path: Path) -> None:
    page = page_of(made_up_tuning(9), tmp_path)
    links = [attributes.get("href") or attributes.get("src") or "" for _, attributes in page.tags]
    assert all(link.startswith(("#", "data:")) for link in links if link)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(attributes["aria-label"] for _, attributes in page.tags if attributes.get("role") == "img")
    keys = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(keys)) == len(keys)
