"""The page of a job's results: what it tells, what it does with names from outside, and what it needs."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from container.dataset.text import printable
from container.errors import DataError
from container.modeling.settings import ContainerSettings, Training
from container.report import facts
from container.report.page import write_report
from tests.container.made_up import HOSTILE_NAMES, change_json, write_results
from tests.container.pages import made, shown_by_plotly, templates

FILES = (facts.METRICS_FILE, facts.HISTORY_FILE, facts.PREDICTIONS_FILE, facts.CONFIG_FILE, facts.CLASSES_FILE)


def test_the_summary_tells_in_words_what_was_trained_and_how_well(tmp_path: Path) -> None:
    labels = np.array([0] * 6 + [1] * 4)
    write_results(tmp_path, ("cat", "dog"), labels=labels, predicted=np.array([0] * 6 + [1, 1, 1, 0]))
    text = made(tmp_path).text
    assert "of 123,456 weights learned to tell 2 classes apart from 80 images, in 6 epochs" in text
    assert "Of 10 evaluation images, none of which it was trained on, it gives 9 the right class" in text
    assert "an accuracy of 90.0\N{NO-BREAK SPACE}%" in text
    assert "between 59.6\N{NO-BREAK SPACE}% and 98.2\N{NO-BREAK SPACE}%, with a confidence of 95 %" in text
    assert "Always guessing the most frequent class, “cat”, would reach 60.0\N{NO-BREAK SPACE}%" in text
    assert "the images are too few to tell whether the model is better" in text
    assert "It does worst at “dog” (F1 0.857), “cat” (F1 0.923)." in text
    assert "Most often it takes “dog” for “cat”: 1 of 4 images." in text


def test_a_model_that_is_no_better_than_guessing_is_told_so(tmp_path: Path) -> None:
    labels = np.array([0] * 8 + [1] * 2)
    write_results(tmp_path, ("cat", "dog"), labels=labels, predicted=np.zeros(10, int))
    assert "the model is no better than that." in made(tmp_path).text


def test_both_sets_stand_side_by_side(tmp_path: Path) -> None:
    metrics = write_results(tmp_path, ("cat", "dog", "frog"), images=300)
    texts = made(tmp_path).texts
    row = texts[texts.index("Macro F1", texts.index("meaning")) :]
    assert row[1:3] == [f"{metrics.macro_average.f1:.3f}", f"{metrics.validation.macro_average.f1:.3f}"]


def test_names_are_shown_as_they_are_and_do_nothing(tmp_path: Path) -> None:
    write_results(tmp_path / "plain", [f"class {number}" for number in range(len(HOSTILE_NAMES))], images=100)
    write_results(tmp_path / "hostile", HOSTILE_NAMES, images=100)
    plain, hostile = made(tmp_path / "plain"), made(tmp_path / "hostile")
    assert {printable(name) for name in HOSTILE_NAMES} <= set(hostile.texts)
    assert [(tag, list(attributes)) for tag, attributes in hostile.tags] == [
        (tag, list(attributes)) for tag, attributes in plain.tags
    ]
    assert templates(hostile) == templates(plain)
    for text in shown_by_plotly(hostile):
        assert "<" not in text.replace("<br>", ""), text


def test_a_file_name_is_shown_as_it_is(tmp_path: Path) -> None:
    labels = np.array([0, 1])
    write_results(tmp_path, ("cat", "dog"), labels=labels, predicted=1 - labels)
    file = tmp_path / facts.PREDICTIONS_FILE
    name = "<img src=x onerror=alert(1)>%{x}.png"
    file.write_text(file.read_text(encoding="utf-8").replace("00000.png", name), encoding="utf-8")
    page = made(tmp_path)
    assert f"cat/{name}" in page.texts
    assert not page.pictures
    assert any("&lt;img src=x onerror=alert(1)&gt;%{x}.png" in text for text in shown_by_plotly(page))


CASES = {
    "one image": (np.array([0]), np.array([0])),
    "one image, wrong": (np.array([0]), np.array([1])),
    "a class that never occurs": (np.array([0, 1, 1]), np.array([0, 1, 2])),
    "a class that is never predicted": (np.array([0, 1, 2, 2]), np.array([0, 1, 1, 0])),
    "one class only": (np.array([1, 1, 1]), np.array([1, 0, 1])),
    "no mistakes": (np.array([0, 1, 2]), np.array([0, 1, 2])),
    "mistakes only": (np.array([0, 1, 2]), np.array([1, 2, 0])),
}


@pytest.mark.parametrize("case", CASES)
def test_odd_sets_make_a_page_without_what_is_no_number(tmp_path: Path, case: str) -> None:
    labels, predicted = CASES[case]
    write_results(tmp_path, ("a", "b", "c"), labels=labels, predicted=predicted, epochs=1)
    page = made(tmp_path)
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", page.text)
    assert ("It makes no mistakes on these images." in page.text) == bool(np.all(labels == predicted))
    assert ("No mistakes." in page.text) == bool(np.all(labels == predicted))


def test_findings_stand_with_their_remedy(tmp_path: Path) -> None:
    finding = facts.Finding(rule="dead_units", epoch=3, message="61 % of <conv_1>", remedy="set training.learning_rate")
    write_results(tmp_path, ("a", "b"), findings=(finding,))
    text = made(tmp_path).text
    assert "dead units" in text
    assert "61 % of <conv_1>" in text
    assert "set training.learning_rate" in text
    assert "1 finding" in text


def test_a_job_without_diagnostics_is_told_of(tmp_path: Path) -> None:
    write_results(tmp_path, ("a", "b"))
    (tmp_path / facts.DIAGNOSTICS_FILE).unlink()
    assert "This job wrote no diagnostics." in made(tmp_path).text


def test_the_fingerprint_of_the_upload_is_told_where_it_is_known(tmp_path: Path) -> None:
    write_results(tmp_path, ("a", "b"))
    assert "manifest.jsonl.gz" not in made(tmp_path).text
    change_json(tmp_path / facts.METRICS_FILE, uploaded_fingerprint="1e" * 32)
    assert "1e" * 32 in made(tmp_path).text


def test_settings_that_differ_from_the_defaults_come_first(tmp_path: Path) -> None:
    settings = ContainerSettings(training=Training(learning_rate=0.25))
    write_results(tmp_path, ("a", "b"), settings=settings)
    texts = made(tmp_path).texts
    changed = texts[texts.index("Settings that differ from their defaults") : texts.index("Versions")]
    assert changed[3:5] == ["training.learning_rate", "0.25"]
    assert changed.index("training.epochs") > changed.index("training.learning_rate") + 2


def test_a_setting_of_another_version_is_shown_too(tmp_path: Path) -> None:
    write_results(tmp_path, ("a", "b"))
    change_json(tmp_path / facts.CONFIG_FILE, future={"setting": [1, 2]})
    texts = made(tmp_path).texts
    assert texts[texts.index("future.setting") + 1] == "[1, 2]"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [None, "[]", "nonsense"])
def test_what_cannot_be_read_is_named_and_an_earlier_page_stays(tmp_path: Path, name: str, content: str | None) -> None:
    write_results(tmp_path, ("a", "b"))
    (tmp_path / facts.REPORT_FILE).write_text("earlier")
    file = tmp_path / name
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        write_report(tmp_path, {})
    assert (tmp_path / facts.REPORT_FILE).read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} <= {*FILES, facts.REPORT_FILE, facts.DIAGNOSTICS_FILE}


def test_files_of_different_jobs_are_refused(tmp_path: Path) -> None:
    write_results(tmp_path / "one", ("a", "b"), images=10)
    for name, classes, images in (("other", ("a", "c"), 10), ("larger", ("a", "b"), 11)):
        write_results(tmp_path / name, classes, images=images)
        (tmp_path / name / facts.METRICS_FILE).write_bytes((tmp_path / "one" / facts.METRICS_FILE).read_bytes())
        with pytest.raises(DataError, match=r"download them again"):
            write_report(tmp_path / name, {})


def test_a_probability_that_is_no_number_is_refused(tmp_path: Path) -> None:
    write_results(tmp_path, ("a", "b"), images=1)
    file = tmp_path / facts.PREDICTIONS_FILE
    *cells, _ = file.read_text(encoding="utf-8").strip().split(",")
    file.write_text(",".join([*cells, "nan"]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="a probability is not a finite number"):
        write_report(tmp_path, {})


def test_the_page_asks_for_nothing(tmp_path: Path) -> None:
    write_results(tmp_path, ("a", "b"))
    page = made(tmp_path)
    links = [attributes.get("href") or attributes.get("src") or "" for _, attributes in page.tags]
    assert all(link.startswith(("#", "data:")) for link in links if link)
    policy = next(attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes)
    assert policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy


def test_headings_do_not_skip_a_level_and_charts_have_words(tmp_path: Path) -> None:
    write_results(tmp_path, ("a", "b"))
    page = made(tmp_path)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    words = [attributes["aria-label"] for _, attributes in page.tags if attributes.get("role") == "img"]
    assert len(words) == 11
    assert all(words)
    keys = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(keys)) == len(keys)
