"""Collects the outputs of a transform job into one table (`--transform_results`)."""

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from container.words import plural
from manager import results
from manager.aws import Aws
from manager.batch_transform import objects
from manager.calls import ObjectPath
from manager.console import Terminal
from manager.errors import AnswerError, AwsError, ResultsError
from manager.labeled_predictions import LabeledPrediction, folders_around, label_of
from manager.monitoring import ENDED
from manager.predictor import SERVED_BY_OTHERS, parse_predictions
from manager.serving_monitoring import (
    OUTPUT_SUFFIX,
    STOPPED,
    STORES_NOTHING,
    input_folder,
    input_name,
    output_folder,
    output_keys,
)

FILE = "predictions.csv"
MISSING_FILE = "missing.txt"
"""Beside it: the images that a failed job did not predict, one a line."""
PARALLEL_DOWNLOADS = 16
# More names do not help.
MOST_NAMED = 3


def collect(aws: Aws, description: Any, terminal: Terminal) -> tuple[LabeledPrediction, ...]:
    """Fetch what a transform job predicted, an image each, sorted by their names inside the job's folder.

    Args:
        aws: where the outputs lie.
        description: AWS's of the job.
        terminal: where it is shown how far it is.

    Raises:
        ResultsError: the job is not over, or an output is none of ours; then with the way to fetch them as they are.
        AwsError: AWS refuses.
    """
    job, status = description["TransformJobName"], description["TransformJobStatus"]
    if status not in ENDED:
        raise ResultsError(f"{job} has no results yet: its status is {status}; --monitor {job} tells when it is done")
    folder, source = output_folder(description), input_name(description)
    keys = sorted(output_keys(aws, folder))
    if not keys:
        reason = STORES_NOTHING if status == STOPPED else description.get("FailureReason")
        raise ResultsError(f"{job} left no outputs in {folder}" + (f": {reason}" if reason else ""))
    rows = []
    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool, terminal.progress("fetch outputs", len(keys)) as advance:
        try:
            for row in pool.map(partial(_fetch, aws, folder, source), keys):
                rows.append(row)
                advance(1)
        except AnswerError as error:
            command = shlex.join(["aws", "s3", "sync", str(folder), f"{results.FOLDER}/{job}/", *aws.options])
            raise ResultsError(
                f"{error}; {SERVED_BY_OTHERS}. {job} is {status}, and all of its outputs, {len(keys):,}, lie in "
                f"{folder}: `{command}` fetches them"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    return tuple(rows)


def results_file(directory: Path, job: str) -> Path:
    """Return where the table of a transform job lies below the folder of results."""
    return directory / job / FILE


def missing_images(aws: Aws, description: Any, directory: Path) -> str:
    """Return in words which images a job that failed did not predict; empty: that cannot be known any more.

    Images that were uploaded for the job are deleted when it is over. So they are noted in `directory/JOB/missing.txt`.

    Args:
        aws: where the images and the outputs lie.
        description: AWS's of the job.
        directory: the folder of results.
    """
    folder, source = output_folder(description), input_folder(description)
    note = directory / description["TransformJobName"] / MISSING_FILE
    try:
        predicted = {key.removeprefix(folder.key).removesuffix(OUTPUT_SUFFIX) for key in output_keys(aws, folder)}
        images = {key.removeprefix(source.key) for key, _ in objects(aws, source) if not key.endswith("/")}
    except AwsError:
        # The bucket can be gone, or not for this user to look into.
        return ""
    if images:
        missing = sorted(images - predicted)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text("".join(f"{name}\n" for name in missing), encoding="utf-8")
    elif note.is_file():
        missing = note.read_text(encoding="utf-8").splitlines()
    else:
        return ""
    predicts = f"{len(predicted):,} of {plural(len(predicted) + len(missing), 'image')} predicted"
    return f"{predicts}; {_listed(missing)} missing" if missing else predicts


def _listed(images: Sequence[str]) -> str:
    named = ", ".join(images[:MOST_NAMED])
    if len(images) > MOST_NAMED:
        named += f" and {len(images) - MOST_NAMED:,} more"
    return f"{named} {'is' if len(images) == 1 else 'are'}"


def _fetch(aws: Aws, folder: ObjectPath, source: str, key: str) -> LabeledPrediction:
    with aws.explained(f"could not download s3://{folder.bucket}/{key}"):
        content = aws.client("s3").get_object(Bucket=folder.bucket, Key=key)["Body"].read()
    try:
        (prediction,) = parse_predictions(content)
    except AnswerError as error:
        raise AnswerError(f"s3://{folder.bucket}/{key} is no prediction of one image: {error}") from None
    except ValueError:
        raise ResultsError(
            f"s3://{folder.bucket}/{key} is no prediction of one image, but of several, or none"
        ) from None
    name = key.removeprefix(folder.key).removesuffix(OUTPUT_SUFFIX)
    folders = folders_around(name, source)
    return LabeledPrediction(name, prediction, label_of(folders, prediction.probabilities))
