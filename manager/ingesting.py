"""`data_handler.py --ingest`: which kind of source there is, and how S3 is read."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from boto3.s3.transfer import TransferConfig

from container.dataset.archives import ARCHIVE_SUFFIXES, is_archive
from container.dataset.arrays import SUFFIXES as ARRAY_SUFFIXES
from container.dataset.fetching import StoredFile, fetching_folder
from container.dataset.ingest import (
    Ingested,
    already_ingested,
    ingest_archive,
    ingest_arrays,
    ingest_folder,
    ingest_store,
)
from container.dataset.progress import Progress
from container.dataset.taking import Limits
from container.errors import DataError
from container.modeling.settings import Settings
from container.words import plural, plural_are
from manager import download
from manager.aws import Aws
from manager.calls import ObjectPath
from manager.console import Terminal

LEFT_OUT_SHOWN = 10
S3 = "s3://"


@dataclass(frozen=True)
class S3Folder:
    """The objects below a prefix."""

    aws: Aws
    folder: ObjectPath
    """Its key ends in a slash, or is empty."""
    _one_by_one: TransferConfig = field(default_factory=lambda: TransferConfig(use_threads=False))

    def files(self) -> Iterator[StoredFile]:
        """Yield the objects, but for those that stand for folders."""
        pages = self.aws.client("s3").get_paginator("list_objects_v2")
        with self.aws.explained(f"could not list {self.folder}"):
            for page in pages.paginate(Bucket=self.folder.bucket, Prefix=self.folder.key):
                for item in page.get("Contents", []):
                    if not item["Key"].endswith("/"):
                        name = item["Key"].removeprefix(self.folder.key)
                        yield StoredFile(name, item["Size"], item["LastModified"].timestamp())

    def fetch(self, file: StoredFile, target: Path) -> None:
        """Download an object."""
        key = f"{self.folder.key}{file.name}"
        with self.aws.explained(f"could not download s3://{self.folder.bucket}/{key}"):
            client = self.aws.client("s3")
            client.download_file(self.folder.bucket, key, str(target), Config=self._one_by_one)


@dataclass(frozen=True)
class Source:
    """What is ingested."""

    name: str
    """As it was typed."""
    path: Path | None = None
    """On this machine; None: it is a folder of S3."""
    store: S3Folder | None = None
    identity: str = ""
    """Of an archive that comes from S3."""
    present: Ingested | None = None
    """What lies in the target already, if it is this archive."""
    labels: Path | None = None
    """Of an .npy."""


def open_source(name: str, labels: Path | None, target: Path, connect: Callable[[], Aws], terminal: Terminal) -> Source:
    """Return what a source names, after fetching it if it is an archive in S3.

    Args:
        name: an s3:// URI or a path.
        labels: the labels of an .npy.
        target: the folder to ingest into; an archive is fetched to beside it, and what came stays for the next run
            if this one ends early.
        connect: gives the account that S3 is asked in.
        terminal: shows how far the fetching is.

    Raises:
        ProjectError: there is no such thing, or AWS refuses.
    """
    if labels is not None and not name.lower().endswith(".npy"):
        raise DataError(
            "--labels FILE is for an .npy: an .npz holds its labels, and of all else folders are the classes"
        )
    if not name.startswith(S3):
        return Source(name, Path(name).expanduser(), labels=labels)
    aws, path = connect(), ObjectPath.parse(name)
    if not path.bucket:
        raise DataError(f"{name} names no bucket: give s3://BUCKET/FOLDER or s3://BUCKET/KEY.zip")
    if not is_archive(path.key):
        return Source(name, store=S3Folder(aws, path.as_folder()))
    remote = download.look_up(aws, path.bucket, path.key)
    if present := already_ingested(target, name, remote.etag):
        return Source(name, present=present)
    folder = fetching_folder(target)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"archive{_suffix(path.key)}"
    download.fetch(aws, remote, file, terminal)
    return Source(name, file, identity=remote.etag)


def ingest(source: Source, target: Path, settings: Settings, progress: Progress) -> Ingested:
    """Bring a source's files into a folder.

    Raises:
        ProjectError: they cannot be read, are damaged or too many, the folder holds something else, or AWS refuses.
    """
    own = settings.ingestion
    limits = Limits(own.max_files, int(own.max_gb * 1e9), own.max_ratio, settings.data.most_pixels)
    if source.present:
        # A run that died right after the last file lay in its place left the archive.
        shutil.rmtree(fetching_folder(target), ignore_errors=True)
        return source.present
    if source.store:
        return ingest_store(source.store, target, limits, progress, source.name)
    path = source.path
    assert path is not None
    if source.identity:
        ingested = ingest_archive(path, target, limits, progress, source.name, source.identity)
        shutil.rmtree(fetching_folder(target), ignore_errors=True)
        return ingested
    if path.is_dir():
        return ingest_folder(path, target, limits, progress)
    if not path.exists():
        raise DataError(f"{source.name} does not exist: name a folder, an archive, arrays, or an s3:// URI")
    if is_archive(path.name):
        return ingest_archive(path, target, limits, progress)
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return ingest_arrays(path, source.labels, target, limits, progress)
    raise DataError(
        f"{source.name} is no folder, and its name ends in none of {', '.join((*ARCHIVE_SUFFIXES, *ARRAY_SUFFIXES))}"
    )


def show_ingested(ingested: Ingested, target: str, terminal: Terminal) -> None:
    """Show what came in, and what did not."""
    if ingested.hidden:
        terminal.plain(f"  left out   {ingested.hidden:,} hidden")
    for file in ingested.named[:LEFT_OUT_SHOWN]:
        terminal.warn(f"left out {file.path}: {file.reason}")
    if more := ingested.left_out - len(ingested.named[:LEFT_OUT_SHOWN]):
        terminal.warn(f"left out {plural(more, 'more file')}: .ingested.json in {target} names up to a thousand")
    say = terminal.unchanged if ingested.unchanged else terminal.done
    say(f"{plural_are(ingested.files, 'file')} in {target}, {ingested.bytes / 1e6:,.1f} MB of {ingested.origin}")


def _suffix(key: str) -> str:
    return max((suffix for suffix in ARCHIVE_SUFFIXES if key.lower().endswith(suffix)), key=len)
