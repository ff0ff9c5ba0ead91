"""`data.pretrained` and `--preset`, by the command line: the request, the upload, the role, the tag of the image."""

import json
import re
from pathlib import Path
from typing import Any

import docker
import pytest

from container.modeling.config_file import load_settings
from container.modeling.settings import Settings
from manager import image, names, role, training
from manager.aws import Aws
from manager.docker_engine import Engine
from manager.errors import TemplateError
from tests.project import ROOT, Project

PLACE = names.Place("123456789012", "eu-central-1")
USE = ("--set", "model.initial_weights=pretrained")
LAUNCH = ("--local", "--dry_run", "--init_s3_buckets", "--build_and_push_docker_image", "--launch_training")


def settings(**assignments: str) -> Settings:
    return load_settings(assignments={name.replace("__", "."): text for name, text in assignments.items()})


def dry_request(project: Project, *arguments: str) -> tuple[Any, str]:
    """The request that a dry run of a launch shows, and all that it shows."""
    done = project.manage(*LAUNCH, *arguments)
    assert done.returncode == 0, done.stderr
    written = re.search(r"training-job-config.json <<'EOF'\n(.*?)\nEOF", done.stdout, re.DOTALL)
    assert written
    return json.loads(written[1]), done.stdout


def channels(request: Any) -> dict[str, Any]:
    return {entry["ChannelName"]: entry for entry in request["InputDataConfig"]}


def refusal(project: Project, *arguments: str) -> str:
    failed = project.manage(*LAUNCH, *arguments)
    assert failed.returncode == 1
    return failed.stderr


@pytest.mark.slow
class TestChannel:
    def test_there_is_none_without_the_setting(self, split_project: Project) -> None:
        request, _ = dry_request(split_project)
        assert list(channels(request)) == ["training", "validation", "evaluation"]

    def test_a_file_of_this_machine_is_uploaded_under_its_content(self, split_project: Project) -> None:
        (split_project.root / "old.keras").write_bytes(b"an earlier model")
        use = (*USE, "--set", "data.pretrained=old.keras")
        request, shown = dry_request(split_project, *use)
        channel = channels(request)["pretrained"]
        uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
        assert re.fullmatch(r"s3://shades-project\.data/pretrained/[0-9a-f]{16}/old\.keras", uri)
        assert channel["InputMode"] == "File"
        assert "aws s3api put-object --bucket shades-project.data --key pretrained/" in shown

        # What lies there is not sent again, and is no image that --prune would delete.
        split_project.manage_local("--init_s3_buckets")
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        split_project.client("s3").put_object(Bucket=bucket, Key=key, Body=b"an earlier model")
        _, shown = dry_request(split_project, *use, "--prune")
        assert f"earlier model {uri}" in shown
        assert "pretrained/" not in "".join(re.findall(r"aws s3api (?:put|delete)-object.*", shown))

    def test_a_job_is_known_by_its_name(self, split_project: Project) -> None:
        split_project.manage_local("--init_s3_buckets")
        key = "shades-2030-01-02-03-04-05/output/model.tar.gz"
        split_project.client("s3").put_object(Bucket="shades-project.output", Key=key, Body=b"x")
        request, _ = dry_request(split_project, *USE, "--set", "data.pretrained=shades-2030-01-02-03-04-05")
        source = channels(request)["pretrained"]["DataSource"]["S3DataSource"]
        assert source == {"S3DataType": "S3Prefix", "S3Uri": f"s3://shades-project.output/{key}"}
        text = refusal(split_project, *USE, "--set", "data.pretrained=shades-2030")
        assert "there is no s3://shades-project.output/shades-2030/output/model.tar.gz; --status shows" in text

    def test_a_missing_file_is_named(self, split_project: Project) -> None:
        text = refusal(split_project, *USE, "--set", "data.pretrained=none/model.tar.gz")
        assert "none/model.tar.gz cannot be read: No such file" in text

    @pytest.mark.parametrize(
        ("assignments", "message"),
        [
            (("model.initial_weights=pretrained",), "model.initial_weights=pretrained needs the channel of that name"),
            (("data.pretrained=a-job",), "data.pretrained=a-job is used by nothing: set model.initial_weights"),
            (
                ("data.pretrained=ftp://a/model.h5",),
                "must be the name of a training job, an s3://bucket/key, or",
            ),
        ],
    )
    def test_settings_that_do_not_go_together_are_refused_before_anything(
        self, split_project: Project, assignments: tuple[str, ...], message: str
    ) -> None:
        overrides = [word for text in assignments for word in ("--set", text)]
        assert message in refusal(split_project, *overrides)

    def test_a_template_without_a_place_for_it_is_named(self, tmp_path: Path) -> None:
        template = json.loads((ROOT / training.TEMPLATE).read_text())
        template["InputDataConfig"].pop()
        (tmp_path / "t.json").write_text(json.dumps(template))
        with pytest.raises(TemplateError, match=r"t\.json has no channel 'pretrained'"):
            training.render_request(settings(), PLACE, "image", "job", tmp_path / "t.json", "s3://a/b")


class TestRole:
    def statements(self, **assignments: str) -> dict[str, Any]:
        policy = role.execution_policy(settings(model__initial_weights="pretrained", **assignments), PLACE)
        return {statement["Sid"]: statement for statement in policy["Statement"]}

    def test_it_may_read_a_model_in_another_bucket_and_nothing_else_there(self) -> None:
        statements = self.statements(data__pretrained="s3://other-bucket/models/old.tar.gz")
        assert statements["ReadTheEarlierModel"]["Resource"] == "arn:aws:s3:::other-bucket/models/old.tar.gz*"
        condition = {"StringLike": {"s3:prefix": "models/old.tar.gz*"}}
        assert statements["FindTheEarlierModel"]["Condition"] == condition

    @pytest.mark.parametrize("place", ["a-job", "s3://handwritten-digits.output/a-job/output/model.tar.gz"])
    def test_the_projects_own_buckets_need_no_more(self, place: str) -> None:
        assert not {sid for sid in self.statements(data__pretrained=place) if "EarlierModel" in sid}


class TestBackbonesInTheImage:
    def test_they_are_an_argument_of_the_build_and_a_part_of_the_tag(self) -> None:
        container = ROOT / "container"
        chosen = settings(training_image__backbones='["ResNet50", "MobileNetV2"]')
        backbones = chosen.training_image.backbones
        tags = {image.content_tag(container, "cpu", names) for names in ((), backbones, backbones[::-1])}
        assert len(tags) == 2
        assert image.content_tag(container, "directory", backbones) == image.content_tag(container, "directory")

        engine = Engine(docker.DockerClient("tcp://127.0.0.1:9", version="1.41"))
        planned = image.Image("repository", "tag")
        plan = image.plan_docker_image(chosen, engine, container, "cpu", planned, Aws(None, ""))  # type: ignore[arg-type]
        (build, _) = plan.calls
        assert isinstance(build, image.DockerCall)
        assert "IMAGENET_BACKBONES=MobileNetV2 ResNet50" in build.command

    def test_the_dockerfile_downloads_them_before_the_code_comes(self) -> None:
        lines = (ROOT / "container" / "Dockerfile").read_text().splitlines()
        positions = [
            next(number for number, line in enumerate(lines) if line.startswith(beginning))
            for beginning in (
                "ARG IMAGENET_BACKBONES=",
                "COPY modeling/networks/imagenet.py",
                "RUN /opt/venv/bin/python /tmp/imagenet.py /opt/imagenet ${IMAGENET_BACKBONES}",
                "COPY --from=build /opt/imagenet /opt/program/imagenet",
                "COPY . /opt/program/container/",
            )
        ]
        assert positions == sorted(positions)

    @pytest.mark.slow
    def test_a_job_without_a_network_needs_them_there(self, split_project: Project) -> None:
        isolated = ("--preset", "fine_tune", "--set", "training_job.network_isolation=true")
        assert 'training_image.backbones=["MobileNetV2"]' in refusal(split_project, *isolated)
        dry_request(split_project, *isolated, "--set", 'training_image.backbones=["MobileNetV2"]')


class TestPresets:
    @pytest.mark.slow
    def test_one_lies_between_the_config_file_and_what_is_set(self, split_project: Project) -> None:
        request, shown = dry_request(split_project, "--preset", "fine_tune", "--set", "training.epochs=3")
        assert "preset fine_tune replaces settings of config.py: image.height 8 -> 224, " in shown
        assert "training.epochs" not in shown.partition("\n")[0]
        sent = request["HyperParameters"]
        assert sent["model.name"] == "fine_tune"
        # config.py has 8x8 pixels; the preset's 224 are the default, which is not sent.
        assert "image.height" not in sent
        assert sent["training.epochs"] == "3"
        # config.py's word where the preset has none.
        assert sent["model.filters"] == "[2, 2, 2, 2, 2]"

    def test_an_unknown_one_has_a_suggestion(self, split_project: Project) -> None:
        assert "there is no preset 'fine_tun': did you mean 'fine_tune'?" in refusal(
            split_project, "--preset", "fine_tun"
        )
