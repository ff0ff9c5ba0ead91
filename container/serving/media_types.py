"""What a request's Content-Type and Accept mean."""

import re
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from container.serving.errors import RefusedError


class Input(StrEnum):
    """What a body can be."""

    IMAGE = "application/x-image"
    NPY = "application/x-npy"
    JSON = "application/json"
    JSON_LINES = "application/jsonlines"
    CSV = "text/csv"


class Output(StrEnum):
    """What an answer can be."""

    JSON = "application/json"
    VERBOSE_JSON = "application/json;verbose"
    CSV = "text/csv"
    NPY = "application/x-npy"
    JSON_LINES = "application/jsonlines"


# Whoever names no type (an object of S3, `aws sagemaker-runtime invoke-endpoint`) is taken to send an image's file. Of
# what kind an image is its bytes tell.
IMAGES = ("", "application/octet-stream", "binary/octet-stream", "image/jpeg", "image/jpg", "image/png", "image/webp")
MORE_IMAGES = ("image/gif", "image/bmp", "image/*")


# A type and a subtype, both of them names; RFC 9110, 8.3.1.
CONCRETE = r"[\w!#$&^.+-]+/[\w!#$&^.+-]+"


@dataclass(frozen=True)
class MediaType:
    """A media type as it stands in a header, in lower case."""

    name: str
    parameters: tuple[tuple[str, str], ...]

    @property
    def quality(self) -> float:
        """How much a client wants it, 0 (not at all) to 1; RFC 9110, 12.4.2."""
        try:
            return min(max(float(dict(self.parameters).get("q", "1")), 0.0), 1.0)
        except ValueError:
            return 1.0


def input_of(content_type: str) -> Input:
    """Return what a body of this Content-Type is.

    Raises:
        RefusedError: nothing that is taken.
    """
    name = _parsed(content_type).name
    if name in (*IMAGES, *MORE_IMAGES):
        return Input.IMAGE
    name = "application/jsonlines" if name == "application/x-jsonlines" else name
    if name not in set(Input):
        taken = ", ".join(("image/jpeg", "image/png", "image/webp", *Input))
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the Content-Type {name!r} is not taken: send one of {taken}"
        )
    return Input(name)


def output_of(accept: str) -> Output:
    """Return what a client that sends this Accept gets: of what it wants most, the first that there is.

    Raises:
        RefusedError: there is nothing that it takes.
    """
    wanted = [_parsed(part) for part in accept.split(",") if part.strip()]
    for media_type in sorted(wanted, key=lambda media_type: -media_type.quality):
        if media_type.quality > 0 and (output := _output(media_type)):
            return output
    if not wanted:
        return Output.JSON
    raise RefusedError(
        HTTPStatus.NOT_ACCEPTABLE, f"there is no answer of the type {accept!r}: accept one of {', '.join(Output)}"
    )


def single_type(accept: str) -> str:
    """Return the one media type that an Accept names, without its weight; empty: none, several, or a range."""
    media_type = _parsed(accept)
    if not re.fullmatch(CONCRETE, media_type.name):
        return ""
    return ";".join(part for part in accept.split(";") if not re.match(r"\s*q\s*=", part, re.IGNORECASE)).strip()


def _output(media_type: MediaType) -> Output | None:
    match media_type.name:
        case "application/json":
            is_verbose = any(name == "verbose" for name, _ in media_type.parameters)
            return Output.VERBOSE_JSON if is_verbose else Output.JSON
        case "*/*" | "application/*":
            return Output.JSON
        case "text/csv" | "text/*":
            return Output.CSV
        case "application/x-npy":
            return Output.NPY
        case "application/jsonlines" | "application/x-jsonlines":
            return Output.JSON_LINES
    return None


def _parsed(text: str) -> MediaType:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    pairs = (parameter.partition("=") for parameter in parameters)
    return MediaType(name, tuple((key.strip(), value.strip()) for key, _, value in pairs))
