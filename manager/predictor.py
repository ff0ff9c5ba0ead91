"""Asks an endpoint what it sees in images, from Python: `Predictor("digits-cnn").predict("photo.jpg")`."""

import contextlib
import io
import itertools
import json
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from manager.errors import AnswerError, AwsError, EndpointError, ImageRefusedError
from manager.plan import is_gone

ENCODED, ARRAY = "application/x-image", "application/x-npy"
"""Content types of an encoded image, of whatever format, and of pixels."""
VERBOSE = "application/json;verbose"
SERVED_BY_OTHERS = "such answers are a function's of your own (`serving.output_fn`), or another image's"
"""Where an answer comes from that is not in the project's own form."""
PARALLEL_REQUESTS = 8
# An endpoint that has too much to do says so by 503, and can have time a moment later.
RETRIES, FIRST_WAIT_SECONDS = 5, 0.5
INVALID = ("ValidationError", "ValidationException")
# A drive's letter is no scheme.
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
TAKEN = (
    "name the path of a file, give an array of the shape (height, width) or (height, width, channels), or (images, "
    "height, width, channels) for several, or a list of paths and arrays"
)

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
            DataError: a file cannot be read, or something is no image; of a list it tells which.
            AwsError: AWS refuses, or does not answer.
        """
        if isinstance(images, str | Path):
            return self.predict_body(_read(images), ENCODED)
        if hasattr(images, "__array__"):
            pixels = np.asarray(images)
            is_batch = pixels.ndim == 4
            found = self._predictions(_npy(_checked(pixels) if is_batch else _one(pixels)), ARRAY)
            return found if is_batch else _only(found)
        if isinstance(images, Mapping | bytes | bytearray | memoryview) or not isinstance(images, Iterable):
            raise _no_image(images)
        several = tuple(images)
        for place, image in enumerate(several):
            with _named(place):
                _check_one(image)
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            futures = [pool.submit(self._predict_one, place, image) for place, image in enumerate(several)]
            try:
                return tuple(future.result() for future in futures)
            finally:
                pool.shutdown(cancel_futures=True)

    def predict_body(self, body: bytes, content_type: str) -> Prediction:
        """Ask what is in one image, as bytes of a content type that the endpoint knows; raises what `predict` does."""
        return _only(self._predictions(body, content_type))

    def _predict_one(self, place: int, image: str | Path | Pixels) -> Prediction:
        with _named(place):
            if isinstance(image, str | Path):
                return self.predict_body(_read(image), ENCODED)
            return _only(self._predictions(_npy(_one(np.asarray(image))), ARRAY))

    def _predictions(self, body: bytes, content_type: str) -> tuple[Prediction, ...]:
        for attempt in itertools.count():
            try:
                return parse_predictions(self._invoke(body, content_type))
            except ImageRefusedError as error:
                if error.status != HTTPStatus.SERVICE_UNAVAILABLE or attempt == RETRIES:
                    raise
            except AnswerError as error:
                raise AnswerError(self._with_other_way(error)) from None
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

    def _with_other_way(self, error: AnswerError) -> str:
        command = ["aws", "sagemaker-runtime", "invoke-endpoint", "--endpoint-name", self.endpoint]
        command += ["--content-type", ENCODED, "--body", "fileb://photo.jpg", *self.aws.options, "answer"]
        return (
            f"the endpoint {self.endpoint!r} answers in a form of its own: {error}; {SERVED_BY_OTHERS}. "
            f"`{shlex.join(command)}` takes its answers as they are: see docs/serving.md"
        )

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
        AnswerError: it is no such answer.
    """
    try:
        return tuple(answer.prediction() for answer in _Answers.model_validate_json(content).predictions)
    except ValueError:
        shown = content[:100].decode(errors="replace")
        raise AnswerError(f"an answer is none of {VERBOSE}: {shown!r}") from None


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


def _read(file: str | Path) -> bytes:
    if isinstance(file, str) and URL.match(file):
        raise DataError(f"{file} is a URL, and Predictor reads files of this machine: download it first")
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def _named(place: int) -> Iterator[None]:
    """Let an error that has to do with one image of a list tell with which."""
    try:
        yield
    except ImageRefusedError as error:
        raise ImageRefusedError(f"images[{place}]: {error}", error.status) from None
    except DataError as error:
        raise DataError(f"images[{place}]: {error}") from None


def _check_one(image: Any) -> None:
    """Raise DataError of what is no image of a list, as far as that is known before it is sent."""
    if isinstance(image, str | Path):
        return
    if not (hasattr(image, "__array__") or isinstance(image, list | tuple)):
        raise _no_image(image)
    try:
        pixels = np.asarray(image)
    except ValueError:
        raise _no_image(image) from None
    _one(pixels)


def _no_image(found: Any) -> DataError:
    kind = type(found)
    named = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    hint = ""
    if isinstance(found, bytes | bytearray):
        hint = f" (predict_body(content, {ENCODED!r}) takes the bytes of an image's file)"
    elif hasattr(found, "__array_interface__"):
        hint = " (numpy.asarray makes an array of it)"
    return DataError(f"an object of the type {named} is no image: {TAKEN}{hint}")


def _checked(pixels: Pixels) -> Pixels:
    """Return an array that holds numbers, and any at all."""
    if not pixels.size or pixels.dtype.kind not in "buif":
        what = f"of the type {pixels.dtype}" if pixels.size else f"of the shape {pixels.shape}, without any pixel,"
        raise DataError(f"an array {what} is no image: {TAKEN}")
    return pixels


def _one(pixels: Pixels) -> Pixels:
    """Return the pixels of one image as a batch of one, of shape (1, height, width, channels)."""
    _checked(pixels)
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
