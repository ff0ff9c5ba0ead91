"""Fetches what a training job left behind, and shows how good the model is (`--download_results`)."""

import re
import shutil
import webbrowser
from pathlib import Path

from rich.text import Text

from container.report.facts import METRICS_FILE, REPORT_FILE, Judgement, Metrics, Scores
from manager.archive import unpack
from manager.aws import Aws
from manager.calls import ObjectPath
from manager.console import Terminal
from manager.download import fetch, look_up
from manager.errors import ResultsError
from manager.monitoring import describe_job

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
JOB_NAME = r"[A-Za-z0-9](-*[A-Za-z0-9]){0,62}"
# Beside project_manager.py.
FOLDER = "results"
# Wider matrices do not fit a terminal.
MOST_CLASSES_IN_MATRIX = 15
MOST_CONFUSIONS = 20
# Whose images the report may show.
REPORTED_SETS = ("validation", "evaluation")


def download(aws: Aws, job: str, directory: Path, terminal: Terminal) -> Path:
    """Download and unpack a training job's model.tar.gz; return the folder `directory/job`.

    The folder appears when it is whole; one that is there already is left as it is, since a job's results never
    change. After an interruption the same call goes on where it was. Nothing is unpickled.

    Raises:
        JobError: there is no such job.
        ResultsError: the job has no results yet, or the archive is damaged or unsafe.
        AwsError: AWS refuses.
    """
    if not re.fullmatch(JOB_NAME, job):
        raise ResultsError(f"{job!r} is no name of a training job: it is made of up to 63 letters, digits and hyphens")
    target, partial = directory / job, directory / f".{job}.partial"
    if target.is_dir():
        terminal.unchanged(f"results of {job}")
        return target
    archive_path = _archive_of(aws, job)
    remote = look_up(aws, archive_path.bucket, archive_path.key)
    archive, unpacked = partial / "model.tar.gz", partial / "unpacked"
    partial.mkdir(parents=True, exist_ok=True)
    fetch(aws, remote, archive, terminal)
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    try:
        unpack(archive, unpacked)
    except ResultsError:
        shutil.rmtree(partial)
        raise
    unpacked.rename(target)
    shutil.rmtree(partial)
    terminal.done(f"download {remote}")
    return target


def show(directory: Path, shown_as: str, terminal: Terminal) -> None:
    """Print the classification table and the confusion matrix of downloaded results.

    Args:
        directory: the folder of the results.
        shown_as: how the folder is named to the user.
        terminal: where to print.

    Raises:
        DataError: the results have no readable metrics.
    """
    metrics = Metrics.read(directory / METRICS_FILE)
    show_judgement(metrics, f"Classification of {metrics.evaluation_images:,} evaluation images", terminal)
    terminal.plain(f"accuracy {metrics.accuracy:.4f}, loss {metrics.loss:.4f} on the evaluation images")
    if (directory / REPORT_FILE).is_file():
        terminal.plain(f"the report, with curves and mistakes, is {shown_as}{REPORT_FILE} (--open shows it)")
    terminal.plain(f"everything is in {shown_as}")


def show_judgement(judgement: Judgement, title: str, terminal: Terminal) -> None:
    """Print how well each class is recognized, and what it is taken for."""
    averages = (("macro average", judgement.macro_average), ("weighted average", judgement.weighted_average))
    rows = [_score_row(scores.name, scores) for scores in judgement.classes]
    terminal.table(
        title,
        ("class", "precision", "recall", "F1", "images"),
        [*rows, *(_score_row(name, scores) for name, scores in averages)],
    )
    if len(judgement.classes) <= MOST_CLASSES_IN_MATRIX:
        _show_matrix(judgement, terminal)
    else:
        _show_confusions(judgement, terminal)


def remake_report(directory: Path, data: Path | None, terminal: Terminal) -> None:
    """Make the report of downloaded results anew, and say with which images.

    Args:
        directory: the folder of the results.
        data: the folder of the sets, whose images it may show; None: it shows none.
        terminal: where to say so.

    Raises:
        DataError: the results cannot be read.
        ResultsError: the folder has no sets.
    """
    from container.report.page import write_report

    sets = {name: data / name for name in REPORTED_SETS if (data / name).is_dir()} if data else {}
    if data and not sets:
        raise ResultsError(
            f"{data} holds neither of {' and '.join(REPORTED_SETS)}: give the folder that data_handler.py split into"
        )
    write_report(directory, sets)
    images = (
        f"the images of {', '.join(map(str, sets.values()))}" if sets else "no images (--data FOLDER gives it some)"
    )
    terminal.done(f"make {REPORT_FILE} anew, with {images}")


def open_in_browser(page: Path, terminal: Terminal) -> None:
    """Show a page in the user's browser, or say where it is.

    Raises:
        ResultsError: there is no such page.
    """
    if not page.is_file():
        raise ResultsError(f"{page} does not exist: --download_results JOB --remake_report makes it of what there is")
    if not webbrowser.open(page.resolve().as_uri()):
        terminal.plain(f"no browser can be opened here: the page is {page}")


def _score_row(name: str, scores: Scores) -> tuple[str, ...]:
    return (name, *(f"{value:.3f}" for value in (scores.precision, scores.recall, scores.f1)), f"{scores.support:,}")


def _show_matrix(judgement: Judgement, terminal: Terminal) -> None:
    names = [scores.name for scores in judgement.classes]
    rows: list[tuple[str | Text, ...]] = [
        (name, *(_matrix_cell(count, is_right=true == predicted) for predicted, count in enumerate(counts)))
        for true, (name, counts) in enumerate(zip(names, judgement.confusion_matrix, strict=True))
    ]
    terminal.table("Confusion matrix: true class per row, predicted class per column", ("", *names), rows)


def _matrix_cell(count: int, *, is_right: bool) -> Text:
    if not count:
        return Text("·", style="dim")
    return Text(f"{count:,}", style="green" if is_right else "bold red")


def _show_confusions(judgement: Judgement, terminal: Terminal) -> None:
    names = [scores.name for scores in judgement.classes]
    pairs = sorted(
        (
            (count, names[true], names[predicted])
            for true, counts in enumerate(judgement.confusion_matrix)
            for predicted, count in enumerate(counts)
            if count and true != predicted
        ),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    rows = [(true, predicted, str(count)) for count, true, predicted in pairs[:MOST_CONFUSIONS]]
    terminal.table("Most frequent confusions", ("true class", "predicted class", "images"), rows)


def _archive_of(aws: Aws, job: str) -> ObjectPath:
    description = describe_job(aws, job)
    uri = description.get("ModelArtifacts", {}).get("S3ModelArtifacts", "")
    status = description["TrainingJobStatus"]
    if status == "Failed":
        raise ResultsError(
            f"{job} has no results, since it failed: {description.get('FailureReason', 'nobody knows why')}"
        )
    if not uri or status not in ("Completed", "Stopped"):
        raise ResultsError(f"{job} has no results yet: its status is {status}; --monitor {job} tells when it is done")
    return ObjectPath.parse(uri)
