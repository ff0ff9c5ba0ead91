"""Images in ECR as the executors see them, and directory images, which need no container engine.

A directory image is a directory with the executable `train`, or `serve` where models are to be served, or both. A
client pushes it with ECR's PutImage and a manifest, of any type that ECR accepts, that names the directory:

    {"schemaVersion": 2, ..., "annotations": {"local-aws.image-directory": "/absolute/path"}}

The push takes a snapshot, so that a later edit changes nothing until the next push, as with a real image. An
image's digest is its manifest's, so a manifest has to change with the directory's content (with the digest of
a layer, say): the same manifest for another content is refused. `image_manifest` makes one that does.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local_aws.lifecycle import remove_tree

DIRECTORY_ANNOTATION = "local-aws.image-directory"
MANIFEST_MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"

_LEFT_OUT = "__pycache__"
_URI = re.compile(
    r"(?P<registry>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[a-z0-9][a-z0-9._/-]*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]*))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class ImageError(ValueError):
    """A pushed directory image cannot be used; the message says why, for a person."""


@dataclass(frozen=True)
class Image:
    """An image that is in ECR.

    Attributes:
        uri: as the client wrote it.
        digest: `sha256:...` of its manifest.
        directory: the snapshot of a directory image; None for any other.
        pull_uri: where a container engine of this machine gets it; None where it is in no registry.
    """

    uri: str
    digest: str
    directory: Path | None = None
    pull_uri: str | None = None

    @property
    def serves(self) -> bool:
        """Whether it can have the program `serve`; of what a container engine runs nobody knows."""
        return self.directory is None or _is_program(self.directory / "serve")


@dataclass(frozen=True)
class ImageReference:
    """The parts of `REGISTRY.dkr.ecr.REGION.amazonaws.com/REPOSITORY[:TAG][@DIGEST]`.

    Without both the tag is `latest`.
    """

    registry_id: str
    region: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, uri: str) -> ImageReference | None:
        """None where the URI names no image in ECR."""
        match = _URI.fullmatch(uri)
        if not match:
            return None
        tag, digest = match["tag"], match["digest"]
        tag = tag if tag or digest else "latest"
        return cls(match["registry"], match["region"], match["repository"], tag, digest)


class ImageSource(Protocol):
    """Where the content of images is that ECR knows."""

    def reference(self, uri: str) -> ImageReference | None:
        """The parts of an image's URI; None where it names no image in ECR."""

    def image(self, uri: str, reference: ImageReference, digest: str) -> Image:
        """The image of that digest in the reference's repository, for an executor."""


class ImageSnapshots:
    """The content of the directory images that were pushed, by the digest of their manifests.

    Safe to share by threads.

    Args:
        directory: where the snapshots lie, as DIGEST/BASENAME: a program may import its own folder as a
            package, and so needs the folder's name.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._content: dict[str, str] = {}
        self._paths: dict[str, Path] = {}
        self._lock = threading.Lock()

    def take(self, manifest: str) -> None:
        """Takes a snapshot of the directory that the manifest names; does nothing for any other manifest.

        Raises:
            ImageError: the directory is missing, has no executable `train` or `serve`, cannot be copied, or is not
                what it was when this very manifest was pushed before.
        """
        source = named_directory(manifest)
        if source is None:
            return
        with self._lock:
            digest = manifest_digest(manifest)
            if digest not in self._paths:
                self._paths[digest] = _copy(source, self._directory / digest.removeprefix("sha256:"))
                self._content[digest] = content_digest(self._paths[digest])
            elif content_digest(source) != self._content[digest]:
                raise ImageError(
                    f"the image {digest} was pushed before with another content of {source}. "
                    "An image never changes: give the manifest something that follows the content, "
                    "such as a layer's digest"
                )

    def reference(self, uri: str) -> ImageReference | None:
        """See `ImageSource`."""
        return ImageReference.parse(uri)

    def image(self, uri: str, reference: ImageReference, digest: str) -> Image:
        """See `ImageSource`; an image that is no directory image has no directory."""
        return Image(uri, digest, directory=self._paths.get(digest))


def named_directory(manifest: str) -> Path | None:
    """The directory that a manifest's annotation names, checked; None where there is no such annotation.

    Raises:
        ImageError: the annotation is no absolute path of a directory with an executable `train` or `serve`.
    """
    try:
        name = json.loads(manifest)["annotations"][DIRECTORY_ANNOTATION]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(name, str) or not Path(name).is_absolute():
        raise ImageError(f"the annotation {DIRECTORY_ANNOTATION} must be an absolute path, not {name!r}")
    directory = Path(name)
    if not directory.is_dir():
        raise ImageError(f"the image's directory {directory} does not exist")
    found = [path for path in (directory / "train", directory / "serve") if path.exists()]
    for path in found or [directory / "train"]:
        if not _is_program(path):
            raise ImageError(f"{path} must be an executable file: it is the program that a job runs (chmod +x it)")
    return directory


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def manifest_digest(manifest: str) -> str:
    """`sha256:...` of a manifest, as a registry computes it."""
    return f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"


def image_manifest(directory: Path) -> str:
    """An OCI manifest for a directory image as it is now, to be pushed with PutImage."""
    config = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": manifest_digest("{}"),
        "size": 2,
    }
    layer = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": content_digest(directory),
        "size": sum(path.stat().st_size for path in _files(directory)),
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_MEDIA_TYPE,
        "config": config,
        "layers": [layer],
        "annotations": {DIRECTORY_ANNOTATION: str(directory.absolute())},
    }
    return json.dumps(manifest)


def content_digest(directory: Path) -> str:
    """`sha256:...` over names, executable bits and bytes of a directory's files, without __pycache__."""
    total = hashlib.sha256()
    for path in sorted(_files(directory)):
        content = path.read_bytes()
        mode = "x" if os.access(path, os.X_OK) else "-"
        total.update(f"{mode} {len(content)} {path.relative_to(directory)}\0".encode(errors="surrogateescape"))
        total.update(content)
    return f"sha256:{total.hexdigest()}"


def _files(directory: Path) -> Iterator[Path]:
    for parent, names, files in os.walk(directory, followlinks=True):
        names[:] = [name for name in names if name != _LEFT_OUT]
        yield from (Path(parent, name) for name in files)


def _copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix="."))
    try:
        # Links are followed: a link to something outside would still see edits after the push.
        shutil.copytree(source, beside / source.name, ignore=shutil.ignore_patterns(_LEFT_OUT))
        beside.replace(target)
    except OSError as error:
        remove_tree(beside)
        raise ImageError(f"cannot copy the image's directory {source}: {_first_reason(error)}") from error
    return target / source.name


def _first_reason(error: OSError) -> str:
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        path, _, reason = error.args[0][0]
        return f"{path}: {reason}"
    return str(error)
