"""What a job that goes on from an earlier one is made of: its settings, and its copy of the checkpoints."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from container.errors import SettingsError
from container.modeling.config_file import load_settings
from manager import resuming
from manager.calls import ObjectPath
from manager.console import Terminal
from manager.errors import JobError
from manager.plan import execute, to_command
from manager.resuming import EarlierJob
from tests import aws as local_aws
from tests.aws import Server
from tests.manager.wire import Wire

EARLIER = EarlierJob(
    name="digits-2030-01-01-00-00-00",
    hyperparameters={"training.epochs": "50", "image.height": "64", "_tuning_objective_metric": "loss"},
    folder=ObjectPath("bucket", "old/checkpoints/"),
    checkpoints=("old/checkpoints/1", "old/checkpoints/sub/2"),
)


class TestSettings:
    def test_the_earlier_jobs_take_the_place_of_the_files(self) -> None:
        settings = resuming.resumed_settings(load_settings(assignments={"image.width": "99"}), EARLIER, {})
        assert (settings.training.epochs, settings.image.height) == (50, 64)
        # It had the default, whatever config.py says now.
        assert settings.image.width == 224

    def test_the_command_line_has_the_last_word(self) -> None:
        assignments = {"training.epochs": "70", "training_job.volume_size_gb": "77"}
        settings = resuming.resumed_settings(load_settings(assignments=assignments), EARLIER, assignments)
        assert (settings.training.epochs, settings.image.height) == (70, 64)
        assert settings.training_job.volume_size_gb == 77

    def test_the_earlier_model_stays_the_one_that_the_earlier_job_had(self) -> None:
        use = {"model.initial_weights": "pretrained"}
        uri = "s3://handwritten-digits.output/first/output/model.tar.gz"
        earlier = replace(EARLIER, hyperparameters=use, pretrained=uri)
        for present in (load_settings(), load_settings(assignments=use | {"data.pretrained": "another-job"})):
            assert resuming.resumed_settings(present, earlier, {}).data.pretrained == uri
        named = {"data.pretrained": "a-third-one"}
        assert resuming.resumed_settings(load_settings(), earlier, named).data.pretrained == "a-third-one"

    def test_a_job_that_had_none_goes_on_without_one(self) -> None:
        present = load_settings(assignments={"model.initial_weights": "pretrained", "data.pretrained": "another-job"})
        settings = resuming.resumed_settings(present, EARLIER, {})
        assert (settings.model.initial_weights, settings.data.pretrained) == ("", "")

    def test_a_setting_that_is_no_more_is_named(self) -> None:
        earlier = replace(EARLIER, hyperparameters={"training.epoch": "3"})
        with pytest.raises(SettingsError, match=r"there is no setting 'training\.epoch'"):
            resuming.resumed_settings(load_settings(), earlier, {})


class TestCopy:
    def test_each_checkpoint_goes_into_the_new_jobs_folder(self) -> None:
        plan = resuming.plan_copy(EARLIER, {"CheckpointConfig": {"S3Uri": "s3://other/new/checkpoints"}})
        assert [to_command(call) for call in plan.calls] == [
            "aws s3 cp s3://bucket/old/checkpoints/1 s3://other/new/checkpoints/1",
            "aws s3 cp s3://bucket/old/checkpoints/sub/2 s3://other/new/checkpoints/sub/2",
        ]

    def test_without_a_folder_of_its_own_a_job_cannot_go_on(self) -> None:
        with pytest.raises(JobError, match=r"training_job\.save_checkpoints=true"):
            resuming.plan_copy(EARLIER, {})

    def test_large_checkpoints_are_copied_too(self, server: Server, wire: Wire, tmp_path: Path) -> None:
        aws = local_aws.Aws(server, tmp_path)
        # More than one request copies.
        content = bytes(range(256)) * (9 << 12)
        aws.s3.put_object(Bucket=aws.bucket, Key="old/checkpoints/large", Body=content)
        earlier = replace(
            EARLIER, folder=ObjectPath(aws.bucket, "old/checkpoints/"), checkpoints=("old/checkpoints/large",)
        )
        plan = resuming.plan_copy(earlier, {"CheckpointConfig": {"S3Uri": f"s3://{aws.bucket}/new/"}})
        execute(plan, wire.aws(local_aws.REGION), Terminal(out=Console(file=io.StringIO())))
        assert aws.s3.get_object(Bucket=aws.bucket, Key="new/large")["Body"].read() == content


class TestEarlierJob:
    def job(self, aws: Any, train: str, **changes: Any) -> str:
        name = aws.start(train, **changes)
        aws.finish(name)
        return name

    @pytest.mark.slow
    def test_it_is_read_from_its_description(self, server: Server, wire: Wire, tmp_path: Path) -> None:
        aws = local_aws.Aws(server, tmp_path)
        aws.put(a__checkpointsx="another's", model="an earlier one")
        name = self.job(
            aws,
            'echo 1 > "$SAGEMAKER_BASE_DIR/checkpoints/1"',
            CheckpointConfig={"S3Uri": f"s3://{aws.bucket}/a/checkpoints"},
            HyperParameters={"training.epochs": "3"},
            InputDataConfig=[aws.channel("pretrained", "model")],
        )
        earlier = resuming.read_earlier_job(wire.aws(), name)
        assert earlier == EarlierJob(
            name,
            {"training.epochs": "3"},
            ObjectPath(aws.bucket, "a/checkpoints/"),
            ("a/checkpoints/1",),
            f"s3://{aws.bucket}/model",
        )

    def test_of_the_trials_of_a_tuning_job_each_has_a_folder_in_the_common_one(
        self, server: Server, wire: Wire, tmp_path: Path
    ) -> None:
        aws = local_aws.Aws(server, tmp_path)
        aws.put(a__another="another trial's")
        name = self.job(
            aws,
            'mkdir "$SAGEMAKER_BASE_DIR/checkpoints/$TRAINING_JOB_NAME" && '
            'echo 1 > "$SAGEMAKER_BASE_DIR/checkpoints/$TRAINING_JOB_NAME/1"',
            CheckpointConfig={"S3Uri": f"s3://{aws.bucket}/a/"},
            HyperParameters={"_tuning_objective_metric": "best_val_accuracy"},
        )
        earlier = resuming.read_earlier_job(wire.aws(), name)
        assert earlier.folder == ObjectPath(aws.bucket, f"a/{name}/")
        assert earlier.checkpoints == (f"a/{name}/1",)

    def test_a_job_without_checkpoints_is_refused(self, server: Server, wire: Wire, tmp_path: Path) -> None:
        with pytest.raises(JobError, match="was launched without checkpoints"):
            resuming.read_earlier_job(wire.aws(), self.job(local_aws.Aws(server, tmp_path), "true"))
        aws = local_aws.Aws(server, tmp_path)
        empty = self.job(aws, "true", CheckpointConfig={"S3Uri": f"s3://{aws.bucket}/none"})
        with pytest.raises(JobError, match=rf"left no checkpoints in s3://{aws.bucket}/none/"):
            resuming.read_earlier_job(wire.aws(), empty)

    def test_a_job_that_is_not_over_is_refused(self, server: Server, wire: Wire, tmp_path: Path) -> None:
        aws = local_aws.Aws(server, tmp_path)
        name = aws.start("while true; do sleep 0.02; done", CheckpointConfig={"S3Uri": f"s3://{aws.bucket}/a"})
        with pytest.raises(JobError, match=rf"{name} is still InProgress.*--stop_training {name}"):
            resuming.read_earlier_job(wire.aws(), name)
        aws.sagemaker.stop_training_job(TrainingJobName=name)
        aws.finish(name)

    def test_a_job_that_is_not_there_is_refused(self, wire: Wire) -> None:
        with pytest.raises(JobError, match="there is no training job 'nothing'"):
            resuming.read_earlier_job(wire.aws(), "nothing")
