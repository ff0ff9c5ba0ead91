"""Which object of S3 becomes which file of a channel; pure.

Keys are names that anybody may have chosen, and become paths here: one that would leave the channel's
directory, or take another's place, is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath


class ChannelError(ValueError):
    """A channel's objects cannot become files; the message names the object and the reason."""


@dataclass(frozen=True)
class S3Uri:
    """`s3://BUCKET/KEY`; the key may be empty, a prefix or an object's."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> S3Uri:
        """
        Raises:
            ValueError: it is no such URI.
        """
        scheme, separator, rest = text.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not separator or not bucket:
            raise ValueError(f"{text!r} is no S3 URI of the form s3://BUCKET/KEY")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def below(self, *names: str) -> S3Uri:
        """The URI with these names appended, as to a folder."""
        key = "/".join([self.key.rstrip("/"), *names] if self.key.rstrip("/") else names)
        return S3Uri(self.bucket, key)


def files_of_prefix(keys: Iterable[str], prefix: str) -> Mapping[str, PurePosixPath]:
    """Key to path in the channel, for the keys that begin with `prefix`.

    The prefix is a beginning of names and no folder: `s3://b/training` matches `training/a`, `training.csv`
    and `training-old/a`. What lies in the folder of that name becomes a path in it (`a`); for the rest the
    path starts at the last slash of the prefix (`training.csv`, `training-old/a`). Keys that end in a slash
    are folders' markers and are left out.

    Raises:
        ChannelError: a key would leave the channel's directory, or two keys become the same path.
    """
    folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    parent = prefix[: prefix.rfind("/") + 1]
    wanted = (key for key in keys if key.startswith(prefix) and not key.endswith("/"))
    return _without_clashes(
        (key, key.removeprefix(folder) if key.startswith(folder) else key.removeprefix(parent)) for key in wanted
    )


def files_of_manifest(content: bytes) -> tuple[str, Mapping[str, PurePosixPath]]:
    """The bucket, and key to path in the channel, of a manifest `[{"prefix": "s3://..."}, "name", ...]`.

    Each name is a path in the channel and, appended to the prefix, an object's key.

    Raises:
        ChannelError: the content is no such manifest, or a name would leave the channel's directory.
    """
    try:
        first, *names = json.loads(content)
        prefix = S3Uri.parse(first["prefix"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ChannelError(
            f'the manifest is no JSON list of {{"prefix": "s3://..."}} and names of objects: {error}'
        ) from error
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ChannelError("the manifest must name at least one object, each by a string")
    return prefix.bucket, _without_clashes((prefix.key + name, name) for name in names)


def share_of_host(keys: Sequence[str], host: int, hosts: int) -> Sequence[str]:
    """The keys that one of several hosts gets with ShardedByS3Key: `host` counts from 0."""
    return sorted(keys)[host::hosts]


def _without_clashes(named: Iterable[tuple[str, str]]) -> Mapping[str, PurePosixPath]:
    paths: dict[str, PurePosixPath] = {}
    owners: dict[PurePosixPath, str] = {}
    for key, name in named:
        path = _safe(key, name)
        other = owners.setdefault(path, key)
        if other != key:
            raise ChannelError(f"the objects {other!r} and {key!r} would both become the file {path}")
        paths[key] = path
    for key, path in paths.items():
        for parent in path.parents:
            if parent in owners:
                raise ChannelError(f"the object {owners[parent]!r} would be a file where {key!r} needs a folder")
    return paths


def _safe(key: str, name: str) -> PurePosixPath:
    # As on a file system, a//b is a/b.
    parts = [part for part in name.split("/") if part]
    if not parts or "\0" in name or any(part in (".", "..") for part in parts):
        raise ChannelError(f"the key {key!r} of an object is no name of a file below the channel's directory")
    return PurePosixPath(*parts)
