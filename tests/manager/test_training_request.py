"""The rendered CreateTrainingJob request: typed, complete, and open for a user's own fields."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from container.errors import SettingsError
from container.modeling.config_file import load_settings
from manager import names, training
from manager.errors import TemplateError

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / training.TEMPLATE
PLACE = names.Place("123456789012", "eu-central-1")
IMAGE = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/p@sha256:{'0' * 64}"


def render(template_file: Path = TEMPLATE, **assignments: str) -> Any:
    settings = load_settings(assignments={name.replace("__", "."): text for name, text in assignments.items()})
    job = names.training_job(settings, datetime(2030, 1, 2, 3, 4, 5))
    return training.render_request(settings, PLACE, IMAGE, job, template_file)


def test_values_keep_their_types() -> None:
    request = render(training_job__volume_size_gb="77", training__learning_rate="0.25")
    assert request["TrainingJobName"] == "digits-cnn-2030-01-02-03-04-05"
    assert request["ResourceConfig"]["VolumeSizeInGB"] == 77
    assert request["RoleArn"] == "arn:aws:iam::123456789012:role/handwritten-digits-sagemaker"
    assert request["AlgorithmSpecification"]["TrainingImage"] == IMAGE
    assert request["HyperParameters"]["training.learning_rate"] == "0.25"
    assert "${" not in json.dumps(request)


def test_only_the_training_images_are_spread_over_instances() -> None:
    request = render(training_job__data_distribution="ShardedByS3Key", training_job__instance_count="2")
    sources = [channel["DataSource"]["S3DataSource"] for channel in request["InputDataConfig"]]
    assert [source.get("S3DataDistributionType") for source in sources] == ["ShardedByS3Key", None, None]


@pytest.mark.parametrize("spot", ["true", "false"])
def test_checkpoints_are_kept_unless_the_settings_say_otherwise(spot: str) -> None:
    uri = "s3://handwritten-digits.output/checkpoints/digits-cnn-2030-01-02-03-04-05/"
    assert render(training_job__spot=spot)["CheckpointConfig"] == {"S3Uri": uri}
    request = render(training_job__spot=spot, training_job__save_checkpoints="false")
    assert "CheckpointConfig" not in request
    assert request["EnableManagedSpotTraining"] is (spot == "true")


def test_several_instances_are_asked_for_together() -> None:
    assert render()["ResourceConfig"]["InstanceCount"] == 1
    request = render(training_job__instance_count="3", training_job__encrypt_traffic="true", training_job__spot="true")
    assert request["ResourceConfig"]["InstanceCount"] == 3
    assert request["EnableInterContainerTrafficEncryption"] is True
    with pytest.raises(SettingsError, match=r"training_job\.instance_count"):
        render(training_job__instance_count="0")


def test_only_what_differs_from_the_defaults_is_sent() -> None:
    hyperparameters = render()["HyperParameters"]
    assert "model.name" not in hyperparameters
    assert hyperparameters["image.channels"] == "1"


def test_fields_that_a_user_adds_go_through(tmp_path: Path) -> None:
    template = json.loads(TEMPLATE.read_text())
    template["EnableInterContainerTrafficEncryption"] = True
    template["Environment"] = {"JOB": "${TRAINING_JOB_NAME}"}
    (tmp_path / "t.json").write_text(json.dumps(template))
    request = render(tmp_path / "t.json")
    assert request["EnableInterContainerTrafficEncryption"] is True
    assert request["Environment"] == {"JOB": request["TrainingJobName"]}


def test_the_fingerprint_of_the_data_goes_along_beside_the_users_own_variables() -> None:
    settings = load_settings(assignments={"training_job.environment": '{"MY_VARIABLE": "1"}'})
    request = training.render_request(settings, PLACE, IMAGE, "job", TEMPLATE, data_fingerprint="0f" * 32)
    assert request["Environment"] == {"MY_VARIABLE": "1", "DATA_FINGERPRINT": "0f" * 32}


def test_an_unresolved_placeholder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"TrainingJobName": "${NAME_OF_JOB}"}')
    with pytest.raises(TemplateError, match="NAME_OF_JOB"):
        render(tmp_path / "t.json")
