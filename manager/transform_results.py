"""Collects the outputs of a transform job into one table (`--transform_results`)."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from manager.aws import Aws
from manager.calls import ObjectPath
from manager.console import Terminal
from manager.errors import EndpointError, ResultsError
from manager.labeled_predictions import LabeledPrediction, folders_around, label_of
from manager.monitoring import ENDED
from manager.predictor import parse_predictions
from manager.serving_monitoring import OUTPUT_SUFFIX, STOPPED, STORES_NOTHING, input_name, output_folder, output_keys

FILE = "predictions.csv"
PARALLEL_DOWNLOADS = 16


def collect(aws: Aws, description: Any, terminal: Terminal) -> tuple[LabeledPrediction, ...]:
    """Fetch what a transform job predicted, an image each, sorted by their names inside the job's folder.

    Args:
        aws: where the outputs lie.
        description: AWS's of the job.
        terminal: where it is shown how far it is.

    Raises:
        ResultsError: the job is not over, or an output is none of ours.
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
        finally:
            pool.shutdown(cancel_futures=True)
    return tuple(rows)


def results_file(directory: Path, job: str) -> Path:
    """Return where the table of a transform job lies below the folder of results."""
    return directory / job / FILE


def _fetch(aws: Aws, folder: ObjectPath, source: str, key: str) -> LabeledPrediction:
    with aws.explained(f"could not download s3://{folder.bucket}/{key}"):
        content = aws.client("s3").get_object(Bucket=folder.bucket, Key=key)["Body"].read()
    try:
        (prediction,) = parse_predictions(content)
    except (EndpointError, ValueError) as error:
        raise ResultsError(f"s3://{folder.bucket}/{key} is no prediction of one image: {error}") from None
    name = key.removeprefix(folder.key).removesuffix(OUTPUT_SUFFIX)
    folders = folders_around(name, source)
    return LabeledPrediction(name, prediction, label_of(folders, prediction.probabilities))
