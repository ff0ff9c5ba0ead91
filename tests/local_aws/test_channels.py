"""Keys of objects become paths of files: by SageMaker's rules, and never outside the channel's directory."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.channels import (
    ChannelError,
    S3Uri,
    files_of_manifest,
    files_of_prefix,
    share_of_host,
)

keys = st.lists(st.text("ab./\0 ü", max_size=12), max_size=8)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("training/", {"training/a/1": "a/1", "training/2": "2"}),
        (
            "training",
            {"training/a/1": "a/1", "training/2": "2",
             "training-old/3": "training-old/3", "training.csv": "training.csv"},
        ),
        ("train", {"training/a/1": "training/a/1", "training/2": "training/2",
                   "training-old/3": "training-old/3", "training.csv": "training.csv"}),
        ("training/a", {"training/a/1": "1"}),
        ("training/a/1", {"training/a/1": "1"}),
        ("training.csv", {"training.csv": "training.csv"}),
        ("other", {}),
    ],
)  # fmt: skip
def test_a_prefix_is_a_beginning_of_names(prefix: str, expected: dict[str, str]) -> None:
    objects = ["training/", "training/a/1", "training/2", "training-old/3", "training.csv"]
    files = files_of_prefix(objects, prefix)
    assert {key: str(path) for key, path in files.items()} == expected


def test_an_empty_prefix_takes_the_whole_bucket() -> None:
    assert files_of_prefix(["a/1", "b"], "") == {"a/1": PurePosixPath("a/1"), "b": PurePosixPath("b")}


@given(keys, st.text("ab./ ", max_size=6))
def test_no_key_of_a_prefix_leaves_the_directory(objects: list[str], prefix: str) -> None:
    try:
        files = files_of_prefix(objects, prefix)
    except ChannelError:
        return
    assert set(files) == {key for key in objects if key.startswith(prefix) and not key.endswith("/")}
    assert_inside(list(files.values()))


@given(keys)
def test_no_name_of_a_manifest_leaves_the_directory(names: list[str]) -> None:
    try:
        bucket, files = files_of_manifest(json.dumps([{"prefix": "s3://bucket/data/"}, *names]).encode())
    except ChannelError:
        return
    assert bucket == "bucket"
    assert set(files) == {f"data/{name}" for name in names}
    assert_inside(list(files.values()))


@given(st.binary(max_size=50) | st.from_type(type(None)).map(lambda _: b'[{"prefix": 5}, "a"]'))
def test_a_manifest_of_any_bytes_is_read_or_refused(content: bytes) -> None:
    with pytest.raises(ChannelError):
        files_of_manifest(content)


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 5))
def test_hosts_share_all_keys_evenly(names: list[str], hosts: int) -> None:
    shares = [share_of_host(names, host, hosts) for host in range(hosts)]
    assert sorted(key for share in shares for key in share) == sorted(names)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["", "bucket/key", "https://bucket/key", "s3://", "s3:///key"])
def test_what_is_no_s3_uri(text: str) -> None:
    with pytest.raises(ValueError, match="is no S3 URI"):
        S3Uri.parse(text)


@pytest.mark.parametrize("text", ["s3://bucket", "s3://bucket/"])
def test_below_the_root_of_a_bucket(text: str) -> None:
    assert str(S3Uri.parse(text).below("job", "output")) == "s3://bucket/job/output"


def assert_inside(paths: list[PurePosixPath]) -> None:
    for path in paths:
        assert not path.is_absolute()
        assert path.parts
        assert not {"..", ".", ""} & set(path.parts)
        assert "\0" not in str(path)
    assert len(set(paths)) == len(paths)
    assert not any(parent in paths for path in paths for parent in path.parents)
