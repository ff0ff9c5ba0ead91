"""The embedded ECR as a registry: pushed to and pulled from by a Docker engine, as on AWS."""

from __future__ import annotations

import datetime
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError
from docker.errors import NotFound

from tests.docker.conftest import DockerAws


def test_a_pushed_image_is_described_as_it_is(aws: DockerAws) -> None:
    begin = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    name = aws.push(aws.image_directory("true"))
    (image,) = aws.ecr.describe_images(repositoryName=aws.repository)["imageDetails"]
    assert image["imageTags"] == ["1"]
    assert [f"{aws.repository_uri}@{image['imageDigest']}"] == aws.engine.images.get(name).attrs["RepoDigests"]
    assert begin <= image["imagePushedAt"] <= datetime.datetime.now(datetime.UTC)
    assert aws.ecr.list_images(repositoryName=aws.repository)["imageIds"] == [
        {"imageDigest": image["imageDigest"], "imageTag": "1"}
    ]
    manifest = json.loads(manifest_of(aws, "1"))
    assert manifest["config"]["digest"] == aws.engine.images.get(name).id
    assert image["imageSizeInBytes"] == manifest["config"]["size"] + sum(layer["size"] for layer in manifest["layers"])
    assert image["imageSizeInBytes"] > 1_000_000


def test_an_image_that_the_engine_lost_is_pulled_for_the_job(aws: DockerAws) -> None:
    name = aws.push(aws.image_directory("echo pulled"))
    aws.forget_images()
    assert aws.engine.images.list(aws.repository_uri) == []
    request = aws.request(name)
    aws.sagemaker.create_training_job(**request)
    assert aws.finish(request["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    assert aws.lines(request["TrainingJobName"]) == ["pulled"]
    aws.forget_images()
    aws.engine.images.pull(name, auth_config=aws.login())


def test_all_names_of_an_image_run(aws: DockerAws) -> None:
    name = aws.push(aws.image_directory("true"))
    (image,) = aws.ecr.describe_images(repositoryName=aws.repository)["imageDetails"]
    by_digest = f"@{image['imageDigest']}"
    as_on_aws = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/{aws.repository}"
    for uri in (name, aws.repository_uri + by_digest, name + by_digest, f"{as_on_aws}:1", as_on_aws + by_digest):
        request = aws.request(uri)
        aws.sagemaker.create_training_job(**request)
        assert aws.finish(request["TrainingJobName"])["TrainingJobStatus"] == "Completed"


def test_a_second_push_sends_nothing(aws: DockerAws) -> None:
    aws.push(aws.image_directory("true"))
    before = aws.ecr.describe_images(repositoryName=aws.repository)["imageDetails"]
    answers = list(aws.push_with("1", aws.login()))
    assert {answer["status"] for answer in answers if answer.get("id") not in (None, "1")} <= {
        "Preparing",
        "Waiting",
        "Layer already exists",
    }
    assert aws.ecr.describe_images(repositoryName=aws.repository)["imageDetails"] == before


def test_layers_outlive_the_server_but_images_do_not(start_aws: Any) -> None:
    aws = start_aws()
    directory = aws.image_directory("true")
    aws.push(directory)
    stop(aws)
    aws = start_aws()
    aws.build(directory)
    assert aws.ecr.list_images(repositoryName=aws.repository)["imageIds"] == []
    answers = [answer.get("status") for answer in aws.push_with("1", aws.login())]
    assert "Preparing" in answers
    assert "Pushing" not in answers
    assert len(aws.ecr.list_images(repositoryName=aws.repository)["imageIds"]) == 1


@pytest.mark.parametrize("login", [{}, {"username": "AWS", "password": "guessed"}])
def test_a_push_needs_the_login_of_ecr(aws: DockerAws, login: dict[str, str]) -> None:
    aws.build(aws.image_directory("true"))
    answers = list(aws.push_with("1", login))
    assert "no basic auth credentials" in answers[-1]["error"] or "unauthorized" in answers[-1]["error"]
    assert aws.ecr.list_images(repositoryName=aws.repository)["imageIds"] == []


def test_the_login_is_for_this_registry_and_for_some_hours(aws: DockerAws) -> None:
    (login,) = aws.ecr.get_authorization_token()["authorizationData"]
    assert f"{login['proxyEndpoint']}/{aws.repository}" == f"http://{aws.repository_uri}"
    assert login["expiresAt"] > datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=11)


def test_a_repository_has_to_exist(aws: DockerAws) -> None:
    aws.build(aws.image_directory("true"))
    aws.ecr.delete_repository(repositoryName=aws.repository)
    answers = list(aws.push_with("1", aws.login()))
    assert f"The repository with name '{aws.repository}' does not exist" in answers[-1]["error"]


def test_an_immutable_tag_stays(aws: DockerAws) -> None:
    aws.ecr.put_image_tag_mutability(repositoryName=aws.repository, imageTagMutability="IMMUTABLE")
    aws.push(aws.image_directory("echo 1"))
    before = aws.ecr.describe_images(repositoryName=aws.repository)["imageDetails"]
    assert not [answer for answer in aws.push_with("1", aws.login()) if "error" in answer]
    aws.build(aws.image_directory("echo 2"))
    answers = list(aws.push_with("1", aws.login()))
    assert "cannot be overwritten because the tag is immutable" in answers[-1]["error"]
    assert aws.ecr.describe_images(repositoryName=aws.repository)["imageDetails"] == before


def test_a_mutable_tag_moves(aws: DockerAws) -> None:
    aws.push(aws.image_directory("echo 1"))
    name = aws.push(aws.image_directory("echo 2"))
    request = aws.request(name)
    aws.sagemaker.create_training_job(**request)
    aws.finish(request["TrainingJobName"])
    assert aws.lines(request["TrainingJobName"]) == ["2"]


def test_a_deleted_image_is_gone(aws: DockerAws) -> None:
    name = aws.push(aws.image_directory("true"))
    aws.ecr.batch_delete_image(repositoryName=aws.repository, imageIds=[{"imageTag": "1"}])
    assert aws.ecr.list_images(repositoryName=aws.repository)["imageIds"] == []
    with pytest.raises(ClientError, match="Cannot find the requested image"):
        aws.sagemaker.create_training_job(**aws.request(name))
    with pytest.raises(NotFound, match="manifest unknown"):
        aws.engine.images.pull(name, auth_config=aws.login())


def test_an_image_gets_another_tag_by_put_image(aws: DockerAws) -> None:
    aws.push(aws.image_directory("true"))
    manifest = manifest_of(aws, "1")
    aws.ecr.put_image(repositoryName=aws.repository, imageManifest=manifest, imageTag="2")
    (image,) = aws.ecr.describe_images(repositoryName=aws.repository)["imageDetails"]
    assert sorted(image["imageTags"]) == ["1", "2"]
    aws.engine.images.pull(aws.repository_uri, "2", auth_config=aws.login())
    with pytest.raises(aws.ecr.exceptions.ImageAlreadyExistsException):
        aws.ecr.put_image(repositoryName=aws.repository, imageManifest=manifest, imageTag="2")


@pytest.mark.parametrize(
    ("manifest", "code", "reason"),
    [
        ({"annotations": {"local-aws.image-directory": "/tmp"}}, "InvalidParameterException", "docker push"),
        (
            {"layers": [{"mediaType": "x", "digest": f"sha256:{'1' * 64}", "size": 1}]},
            "LayersNotFoundException",
            "1" * 64,
        ),
    ],
    ids=["a directory image", "a layer that nobody pushed"],
)
def test_a_manifest_that_cannot_be_run_is_refused(
    aws: DockerAws, manifest: dict[str, Any], code: str, reason: str
) -> None:
    aws.push(aws.image_directory("true"))
    changed = json.dumps(json.loads(manifest_of(aws, "1")) | manifest)
    with pytest.raises(ClientError, match=reason) as caught:
        aws.ecr.put_image(repositoryName=aws.repository, imageManifest=changed, imageTag="2")
    assert caught.value.response["Error"]["Code"] == code


def test_an_image_for_several_platforms_is_refused_as_by_sagemaker(aws: DockerAws) -> None:
    aws.push(aws.image_directory("true"))
    (image,) = aws.ecr.describe_images(repositoryName=aws.repository)["imageDetails"]
    media_type = "application/vnd.oci.image.index.v1+json"
    platform = {"os": "linux", "architecture": "amd64"}
    entry = {
        "mediaType": image["imageManifestMediaType"],
        "digest": image["imageDigest"],
        "size": len(manifest_of(aws, "1")),
        "platform": platform,
    }
    index = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]})
    aws.ecr.put_image(repositoryName=aws.repository, imageManifest=index, imageTag="all")
    with pytest.raises(ClientError, match=f"Unsupported manifest media type {media_type.replace('+', '[+]')}"):
        aws.sagemaker.create_training_job(**aws.request(f"{aws.repository_uri}:all"))


def test_repositories_of_two_regions_are_two(aws: DockerAws) -> None:
    aws.push(aws.image_directory("true"))
    elsewhere = aws.server.client("ecr", region="us-west-2")
    there = elsewhere.create_repository(repositoryName=aws.repository)["repository"]["repositoryUri"]
    assert there != aws.repository_uri
    assert elsewhere.list_images(repositoryName=aws.repository)["imageIds"] == []


@pytest.mark.parametrize("path", ["/v2/", "/v2/123456789012/eu-central-1/any/tags/list"])
def test_no_browser_and_nobody_without_login_is_answered(aws: DockerAws, path: str) -> None:
    def status(**headers: str) -> int:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(aws.server.endpoint_url + path, headers=headers))
        return caught.value.code

    assert status() == 401
    assert status(Origin="https://attacker.example") == 403
    assert status(Host="attacker.example") == 403


def manifest_of(aws: DockerAws, tag: str) -> str:
    found = aws.ecr.batch_get_image(repositoryName=aws.repository, imageIds=[{"imageTag": tag}])
    return str(found["images"][0]["imageManifest"])


def stop(aws: DockerAws) -> None:
    aws.server.process.terminate()
    assert aws.server.process.wait(20) == 0
