"""How an object of a transform job becomes the bodies of requests, and their answers one output; pure.

The rules are those of SplitType, BatchStrategy, MaxPayloadInMB and AssembleWith in the API reference:
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_TransformInput.html
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


class PayloadError(ValueError):
    """An object cannot be sent; the message says why, for a person."""


@dataclass(frozen=True)
class PayloadRules:
    """How an object is cut into payloads.

    Attributes:
        is_gzip: whether objects are compressed.
        splits_lines: whether each line is a record; else the object is the only one.
        is_single_record: whether a payload is one record, and not as many as fit into it.
        most_mb: how many megabytes (2**20 bytes) a payload may have; 0 means any number.
    """

    is_gzip: bool
    splits_lines: bool
    is_single_record: bool
    most_mb: int

    @property
    def most_bytes(self) -> int | None:
        return self.most_mb << 20 or None

    def payloads(self, content: bytes) -> Iterator[bytes]:
        """The payloads of an object, in its order. A record that is a line has its line end.

        Raises:
            PayloadError: a record is larger than a payload may be, or the object is not compressed as it should be.
        """
        file: io.BufferedIOBase = io.BytesIO(content)
        if self.is_gzip:
            file = gzip.GzipFile(fileobj=file)
        try:
            yield from self._joined(self._records(file))
        except (OSError, EOFError, zlib.error) as error:
            raise PayloadError(f"CompressionType is Gzip, but the object cannot be unpacked: {error}") from error

    def _records(self, file: io.BufferedIOBase) -> Iterator[bytes]:
        # Reading stops at the limit, whatever a small compressed object would unpack to.
        size = -1 if self.most_bytes is None else self.most_bytes + 1
        if not self.splits_lines:
            yield self._checked(file.read(size))
            return
        while line := file.readline(size):
            yield self._checked(line)

    def _checked(self, record: bytes) -> bytes:
        if self.most_bytes is not None and len(record) > self.most_bytes:
            what = "a line of the object" if self.splits_lines else "the object"
            raise PayloadError(
                f"{what} is larger than MaxPayloadInMB, which is {self.most_mb}. "
                "Set MaxPayloadInMB to at least the size of the largest record"
            )
        return record

    def _joined(self, records: Iterator[bytes]) -> Iterator[bytes]:
        if self.is_single_record or not self.splits_lines:
            yield from records
            return
        payload = bytearray()
        for record in records:
            if payload and self.most_bytes is not None and len(payload) + len(record) > self.most_bytes:
                yield bytes(payload)
                payload.clear()
            payload += record
        if payload:
            yield bytes(payload)


def assembled(answers: Iterable[bytes], by_lines: bool) -> bytes:
    """The output of an object from the answers to its payloads, in their order.

    Args:
        by_lines: whether each answer ends with a line feed in the output.
    """
    if not by_lines:
        return b"".join(answers)
    return b"".join(answer if answer.endswith(b"\n") else answer + b"\n" for answer in answers)
