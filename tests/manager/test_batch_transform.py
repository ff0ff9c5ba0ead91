"""Transform jobs: what is uploaded and asked for, followed and collected; answers over the wire, S3 by moto."""

import csv
import itertools
import json
import os
import shlex
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.validate import ParamValidator

import project_manager
from container.errors import DataError, SettingsError
from container.modeling.config_file import load_settings
from container.modeling.settings import Settings
from manager import batch_transform, names, serving_commands, transform_commands
from manager.batch_transform import Batch
from manager.calls import ObjectPath
from manager.console import Terminal
from manager.errors import AwsError, JobError, ResultsError
from manager.plan import describe
from manager.session import Session
from tests.conftest import png
from tests.manager.price_list import answer_with, offer
from tests.manager.serving_answers import BEGUN, JOB, Account
from tests.manager.test_endpoint import account, configured, make_role, session, told
from tests.manager.test_endpoint_removal import called
from tests.manager.wire import Answer, Wire

pytestmark = pytest.mark.slow

__all__ = ["account", "called"]

TRANSFORM = "digits-cnn-batch-300102-030405"
CLASSES = ("dark", "grey", "light")

_numbers = itertools.count(1)


@pytest.fixture
def project(wire: Wire) -> Iterator[str]:
    """The name of a project of its own, with its two buckets."""
    name, s3 = f"batches-{next(_numbers)}", wire.aws().client("s3")
    for bucket in (f"{name}.data", f"{name}.output"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield name
    for bucket in (f"{name}.data", f"{name}.output"):
        for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=item["Key"])
        s3.delete_bucket(Bucket=bucket)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of two classes, and what is no image."""
    folder = tmp_path / "images"
    for name in ("dark/0.png", "dark/1.png", "light/ü 1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(10))
    (folder / "labels.csv").write_text("x")
    return folder


def keys(wire: Wire, bucket: str) -> list[str]:
    return [item["Key"] for item in wire.aws().client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]


class TestBatch:
    def read(self, wire: Wire, terminal: Terminal, named: str, **assignments: str) -> Batch:
        settings = configured(**assignments)
        return batch_transform.read_batch(wire.aws(), settings, named, TRANSFORM, terminal)

    def test_the_images_of_a_folder_get_a_folder_of_the_jobs_own(
        self, wire: Wire, terminal: Terminal, images: Path
    ) -> None:
        (images / "dark" / "broken.png").write_bytes(b"x")
        batch = self.read(wire, terminal, str(images))
        assert str(batch.folder) == f"s3://serving-tests.data/transforms/{TRANSFORM}/images/"
        assert list(batch.files) == ["dark/0.png", "dark/1.png", "light/ü 1.png"]
        assert batch.images == 3
        assert "broken.png is left out" in told(terminal)

    def test_a_folder_on_s3_is_taken_as_it_is(self, wire: Wire, terminal: Terminal, project: str) -> None:
        s3 = wire.aws().client("s3")
        for key in ("evaluation/dark/0.png", "evaluation/light/1.JPG", "evaluation/", "evaluation-2/x.txt"):
            s3.put_object(Bucket=f"{project}.data", Key=key, Body=b"x" if key[-1] != "/" else b"")
        batch = self.read(wire, terminal, f"s3://{project}.data/evaluation", project_name=project)
        assert batch == Batch(ObjectPath(f"{project}.data", "evaluation/"), 2)

    def test_what_a_job_would_fail_at_is_refused_before(self, wire: Wire, terminal: Terminal, project: str) -> None:
        s3 = wire.aws().client("s3")
        s3.put_object(Bucket=f"{project}.data", Key="evaluation/labels.csv", Body=b"x")
        with pytest.raises(DataError, match=r"evaluation/labels\.csv is no image"):
            self.read(wire, terminal, f"s3://{project}.data/evaluation", project_name=project)
        with pytest.raises(DataError, match="holds no image"):
            self.read(wire, terminal, f"s3://{project}.data/nothing", project_name=project)
        with pytest.raises(DataError, match=r"is in neither of .*aws s3 sync"):
            self.read(wire, terminal, "s3://elsewhere/images", project_name=project)

    def test_so_is_a_folder_without_images_and_what_is_no_folder(
        self, wire: Wire, terminal: Terminal, images: Path
    ) -> None:
        (images / "empty").mkdir()
        with pytest.raises(DataError, match="holds no image"):
            self.read(wire, terminal, str(images / "empty"))
        with pytest.raises(DataError, match="is no folder"):
            self.read(wire, terminal, str(images / "dark" / "0.png"))
        with pytest.raises(DataError, match=r"^https://x/y is not taken: .* s3://BUCKET/FOLDER"):
            self.read(wire, terminal, "https://x/y")

    def test_an_image_that_is_too_large_is_named(self, wire: Wire, terminal: Terminal, images: Path) -> None:
        (images / "dark" / "large.png").write_bytes(png(1) + bytes(1 << 20))
        with pytest.raises(DataError, match=r"large\.png has 1\.0 MB, more than batch_transform\.max_payload_mb=1"):
            self.read(wire, terminal, str(images), batch_transform__max_payload_mb="1")


class TestRequest:
    @pytest.mark.parametrize(
        "assignments",
        [
            {},
            {
                "batch_transform__instance_count": "3",
                "batch_transform__max_concurrent": "8",
                "batch_transform__volume_kms_key": "arn:aws:kms:eu-central-1:123456789012:key/1111-2222",
                "storage__kms_key": "arn:aws:kms:eu-central-1:123456789012:key/3333-4444",
            },
        ],
    )
    def test_it_is_such_that_aws_takes_it(self, assignments: dict[str, str], wire: Wire) -> None:
        batch = Batch(ObjectPath("serving-tests.data", "evaluation/"), 2)
        request = batch_transform.transform_request(configured(**assignments), TRANSFORM, "model", batch)
        shape = wire.aws().client("sagemaker").meta.service_model.operation_model("CreateTransformJob").input_shape
        assert ParamValidator().validate(request, shape).generate_report() == ""
        assert request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"] == (
            "s3://serving-tests.data/evaluation/"
        )
        output, resources = request["TransformOutput"], request["TransformResources"]
        assert output["S3OutputPath"] == f"s3://serving-tests.output/transforms/{TRANSFORM}/"
        assert resources["InstanceCount"] == (3 if assignments else 1)
        assert output.get("KmsKeyId", "").endswith("3333-4444") == bool(assignments)
        assert resources.get("VolumeKmsKeyId", "").endswith("1111-2222") == bool(assignments)
        assert request.get("MaxConcurrentTransforms") == (8 if assignments else None)

    def test_all_payloads_together_have_sagemakers_limit(self) -> None:
        configured(batch_transform__max_concurrent="16")
        with pytest.raises(SettingsError, match="max_concurrent=17 times max_payload_mb=6 must be at most 100"):
            configured(batch_transform__max_concurrent="17")

    @pytest.mark.parametrize("algorithm", ["a", "digits-cnn", "a" * 43])
    def test_its_name_is_short_enough_and_recognized(self, algorithm: str) -> None:
        settings = load_settings(assignments={"algorithm_name": algorithm})
        job = names.transform_job(settings, datetime(2030, 1, 2, 3, 4, 5))
        assert job == f"{algorithm}-batch-300102-030405"
        assert len(job) <= 63
        assert names.is_transform_job(settings, job)
        assert not names.is_training_job(settings, job)
        assert not names.is_tuning_job(settings, job)


def result(probabilities: tuple[float, ...]) -> bytes:
    label = CLASSES[probabilities.index(max(probabilities))]
    row = {"probabilities": probabilities, "labels": CLASSES, "predicted_label": label}
    return json.dumps({"predictions": [row]}).encode()


@pytest.fixture
def asking(account: Account, wire: Wire, terminal: Terminal, project: str, tmp_path: Path) -> Session:
    """A session of that project, in whose role there is nothing to check."""
    settings = load_settings(assignments={"project_name": project})
    return replace(session(wire, settings, terminal), project_root=tmp_path)


def finished(
    wire: Wire,
    account: Account,
    settings: Settings,
    outputs: dict[str, bytes],
    *,
    source: str = "s3://any/evaluation/",
    **changes: Any,
) -> None:
    """Let the transform job be over with these outputs of the images of a folder."""
    bucket, folder = names.output_bucket(settings), f"transforms/{TRANSFORM}/"
    for name, content in outputs.items():
        wire.aws().client("s3").put_object(Bucket=bucket, Key=f"{folder}{name}.out", Body=content)
    job = {
        "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source}}},
        "TransformOutput": {"S3OutputPath": f"s3://{bucket}/{folder}"},
        "CreationTime": BEGUN,
        **changes,
    }
    account.put("TransformJob", TRANSFORM, job, Project=settings.project_name)


def uploaded(wire: Wire, settings: Settings) -> str:
    """Upload an image for the transform job, and one for another; return the data bucket."""
    data = names.data_bucket(settings)
    for job in (f"{TRANSFORM}/images", "another"):
        wire.aws().client("s3").put_object(Bucket=data, Key=f"transforms/{job}/dark/0.png", Body=b"x")
    return data


class TestLaunch:
    def test_images_are_uploaded_the_model_is_made_and_the_job_launched(
        self, account: Account, wire: Wire, terminal: Terminal, images: Path, project: str
    ) -> None:
        answer_with(wire, offer("EUC1-Tsform:ml.m5.xlarge", "0.25"), offer("EUC1-Host:ml.m5.xlarge", "9"))
        settings = configured(project_name=project, batch_transform__instance_count="2")
        make_role(wire, settings)
        asking = session(wire, settings, terminal)
        job = transform_commands.launch_batch_transform(asking, str(images), JOB)
        (model,) = account.kept["Model"]
        assert account.calls == [f"CreateModel {model}", f"CreateTransformJob {job}"]
        assert account.kept["TransformJob"][job]["ModelName"] == model
        sent = [f"transforms/{job}/images/{name}" for name in ("dark/0.png", "dark/1.png", "light/ü 1.png")]
        assert keys(wire, names.data_bucket(settings)) == sent
        assert "2 x ml.m5.xlarge: 0.50 USD per hour" in told(terminal)

    def test_a_job_that_is_refused_leaves_no_uploaded_images(
        self, account: Account, wire: Wire, terminal: Terminal, images: Path, project: str
    ) -> None:
        settings = configured(project_name=project)
        make_role(wire, settings)
        refusal = {"__type": "ResourceLimitExceeded", "message": "no such instances"}
        wire.answers["CreateTransformJob"] = lambda _: Answer.of_json(refusal, 400)
        with pytest.raises(AwsError, match="no such instances"):
            transform_commands.launch_batch_transform(session(wire, settings, terminal), str(images), JOB)
        assert keys(wire, names.data_bucket(settings)) == []

    def test_a_model_that_is_there_is_used_again(
        self, account: Account, wire: Wire, terminal: Terminal, images: Path
    ) -> None:
        asking = session(wire, configured(), terminal)
        config = serving_commands.deploy(asking, JOB)
        (model,) = account.kept["Model"]
        shown = replace(asking, executor=describe)
        transform_commands.launch_batch_transform(shown, str(images), JOB)
        assert account.kept["EndpointConfig"][config]["ProductionVariants"][0]["ModelName"] == model
        assert f"unchanged  model {model}" in told(terminal)

    def test_a_dry_run_uploads_nothing(self, account: Account, wire: Wire, terminal: Terminal, images: Path) -> None:
        asking = session(wire, configured(), terminal, describe)
        transform_commands.launch_batch_transform(asking, str(images), JOB)
        shown = told(terminal)
        assert "aws s3api put-object" in shown
        assert "aws sagemaker create-transform-job" in shown
        assert account.calls == []


class TestFollowing:
    def test_a_job_is_followed_to_its_end(
        self, account: Account, wire: Wire, asking: Session, terminal: Terminal
    ) -> None:
        finished(wire, account, asking.settings, {})
        assert transform_commands.monitor_transform(asking, TRANSFORM)
        assert f"{TRANSFORM} completed" in told(terminal)

    @pytest.mark.parametrize(
        ("outputs", "changes", "message"),
        [
            (
                {"1.png": b"x"},
                {"Status": "Failed", "FailureReason": "ClientError: 0.png"},
                f"failed: ClientError: 0.png; --transform_results {TRANSFORM} fetches what it predicted$",
            ),
            ({}, {"Status": "Failed", "FailureReason": "ClientError: 0.png"}, "failed: ClientError: 0.png$"),
            (
                {},
                {"Status": "Stopped"},
                "was stopped before it was done: SageMaker stores nothing of a transform job that is stopped$",
            ),
        ],
    )
    def test_one_that_is_not_done_is_an_error_and_its_uploaded_images_go(
        self,
        outputs: dict[str, bytes],
        changes: dict[str, Any],
        message: str,
        account: Account,
        wire: Wire,
        asking: Session,
    ) -> None:
        finished(wire, account, asking.settings, outputs, **changes)
        data = uploaded(wire, asking.settings)
        with pytest.raises(JobError, match=message):
            transform_commands.monitor_transform(asking, TRANSFORM)
        assert keys(wire, data) == ["transforms/another/dark/0.png"]

    def test_how_it_ended_is_told_though_the_images_cannot_be_removed(
        self, account: Account, wire: Wire, asking: Session, terminal: Terminal
    ) -> None:
        finished(wire, account, asking.settings, {}, Status="Stopped")
        data = uploaded(wire, asking.settings)
        wire.answers["DELETE"] = lambda _: Answer(b"<Error><Code>AccessDenied</Code></Error>", 403)
        with pytest.raises(JobError, match="was stopped before it was done"):
            transform_commands.monitor_transform(asking, TRANSFORM)
        del wire.answers["DELETE"]
        assert f"the images that were uploaded for {TRANSFORM} are not removed: could not delete" in told(terminal)
        assert len(keys(wire, data)) == 2

    def test_one_that_is_not_there_is_named(self, account: Account, asking: Session) -> None:
        with pytest.raises(JobError, match="there is no transform job 'nothing'"):
            transform_commands.monitor_transform(asking, "nothing")

    def test_one_that_runs_is_stopped_and_one_that_is_over_is_not(
        self, account: Account, wire: Wire, asking: Session
    ) -> None:
        finished(wire, account, asking.settings, {}, Status="InProgress")
        transform_commands.stop_transform(asking, transform_commands.last_transform_job(asking))
        assert account.calls == [f"StopTransformJob {TRANSFORM}"]
        finished(wire, account, asking.settings, {"0.png": b"x"})
        with pytest.raises(
            JobError, match=f"is over: its status is Completed; --transform_results {TRANSFORM} fetches"
        ):
            transform_commands.stop_transform(asking, TRANSFORM)

    def test_of_one_that_was_stopped_there_is_nothing_to_fetch(
        self, account: Account, wire: Wire, asking: Session
    ) -> None:
        finished(wire, account, asking.settings, {}, Status="Stopped")
        with pytest.raises(JobError, match=r"is over: its status is Stopped$"):
            transform_commands.stop_transform(asking, TRANSFORM)

    def test_ctrl_c_lets_it_go_on_and_tells_the_commands_that_go_on_with_it(
        self,
        account: Account,
        wire: Wire,
        called: list[str],
        project: str,
        images: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        make_role(wire, load_settings(assignments={"project_name": project}))

        def look(asked: Any) -> Answer:
            os.kill(os.getpid(), signal.SIGINT)
            account.kept["TransformJob"][asked["TransformJobName"]]["Status"] = "InProgress"
            return account.describe_transform_job(asked)

        wire.answers["DescribeTransformJob"] = look
        named = ["--set", f"project_name={project}", "--batch_transform", str(images), "--from_job", JOB]
        assert project_manager.main([*called, *named]) == 0
        (job,) = account.kept["TransformJob"]
        shown = capsys.readouterr().out
        command = shlex.join(["python", "project_manager.py", *called, "--set", f"project_name={project}"])
        stops, fetches = f"{command} --stop_transform {job}", f"{command} --transform_results {job}"
        assert f"{job} goes on. Follow it again by `{command} --monitor {job}`, stop it by `{stops}`.\n" in shown
        assert shown.endswith(f"Its results were not fetched: `{fetches}` fetches them when it is done.\n")

    def test_what_was_uploaded_for_one_that_is_stopped_goes_when_it_is_over(
        self, account: Account, wire: Wire, called: list[str], project: str
    ) -> None:
        settings = load_settings(assignments={"project_name": project})
        finished(wire, account, settings, {}, Status="InProgress")
        data = uploaded(wire, settings)

        def stop(asked: Any) -> Answer:
            account.kept["TransformJob"][TRANSFORM]["Status"] = "Stopped"
            return Answer.of_json({})

        wire.answers["StopTransformJob"] = stop
        stopping = ["--set", f"project_name={project}", "--stop_transform", TRANSFORM]
        assert project_manager.main([*called, *stopping, "--dry_run"]) == 0
        assert len(keys(wire, data)) == 2
        assert project_manager.main([*called, *stopping]) == 0
        assert keys(wire, data) == ["transforms/another/dark/0.png"]


class TestResults:
    def test_outputs_become_one_table_with_labels_and_the_uploaded_images_go(
        self, account: Account, wire: Wire, asking: Session, terminal: Terminal
    ) -> None:
        outputs = {
            "dark/0.png": result((0.75, 0.2, 0.05)),
            "dark/=1.png": result((0.125, 0.0625, 0.8125)),
            "light/ü 1.png": result((0.1, 0.2, 0.7)),
            "else/2.png": result((0.1, 0.8, 0.1)),
        }
        finished(wire, account, asking.settings, outputs)
        data = names.data_bucket(asking.settings)
        for key in (f"transforms/{TRANSFORM}/x/dark/0.png", "transforms/another/dark/0.png", "training/dark/0.png"):
            wire.aws().client("s3").put_object(Bucket=data, Key=key, Body=b"x")
        transform_commands.transform_results(asking, TRANSFORM)
        with (asking.project_root / "results" / TRANSFORM / "predictions.csv").open() as opened:
            rows = list(csv.DictReader(opened))
        assert [row["path"] for row in rows] == ["dark/0.png", "dark/=1.png", "else/2.png", "light/ü 1.png"]
        assert [row["label"] for row in rows] == ["dark", "dark", "", "light"]
        assert [row["prediction"] for row in rows] == ["dark", "light", "grey", "light"]
        assert [float(rows[1][f"probability_{name}"]) for name in CLASSES] == [0.125, 0.0625, 0.8125]
        assert keys(wire, data) == ["training/dark/0.png", "transforms/another/dark/0.png"]
        shown = told(terminal)
        assert "Classification of 3 images, labeled by folders" in shown
        assert "Confusion matrix" in shown
        assert "accuracy 0.6667" in shown
        assert "not judged: 1 image in no folder that is called as a class" in shown

    def test_without_labels_the_predicted_classes_are_counted(
        self, account: Account, wire: Wire, asking: Session, terminal: Terminal
    ) -> None:
        finished(wire, account, asking.settings, {"0.png": result((0.7, 0.2, 0.1)), "1.png": result((0.8, 0.1, 0.1))})
        transform_commands.transform_results(asking, TRANSFORM)
        shown = told(terminal)
        assert "Predictions" in shown
        assert "2 images, in no folder that is called as a class" in shown
        assert "Confusion" not in shown

    @pytest.mark.parametrize("source", ["s3://any/evaluation/dark", f"s3://any/transforms/{TRANSFORM}/dark/"])
    def test_a_folder_that_is_itself_called_as_a_class_tells_the_label(
        self, source: str, account: Account, wire: Wire, asking: Session
    ) -> None:
        outputs = {"0.png": result((0.7, 0.2, 0.1)), "light/1.png": result((0.7, 0.2, 0.1))}
        finished(wire, account, asking.settings, outputs, source=source)
        transform_commands.transform_results(asking, TRANSFORM)
        with (asking.project_root / "results" / TRANSFORM / "predictions.csv").open() as opened:
            assert [row["label"] for row in csv.DictReader(opened)] == ["dark", "light"]

    def test_a_job_that_failed_keeps_what_it_predicted_before(
        self, account: Account, wire: Wire, asking: Session
    ) -> None:
        finished(wire, account, asking.settings, {"0.png": result((0.7, 0.2, 0.1))}, Status="Failed")
        with pytest.raises(JobError, match="no reason; what it did not predict is missing here"):
            transform_commands.transform_results(asking, TRANSFORM)
        assert (asking.project_root / "results" / TRANSFORM / "predictions.csv").is_file()

    @pytest.mark.parametrize("is_followed", [True, False])
    def test_what_one_that_failed_did_not_predict_is_named_though_the_uploaded_images_go(
        self, is_followed: bool, account: Account, wire: Wire, asking: Session
    ) -> None:
        data = names.data_bucket(asking.settings)
        for name in ("dark/0.png", "dark/broken.png"):
            wire.aws().client("s3").put_object(Bucket=data, Key=f"transforms/{TRANSFORM}/images/{name}", Body=b"x")
        finished(
            wire,
            account,
            asking.settings,
            {"dark/0.png": result((0.7, 0.2, 0.1))},
            source=f"s3://{data}/transforms/{TRANSFORM}/images/",
            Status="Failed",
            FailureReason="ClientError",
        )
        told_of = "failed: ClientError; 1 of 2 images predicted; dark/broken.png is missing"
        if is_followed:
            with pytest.raises(JobError, match=f"{told_of}; --transform_results {TRANSFORM} fetches"):
                transform_commands.monitor_transform(asking, TRANSFORM)
            assert keys(wire, data) == []
        with pytest.raises(JobError, match=f"{told_of}$"):
            transform_commands.transform_results(asking, TRANSFORM)
        assert keys(wire, data) == []
        noted = asking.project_root / "results" / TRANSFORM / "missing.txt"
        assert noted.read_text() == "dark/broken.png\n"

    def test_of_many_missing_images_some_are_named(self, account: Account, wire: Wire, asking: Session) -> None:
        data = names.data_bucket(asking.settings)
        for number in range(6):
            wire.aws().client("s3").put_object(Bucket=data, Key=f"evaluation/{number}.png", Body=b"x")
        outputs = {"0.png": result((0.7, 0.2, 0.1))}
        finished(wire, account, asking.settings, outputs, source=f"s3://{data}/evaluation", Status="Failed")
        with pytest.raises(JobError, match=r"1 of 6 images predicted; 1\.png, 2\.png, 3\.png and 2 more are missing$"):
            transform_commands.transform_results(asking, TRANSFORM)

    def test_outputs_in_a_form_of_their_own_can_be_fetched_as_they_are(
        self, account: Account, wire: Wire, asking: Session
    ) -> None:
        finished(wire, account, asking.settings, {"0.png": b"mine", "1.png": b"mine"})
        folder = f"s3://{asking.settings.project_name}.output/transforms/{TRANSFORM}/"
        command = f"aws s3 sync {folder} results/{TRANSFORM}/ --region eu-central-1 --endpoint-url {wire.url}"
        reason = r"0\.png\.out .*: 'mine'; .*`serving\.output_fn`"
        with pytest.raises(
            ResultsError, match=rf"{reason}.* is Completed, .* outputs, 2, lie in {folder}: `{command}`"
        ):
            transform_commands.transform_results(asking, TRANSFORM)

    def test_classes_that_do_not_occur_are_left_out_and_count_in_no_average(
        self, account: Account, wire: Wire, asking: Session, terminal: Terminal
    ) -> None:
        outputs = {"dark/0.png": result((0.75, 0.2, 0.05)), "dark/1.png": result((0.1, 0.2, 0.7))}
        finished(wire, account, asking.settings, outputs)
        transform_commands.transform_results(asking, TRANSFORM)
        shown = told(terminal)
        assert "accuracy 0.5000, macro F1 0.3333" in shown
        assert "1 of 3 classes is left out: no image here is labeled or predicted so" in shown
        assert "grey" not in shown
        assert ["light", "·", "·"] in [line.split() for line in shown.splitlines()]

    @pytest.mark.parametrize(
        ("outputs", "changes", "message"),
        [
            ({}, {"Status": "InProgress"}, "has no results yet: its status is InProgress"),
            ({}, {"Status": "Failed", "FailureReason": "no"}, "left no outputs in .*: no$"),
            ({}, {"Status": "Stopped"}, "left no outputs in .*: SageMaker stores nothing"),
            ({"0.png": b"0.1,0.9\n"}, {}, r"0\.png\.out is no prediction of one image"),
            ({"0.png": b'{"predictions": []}'}, {}, r"0\.png\.out is no prediction of one image"),
        ],
    )
    def test_what_cannot_be_collected_is_an_error(
        self,
        outputs: dict[str, bytes],
        changes: dict[str, str],
        message: str,
        account: Account,
        wire: Wire,
        asking: Session,
    ) -> None:
        finished(wire, account, asking.settings, outputs, **changes)
        data = uploaded(wire, asking.settings)
        with pytest.raises(ResultsError, match=message):
            transform_commands.transform_results(asking, TRANSFORM)
        assert not (asking.project_root / "results" / TRANSFORM).exists()
        is_over = changes.get("Status") != "InProgress"
        assert len(keys(wire, data)) == (1 if is_over else 2)

    def test_without_a_job_there_is_a_next_step(self, account: Account, asking: Session) -> None:
        with pytest.raises(JobError, match="launch one by --batch_transform FOLDER"):
            transform_commands.last_transform_job(asking)


def test_a_job_by_default_is_the_last_one_that_is_completed(wire: Wire, terminal: Terminal) -> None:
    jobs = {"digits-cnn-2030-01-01-00-00-02": "Failed", "digits-cnn-2030-01-01-00-00-01": "Completed"}
    summaries = [{"TrainingJobName": job, "TrainingJobArn": f"arn:x/{job}", "CreationTime": BEGUN} for job in jobs]
    wire.answers["ListTrainingJobs"] = lambda _: Answer.of_json({"TrainingJobSummaries": summaries})
    own = [{"Key": "Project", "Value": "serving-tests"}]
    wire.answers["ListTags"] = lambda _: Answer.of_json({"Tags": own})
    wire.answers["DescribeTrainingJob"] = lambda asked: Answer.of_json(
        {"TrainingJobName": asked["TrainingJobName"], "TrainingJobStatus": jobs[asked["TrainingJobName"]]}
    )
    asking = session(wire, configured(), terminal)
    assert serving_commands.last_completed_job(asking) == "digits-cnn-2030-01-01-00-00-01"
    jobs["digits-cnn-2030-01-01-00-00-01"] = "InProgress"
    with pytest.raises(JobError, match="so there is no model yet: --launch_training trains one"):
        serving_commands.last_completed_job(asking)
