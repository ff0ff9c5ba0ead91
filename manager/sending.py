"""The step of a plan that sends many files to a bucket: in parallel, each verified by S3, the manifest last."""

import hashlib
import io
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from container.dataset.record import RECORD
from container.dataset.threads import in_parallel
from manager import manifest
from manager.aws import Aws
from manager.checksums import Checksums, LocalFile, unreadable
from manager.console import Terminal
from manager.errors import AwsError
from manager.manifest import MANIFEST, Entry
from manager.object_writer import ObjectWriter
from manager.transfer_progress import transfer_progress

# A file up to this size is read once, for its checksum and for its way.
READ_AT_ONCE_BYTES = 8 << 20


@dataclass(frozen=True)
class UploadCall:
    """Files that are to be sent to a bucket, each by a PutObject that S3 verifies by SHA-256."""

    bucket: str
    files: Sequence[LocalFile]
    """Those that are to be sent; the record of the split is sent after all others."""
    unchanged: Mapping[str, Entry]
    """The objects that stay, by key."""
    checksums: Path
    """Where checksums are remembered."""
    number: str
    """The upload's own, which its beginning left in the manifest."""
    threads: int
    message: str
    effect: Literal["done"] = "done"

    def send(self, aws: Aws, terminal: Terminal) -> None:
        """Send them, and then the manifest of all that the bucket holds.

        Raises:
            DataError: a file cannot be read.
            AwsError: AWS refuses one, as S3 does where something else came than was sent; or another upload began
                meanwhile, so that nobody knows what the bucket holds.
            ClientError, BotoCoreError: AWS refuses the manifest.
        """
        writer, entries = ObjectWriter(aws, self.bucket, self.threads), dict(self.unchanged)
        total = sum(file.size for file in self.files)
        with (
            Checksums.open(self.checksums) as checksums,
            transfer_progress(terminal, f"upload to s3://{self.bucket}", len(self.files), total) as progress,
        ):

            def send(file: LocalFile) -> tuple[LocalFile, Entry]:
                with aws.explained(f"could not upload {file.path} to s3://{self.bucket}"):
                    return file, _put(writer, file, progress.add_bytes)

            for files in (self._images, self._records):
                for file, entry in in_parallel(send, files, self.threads):
                    entries[file.key] = entry
                    if entry.size == file.size:
                        checksums.remember(file, entry.sha256)
                    progress.add_file()
        self._check_alone(aws)
        aws.client("s3").put_object(**manifest.request(self.bucket, entries))

    def command(self, options: Sequence[str]) -> str:
        """Return the command of the `aws` command line for the first file, and what else is sent, as comments."""
        first, more = self.files[:1], len(self.files) - 1
        lines = [self._put_command(file.key, str(file.path), options) for file in first]
        lines += [f"# {more:,} more like this one"] if more > 0 else []
        return "\n".join([*lines, f"# {MANIFEST}, which tells of all files, is made as the last one is sent"])

    def _check_alone(self, aws: Aws) -> None:
        if manifest.current_upload(aws, self.bucket) == self.number:
            return
        # Neither that one's fingerprint nor the number by which it would write one is to be believed.
        operation, parameters = manifest.opening(self.bucket, "", exists=True)
        getattr(aws.client("s3"), operation)(**parameters)
        raise AwsError(
            f"another upload to s3://{self.bucket} began before this one ended, and either may have replaced what the "
            "other sent: when no other runs, type the same command again"
        )

    @property
    def _images(self) -> Iterator[LocalFile]:
        return (file for file in self.files if file.key != RECORD)

    @property
    def _records(self) -> Iterator[LocalFile]:
        return (file for file in self.files if file.key == RECORD)

    def _put_command(self, key: str, body: str, options: Sequence[str]) -> str:
        words = ["aws", "s3api", "put-object", "--bucket", self.bucket, "--key", key, "--body", body]
        return shlex.join([*words, "--checksum-algorithm", "SHA256", *options])


class _Watched(io.BufferedReader):
    """A file that tells how much of it was read; a second attempt to send it begins from its start again."""

    def __init__(self, path: Path, add_bytes: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path))
        self._add_bytes = add_bytes

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self._add_bytes(len(content))
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        before = self.tell()
        after = super().seek(offset, whence)
        self._add_bytes(after - before)
        return after


def _put(writer: ObjectWriter, file: LocalFile, add_bytes: Callable[[int], None]) -> Entry:
    try:
        if file.size > READ_AT_ONCE_BYTES:
            return _put_large(writer, file, add_bytes)
        content = file.path.read_bytes()
    except OSError as error:
        raise unreadable(file.path, error) from None
    sha256 = hashlib.sha256(content).digest()
    etag = writer.put(file.key, content, sha256)
    add_bytes(len(content))
    return Entry(len(content), sha256, etag)


def _put_large(writer: ObjectWriter, file: LocalFile, add_bytes: Callable[[int], None]) -> Entry:
    sha256 = file.sha256()
    with _Watched(file.path, add_bytes) as content:
        # S3 compares what comes with the checksum: a file that changes meanwhile is refused.
        return Entry(file.size, sha256, writer.put_patiently(file.key, content, sha256))
