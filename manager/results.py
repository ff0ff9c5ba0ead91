"""Fetches what a training job left behind, and shows how good the model is (`--download_results`)."""

import shutil
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

from rich.text import Text

from container.report.facts import METRICS_FILE, Metrics, Scores
from manager.aws import Aws
from manager.console import Terminal
from manager.errors import ResultsError
from manager.monitoring import describe_job

CHUNK_BYTES = 1 << 20
# Wider matrices do not fit a terminal.
MOST_CLASSES_IN_MATRIX = 15
MOST_CONFUSIONS = 20


def download(aws: Aws, job: str, directory: Path, terminal: Terminal) -> Path:
    """Download and unpack a training job's model.tar.gz; return the folder `directory/job`.

    A folder that is there already is left as it is, since a job's results never change. Nothing is unpickled.

    Raises:
        JobError: there is no such job.
        ResultsError: the job has no results yet, or the archive is damaged or unsafe.
        AwsError: AWS refuses.
    """
    target, partial = directory / job, directory / f".{job}.partial"
    if target.is_dir():
        terminal.unchanged(f"results of {job}")
        return target
    bucket, key = _archive_of(aws, job)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        archive = partial / "model.tar.gz"
        _fetch(aws, bucket, key, archive, terminal)
        _unpack(archive, partial)
        archive.unlink()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    terminal.done(f"download s3://{bucket}/{key}")
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
    averages = (("macro average", metrics.macro_average), ("weighted average", metrics.weighted_average))
    rows = [_score_row(scores.name, scores) for scores in metrics.classes]
    terminal.table(
        f"Classification of {metrics.evaluation_images:,} evaluation images",
        ("class", "precision", "recall", "F1", "images"),
        [*rows, *(_score_row(name, scores) for name, scores in averages)],
    )
    if len(metrics.classes) <= MOST_CLASSES_IN_MATRIX:
        _show_matrix(metrics, terminal)
    else:
        _show_confusions(metrics, terminal)
    terminal.plain(f"accuracy {metrics.accuracy:.4f}, loss {metrics.loss:.4f} on the evaluation images")
    terminal.plain(f"everything is in {shown_as}")


def _score_row(name: str, scores: Scores) -> tuple[str, ...]:
    return (name, *(f"{value:.3f}" for value in (scores.precision, scores.recall, scores.f1)), f"{scores.support:,}")


def _show_matrix(metrics: Metrics, terminal: Terminal) -> None:
    names = [scores.name for scores in metrics.classes]
    rows: list[tuple[str | Text, ...]] = [
        (name, *(_matrix_cell(count, is_right=true == predicted) for predicted, count in enumerate(counts)))
        for true, (name, counts) in enumerate(zip(names, metrics.confusion_matrix, strict=True))
    ]
    terminal.table("Confusion matrix: true class per row, predicted class per column", ("", *names), rows)


def _matrix_cell(count: int, *, is_right: bool) -> Text:
    if not count:
        return Text("·", style="dim")
    return Text(f"{count:,}", style="green" if is_right else "bold red")


def _show_confusions(metrics: Metrics, terminal: Terminal) -> None:
    names = [scores.name for scores in metrics.classes]
    pairs = sorted(
        (
            (count, names[true], names[predicted])
            for true, counts in enumerate(metrics.confusion_matrix)
            for predicted, count in enumerate(counts)
            if count and true != predicted
        ),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    rows = [(true, predicted, str(count)) for count, true, predicted in pairs[:MOST_CONFUSIONS]]
    terminal.table("Most frequent confusions", ("true class", "predicted class", "images"), rows)


def _archive_of(aws: Aws, job: str) -> tuple[str, str]:
    description = describe_job(aws, job)
    uri = description.get("ModelArtifacts", {}).get("S3ModelArtifacts", "")
    if not uri or description["TrainingJobStatus"] not in ("Completed", "Stopped"):
        status = description["TrainingJobStatus"]
        raise ResultsError(f"{job} has no results: its status is {status}; --monitor {job} shows how it goes on")
    parts = urlsplit(uri)
    return parts.netloc, parts.path.lstrip("/")


def _fetch(aws: Aws, bucket: str, key: str, archive: Path, terminal: Terminal) -> None:
    with aws.explained(f"could not download s3://{bucket}/{key}"):
        response = aws.client("s3").get_object(Bucket=bucket, Key=key)
        size = response["ContentLength"]
        with archive.open("wb") as file, terminal.progress(f"download {key}", size) as advance:
            for chunk in response["Body"].iter_chunks(CHUNK_BYTES):
                file.write(chunk)
                advance(len(chunk))
    if archive.stat().st_size != size:
        raise ResultsError(f"only {archive.stat().st_size:,} of {size:,} bytes of {key} came: try again")


def _unpack(archive: Path, directory: Path) -> None:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            # The data filter refuses absolute paths, `..`, links that lead out, and devices.
            tar.extractall(directory, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ResultsError(f"{archive.name} cannot be unpacked: {error}") from None
