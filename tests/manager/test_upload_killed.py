"""An upload that is killed at any moment: the same command goes on where it ended."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manager.manifest import MANIFEST
from tests.aws import eventually
from tests.project import Project

pytestmark = pytest.mark.slow

DATA = "shades-project.data"
IMAGES = 300


@pytest.fixture(scope="module")
def initialized(split_project: Project) -> Project:
    """A project whose bucket holds its images, and whose training set has since got many more."""
    split_project.manage_local("--init_s3_buckets")
    for number in range(IMAGES):
        path = split_project.root / f"data/images-sets/training/dark/more {number}.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(20_000))
    return split_project


def held(s3: Any) -> dict[str, str]:
    """The version of each object in the data bucket."""
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=DATA)
    return {item["Key"]: item["VersionId"] for page in pages for item in page.get("Versions", []) if item["IsLatest"]}


def count_above(s3: Any, count: int) -> Callable[[], bool]:
    return lambda: len(held(s3)) > count


def test_what_came_through_is_not_sent_again_and_the_end_is_the_same(initialized: Project) -> None:
    s3 = initialized.client("s3")
    manifest_before = s3.head_object(Bucket=DATA, Key=MANIFEST)["Metadata"]
    for part in (0, 50, 150):
        began = len(held(s3))
        upload = initialized.start("project_manager.py", "--local", "--upload_data")
        eventually(count_above(s3, began + part), 60)
        upload.send_signal(signal.SIGKILL)
        upload.wait()
        assert "fingerprint" not in s3.head_object(Bucket=DATA, Key=MANIFEST)["Metadata"]
    before = held(s3)
    refused = initialized.manage("--local", "--build_and_push_docker_image", "--launch_training", "--no_follow")
    assert "was begun and not finished" in refused.stderr
    initialized.manage_local("--upload_data")
    after = held(s3)
    assert {key for key, version in before.items() if after[key] != version} == {MANIFEST}
    sets = initialized.root / "data/images-sets"
    files = {path.relative_to(sets).as_posix(): path for path in files_of(sets)}
    assert after.keys() - {MANIFEST} == files.keys()
    for key, path in files.items():
        assert s3.get_object(Bucket=DATA, Key=key)["Body"].read() == path.read_bytes()
    told = s3.head_object(Bucket=DATA, Key=MANIFEST)["Metadata"]
    assert told != manifest_before
    # One that was never killed gives the same manifest.
    content = s3.get_object(Bucket=DATA, Key=MANIFEST)["Body"].read()
    for key in after:
        s3.delete_object(Bucket=DATA, Key=key)
    initialized.manage_local("--upload_data")
    assert s3.get_object(Bucket=DATA, Key=MANIFEST)["Body"].read() == content
    assert "unchanged" in initialized.manage_local("--upload_data").stdout


def files_of(sets: Path) -> list[Path]:
    return [path for path in sets.rglob("*") if path.is_file() and not path.name.startswith(".")]
