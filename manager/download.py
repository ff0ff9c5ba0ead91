"""Downloads an object from S3: goes on after an interruption, and verifies what came."""

import base64
import hashlib
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from manager.aws import Aws, error_code
from manager.console import Terminal
from manager.errors import ResultsError

# The part of a chunk that came before a connection broke is lost.
CHUNK_BYTES = 1 << 16
# boto3 sends a request again by itself, but does not go on with the reading of an answer that ended early.
BROKEN_STREAM = (ResponseStreamingError, IncompleteReadError, ReadTimeoutError)
# Streams in a row that break before their first chunk is complete; one more is not worth a try.
FRUITLESS_ATTEMPTS = 4


class Hash(Protocol):
    """What hashlib's objects can do."""

    def update(self, data: bytes, /) -> None:
        """Take in the next bytes."""

    def digest(self) -> bytes:
        """Return the hash of all bytes so far."""


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


# The additional checksums of S3 that Python's standard library computes.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
CHECKSUMS: Mapping[str, Callable[[], Hash]] = {
    "ChecksumSHA512": hashlib.sha512,
    "ChecksumSHA256": hashlib.sha256,
    "ChecksumSHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "ChecksumMD5": lambda: hashlib.md5(usedforsecurity=False),
    "ChecksumCRC32": _Crc32,
}


@dataclass(frozen=True)
class RemoteFile:
    """An object in S3, as it was when it was asked for."""

    bucket: str
    key: str
    size: int
    """Bytes."""
    etag: str
    """S3's entity tag, in quotes: it changes with the object."""
    checksum: str = ""
    """Which of `CHECKSUMS` the object has; empty: none of them, only its size can be verified."""
    expected: bytes = b""
    """That checksum's value."""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def look_up(aws: Aws, bucket: str, key: str) -> RemoteFile:
    """Ask S3 for an object's size and checksum.

    Raises:
        AwsError: there is no such object, or AWS refuses.
    """
    with aws.explained(f"could not look at s3://{bucket}/{key}"):
        answer = aws.client("s3").head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    return RemoteFile(bucket, key, answer["ContentLength"], answer["ETag"], *_checksum(answer))


def fetch(aws: Aws, remote: RemoteFile, file: Path, terminal: Terminal) -> None:
    """Download an object, and verify its size and, where S3 knows one, its checksum.

    What an earlier, interrupted call left in `file` is not fetched again as long as the object is the same; its
    entity tag is kept beside it. A connection that breaks is made again.

    Raises:
        AwsError: AWS refuses, or the connection breaks again and again.
        ResultsError: the disk is too small, the object was replaced meanwhile, or what came is damaged: then the file
            is gone.
    """
    mark = file.with_name(f"{file.name}.etag")
    if not file.exists() or not mark.exists() or mark.read_text(encoding="utf-8") != remote.etag:
        file.unlink(missing_ok=True)
        mark.write_text(remote.etag, encoding="utf-8")
        file.touch()
    _check_space(file, remote)
    with terminal.byte_bars() as show:
        _fetch_rest(aws, remote, file, lambda done: show(f"download {remote.key}", done, remote.size))
    try:
        _verify(file, remote)
    except ResultsError:
        file.unlink()
        raise


def _checksum(answer: Mapping[str, Any]) -> tuple[str, bytes]:
    etag = answer["ETag"].strip('"')
    # A checksum of an upload in parts is one of the parts' checksums ("...-3"), unless S3 calls it FULL_OBJECT.
    for name in CHECKSUMS:
        if name in answer and "-" not in answer[name]:
            return name, base64.b64decode(answer[name])
    # So is its entity tag; that of an object under a KMS key has nothing to do with the content.
    if re.fullmatch("[0-9a-f]{32}", etag) and answer.get("ServerSideEncryption", "AES256") == "AES256":
        return "ChecksumMD5", bytes.fromhex(etag)
    return "", b""


def _check_space(file: Path, remote: RemoteFile) -> None:
    missing, free = remote.size - file.stat().st_size, shutil.disk_usage(file.parent).free
    if missing > free:
        raise ResultsError(f"{remote} needs {missing:,} more bytes, and {file.parent} has {free:,}: make room first")


def _fetch_rest(aws: Aws, remote: RemoteFile, file: Path, show: Callable[[int], None]) -> None:
    fruitless = 0
    with aws.explained(f"could not download {remote}"):
        while (done := file.stat().st_size) < remote.size:
            show(done)
            try:
                with file.open("ab") as end:
                    for chunk in _stream(aws, remote, done):
                        end.write(chunk)
                        show(end.tell())
            except BROKEN_STREAM:
                fruitless = fruitless + 1 if file.stat().st_size == done else 0
                if fruitless == FRUITLESS_ATTEMPTS:
                    raise
            else:
                return


def _stream(aws: Aws, remote: RemoteFile, start: int) -> Iterable[bytes]:
    try:
        answer = aws.client("s3").get_object(
            Bucket=remote.bucket, Key=remote.key, Range=f"bytes={start}-", IfMatch=remote.etag
        )
    except ClientError as error:
        if error_code(error) == "PreconditionFailed":
            raise ResultsError(f"{remote} was replaced while it was downloaded: try again") from None
        raise
    chunks: Iterable[bytes] = answer["Body"].iter_chunks(CHUNK_BYTES)
    return chunks


def _verify(file: Path, remote: RemoteFile) -> None:
    size = file.stat().st_size
    if size != remote.size:
        raise ResultsError(f"{size:,} bytes of {remote} came instead of {remote.size:,}: try again")
    if not remote.checksum:
        return
    computed = CHECKSUMS[remote.checksum]()
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            computed.update(chunk)
    if computed.digest() != remote.expected:
        name = remote.checksum.removeprefix("Checksum")
        raise ResultsError(f"what came of {remote} is damaged, since its {name} differs from S3's: try again")
