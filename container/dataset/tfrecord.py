"""TensorFlow's files of records, written without TensorFlow.

A TFRecord file is a row of records, each with its length and two checksums around it
(https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details). Each record is a
`tf.train.Example`, a small Protocol Buffers message
(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/example.proto).
"""

import struct
from collections.abc import Sequence

import google_crc32c

# What stands after the content of a record: its checksum.
CHECKSUM_BYTES = 4
# What stands before it: its length, and the checksum of that.
HEADER_BYTES = 12
# Protocol Buffers' kind of a field that begins with its length.
LENGTH_DELIMITED = 2
# In a Feature: lists of bytes, and of integers.
BYTES_LIST, INT64_LIST = 1, 3


def frame(content: bytes) -> bytes:
    """Return a record as it stands in a file: its length, the length's checksum, the content, its checksum."""
    length = struct.pack("<Q", len(content))
    return b"".join((length, _masked_checksum(length), content, _masked_checksum(content)))


def example(features: Sequence[tuple[str, bytes | int]]) -> bytes:
    """Return a tf.train.Example of features that have one value each.

    The last value is the last thing in it. Examples that are put one behind the other are one with the features of all
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
    """
    return _field(
        1, b"".join(_field(1, _field(1, name.encode()) + _field(2, _list(value))) for name, value in features)
    )


def _list(value: bytes | int) -> bytes:
    if isinstance(value, bytes):
        return _field(BYTES_LIST, _field(1, value))
    return _field(INT64_LIST, _field(1, _varint(value)))


def _field(number: int, content: bytes) -> bytes:
    return b"".join((_varint(number << 3 | LENGTH_DELIMITED), _varint(len(content)), content))


def _varint(number: int) -> bytes:
    """Return a number of at least 0, seven bits in each byte, the lowest first."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _masked_checksum(content: bytes) -> bytes:
    checksum = google_crc32c.value(content)
    # Masked as TensorFlow does, since the checksum of data that holds its own checksum means little.
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)
