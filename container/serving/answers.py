"""From probabilities to the body of an answer."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from container.serving.media_types import Output


@dataclass(frozen=True)
class Answer:
    """The body of an answer, and its Content-Type."""

    body: bytes
    content_type: str


def answer(output: Output, probabilities: NDArray[np.float32], classes: Sequence[str]) -> Answer:
    """Return the answer for some images.

    Args:
        output: which kind of answer.
        probabilities: of each class for each image; shape (images, classes).
        classes: their names, in the order of the probabilities.
    """
    writers: dict[Output, Callable[[], str | bytes]] = {
        Output.JSON: lambda: json.dumps({"predictions": _rows(probabilities)}),
        Output.VERBOSE_JSON: lambda: json.dumps({"predictions": _verbose(probabilities, classes)}),
        Output.JSON_LINES: lambda: "".join(json.dumps(row) + "\n" for row in _verbose(probabilities, classes)),
        Output.CSV: lambda: "".join(",".join(map(_text, row)) + "\n" for row in probabilities.tolist()),
        Output.NPY: lambda: _npy(probabilities),
    }
    body = writers[output]()
    return Answer(body if isinstance(body, bytes) else body.encode(), output)


def _rows(probabilities: NDArray[np.float32]) -> list[list[float]]:
    return [[float(_text(value)) for value in row] for row in probabilities.tolist()]


def _verbose(probabilities: NDArray[np.float32], classes: Sequence[str]) -> list[dict[str, Any]]:
    labels = list(classes)
    return [
        {"probabilities": row, "labels": labels, "predicted_label": labels[best]}
        for row, best in zip(_rows(probabilities), probabilities.argmax(axis=1).tolist(), strict=True)
    ]


def _text(value: float) -> str:
    # Nine digits tell all numbers of single precision apart.
    return f"{value:.9g}"


def _npy(probabilities: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, probabilities.astype(np.float32), allow_pickle=False)
    return file.getvalue()
