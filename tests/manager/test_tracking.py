"""What the settings of `tracking` make of the request, the role and the image."""

import json
from pathlib import Path
from typing import Any

import docker
import pytest

from container.modeling.config_file import load_settings
from container.modeling.settings import Settings
from manager import image, names, role
from manager.aws import Aws
from manager.docker_engine import Engine
from tests.manager.policy_evaluation import Request, decision
from tests.manager.test_training_request import render
from tests.project import ROOT

PLACE = names.Place("123456789012", "us-east-1")
CONTAINER = ROOT / "container"
SECRETS = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
MLFLOW, WANDB = {"tracking.mlflow_uri": "https://mlflow.example.com"}, {"tracking.wandb_project": "flowers"}


def settings(assignments: dict[str, str]) -> Settings:
    return load_settings(assignments=assignments)


class TestRequest:
    def test_events_go_to_a_folder_of_the_output_bucket_where_they_are_asked_for(self) -> None:
        assert "TensorBoardOutputConfig" not in render()
        assert render(tracking__tensorboard="true")["TensorBoardOutputConfig"] == {
            "LocalPath": "/opt/ml/output/tensorboard",
            "S3OutputPath": "s3://handwritten-digits.output/tensorboard/",
        }

    def test_a_secret_goes_along_by_its_name_alone(self) -> None:
        request = render(tracking__secret="team/keys", tracking__wandb_project="flowers")
        assert request["HyperParameters"]["tracking.secret"] == "team/keys"
        assert "Environment" not in request


class TestRole:
    def test_without_a_secret_it_reads_none(self) -> None:
        policy = role.execution_policy(settings(MLFLOW), PLACE)
        assert "secretsmanager" not in json.dumps(policy)

    @pytest.mark.parametrize("secret", ["team/keys", f"{SECRETS}team/keys-AbCdEf"])
    def test_it_reads_that_secret_and_no_other(self, secret: str) -> None:
        policy = role.execution_policy(settings({"tracking.secret": secret}), PLACE)
        assert self.may_read(policy, f"{SECRETS}team/keys-AbCdEf")
        for other in ("team/keys", "team/keys2-AbCdEf", "team/keys-AbCdEf-AbCdEf", "other/keys-AbCdEf"):
            assert not self.may_read(policy, f"{SECRETS}{other}")

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, "Allow"),
            ({"kms:ViaService": "s3.us-east-1.amazonaws.com"}, "neither"),
            ({"kms:EncryptionContext:SecretARN": f"{SECRETS}other/keys-AbCdEf"}, "neither"),
        ],
    )
    def test_a_key_decrypts_that_secret_and_nothing_else(self, changes: dict[str, str], expected: str) -> None:
        policy = role.execution_policy(settings({"tracking.secret": "team/keys"}), PLACE)
        context = {
            "kms:ViaService": "secretsmanager.us-east-1.amazonaws.com",
            "kms:EncryptionContext:SecretARN": f"{SECRETS}team/keys-AbCdEf",
        }
        found = decision(policy, Request("kms:Decrypt", KEY, context | changes))
        assert (found == "Allow") is (expected == "Allow")
        assert decision(policy, Request("kms:Encrypt", KEY, context)) != "Allow"

    def may_read(self, policy: Any, secret: str) -> bool:
        return decision(policy, Request("secretsmanager:GetSecretValue", secret, {})) == "Allow"


class TestImage:
    def test_what_is_asked_for_is_an_argument_of_the_build_and_a_part_of_the_tag(self) -> None:
        asked: tuple[dict[str, str], ...] = ({}, {"tracking.tensorboard": "true"}, MLFLOW, WANDB, MLFLOW | WANDB)
        tags = [image.content_tag(CONTAINER, "cpu", image.additions(settings(each))) for each in asked]
        assert tags[0] == tags[1]
        assert len(set(tags)) == 4
        command = self.build_command(settings(MLFLOW | WANDB))
        assert "EXTRAS=mlflow wandb" in command
        assert "EXTRAS=" in self.build_command(settings({}))

    def test_another_server_or_project_needs_no_new_image(self) -> None:
        first, second = (
            image.additions(settings({"tracking.wandb_project": project})) for project in ("flowers", "trees")
        )
        assert first == second

    @pytest.mark.parametrize("extra", ["mlflow", "wandb"])
    def test_each_extra_has_its_requirements_with_all_versions_pinned(self, extra: str) -> None:
        pinned = (CONTAINER / "constraints.txt").read_text().splitlines()
        lines = (CONTAINER / f"requirements-{extra}.txt").read_text().splitlines()
        required = [line.split()[0] for line in lines if line and not line.startswith(("#", "-r"))]
        assert required
        assert set(required) <= set(pinned)
        assert f"requirements-{extra}.txt" in (CONTAINER / "Dockerfile").read_text()

    def test_a_docker_image_lacks_nothing_and_a_process_only_what_this_python_lacks(self, tmp_path: Path) -> None:
        both = settings(MLFLOW | WANDB)
        assert image.missing_extras(both, tmp_path, "cpu") == ""
        # The tests need both.
        assert image.missing_extras(both, tmp_path, "directory") == ""

    def build_command(self, chosen: Settings) -> tuple[str, ...]:
        engine = Engine(docker.DockerClient("tcp://127.0.0.1:9", version="1.41"))
        planned = image.Image("repository", "tag")
        plan = image.plan_docker_image(chosen, engine, CONTAINER, "cpu", planned, Aws(None, ""))  # type: ignore[arg-type]
        (build, _) = plan.calls
        assert isinstance(build, image.DockerCall)
        return build.command
