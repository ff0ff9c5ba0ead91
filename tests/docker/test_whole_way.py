"""The project's own image: built, pushed and run by a real engine, through the commands that a person types."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.conftest import split_shades
from tests.project import Project, copy_project
from tests.two_instances import assert_same_training

ENGINE_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "aws_secret_access_key")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[Project]:
    """A project whose AWS on this machine runs jobs as containers, and whose jobs have no network."""
    copy = copy_project(tmp_path_factory.mktemp("project"))
    copy.environment["LOCAL_AWS_EXECUTOR"] = "docker"
    split_shades(copy)
    with (copy.root / "container/modeling/config.py").open("a") as config:
        config.write(f"\nTRAINING_IMAGE = TrainingImage(base_image={base_image!r})\n")
    template = copy.root / "training-job-config-template.json"
    request = json.loads(template.read_text()) | {"EnableNetworkIsolation": True}
    template.write_text(json.dumps(request))
    yield copy
    copy.manage("--stop_local_aws")


@pytest.fixture(scope="module")
def image(project: Project) -> Iterator[Any]:
    """The image that the command line built and pushed."""
    project.manage_local("--init_s3_buckets", "--build_and_push_docker_image")
    client = docker.from_env()
    name = image_name(project)
    yield client.images.get(name)
    repository = name.rpartition(":")[0]
    for image in client.images.list(repository):
        client.images.remove(image.id, force=True)


@pytest.fixture(scope="module")
def results(project: Project, image: Any) -> Path:
    """The results of a job that ran in a container without a network."""
    project.manage_local("--launch_training", "--download_results")
    (folder,) = (project.root / "results").iterdir()
    return folder


def test_a_container_leaves_the_same_files_as_a_process(project: Project, results: Path) -> None:
    job = project.client("sagemaker").describe_training_job(TrainingJobName=results.name)
    assert job["EnableNetworkIsolation"] is True
    assert "@sha256:" in job["AlgorithmSpecification"]["TrainingImage"]

    beside = Project(project.root, {**project.environment, "LOCAL_AWS_EXECUTOR": "process"})
    beside.environment["LOCAL_AWS_HOME"] = str(project.root / ".local_aws_process")
    try:
        beside.manage_local(
            "--init_s3_buckets", "--build_and_push_docker_image", "--launch_training", "--download_results"
        )
    finally:
        beside.manage("--stop_local_aws")
    (other,) = (folder for folder in (project.root / "results").iterdir() if folder != results)
    assert files(results) == files(other)
    for same in ("config.json", "classes.json"):
        assert (results / same).read_text() == (other / same).read_text()


def test_two_containers_train_what_one_with_twice_the_batch_does(project: Project, image: Any) -> None:
    # They have no network but one of their own.
    assert_same_training(project)


def test_an_endpoint_of_containers_predicts_and_leaves_none_running(project: Project, results: Path) -> None:
    way = ("--deploy", results.name, "--predict", "data/images-sets/evaluation", "--undeploy")
    shown = project.manage_local(*way).stdout
    assert re.search(r"(\d+) of \1 images predicted", shown)
    engine, mine = docker.from_env(), {"label": f"local-aws.home={project.environment['LOCAL_AWS_HOME']}"}
    assert engine.containers.list(all=True, filters=mine, ignore_removed=True) == []
    assert engine.networks.list(filters=mine) == []


def test_the_same_image_is_pushed_once(project: Project, image: Any) -> None:
    shown = project.manage_local("--build_and_push_docker_image").stdout
    assert "unchanged  image localhost:" in shown


def test_a_changed_line_makes_one_small_layer_anew(project: Project, image: Any) -> None:
    before = layers(project)
    code = project.root / "container/modeling/models.py"
    with code.open("a") as file:
        file.write("\n# a remark\n")
    project.manage_local("--build_and_push_docker_image")
    after = layers(project)
    (fresh,) = [size for digest, size in after.items() if digest not in before]
    assert fresh < 1_000_000


def test_the_image_holds_what_a_job_needs_and_no_more(image: Any) -> None:
    run = docker.from_env().containers.run
    listed = run(image.id, ["find", "/opt/program", "-type", "f"], remove=True, network_mode="none").decode().split()
    assert "/opt/program/container/train" in listed
    assert not [path for path in listed if "__pycache__" in path or path.endswith("modeling/config.py")]
    found = run(image.id, ["sh", "-c", "command -v gcc pip || echo none"], remove=True, network_mode="none")
    assert found.decode().strip() == "none"


def test_the_image_says_where_it_comes_from_and_tells_no_secret(image: Any) -> None:
    labels = image.labels
    assert labels["org.opencontainers.image.title"] == "sagemaker-image-classification"
    assert labels["org.opencontainers.image.version"][0].isdigit()
    environment = dict(word.split("=", 1) for word in image.attrs["Config"]["Env"])
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert environment["PYTHONUNBUFFERED"] == "1"
    described = json.dumps([image.attrs, image.history()])
    assert not [secret for secret in ENGINE_SECRETS if secret in described]
    assert (image.attrs["Os"], image.attrs["Architecture"]) == ("linux", "amd64")


def test_the_cpu_flavor_adds_less_than_1_5_gb(image: Any, base_image: str) -> None:
    base = docker.from_env().images.get(base_image)
    assert image.attrs["Size"] - base.attrs["Size"] < 1.5e9


def test_without_an_engine_the_error_names_the_next_step(project: Project, image: Any) -> None:
    nobody = Project(project.root, {**project.environment, "DOCKER_HOST": "tcp://127.0.0.1:9"})
    failed = nobody.manage("--local", "--build_and_push_docker_image")
    assert failed.returncode == 1
    assert "error: the Docker engine does not answer" in failed.stderr


def test_a_base_image_that_is_nowhere_is_named(project: Project, image: Any) -> None:
    failed = project.manage(
        "--local", "--build_and_push_docker_image", "--set", "training_image.base_image=localhost:9/nothing:1"
    )
    assert failed.returncode == 1
    assert "could not find the base image localhost:9/nothing:1" in failed.stderr


def image_name(project: Project) -> str:
    """The newest image of the project's repository."""
    ecr = project.client("ecr")
    repository = "shades-project/shades"
    uri = ecr.describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryUri"]
    details = ecr.describe_images(repositoryName=repository)["imageDetails"]
    return f"{uri}:{max(details, key=lambda image: image['imagePushedAt'])['imageTags'][0]}"


def layers(project: Project) -> dict[str, int]:
    """Compressed size of each layer of the newest image, by digest."""
    tag = image_name(project).rpartition(":")[2]
    found = project.client("ecr").batch_get_image(repositoryName="shades-project/shades", imageIds=[{"imageTag": tag}])
    manifest = json.loads(found["images"][0]["imageManifest"])
    return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


def files(folder: Path) -> set[str]:
    """The files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
