"""The processing job that prepares images: what is read, asked for, followed and finished; S3 by moto."""

import hashlib
import itertools
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.validate import ParamValidator

import data_handler
from container.dataset.index import NOTHING_LEFT_OUT, BadFile
from container.dataset.left_out import LeftOutCounts
from container.dataset.prepared import ClassImages, SetIndex
from container.dataset.preparing_hosts import Order, Part, SetOrder
from container.dataset.recipe import Recipe
from container.dataset.record import ClassCounts, Fractions, Split
from container.dataset.shards import Shard
from container.errors import DataError, SettingsError
from container.modeling.config_file import load_settings
from container.modeling.settings import Settings
from manager import image, launching, names, pricing, processing, processing_commands, processing_results, training
from manager.console import Terminal
from manager.errors import JobError, RefusedError, TemplateError
from manager.manifest import MANIFEST
from manager.plan import execute
from manager.pricing import Machines
from manager.processing_teardown import processing_removals, read_processing_holdings
from manager.session import Session
from tests.manager.price_list import answer_with, offer
from tests.manager.test_endpoint import make_role, session, told
from tests.manager.test_endpoint_removal import called
from tests.manager.wire import Answer, Wire

__all__ = ["called"]

pytestmark = pytest.mark.slow

JOB = "digits-cnn-prepare-300102-030405"
IMAGE = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/p@sha256:{'0' * 64}"
PLACE = names.Place("123456789012", "eu-central-1")
RECIPE = Recipe(height=28, width=28, channels=1, format="jpeg", quality=92)
RECORD = '{"ü": 1}'
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1111-2222"

_numbers = itertools.count(1)


@pytest.fixture
def project(wire: Wire) -> Iterator[str]:
    """The name of a project of its own, with its two buckets."""
    name, s3 = f"preparing-{next(_numbers)}", wire.aws().client("s3")
    for bucket in (f"{name}.data", f"{name}.output"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield name
    for bucket in (f"{name}.data", f"{name}.output"):
        for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=item["Key"])
        s3.delete_bucket(Bucket=bucket)


def configured(project: str = "preparing-tests", **assignments: str) -> Settings:
    given = {name.replace("__", "."): text for name, text in assignments.items()}
    return load_settings(assignments={"project_name": project, **given})


def put(wire: Wire, bucket: str, *keys: str, body: str = "x") -> None:
    for key in keys:
        wire.aws().client("s3").put_object(Bucket=bucket, Key=key, Body=body.encode())


def make_order(hosts: int = 2) -> Order:
    sets = tuple(SetOrder(name=name, classes=("cat", "dog")) for name in ("training", "validation"))
    return Order(
        hosts=hosts, recipe=RECIPE, shard_bytes=9, least_training_shards=1, processes=0, record="{}", sets=sets
    )


def make_part(host: int) -> Part:
    return Part(
        host=host,
        sets=tuple(
            SetIndex(
                recipe=RECIPE,
                split=hashlib.sha256(RECORD.encode()).hexdigest(),
                fingerprint=f"{name} {host}",
                classes=(ClassImages(name="cat", images=host + 1), ClassImages(name="dog", images=2)),
                shards=(Shard(name=f"{name}-{host}.tfrecord", images=host + 3, bytes=10, sha256="f"),),
                has_labels=host == 1,
                problems=(),
            )
            for name in ("training", "validation")
        ),
    )


def put_job(wire: Wire, project: str, hosts: int = 2, parts: int = 2, **ordered: Any) -> None:
    """Let a job have left its order and the parts of some hosts."""
    folder, order = f"prepared/{JOB}", make_order(hosts).model_copy(update=ordered)
    put(wire, f"{project}.output", f"{folder}/order.json", body=order.model_dump_json())
    for host in range(parts):
        put(wire, f"{project}.output", f"{folder}/parts/{host:05}.json", body=make_part(host).model_dump_json())


def put_manifest(wire: Wire, project: str, fingerprint: str) -> None:
    """Let the data bucket hold a finished upload; without a fingerprint, one that was begun."""
    told = {"fingerprint": fingerprint} if fingerprint else {}
    wire.aws().client("s3").put_object(Bucket=f"{project}.data", Key=MANIFEST, Metadata=told)


class TestSource:
    def test_classes_and_the_record_are_found(self, wire: Wire, project: str) -> None:
        keys = ("training/dog/a/1.png", "training/cat/1.png", "training/labels.csv", "training/.x/1", "training-2/no/1")
        put(wire, f"{project}.data", *keys, "validation/cat/1.png")
        put(wire, f"{project}.data", "split.json", body=RECORD)
        source = processing.read_source(wire.aws(), configured(project))
        assert source.classes == {"training": ("cat", "dog"), "validation": ("cat",)}
        assert source.record == RECORD
        order = processing.make_order(
            configured(project, training_job__data_distribution="ShardedByS3Key", training_job__instance_count="3"),
            source,
            5,
        )
        assert (order.hosts, order.least_training_shards, order.shard_bytes) == (5, 12, 192_000_000)

    @pytest.mark.parametrize(
        ("keys", "expected"),
        [
            ((), "training/ has no class folders"),
            (("training/cat/1.png",), "validation/ has no class folders"),
            (("training/cat/1.png", "validation/cow/1.png"), "validation/ has a class 'cow', and training/ has not"),
            (("training/index.json",), "holds prepared images already"),
            (
                ("training/cat/1.JPG", "training/cow/", "validation/cat/1.png"),
                "1 class folder without images: 'cow'",
            ),
        ],
    )
    def test_what_cannot_be_prepared_is_refused(
        self, wire: Wire, project: str, keys: tuple[str, ...], expected: str
    ) -> None:
        put(wire, f"{project}.data", *keys)
        with pytest.raises(DataError, match=expected):
            processing.read_source(wire.aws(), configured(project))

    def test_a_raw_folder_of_no_images_is_refused_and_one_without_a_name_is_no_class(
        self, wire: Wire, project: str
    ) -> None:
        put(wire, f"{project}.data", "raw/cat/1.png", "raw/cat/notes.txt", "raw//2.png")
        settings = configured(project, preparation__raw_folder="raw")
        assert processing.read_source(wire.aws(), settings).classes["training"] == ("cat",)
        put(wire, f"{project}.data", "raw/notes/readme.txt", "raw/old/readme.txt")
        with pytest.raises(DataError, match=r"2 class folders without images: 'notes', 'old'; .* out of raw/"):
            processing.read_source(wire.aws(), settings)

    def test_a_bucket_that_is_not_there_has_no_images(self, wire: Wire) -> None:
        with pytest.raises(DataError, match="has no class folders"):
            processing.read_source(wire.aws(), configured("preparing-nothing"))


class TestRequest:
    @pytest.mark.parametrize(
        "assignments",
        [
            {},
            {
                "storage__kms_key": KEY,
                "preparation__volume_kms_key": KEY,
                "training_job__subnets": '["subnet-1"]',
                "training_job__security_group_ids": '["sg-1"]',
            },
        ],
    )
    def test_it_is_such_that_aws_takes_it(self, wire: Wire, assignments: dict[str, str]) -> None:
        settings = configured(**assignments)
        request = processing.processing_request(settings, PLACE, IMAGE, JOB, make_order(7))
        shape = wire.aws().client("sagemaker").meta.service_model.operation_model("CreateProcessingJob").input_shape
        assert ParamValidator().validate(request, shape).generate_report() == ""
        assert request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 7
        assert (KEY in json.dumps(request)) == bool(assignments)
        assert ("subnet-1" in json.dumps(request)) == bool(assignments)

    def test_the_images_are_shared_and_the_order_is_for_all(self) -> None:
        settings = configured()
        request = processing.processing_request(settings, PLACE, IMAGE, JOB, make_order())
        inputs = {entry["InputName"]: entry["S3Input"] for entry in request["ProcessingInputs"]}
        assert {name: entry["S3DataDistributionType"] for name, entry in inputs.items()} == {
            "order": "FullyReplicated",
            "training": "ShardedByS3Key",
            "validation": "ShardedByS3Key",
        }
        assert inputs["training"]["S3Uri"] == "s3://preparing-tests.data/training/"
        assert request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"] == {
            "S3Uri": f"s3://preparing-tests.output/prepared/{JOB}/",
            "LocalPath": "/opt/ml/processing/output",
            "S3UploadMode": "EndOfJob",
        }
        assert request["NetworkConfig"] == {"EnableNetworkIsolation": True}
        assert {"Key": "Project", "Value": "preparing-tests"} in request["Tags"]

    @pytest.mark.parametrize("algorithm", ["a", "a" * 43, "a" * 39 + "-bb"])
    def test_its_name_is_as_short_as_sagemaker_wants(self, algorithm: str) -> None:
        name = names.processing_job(load_settings(assignments={"algorithm_name": algorithm}), datetime(2030, 1, 2))
        assert len(name) <= 63
        assert "--" not in name

    def test_a_key_that_the_storage_cannot_have_is_refused(self) -> None:
        with pytest.raises(SettingsError, match=r"volume_kms_key cannot be used with ml.g5.xlarge"):
            configured(preparation__instance_type="ml.g5.xlarge", preparation__volume_kms_key=KEY)

    def test_the_most_it_can_cost_is_of_processing(self, wire: Wire) -> None:
        answer_with(wire, offer("EUC1-Processing:ml.c5.4xlarge", "0.9"), offer("EUC1-Train:ml.c5.4xlarge", "9"))
        most = pricing.limited_cost(wire.aws(), (Machines("ml.c5.4xlarge", 10),), 7200, "Processing")
        assert most.usd == pytest.approx(18)


class TestTraining:
    def test_the_channels_read_what_the_job_prepared(self) -> None:
        settings = configured(data__prepared_by=JOB)
        template = Path(data_handler.__file__).with_name(training.TEMPLATE)
        request = training.render_request(settings, PLACE, IMAGE, "job", template)
        uris = [channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in request["InputDataConfig"]]
        folder = f"s3://preparing-tests.output/prepared/{JOB}"
        assert uris == [f"{folder}/training/", f"{folder}/validation/", "s3://preparing-tests.data/evaluation/"]

    def test_a_template_without_a_place_for_them_is_refused(self, tmp_path: Path) -> None:
        template = tmp_path / "t.json"
        template.write_text('{"TrainingJobName": "${TRAINING_JOB_NAME}"}')
        with pytest.raises(TemplateError, match=r"begin with \"\$\{PREPARED_FOLDER\}\""):
            training.render_request(configured(data__prepared_by=JOB), PLACE, IMAGE, "job", template)

    def prepared(self, wire: Wire, project: str, terminal: Terminal) -> Settings:
        """Let a job have prepared the split of the bucket."""
        settings = configured(project, data__prepared_by=JOB)
        put(wire, f"{project}.data", "split.json", body=RECORD)
        put_job(wire, project)
        indexes = processing_results.read_prepared(wire.aws(), settings, JOB).indexes
        execute(processing_results.plan_indexes(settings, JOB, indexes), wire.aws(), terminal)
        return settings

    def test_only_what_is_whole_is_trained_on(self, wire: Wire, project: str, terminal: Terminal) -> None:
        processing_results.check_prepared(wire.aws(), configured(project))
        with pytest.raises(DataError, match=f"--on_sagemaker {JOB} does what is left"):
            processing_results.check_prepared(wire.aws(), configured(project, data__prepared_by=JOB))
        processing_results.check_prepared(wire.aws(), self.prepared(wire, project, terminal))
        larger = configured(project, data__prepared_by=JOB, image__height="64", image__width="64")
        with pytest.raises(DataError, match="are prepared for an input of 28x28, not of 64x64"):
            processing_results.check_prepared(wire.aws(), larger)

    def test_shards_of_the_data_bucket_that_are_too_small_are_not(
        self, wire: Wire, project: str, terminal: Terminal
    ) -> None:
        put(wire, f"{project}.data", "training/index.json", body=make_part(0).sets[0].model_dump_json())
        processing_results.check_shards(wire.aws(), configured(project))
        larger = configured(project, image__height="64", image__width="64")
        with pytest.raises(DataError, match=r"28x28, not of 64x64: prepare them again by .* --upload_data --prune"):
            launching.launchable_image(session(wire, larger, terminal), None, initialized=False, uploaded=False)

    @pytest.mark.parametrize("initialized", [False, True])
    def test_what_was_prepared_from_another_split_is_not(
        self, wire: Wire, project: str, terminal: Terminal, initialized: bool
    ) -> None:
        settings = self.prepared(wire, project, terminal)
        put(wire, f"{project}.data", "split.json", body=RECORD.replace("1", "2"))
        expected = f"prepared_by={JOB} was prepared from another split than s3://{project}.data holds now"
        with pytest.raises(DataError, match=expected):
            launching.launchable_image(
                session(wire, settings, terminal), None, initialized=initialized, uploaded=not initialized
            )

    def test_the_fingerprint_is_of_what_the_job_reads(self, wire: Wire, project: str, terminal: Terminal) -> None:
        settings = self.prepared(wire, project, terminal)
        assert processing_results.fingerprint(wire.aws(), settings) == ""
        s3 = wire.aws().client("s3")
        s3.put_object(Bucket=f"{project}.data", Key=MANIFEST, Metadata={"fingerprint": "ab" * 32})
        assert processing_results.fingerprint(wire.aws(), configured(project)) == "ab" * 32
        first = processing_results.fingerprint(wire.aws(), settings)
        assert len(first) == 64
        assert first != "ab" * 32
        changed = make_part(0).sets[1].model_copy(update={"fingerprint": "another"})
        put(wire, f"{project}.output", f"prepared/{JOB}/validation/index.json", body=changed.model_dump_json())
        assert processing_results.fingerprint(wire.aws(), settings) not in (first, "ab" * 32)


class TestParts:
    def test_they_become_one_index(self, wire: Wire, project: str) -> None:
        put_job(wire, project)
        indexes = processing_results.read_prepared(wire.aws(), configured(project), JOB).indexes
        training_set = indexes["training"]
        assert training_set.images == 7
        assert [one.images for one in training_set.classes] == [3, 4]
        assert [shard.name for shard in training_set.shards] == ["training-0.tfrecord", "training-1.tfrecord"]
        assert training_set.has_labels

    def test_a_host_that_left_none_is_named(self, wire: Wire, project: str) -> None:
        put_job(wire, project, hosts=3)
        with pytest.raises(DataError, match="1 of 3 hosts left no part, the first of them host 3"):
            processing_results.read_prepared(wire.aws(), configured(project), JOB)

    def test_a_job_of_something_else_and_damaged_files_are_named(self, wire: Wire, project: str) -> None:
        with pytest.raises(DataError, match=f"has no order.json: {JOB} prepares no images"):
            processing_results.read_prepared(wire.aws(), configured(project), JOB)
        put_job(wire, project)
        put(wire, f"{project}.output", f"prepared/{JOB}/parts/00001.json", body="{")
        with pytest.raises(DataError, match=r"00001.json cannot be understood"):
            processing_results.read_prepared(wire.aws(), configured(project), JOB)

    def test_images_that_changed_since_the_launch_are_told(self, wire: Wire, project: str) -> None:
        settings = configured(project)
        put_manifest(wire, project, "ab" * 32)
        put(wire, f"{project}.data", "training/cat/1.png", "validation/cat/1.png")
        order = processing.make_order(settings, processing.read_source(wire.aws(), settings), 2)
        put_job(wire, project, fingerprint=order.fingerprint)
        assert processing_results.read_prepared(wire.aws(), settings, JOB).indexes["training"].images == 7
        for fingerprint, expected in (("cd" * 32, "other images were uploaded"), ("", "an upload has begun")):
            put_manifest(wire, project, fingerprint)
            with pytest.raises(DataError, match=f"since {JOB} was launched, {expected} in s3://{project}.data"):
                processing_results.read_prepared(wire.aws(), settings, JOB)
        wire.aws().client("s3").delete_object(Bucket=f"{project}.data", Key=MANIFEST)
        with pytest.raises(DataError, match="the manifest is gone"):
            processing_results.read_prepared(wire.aws(), settings, JOB)


class TestLaunch:
    def running(self, wire: Wire, *jobs: str) -> None:
        """Let these jobs be the account's, and the project's."""
        found = [
            {
                "ProcessingJobName": job,
                "ProcessingJobArn": f"arn:aws:sagemaker:eu-central-1:1:processing-job/{job}",
                "ProcessingJobStatus": "InProgress",
                "CreationTime": 0,
            }
            for job in jobs
        ]
        wire.answers["ListProcessingJobs"] = lambda asked: Answer.of_json({"ProcessingJobSummaries": found})

    @pytest.fixture
    def ready(self, wire: Wire, project: str, tmp_path: Path, terminal: Terminal) -> Session:
        """A session of a project of which all is there but the job."""
        settings = configured(project)
        make_role(wire, settings)
        put(wire, f"{project}.data", "training/cat/1.png", "validation/cat/1.png")
        container = tmp_path / "container"
        container.mkdir()
        (container / "train").write_text("#!/bin/sh\n")
        (container / "train").chmod(0o755)
        wire.aws().client("ecr").create_repository(repositoryName=names.repository(settings))
        tag = f"{image.content_tag(container, 'directory')}-1"
        execute(image.plan_directory_image(settings, container, tag), wire.aws(), terminal)
        return replace(session(wire, settings, terminal), project_root=tmp_path)

    def test_beside_a_job_that_runs_another_is_asked_for(self, wire: Wire, project: str, ready: Session) -> None:
        self.running(wire, JOB, "digits-cnn-preparation", f"other-{JOB}")
        wire.answers["ListTags"] = lambda asked: Answer.of_json({"Tags": [{"Key": "Project", "Value": project}]})
        expected = f"{JOB} is running already, and `manage --prepare --on_sagemaker {JOB}` follows it"
        with pytest.raises(RefusedError, match=expected):
            processing_commands.launch(ready, 2)
        wire.answers["ListTags"] = lambda asked: Answer.of_json({"Tags": [{"Key": "Project", "Value": "another"}]})
        assert processing.running_jobs(wire.aws(), ready.settings) == ()

    def test_ctrl_c_tells_of_the_job(self, wire: Wire, ready: Session) -> None:
        def interrupt(asked: Any) -> Answer:
            os.kill(os.getpid(), signal.SIGINT)
            return Answer.of_json({"ProcessingJobArn": "arn"})

        wire.answers["CreateProcessingJob"] = interrupt
        again = r"manage --prepare --on_sagemaker digits-cnn-prepare-[\d-]+"
        expected = f"^digits-cnn-.*goes on: `{again}` follows and finishes it, `{again} --stop` stops it$"
        with pytest.raises(KeyboardInterrupt, match=expected):
            processing_commands.launch(ready, 2)


class TestFollowing:
    def described(self, wire: Wire, **changes: Any) -> None:
        wire.answers["DescribeProcessingJob"] = lambda asked: Answer.of_json(
            {"ProcessingJobName": JOB, "ProcessingJobArn": "arn", **changes}
        )

    def finish(self, wire: Wire, project: str, terminal: Terminal) -> bool:
        return processing_commands.finish(session(wire, configured(project), terminal), JOB)

    def test_a_job_that_is_over_is_finished(self, wire: Wire, project: str, terminal: Terminal) -> None:
        put_job(wire, project)
        self.described(wire, ProcessingJobStatus="Completed")
        assert self.finish(wire, project, terminal)
        assert "14 images are prepared in" in told(terminal)
        assert f"manage --set data.prepared_by={JOB} --launch_training" in told(terminal)

    def test_why_it_failed_is_told(self, wire: Wire, project: str, terminal: Terminal) -> None:
        self.described(wire, ProcessingJobStatus="Failed", FailureReason="AlgorithmError: x", ExitMessage="no room\n")
        with pytest.raises(JobError, match=f"{JOB} failed: AlgorithmError: x; no room$"):
            self.finish(wire, project, terminal)
        self.described(wire, ProcessingJobStatus="Stopped")
        with pytest.raises(JobError, match="was stopped before it was done"):
            self.finish(wire, project, terminal)

    def test_a_job_that_runs_is_stopped_and_one_that_is_over_is_not(
        self, wire: Wire, project: str, terminal: Terminal
    ) -> None:
        stopped: list[Any] = []

        def answer(asked: Any) -> Answer:
            stopped.append(asked)
            return Answer.of_json({})

        wire.answers["StopProcessingJob"] = answer
        self.described(wire, ProcessingJobStatus="InProgress")
        processing_commands.stop(session(wire, configured(project), terminal), JOB)
        assert stopped == [{"ProcessingJobName": JOB}]
        self.described(wire, ProcessingJobStatus="Stopped")
        with pytest.raises(JobError, match="is over: its status is Stopped"):
            processing_commands.stop(session(wire, configured(project), terminal), JOB)

    def test_what_the_hosts_left_out_is_told_and_where_their_sets_are_not_the_split(
        self, wire: Wire, project: str, terminal: Terminal
    ) -> None:
        row = ClassCounts(name="cat", training=3, validation=4, evaluation=1)
        split = Split(
            directory="images", seed=0, fractions=Fractions(training=0.5, validation=0.25, evaluation=0.25),
            fingerprint="", linked=0, copied=0, classes=(row, row.model_copy(update={"name": "dog", "training": 4})),
            left_out=NOTHING_LEFT_OUT,
        )  # fmt: skip
        put_job(wire, project, record=split.model_dump_json())
        bad = tuple(BadFile(f"cat/{number}.jpg", "it is empty") for number in range(12))
        part = make_part(1).model_copy(update={"left_out": LeftOutCounts(other_files=3, bad_files=15, named=bad)})
        put(wire, f"{project}.output", f"prepared/{JOB}/parts/00001.json", body=part.model_dump_json())
        self.described(wire, ProcessingJobStatus="Completed")
        assert self.finish(wire, project, terminal)
        shown = told(terminal)
        assert "left out   3 without an image's extension" in shown
        assert "left out cat/9.jpg: it is empty" in shown
        where = f"s3://{project}.output/prepared/{JOB}/parts/"
        assert f"left out 5 more such files: {where} names the first 12" in " ".join(shown.split())
        assert "the validation set has 3 images of 'cat', and split.json tells of 4" in shown
        assert "the training set has" not in shown

    def test_ctrl_c_while_the_work_of_a_job_is_finished_tells_of_it(
        self, wire: Wire, project: str, called: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        put_job(wire, project)
        self.described(wire, ProcessingJobStatus="Completed")
        key = f"GET /{project}.output/prepared/{JOB}/order.json"
        wire.before[key] = [lambda: os.kill(os.getpid(), signal.SIGINT)]
        setting = f"project_name={project}"
        assert data_handler.main(["--prepare", "--on_sagemaker", JOB, "--set", setting]) == 1
        again = f"`python data_handler.py --set {setting} --prepare --on_sagemaker {JOB}` follows and finishes it"
        assert again in capsys.readouterr().err

    def test_a_job_that_is_not_there(self, wire: Wire, project: str, terminal: Terminal) -> None:
        with pytest.raises(JobError, match="there is no processing job"):
            self.finish(wire, project, terminal)

    def test_nothing_is_prepared_of_half_an_upload(self, wire: Wire, project: str, terminal: Terminal) -> None:
        put(wire, f"{project}.data", "training/cat/1.png", "validation/cat/1.png", MANIFEST)
        with pytest.raises(DataError, match="was begun and not finished: finish it by --upload_data --prune"):
            processing_commands.launch(session(wire, configured(project), terminal), 2)

    @pytest.mark.parametrize("count", [0, 101])
    def test_numbers_that_sagemaker_does_not_take(self, wire: Wire, terminal: Terminal, count: int) -> None:
        with pytest.raises(JobError, match=f"1 to 100 instances, not {count}"):
            processing_commands.launch(session(wire, configured(), terminal), count)


class TestRemoval:
    def listed(self, wire: Wire, status: str) -> None:
        summary = {"ProcessingJobName": JOB, "ProcessingJobArn": "arn:aws:sagemaker:eu-central-1:1:processing-job/x"}
        found = {**summary, "ProcessingJobStatus": status, "CreationTime": 0}
        wire.answers["ListProcessingJobs"] = lambda asked: Answer.of_json({"ProcessingJobSummaries": [found]})
        tags = [{"Key": "Project", "Value": "preparing-tests"}]
        wire.answers["ListTags"] = lambda asked: Answer.of_json({"Tags": tags})

    def test_records_and_logs_go(self, wire: Wire) -> None:
        logs = wire.aws().client("logs")
        logs.create_log_group(logGroupName=names.PROCESSING_JOBS_LOG_GROUP)
        for stream in (f"{JOB}/algo-1-1", "others/algo-1-1"):
            logs.create_log_stream(logGroupName=names.PROCESSING_JOBS_LOG_GROUP, logStreamName=stream)
        self.listed(wire, "Completed")
        calls = processing_removals(read_processing_holdings(wire.aws(), configured()))
        logs.delete_log_group(logGroupName=names.PROCESSING_JOBS_LOG_GROUP)
        assert [call.message for call in calls] == [
            f"delete the log {JOB}/algo-1-1",
            f"delete the record of the processing job {JOB}",
        ]
        others = read_processing_holdings(wire.aws(), configured("somebody-elses"))
        assert others.is_empty

    def test_a_job_that_runs_is_in_the_way(self, wire: Wire) -> None:
        self.listed(wire, "InProgress")
        with pytest.raises(JobError, match=f"--on_sagemaker {JOB} --stop, then delete"):
            read_processing_holdings(wire.aws(), configured())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--on_sagemaker", "2"], "--on_sagemaker goes with --prepare"),
        (["--prepare", "--local"], "--local goes with --ingest and --on_sagemaker"),
        (["--prepare", "--dry_run"], "--dry_run, --yes and --stop go with --on_sagemaker"),
    ],
)
def test_wrong_usage(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        data_handler.main(words)
    assert exited.value.code == 2
    assert expected in capsys.readouterr().err
