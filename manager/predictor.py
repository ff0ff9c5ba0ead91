"""Asks an endpoint what it sees in images, from Python: `Predictor("digits-cnn").predict("photo.jpg")`."""

import contextlib
import io
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

import boto3
import numpy as np
from botocore.exceptions import ClientError
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from container.errors import DataError
from manager.aws import Aws, error_code
from manager.endpoint import DELETING, FAILED, EndpointState, describe_endpoint
from manager.errors import AwsError, EndpointError, ImageRefusedError
from manager.plan import is_gone

ENCODED, ARRAY = "application/x-image", "application/x-npy"
"""Content types of an encoded image, of whatever format, and of pixels."""
VERBOSE = "application/json;verbose"
PARALLEL_REQUESTS = 8
# An endpoint that has too much to do says so by 503, and can have time a moment later.
RETRIES, FIRST_WAIT_SECONDS = 5, 0.5
INVALID = ("ValidationError", "ValidationException")

Pixels = NDArray[Any]


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image."""

    label: str
    """The most probable class."""
    probabilities: Mapping[str, float]
    """Of each class by its name, in the order of the model's outputs."""

    @property
    def probability(self) -> float:
        """That of the most probable class."""
        return self.probabilities[self.label]

    @property
    def ranked(self) -> tuple[str, ...]:
        """All classes, the most probable one first."""
        others = sorted((name for name in self.probabilities if name != self.label), key=self._less_probable)
        return (self.label, *others)

    def _less_probable(self, name: str) -> float:
        return -self.probabilities[name]


@dataclass(frozen=True)
class Predictor:
    """An endpoint that predicts the classes of images."""

    endpoint: str
    """EndpointName."""
    aws: Aws = field(default_factory=lambda: Aws(boto3.Session()))
    """The account; by itself the one that the environment and the AWS command line's configuration name."""

    # A str is a Sequence[str] too, of which the first signature that fits counts.
    @overload
    def predict(self, images: str | Path) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, images: Sequence[str | Path | Pixels]) -> tuple[Prediction, ...]: ...

    @overload
    def predict(self, images: Pixels) -> Prediction | tuple[Prediction, ...]: ...

    def predict(
        self, images: str | Path | Pixels | Sequence[str | Path | Pixels]
    ) -> Prediction | tuple[Prediction, ...]:
        """Ask what is in images.

        Args:
            images: the path of an image file, of any size; pixels from 0 to 255 in the model's own size, of shape
                (height, width) or (height, width, channels), or (images, height, width, channels) for several; or a
                list of such paths and images, which are sent several at a time.

        Returns:
            A prediction, or one for each image of several, in their order.

        Raises:
            ImageRefusedError: the endpoint does not predict an image, with its reason.
            EndpointError: there is no such endpoint, or its answer is none of ours.
            DataError: a file cannot be read.
            AwsError: AWS refuses, or does not answer.
        """
        if isinstance(images, str | Path):
            return self.predict_body(_read(Path(images)), ENCODED)
        if isinstance(images, np.ndarray):
            is_batch = images.ndim == 4
            found = self._predictions(_npy(images if is_batch else _one(images)), ARRAY)
            return found if is_batch else _only(found)
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            return tuple(pool.map(self._predict_one, images))

    def predict_body(self, body: bytes, content_type: str) -> Prediction:
        """Ask what is in one image, as bytes of a content type that the endpoint knows; raises what `predict` does."""
        return _only(self._predictions(body, content_type))

    def _predict_one(self, image: str | Path | Pixels) -> Prediction:
        if isinstance(image, str | Path):
            return self.predict_body(_read(Path(image)), ENCODED)
        return _only(self._predictions(_npy(_one(np.asarray(image))), ARRAY))

    def _predictions(self, body: bytes, content_type: str) -> tuple[Prediction, ...]:
        for attempt in itertools.count():
            try:
                return parse_predictions(self._invoke(body, content_type))
            except ImageRefusedError as error:
                if error.status != HTTPStatus.SERVICE_UNAVAILABLE or attempt == RETRIES:
                    raise
            time.sleep(FIRST_WAIT_SECONDS * 2**attempt)
        raise AssertionError("unreachable")

    def _invoke(self, body: bytes, content_type: str) -> bytes:
        runtime = self.aws.client("sagemaker-runtime")
        with self.aws.explained(f"could not ask the endpoint {self.endpoint}"):
            try:
                answer = runtime.invoke_endpoint(
                    EndpointName=self.endpoint, ContentType=content_type, Accept=VERBOSE, Body=body
                )
            except ClientError as error:
                raise self._translated(error) from None
            content: bytes = answer["Body"].read()
        return content

    def _translated(self, error: ClientError) -> Exception:
        """Return what an error of InvokeEndpoint means for the caller; one that AWS itself is the cause of stays."""
        if error_code(error) == "ModelError":
            answer: Any = error.response
            return ImageRefusedError(_reason(answer), int(answer.get("OriginalStatusCode", 500)))
        text = " ".join(error.response["Error"].get("Message", "").split())
        if is_gone(error) or (error_code(error) in INVALID and "not found" in text):
            return self._why_not_found(text)
        if error_code(error) in (*INVALID, "413"):
            return ImageRefusedError(text, HTTPStatus.BAD_REQUEST)
        return error

    def _why_not_found(self, text: str) -> EndpointError:
        """Return why InvokeEndpoint finds no endpoint: it says so of one that is there, but not in service, too."""
        try:
            state = describe_endpoint(self.aws, self.endpoint)
        except AwsError as error:
            # Who may ask for predictions may be allowed nothing else.
            return EndpointError(
                f"no endpoint {self.endpoint!r} is in service; whether there is one is unknown: {error}"
            )
        if state is None:
            return EndpointError(
                f"there is no endpoint {self.endpoint!r} in this account and region: --deploy makes one of the "
                "project's last model"
            )
        return EndpointError(f"the endpoint {self.endpoint!r} does not answer: {_explained(state, text)}")


def parse_predictions(content: bytes) -> tuple[Prediction, ...]:
    """Return what the container's answer in application/json;verbose says, an entry per image.

    Raises:
        EndpointError: it is no such answer.
    """
    try:
        return tuple(answer.prediction() for answer in _Answers.model_validate_json(content).predictions)
    except ValueError:
        shown = content[:100].decode(errors="replace")
        raise EndpointError(
            f"an answer is none of application/json;verbose: {shown!r}; does another image serve, or an output_fn of "
            "your own?"
        ) from None


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    probabilities: tuple[float, ...]
    labels: tuple[str, ...]
    predicted_label: str

    def prediction(self) -> Prediction:
        """Return what it says; ValueError where its parts do not fit each other."""
        probabilities = dict(zip(self.labels, self.probabilities, strict=True))
        if self.predicted_label not in probabilities:
            raise ValueError("the predicted label is none of the labels")
        return Prediction(self.predicted_label, MappingProxyType(probabilities))


class _Answers(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    predictions: tuple[_Answer, ...]


def _explained(state: EndpointState, text: str) -> str:
    """Return what an endpoint is that InvokeEndpoint does not find, saying `text`, and the next step."""
    if state.status == DELETING:
        return f"it is {DELETING}; --deploy makes another when that is over"
    if state.is_busy:
        return f"it is {state.status}; try again when that is over: --status tells"
    if state.status == FAILED:
        return f"it is {FAILED}: {state.failure or 'SageMaker gives no reason'}; --deploy makes it anew"
    return f"it is {state.status}, but AWS says: {text}"


def _reason(answer: Any) -> str:
    """Return why the container did not predict, in its own words, from what InvokeEndpoint answers."""
    original = str(answer.get("OriginalMessage") or answer["Error"].get("Message", ""))
    with contextlib.suppress(ValueError, KeyError, TypeError):
        original = str(json.loads(original)["error"])
    return " ".join(original.split()) or "it gives no reason"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None


def _one(pixels: Pixels) -> Pixels:
    """Return the pixels of one image as a batch of one, of shape (1, height, width, channels)."""
    if pixels.ndim not in (2, 3):
        raise DataError(
            f"pixels of the shape {pixels.shape} are no image: it is (height, width) or (height, width, channels), or "
            "(images, height, width, channels) for several"
        )
    return pixels[np.newaxis, ..., np.newaxis] if pixels.ndim == 2 else pixels[np.newaxis]


def _npy(pixels: Pixels) -> bytes:
    content = io.BytesIO()
    np.save(content, pixels, allow_pickle=False)
    return content.getvalue()


def _only(predictions: tuple[Prediction, ...]) -> Prediction:
    if len(predictions) != 1:
        raise EndpointError(f"an answer has {len(predictions)} predictions where one image was sent")
    return predictions[0]
