"""Directory images: what a push takes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.images import MANIFEST_MEDIA_TYPE, ImageReference, content_digest, image_manifest

REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def manifest_of(directory: object) -> str:
    annotations = {"local-aws.image-directory": str(directory)}
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_MEDIA_TYPE, "annotations": annotations})


def test_a_push_takes_a_snapshot(aws: Any) -> None:
    directory = aws.image_directory("cat $(dirname $0)/data/word")
    (directory / "data").mkdir()
    (directory / "data" / "word").write_text("first\n")
    image = aws.push(directory, "1")

    def said_by(uri: str) -> list[str]:
        request = aws.request(uri)
        aws.sagemaker.create_training_job(**request)
        aws.finish(request["TrainingJobName"])
        return aws.lines(request["TrainingJobName"])

    (directory / "data" / "word").write_text("second\n")
    assert said_by(image) == ["first"]
    second = aws.push(directory, "2")
    shutil.rmtree(directory)
    assert said_by(second) == ["second"]
    assert said_by(image) == ["first"]


def test_tag_and_digest_name_the_same_image(aws: Any) -> None:
    manifest = image_manifest(aws.image_directory("true"))
    pushed = aws.ecr.put_image(repositoryName=aws.repository, imageTag="1", imageManifest=manifest)["image"]
    digest = pushed["imageId"]["imageDigest"]
    for suffix in (":1", f"@{digest}", f":1@{digest}"):
        request = aws.request(aws.repository_uri + suffix)
        aws.sagemaker.create_training_job(**request)
        assert aws.finish(request["TrainingJobName"])["TrainingJobStatus"] == "Completed"


def test_the_directory_keeps_its_name_and_its_links_content(aws: Any, tmp_path: Path) -> None:
    directory = aws.image_directory("ls -R $(dirname $0); basename $(dirname $0); cat $(dirname $0)/link", "my_package")
    (tmp_path / "outside").write_text("linked\n")
    (directory / "link").symlink_to(tmp_path / "outside")
    (directory / "__pycache__").mkdir()
    (directory / "__pycache__" / "x.pyc").touch()
    request = aws.request(aws.push(directory))
    (tmp_path / "outside").write_text("changed\n")
    aws.sagemaker.create_training_job(**request)
    aws.finish(request["TrainingJobName"])
    lines = aws.lines(request["TrainingJobName"])
    assert lines[-2:] == ["my_package", "linked"]
    assert "__pycache__" not in lines


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (manifest_of("/no/such/directory"), "/no/such/directory does not exist"),
        (manifest_of("relative/path"), "must be an absolute path"),
        ('{"schemaVersion": 2, "annotations": {"local-aws.image-directory": 5}}', "must be an absolute path"),
        ("no json", "Invalid image manifest"),
        ("[]", "Invalid image manifest"),
    ],
)
def test_a_manifest_that_cannot_be_used(aws: Any, manifest: str, reason: str) -> None:
    with pytest.raises(aws.ecr.exceptions.InvalidParameterException, match=reason):
        aws.ecr.put_image(repositoryName=aws.repository, imageTag="1", imageManifest=manifest)
    assert aws.ecr.list_images(repositoryName=aws.repository)["imageIds"] == []


def test_programs_must_be_executable(aws: Any) -> None:
    directory = aws.image_directory("true")
    (directory / "serve").write_text("#!/bin/sh\n")
    with pytest.raises(aws.ecr.exceptions.InvalidParameterException, match=r"serve must be an executable file.*chmod"):
        aws.push(directory)
    (directory / "serve").unlink()
    (directory / "train").chmod(0o644)
    with pytest.raises(aws.ecr.exceptions.InvalidParameterException, match="train must be an executable file"):
        aws.push(directory)


def test_a_directory_that_cannot_be_copied(aws: Any) -> None:
    directory = aws.image_directory("true")
    os.mkfifo(directory / "pipe")
    manifest = manifest_of(directory)
    with pytest.raises(aws.ecr.exceptions.InvalidParameterException, match="cannot copy"):
        aws.ecr.put_image(repositoryName=aws.repository, imageTag="1", imageManifest=manifest)


def test_one_manifest_stands_for_one_content(aws: Any) -> None:
    directory = aws.image_directory("echo 1")
    manifest = manifest_of(directory)
    aws.ecr.put_image(repositoryName=aws.repository, imageTag="1", imageManifest=manifest)
    aws.ecr.put_image(repositoryName=aws.repository, imageTag="2", imageManifest=manifest)
    aws.image_directory("echo 2")
    with pytest.raises(aws.ecr.exceptions.InvalidParameterException, match="An image never changes"):
        aws.ecr.put_image(repositoryName=aws.repository, imageTag="3", imageManifest=manifest)


def test_a_tag_that_is_there_already(aws: Any) -> None:
    manifest = image_manifest(aws.image_directory("true"))
    arguments = {"repositoryName": aws.repository, "imageTag": "1", "imageManifest": manifest}
    aws.ecr.put_image(**arguments)
    with pytest.raises(aws.ecr.exceptions.ImageAlreadyExistsException):
        aws.ecr.put_image(**arguments)


def test_an_immutable_tag_stays(aws: Any) -> None:
    aws.ecr.put_image_tag_mutability(repositoryName=aws.repository, imageTagMutability="IMMUTABLE")
    aws.push(aws.image_directory("echo 1"))
    with pytest.raises(ClientError, match="already exists"):
        aws.push(aws.image_directory("echo 2"))


def test_a_digest_that_is_not_the_manifests(aws: Any) -> None:
    manifest = image_manifest(aws.image_directory("true"))
    with pytest.raises(ClientError, match="ImageDigestDoesNotMatchException"):
        aws.ecr.put_image(repositoryName=aws.repository, imageManifest=manifest, imageDigest=f"sha256:{'0' * 64}")


def test_a_repository_that_does_not_exist(aws: Any) -> None:
    with pytest.raises(aws.ecr.exceptions.RepositoryNotFoundException):
        aws.ecr.put_image(repositoryName="nowhere", imageManifest="{}", imageTag="1")


def test_the_content_digest_follows_names_bytes_and_executable_bits(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    digests = {content_digest(tmp_path)}
    (tmp_path / "a").write_text("2")
    digests.add(content_digest(tmp_path))
    (tmp_path / "a").chmod(0o755)
    digests.add(content_digest(tmp_path))
    (tmp_path / "a").rename(tmp_path / "b")
    digests.add(content_digest(tmp_path))
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (f"{REGISTRY}/a", ("a", "latest", None)),
        (f"{REGISTRY}/team/a:v1.0", ("team/a", "v1.0", None)),
        (f"{REGISTRY}/a@sha256:{'0' * 64}", ("a", None, f"sha256:{'0' * 64}")),
        (f"{REGISTRY}/a:1@sha256:{'0' * 64}", ("a", "1", f"sha256:{'0' * 64}")),
        (f"{REGISTRY}/a@sha256:0", None),
        (f"{REGISTRY}/", None),
        ("a:1", None),
    ],
)
def test_image_uris(uri: str, expected: tuple[str, str | None, str | None] | None) -> None:
    reference = ImageReference.parse(uri)
    parts = (reference.repository, reference.tag, reference.digest) if reference else None
    assert parts == expected
