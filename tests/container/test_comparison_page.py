"""The page of several training jobs: what it tells of them, which it calls the best, and what it cannot tell."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from container.dataset.text import printable
from container.report import facts
from container.report.comparison_page import ComparedJob, write_comparison
from tests.container.made_up import HOSTILE_NAMES, change_json, write_results
from tests.container.pages import Page, numbers, read, shown_by_plotly, templates

SPACE = "\N{NO-BREAK SPACE}"
CURVES = ["loss", "val-loss", "val-accuracy", "val-f1"]


def job(name: str, folder: Path | None = None, **settings: str) -> ComparedJob:
    """A job; in names of settings, `__` stands for a dot."""
    texts = {setting.replace("__", "."): text for setting, text in settings.items()}
    told = (("status", "Completed" if folder else "Failed"), ("about USD", "0.50"))
    return ComparedJob(name, told, texts, folder, "" if folder else "It failed: the loss is not finite.")


def results(
    folder: Path, mistakes: int = 0, classes: Sequence[str] = ("cat", "dog"), images: int = 40, epochs: int = 3
) -> Path:
    """Write results with so many mistakes, all of them images of the first class."""
    labels = np.arange(images) % len(classes)
    predicted = labels.copy()
    predicted[np.flatnonzero(labels == 0)[:mistakes]] = 1
    write_results(folder, classes, labels=labels, predicted=predicted, epochs=epochs)
    return folder


def compared(folder: Path, *jobs: ComparedJob) -> Page:
    return read(write_comparison(folder / "new" / "comparison.html", jobs))


def row(page: Page, name: str) -> list[str]:
    """Return the cells of the first row that begins with a name."""
    return next(cells[1:] for cells in page.rows if cells and cells[0].startswith(name))


def test_jobs_stand_side_by_side_and_the_best_of_a_row_is_marked(tmp_path: Path) -> None:
    good, bad = results(tmp_path / "good", mistakes=2), results(tmp_path / "bad", mistakes=10, epochs=5)
    page = compared(tmp_path, job("bad", bad, training__epochs="5"), job("good", good, training__epochs="3"))
    assert row(page, "status") == ["Completed", "Completed"]
    assert row(page, "epochs") == ["5", "3"]
    assert row(page, "training.epochs") == ["5", "3"]
    assert row(page, "Accuracy") == [f"75.00{SPACE}%", f"95.00{SPACE}% \N{BLACK STAR}"]
    losses = [facts.Metrics.read(folder / facts.METRICS_FILE).loss for folder in (bad, good)]
    marked = [f"{loss:.4f}" + (" \N{BLACK STAR}" if loss == min(losses) else "") for loss in losses]
    assert row(page, "Log loss") == marked
    # Whether more of these is better, nobody can say.
    assert row(page, "Always guessing") == [f"50.00{SPACE}%"] * 2


def test_figures_that_read_alike_are_alike(tmp_path: Path) -> None:
    one, other = results(tmp_path / "one"), results(tmp_path / "other")
    loss = facts.Metrics.read(one / facts.METRICS_FILE).loss
    change_json(other / facts.METRICS_FILE, loss=loss + 1e-9)
    page = compared(tmp_path, job("one", one), job("other", other))
    assert "\N{BLACK STAR}" not in "".join(itertools.chain.from_iterable(page.rows))
    assert "No model is right more often than those of “one” and “other”" in page.text


@pytest.mark.parametrize(("images", "mistakes", "is_told_apart"), [(40, 4, False), (400, 40, True)])
def test_it_says_whether_the_images_are_enough(tmp_path: Path, images: int, mistakes: int, is_told_apart: bool) -> None:
    good = results(tmp_path / "good", images=images)
    bad = results(tmp_path / "bad", mistakes=mistakes, images=images)
    text = compared(tmp_path, job("good", good), job("bad", bad)).text
    assert "The model of “good” is right most often" in text
    assert ("the difference may be chance" in text) != is_told_apart


def test_other_images_and_other_classes_are_told_of(tmp_path: Path) -> None:
    one, other = results(tmp_path / "one"), results(tmp_path / "other", classes=("cat", "bird"))
    change_json(other / facts.METRICS_FILE, data_fingerprint="ab" * 32)
    page = compared(tmp_path, job("one", one), job("other", other))
    assert "The jobs did not have the same images" in page.text
    assert "“one” lacks “bird”; “other” lacks “dog”." in page.text
    assert [cells[1:3] for cells in page.rows if cells[0] in ("cat", "dog", "bird")] == [
        ["1.000", "1.000"],
        ["1.000", "-"],
        ["-", "1.000"],
    ]
    alike = compared(tmp_path, job("one", one), job("again", one))
    assert "did not have the same images" not in alike.text
    assert "lacks" not in alike.text


def test_a_job_without_results_has_its_settings_and_the_reason(tmp_path: Path) -> None:
    page = compared(
        tmp_path, job("failed", training__seed="1"), job("one", results(tmp_path / "one"), training__seed="2")
    )
    assert row(page, "training.seed") == ["1", "2"]
    assert row(page, "Accuracy")[0] == "-"
    assert "It failed: the loss is not finite." in page.text
    # Its colors stay those of its place.
    assert {trace["line"]["color"] for trace in page.charts()["loss"]["data"] if "line" in trace} == {"var(--job-2)"}


def test_without_any_results_there_are_still_the_settings(tmp_path: Path) -> None:
    page = compared(tmp_path, job("one", training__seed="1"), job("two"))
    assert row(page, "training.seed") == ["1", "-"]
    assert "None of the jobs has results to compare." in page.text
    assert page.charts() == {}


@pytest.mark.parametrize("name", [facts.METRICS_FILE, facts.HISTORY_FILE])
@pytest.mark.parametrize("content", [None, "", "nonsense"])
def test_damaged_results_are_named_and_the_others_shown(tmp_path: Path, name: str, content: str | None) -> None:
    one, damaged = results(tmp_path / "one"), results(tmp_path / "damaged")
    if content is None:
        (damaged / name).unlink()
    else:
        (damaged / name).write_text(content)
    page = compared(tmp_path, job("damaged", damaged), job("one", one))
    assert f"{damaged / name} cannot be read as a training job's results" in page.text
    assert len(page.charts()) == 5


def test_the_curves_are_those_of_the_jobs(tmp_path: Path) -> None:
    jobs = [job(f"job {epochs}", results(tmp_path / str(epochs), epochs=epochs)) for epochs in (4, 7)]
    charts = compared(tmp_path, *jobs).charts()
    assert list(charts) == [*CURVES, "class-scores"]
    history = facts.read_history(tmp_path / "7" / facts.HISTORY_FILE)
    values = zip(*((row.loss, row.val_loss, row.val_accuracy, row.val_f1) for row in history), strict=True)
    for key, of_epochs in zip(CURVES, values, strict=True):
        (curve,) = (trace for trace in charts[key]["data"] if trace.get("name") == "job 7")
        assert numbers(curve["y"]).tolist() == list(of_epochs)


def test_no_two_jobs_differ_by_color_alone(tmp_path: Path) -> None:
    folder = results(tmp_path / "one")
    charts = compared(tmp_path, *(job(f"job {number}", folder) for number in range(8))).charts()
    curves = [trace for trace in charts["loss"]["data"] if "name" in trace]
    assert len({trace["line"]["dash"] for trace in curves}) == len({trace["line"]["color"] for trace in curves}) == 8
    marks = [trace for trace in charts["class-scores"]["data"] if trace["meta"] == {"set": "evaluation"}]
    assert len({trace["marker"]["symbol"] for trace in marks}) == 8


@pytest.mark.parametrize("count", [0, 1, 9])
def test_too_few_or_too_many_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match=f"2 to 8 training jobs, not {count}"):
        write_comparison(tmp_path / "page.html", [job("one")] * count)


def test_names_are_shown_as_they_are_and_do_nothing(tmp_path: Path) -> None:
    def page(names: Sequence[str], folder: Path) -> Page:
        write_results(folder / "results", names, images=100)
        jobs = [
            ComparedJob(name, ((names[0], name), (names[1], "same")), {names[2]: name}, folder / "results")
            for name in names[:7]
        ]
        return compared(folder, *jobs, ComparedJob(names[7], (), {}, None, names[8]))

    plain = page([f"class {number}" for number in range(len(HOSTILE_NAMES))], tmp_path / "plain")
    hostile = page(HOSTILE_NAMES, tmp_path / "hostile")
    assert {printable(name) for name in HOSTILE_NAMES} <= set(hostile.texts)
    assert [(tag, list(attributes)) for tag, attributes in hostile.tags] == [
        (tag, list(attributes)) for tag, attributes in plain.tags
    ]
    assert templates(hostile) == templates(plain)
    for text in shown_by_plotly(hostile):
        assert "<" not in text.replace("<br>", ""), text


def test_the_page_asks_for_nothing_and_reads_well_aloud(tmp_path: Path) -> None:
    page = compared(tmp_path, job("one", results(tmp_path / "one")), job("two"))
    links = [attributes.get("href") or attributes.get("src") or "" for _, attributes in page.tags]
    assert all(link.startswith(("#", "data:")) for link in links if link)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(attributes["aria-label"] for _, attributes in page.tags if attributes.get("role") == "img")
    keys = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(keys)) == len(keys)
