"""What manifest.jsonl.gz in the data bucket says: which files it holds, and the fingerprint of all of them.

It is written when everything is in place. Before anything in the bucket changes it loses the fingerprint among its
metadata, so that no job is launched on half of an upload. It gets a number instead, by which the upload knows in the
end whether another one began meanwhile.
"""

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from container.dataset.record import RECORD
from manager.aws import Aws, error_code
from manager.checksums import LocalFile

MANIFEST = "manifest.jsonl.gz"
VERSION = 1
FINGERPRINT, UPLOAD = "fingerprint", "upload"
NOT_THERE = ("404", "NoSuchKey", "NoSuchBucket")


class Entry(NamedTuple):
    """An object that was uploaded. A tuple, because there are many."""

    size: int
    """Bytes."""
    sha256: bytes
    etag: str
    """S3's entity tag, without quotes: whatever overwrites the object has another one."""


@dataclass(frozen=True)
class Manifest:
    """The manifest as it lies in the bucket."""

    exists: bool = False
    fingerprint: str = ""
    """Empty: something was begun and not finished."""
    under_way_since: datetime | None = None
    """When an upload began that has not ended, or was interrupted."""
    entries: Mapping[str, Entry] = field(default_factory=dict)
    """By key."""


def read(aws: Aws, bucket: str, files: Mapping[str, LocalFile]) -> Manifest:
    """Return the manifest of a bucket, with its entries for these files; a damaged one has none.

    Raises:
        AwsError: AWS refuses to tell.
    """
    with aws.explained(f"could not read the manifest of s3://{bucket}"):
        try:
            answer = aws.client("s3").get_object(Bucket=bucket, Key=MANIFEST)
        except ClientError as error:
            if error_code(error) in NOT_THERE:
                return Manifest()
            raise
        content = answer["Body"].read()
    try:
        since = answer["LastModified"] if UPLOAD in answer["Metadata"] else None
        return Manifest(True, answer["Metadata"].get(FINGERPRINT, ""), since, _entries(content, files))
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError):
        return Manifest(True)


def read_fingerprint(aws: Aws, bucket: str) -> str | None:
    """Return the fingerprint of what a bucket holds; empty: an upload was not finished; None: there is no manifest.

    Raises:
        AwsError: AWS refuses to tell.
    """
    with aws.explained(f"could not look at the manifest of s3://{bucket}"):
        found = _metadata(aws, bucket)
    return None if found is None else found.get(FINGERPRINT, "")


def current_upload(aws: Aws, bucket: str) -> str:
    """Return the number of the upload that is under way; empty: none is, or the manifest is gone.

    Raises:
        ClientError, BotoCoreError: AWS refuses to tell.
    """
    return (_metadata(aws, bucket) or {}).get(UPLOAD, "")


def opening(bucket: str, number: str, *, exists: bool) -> tuple[str, dict[str, Any]]:
    """Return operation and parameters of the request that notes the beginning of an upload, keeping what is told."""
    target = {"Bucket": bucket, "Key": MANIFEST, "Metadata": {UPLOAD: number} if number else {}}
    if not exists:
        return "put_object", target
    return "copy_object", {**target, "CopySource": f"{bucket}/{MANIFEST}", "MetadataDirective": "REPLACE"}


def fingerprint(entries: Mapping[str, Entry]) -> str:
    """Return SHA-256 over paths and contents of the sets' files, in hexadecimal digits.

    The record of the split has no part in it: it tells times, and so differs where the same images were copied to.
    """
    digest = hashlib.sha256()
    for key in sorted(entries.keys() - {RECORD}):
        digest.update(key.encode() + b"\0" + entries[key].sha256)
    return digest.hexdigest()


def request(bucket: str, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Return the PutObject request that writes the manifest of these objects."""
    found = fingerprint(entries)
    content = io.BytesIO()
    # Without a time of its own the same entries give the same bytes.
    with gzip.GzipFile(fileobj=content, mode="wb", mtime=0, compresslevel=6) as file:
        for line in _lines(found, entries):
            file.write(line.encode() + b"\n")
    return {"Bucket": bucket, "Key": MANIFEST, "Body": content.getvalue(), "Metadata": {FINGERPRINT: found}}


def _metadata(aws: Aws, bucket: str) -> Mapping[str, str] | None:
    """Return the manifest's metadata; None: there is no manifest."""
    try:
        found: Mapping[str, str] = aws.client("s3").head_object(Bucket=bucket, Key=MANIFEST)["Metadata"]
    except ClientError as error:
        if error_code(error) in NOT_THERE:
            return None
        raise
    return found


def _lines(found: str, entries: Mapping[str, Entry]) -> Iterable[str]:
    size = sum(entry.size for entry in entries.values())
    yield json.dumps({"version": VERSION, FINGERPRINT: found, "files": len(entries), "bytes": size})
    for key in sorted(entries):
        entry = entries[key]
        row = {"path": key, "bytes": entry.size, "sha256": entry.sha256.hex(), "etag": entry.etag}
        yield json.dumps(row, ensure_ascii=False)


def _entries(content: bytes, files: Mapping[str, LocalFile]) -> dict[str, Entry]:
    if not content:
        return {}
    entries = {}
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        head = json.loads(file.readline())
        if not isinstance(head, dict) or head.get("version") != VERSION:
            raise ValueError("this is the manifest of another version")
        for line in file:
            row = json.loads(line)
            if local := files.get(row["path"]):
                # The file's own key, lest there be two of each.
                entries[local.key] = Entry(row["bytes"], bytes.fromhex(row["sha256"]), row["etag"])
    return entries
