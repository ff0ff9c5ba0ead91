"""The upload of the sets of images: what is new or changed, and a manifest of all (`--upload_data`).

What the bucket holds is taken from its own answers. Its listing tells size and entity tag of each object; the manifest
tells which SHA-256 was sent under that tag. An object that the manifest does not tell of, as after an upload that was
interrupted, is asked for the SHA-256 that S3 keeps of it.
"""

import base64
import binascii
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from container.dataset.prepared import INDEX, TRAINING
from container.dataset.record import RECORD, SETS
from container.dataset.threads import in_parallel
from container.errors import DataError
from container.modeling.settings import Settings
from manager import manifest, names
from manager.aws import Aws, error_code
from manager.checksums import Checksums, LocalFile
from manager.console import Terminal
from manager.manifest import MANIFEST, Entry, Manifest
from manager.plan import ApiCall, Plan
from manager.sending import UploadCall

# As many as S3 deletes by one request.
MOST_DELETIONS = 1000
MB = 1e6
# So that the manifest, of some 65 bytes a file, is no larger than what S3 takes by one request: 5 GB.
MOST_FILES = 50_000_000


@dataclass(frozen=True)
class Remote:
    """What the bucket holds of the sets, next to the files on this machine."""

    manifest: Manifest
    unchanged: Mapping[str, Entry]
    """Objects that are the same as the files, by key."""
    stale: Sequence[str]
    """Keys that are no files."""


def compare(
    aws: Aws, settings: Settings, files: Mapping[str, LocalFile], checksums_file: Path, terminal: Terminal
) -> Remote:
    """Find out which files the data bucket holds already; a missing bucket holds none.

    Args:
        aws: the account.
        settings: the settings.
        files: the local files by their keys.
        checksums_file: where checksums are remembered.
        terminal: shows how far it is.

    Raises:
        DataError: a file cannot be read.
        AwsError: AWS refuses to tell.
    """
    bucket, threads = names.data_bucket(settings), settings.storage.upload_threads
    present = manifest.read(aws, bucket, files)
    expected: dict[str, Entry] = {}
    unknown: list[str] = []
    stale: list[str] = []
    for key, size, etag in _listed(aws, bucket):
        file = files.get(key)
        if file is None:
            stale.append(key)
        elif file.size == size:
            entry = present.entries.get(key)
            if entry and entry.etag == etag:
                expected[file.key] = entry
            else:
                unknown.append(file.key)
    with aws.explained(f"could not ask for checksums of objects in s3://{bucket}"):
        found = in_parallel(lambda key: (key, _kept_entry(aws, bucket, key, files[key].size)), unknown, threads)
        expected |= {key: entry for key, entry in found if entry}
    with Checksums.open(checksums_file) as checksums:
        for file, sha256 in _sha256(checksums, (files[key] for key in tuple(expected)), threads, terminal):
            if sha256 != expected[file.key].sha256:
                del expected[file.key]
    return Remote(present, expected, sorted(stale))


def plan_upload(
    settings: Settings,
    files: Mapping[str, LocalFile],
    remote: Remote,
    checksums_file: Path,
    *,
    prune: bool = False,
    again: bool = False,
) -> Plan:
    """Plan what makes the bucket hold the local sets: files that are new or differ are sent, the manifest last.

    Args:
        settings: the settings.
        files: the local files by their keys.
        remote: what the bucket holds of them.
        checksums_file: where checksums are remembered.
        prune: whether objects that are in no set are deleted.
        again: whether all files are sent, since those in the bucket are encrypted otherwise.

    Raises:
        DataError: there are too many files, or the bucket holds images that the sets do not, and they are not to be
            pruned.
    """
    bucket = names.data_bucket(settings)
    if len(files) > MOST_FILES:
        raise DataError(
            f"there are {len(files):,} files, and a manifest tells of {MOST_FILES:,} at most: prepare them first by "
            "python data_handler.py --prepare, which makes a few large files of them"
        )
    is_sharded = f"{TRAINING}/{INDEX}" in files
    if remote.stale and not prune:
        present = f"among the shards of {settings.data.prepared_path}" if is_sharded else "in the present split"
        raise DataError(
            f"{len(remote.stale):,} objects in s3://{bucket}, such as {remote.stale[0]}, are not {present}, "
            "but training would read them: add --prune to delete them, or choose another PROJECT_NAME"
        )
    unchanged = {} if again else remote.unchanged
    fresh = [file for key, file in files.items() if key not in unchanged]
    told = (f"{len(unchanged):,} images and records in s3://{bucket}",) if unchanged else ()
    if not (fresh or remote.stale) and remote.manifest.fingerprint == manifest.fingerprint(unchanged):
        return Plan(unchanged=told)
    threads = settings.storage.upload_threads
    size = sum(file.size for file in fresh) / MB
    message = f"upload {len(fresh):,} images and records ({size:,.1f} MB) and their manifest to s3://{bucket}"
    number = uuid.uuid4().hex
    upload = UploadCall(bucket, fresh, unchanged, checksums_file, number, threads, message)
    return Plan((_opening(bucket, remote.manifest, number), *_deletions(bucket, remote.stale), upload), told)


def is_encrypted_otherwise(aws: Aws, settings: Settings) -> bool:
    """Whether the images were encrypted by another key than the settings'.

    The record of the split tells for all of them, since it is uploaded after them; a listing does not tell it.

    Raises:
        AwsError: AWS refuses to tell.
    """
    bucket = names.data_bucket(settings)
    with aws.explained(f"could not look at the encryption of the images in {bucket}"):
        try:
            record = aws.client("s3").head_object(Bucket=bucket, Key=RECORD)
        except ClientError as error:
            if error_code(error) in manifest.NOT_THERE:
                return False
            raise
    return bool(record.get("SSEKMSKeyId", "") != settings.storage.kms_key)


def _listed(aws: Aws, bucket: str) -> Iterator[tuple[str, int, str]]:
    """Yield key, size and entity tag of the objects of the sets, and of their record."""
    pages = aws.client("s3").get_paginator("list_objects_v2")
    with aws.explained(f"could not list the bucket {bucket}"):
        try:
            for prefix in (*(f"{channel}/" for channel in SETS), RECORD):
                for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                    for item in page.get("Contents", []):
                        # Another object may begin as the record does.
                        if prefix == RECORD != item["Key"]:
                            continue
                        yield item["Key"], item["Size"], item["ETag"].strip('"')
        except ClientError as error:
            if error_code(error) != "NoSuchBucket":
                raise


def _kept_entry(aws: Aws, bucket: str, key: str, size: int) -> Entry | None:
    """Return what S3 itself knows of an object; None: it has no SHA-256 of it, or it changed meanwhile."""
    try:
        found = aws.client("s3").head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    except ClientError as error:
        if error_code(error) in manifest.NOT_THERE:
            return None
        raise
    checksum = _decoded(found.get("ChecksumSHA256", ""))
    return Entry(size, checksum, found["ETag"].strip('"')) if checksum and found["ContentLength"] == size else None


def _decoded(checksum: str) -> bytes:
    """Return what S3 writes in Base64; nothing where it is no SHA-256, such as that of an upload in parts."""
    try:
        return base64.b64decode(checksum, validate=True)
    except binascii.Error:
        return b""


def _sha256(
    checksums: Checksums, files: Iterable[LocalFile], threads: int, terminal: Terminal
) -> Iterator[tuple[LocalFile, bytes]]:
    """Yield files with their checksums; what is not remembered is read."""
    unread = []
    for file, known in checksums.known(files):
        if known is None:
            unread.append(file)
        else:
            yield file, known
    with terminal.progress("read what may have changed", len(unread)) as advance:
        for file, sha256 in in_parallel(lambda file: (file, file.sha256()), unread, threads):
            checksums.remember(file, sha256)
            advance(1)
            yield file, sha256


def _opening(bucket: str, present: Manifest, number: str) -> ApiCall:
    """Return the call that takes the fingerprint from the manifest, or makes one without."""
    operation, parameters = manifest.opening(bucket, number, exists=present.exists)
    message = f"note in {MANIFEST} that an upload to s3://{bucket} began"
    # S3 tells all of itself about a new bucket within some seconds.
    return ApiCall("s3", operation, parameters, message, retry_on=() if present.exists else ("NoSuchBucket",))


def _deletions(bucket: str, keys: Sequence[str]) -> Iterator[ApiCall]:
    group = f"delete images that are in no set from s3://{bucket}"
    # XML, in which DeleteObjects names them, has no control characters.
    plain, others = [key for key in keys if key.isprintable()], [key for key in keys if not key.isprintable()]
    for key in others:
        yield ApiCall("s3", "delete_object", {"Bucket": bucket, "Key": key}, f"delete {key!r}", "deleted", group=group)
    for first in range(0, len(plain), MOST_DELETIONS):
        batch = plain[first : first + MOST_DELETIONS]
        objects = {"Objects": [{"Key": key} for key in batch], "Quiet": True}
        message = f"delete {len(batch):,} images that are in no set from s3://{bucket}"
        yield ApiCall("s3", "delete_objects", {"Bucket": bucket, "Delete": objects}, message, "deleted")
