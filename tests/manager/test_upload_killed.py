"""An upload that is killed at any moment: the same command goes on where it ended."""

import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manager.manifest import MANIFEST
from tests.aws import eventually
from tests.manager.wire import Answer, Wire, listening
from tests.project import REGION, Project

pytestmark = pytest.mark.slow

DATA = "shades-project.data"
IMAGES = 150
GONE = Answer(b"", 503)


@pytest.fixture(scope="module")
def initialized(split_project: Project) -> Project:
    """A project whose bucket holds its images, and whose training set has since got many more."""
    split_project.manage_local("--init_s3_buckets")
    for number in range(IMAGES):
        path = split_project.root / f"data/images-sets/training/dark/more {number}.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(20_000))
    return split_project


@pytest.fixture
def wire(initialized: Project) -> Iterator[Wire]:
    with listening(initialized.endpoint_url) as wire:
        yield wire


def upload_killed_after(project: Project, wire: Wire, count: int) -> None:
    """Upload, and kill the command as it asks to write once more than so often."""
    variables = {
        "AWS_ENDPOINT_URL": wire.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
    }
    numbers, started = itertools.count(), list[subprocess.Popen[str]]()

    def judge(_: Any) -> Answer | None:
        if next(numbers) < count:
            return None
        started[0].kill()
        return GONE

    wire.answers["PUT"] = judge
    started.append(Project(project.root, project.environment | variables).start("project_manager.py", "--upload_data"))
    printed, _ = started[0].communicate(timeout=120)
    assert started[0].returncode == -signal.SIGKILL, printed


def held(s3: Any) -> dict[str, str]:
    """The version of each object in the data bucket."""
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=DATA)
    return {item["Key"]: item["VersionId"] for page in pages for item in page.get("Versions", []) if item["IsLatest"]}


def test_what_came_through_is_not_sent_again_and_the_end_is_the_same(initialized: Project, wire: Wire) -> None:
    s3 = initialized.client("s3")
    manifest_before, whole = s3.head_object(Bucket=DATA, Key=MANIFEST)["Metadata"], len(held(s3))
    # Each time a note in the manifest comes first, which takes the fingerprint from it.
    for passed, present in ((1, 0), (41, 40), (61, 100)):
        upload_killed_after(initialized, wire, passed)
        # What was under way comes through without the command.
        eventually(lambda expected=whole + present: len(held(s3)) == expected)  # type: ignore[misc]
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


def test_a_dry_run_that_uploads_another_split_shows_the_launch(initialized: Project) -> None:
    initialized.manage_local("--init_s3_buckets")
    record = initialized.root / "data/images-sets/split.json"
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    launch = ("--local", "--dry_run", "--build_and_push_docker_image", "--launch_training")
    assert "holds another split than data/images-sets" in initialized.manage(*launch).stderr
    shown = initialized.manage(*launch, "--upload_data")
    assert "aws sagemaker create-training-job" in shown.stdout, shown.stderr


def files_of(sets: Path) -> list[Path]:
    return [path for path in sets.rglob("*") if path.is_file() and not path.name.startswith(".")]
