"""`python project_manager.py` up to the launch: buckets, role, upload, image; and what is said when it cannot."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import png
from tests.project import Project

DATA, OUTPUT = "shades-project.data", "shades-project.output"


@pytest.fixture(scope="module")
def initialized(split_project: Project) -> Project:
    """A project whose buckets, role and images are there."""
    split_project.manage_local("--init_s3_buckets")
    return split_project


def error(project: Project, *arguments: str) -> str:
    """The only line on standard error of a command that fails."""
    failed = project.manage(*arguments)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert re.fullmatch(r"error: .+\n", failed.stderr), failed.stderr
    return failed.stderr


class TestUsage:
    @pytest.mark.parametrize("arguments", [[], ["--local"], ["--set", "a", "--monitor"], ["--unknown"]])
    def test_wrong_usage_ends_with_2(self, project: Project, arguments: list[str]) -> None:
        done = project.manage(*arguments)
        assert done.returncode == 2
        assert "usage: project_manager.py" in done.stderr

    def test_help_imports_nothing_heavy(self, project: Project) -> None:
        done = project.run("-X", "importtime", "project_manager.py", "--help")
        assert done.returncode == 0
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert not imported & {"boto3", "pydantic", "rich", "numpy", "docker", "tensorflow"}

    def test_an_unknown_setting_has_a_suggestion(self, project: Project) -> None:
        text = error(project, "--launch_training", "--set", "training.learning_rat=1")
        assert "did you mean 'training.learning_rate'?" in text

    def test_missing_credentials_have_a_next_step(self, split_project: Project) -> None:
        assert "there are no AWS credentials" in error(
            split_project, "--init_s3_buckets", "--set", "aws.region=eu-central-1"
        )

    @pytest.mark.slow
    def test_a_missing_region_is_another_thing_than_missing_credentials(self, split_project: Project) -> None:
        credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        nowhere = Project(split_project.root, split_project.environment | credentials)
        for command in ("--init_s3_buckets", "--status"):
            assert "no AWS region is set: run `aws configure`, set aws.region" in error(nowhere, command)
        checked = nowhere.manage("--check")
        assert checked.returncode == 1
        assert re.search(r"^  problem    region: .*no AWS region is set", checked.stdout, re.MULTILINE)

    def test_an_error_has_its_traceback_only_with_debug(self, project: Project) -> None:
        failed = project.manage("--launch_training", "--config", "missing.py", "--debug")
        assert failed.returncode == 1
        assert "Traceback" in failed.stderr


class TestBeforeAnything:
    @pytest.mark.slow
    def test_the_policies_of_the_user_are_written_for_this_account(self, split_project: Project) -> None:
        done = split_project.manage_local("--user_policies")
        assert "user-policies/user.json has what the way to a trained model needs" in done.stdout
        written = {path.name: path.read_text() for path in (split_project.root / "user-policies").iterdir()}
        assert sorted(written) == ["user-delete.json", "user-further.json", "user.json"]
        for text in written.values():
            assert json.loads(text)["Version"] == "2012-10-17"
            assert "${" not in text
        assert "arn:aws:iam::123456789012:role/shades-project-sagemaker" in written["user.json"]

    def test_images_must_be_split_first(self, project: Project) -> None:
        assert "python data_handler.py" in error(
            project, "--local", "--init_s3_buckets", "--set", "data.directory=none"
        )

    def test_a_dry_run_shows_everything_and_changes_nothing(self, split_project: Project) -> None:
        flags = ("--init_s3_buckets", "--build_and_push_docker_image", "--launch_training")
        shown = split_project.manage_local("--dry_run", *flags, "--set", "project_name=never-made").stdout
        for command in (
            "aws s3api create-bucket --bucket never-made.data",
            "aws iam create-role --role-name never-made-sagemaker",
            "aws s3api put-object --bucket never-made.data",
            "aws ecr create-repository --repository-name never-made/shades",
            "aws ecr put-image",
            "aws sagemaker create-training-job --training-job-name shades-",
        ):
            assert command in shown
        assert not any(
            bucket["Name"].startswith("never-made") for bucket in split_project.client("s3").list_buckets()["Buckets"]
        )
        roles = split_project.client("iam").list_roles()["Roles"]
        assert not any(role["RoleName"].startswith("never-made") for role in roles)

    @pytest.mark.slow
    def test_a_launch_without_an_image_names_the_next_step(self, split_project: Project) -> None:
        assert "--build_and_push_docker_image" in error(
            split_project, "--local", "--launch_training", "--set", "project_name=never-made"
        )

    @pytest.mark.slow
    def test_monitoring_without_a_job_says_so(self, split_project: Project) -> None:
        assert "there is no training job of other yet" in error(
            split_project, "--local", "--monitor", "--set", "algorithm_name=other"
        )
        assert "there is no training job 'nothing'" in error(split_project, "--local", "--monitor", "nothing")


class TestInit:
    def test_both_buckets_are_private_encrypted_and_tls_only(self, initialized: Project) -> None:
        s3 = initialized.client("s3")
        for bucket in (DATA, OUTPUT):
            assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
            (rule,) = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
            assert rule["ObjectOwnership"] == "BucketOwnerEnforced"
            assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
            (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
            denied = {"Bool": {"aws:SecureTransport": "false"}}
            assert (statement["Effect"], statement["Condition"]) == ("Deny", denied)
            assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
            assert s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"]["TargetBucket"] == "shades-project.logs"
            lifecycle = {rule.pop("ID"): rule for rule in s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
            checkpoints = lifecycle.pop("delete-old-checkpoints", None)
            assert set(lifecycle) == {"abort-unfinished-uploads", "delete-old-versions"}
            assert (checkpoints is not None) == (bucket == OUTPUT)
            if checkpoints:
                assert checkpoints["Filter"] == {"Prefix": "checkpoints/"}
                assert checkpoints["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
            assert {"Key": "Project", "Value": "shades-project"} in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]

    def test_who_accesses_the_record_of_accesses_is_recorded_too(self, initialized: Project) -> None:
        s3, bucket = initialized.client("s3"), "shades-project.logs"
        log = {"TargetBucket": bucket, "TargetPrefix": f"{bucket}/"}
        assert s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"] == log
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert {"Days": 90} in [rule.get("Expiration") for rule in rules]

    def test_the_sets_are_uploaded_under_their_names(self, initialized: Project) -> None:
        listed = initialized.client("s3").list_objects_v2(Bucket=DATA)["Contents"]
        keys = {item["Key"] for item in listed}
        sets = initialized.root / "data" / "images-sets"
        files = {path.relative_to(sets).as_posix() for path in sets.rglob("[!.]*") if path.is_file()}
        assert keys == files | {"manifest.jsonl.gz"}

    def test_the_role_is_for_sagemaker_alone_and_names_its_resources(self, initialized: Project) -> None:
        iam = initialized.client("iam")
        role = iam.get_role(RoleName="shades-project-sagemaker")["Role"]
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "sagemaker.amazonaws.com"}
        assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
        policy = iam.get_role_policy(RoleName="shades-project-sagemaker", PolicyName="training")["PolicyDocument"]
        writes = [statement for statement in policy["Statement"] if "s3:PutObject" in statement["Action"]]
        assert [statement["Resource"] for statement in writes] == [f"arn:aws:s3:::{OUTPUT}/*"]

    def test_a_second_time_changes_nothing(self, initialized: Project) -> None:
        shown = initialized.manage_local("--init_s3_buckets").stdout
        assert not re.search(r"^  (created|changed|deleted|done)", shown, re.MULTILINE)
        assert "unchanged  21 images and records" in shown

    @pytest.mark.slow
    def test_a_changed_image_is_sent_again(self, initialized: Project) -> None:
        path = next((initialized.root / "data" / "images-sets" / "training" / "dark").iterdir())
        before = path.read_bytes()
        path.unlink()
        path.write_bytes(png(99))
        assert (
            "upload 1 images and records (0.0 MB) and their manifest"
            in initialized.manage_local("--init_s3_buckets").stdout
        )
        path.write_bytes(before)
        initialized.manage_local("--init_s3_buckets")

    @pytest.mark.slow
    def test_what_was_changed_by_hand_is_put_back(self, initialized: Project) -> None:
        s3 = initialized.client("s3")
        s3.delete_bucket_policy(Bucket=OUTPUT)
        assert (
            f"changed    set up the bucket {OUTPUT}: TLS only" in initialized.manage_local("--init_s3_buckets").stdout
        )
        assert s3.get_bucket_policy(Bucket=OUTPUT)["Policy"]

    @pytest.mark.slow
    def test_images_of_an_older_split_are_refused_until_pruned(self, initialized: Project) -> None:
        initialized.client("s3").put_object(Bucket=DATA, Key="training/dark/old.png", Body=png(1))
        assert "training/dark/old.png" in error(initialized, "--local", "--init_s3_buckets")
        initialized.manage_local("--init_s3_buckets", "--prune")
        keys = {item["Key"] for item in initialized.client("s3").list_objects_v2(Bucket=DATA)["Contents"]}
        assert "training/dark/old.png" not in keys

    @pytest.mark.slow
    def test_a_role_of_somebody_else_is_refused(self, initialized: Project) -> None:
        initialized.client("iam").create_role(RoleName="taken-name-sagemaker", AssumeRolePolicyDocument="{}")
        assert "somebody else's" in error(
            initialized, "--local", "--init_s3_buckets", "--set", "project_name=taken-name"
        )


class TestImage:
    def test_the_same_code_is_pushed_once(self, initialized: Project) -> None:
        assert "push the image" in initialized.manage_local("--build_and_push_docker_image").stdout
        assert "unchanged  image" in initialized.manage_local("--build_and_push_docker_image").stdout

    @pytest.mark.slow
    def test_a_key_that_comes_after_the_repository_is_told_to_be_without_effect(self, initialized: Project) -> None:
        initialized.manage_local("--build_and_push_docker_image")
        key = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
        setting = ("--set", f"storage.kms_key={key}")
        told = "is encrypted by ECR's own key, not by storage.kms_key, and that cannot be changed"
        remedy = "aws ecr delete-repository --repository-name shades-project/shades --force"
        warning = initialized.manage_local("--build_and_push_docker_image", *setting).stderr
        assert warning.startswith(f"warning: the repository shades-project/shades {told}")
        assert remedy in warning
        checked = initialized.manage("--local", "--check", *setting).stdout
        (line,) = [line for line in checked.splitlines() if "repository shades-project/shades:" in line]
        assert line.split()[0] == "warning"
        assert told in line
        assert remedy in line

    @pytest.mark.slow
    def test_a_changed_setting_needs_no_new_image(self, initialized: Project) -> None:
        initialized.manage_local("--build_and_push_docker_image")
        with (initialized.root / "container/modeling/config.py").open("a") as config:
            config.write("\n# a remark\n")
        assert "unchanged  image" in initialized.manage_local("--build_and_push_docker_image").stdout

    @pytest.mark.slow
    def test_with_other_names_in_the_config_the_image_is_pushed_for_these(self, initialized: Project) -> None:
        initialized.manage_local("--build_and_push_docker_image")
        config = initialized.root / "container/modeling/config.py"
        before = config.read_text()
        config.write_text(before.replace("shades-project", "second-project"))
        try:
            shown = initialized.manage_local("--build_and_push_docker_image").stdout
        finally:
            config.write_text(before)
        assert "push the image second-project/shades" in shown

    @pytest.mark.slow
    def test_a_job_does_not_train_on_another_split_than_the_present_one(self, initialized: Project) -> None:
        initialized.manage_local("--build_and_push_docker_image")
        record = initialized.root / "data/images-sets/split.json"
        before = record.read_text()
        record.write_text(before.replace('"seed": 0', '"seed": 1'))
        try:
            text = error(initialized, "--local", "--launch_training")
        finally:
            record.write_text(before)
        assert f"s3://{DATA} holds another split than data/images-sets" in text

    @pytest.mark.slow
    def test_a_job_does_not_train_on_other_shards_than_the_present_ones(self, initialized: Project) -> None:
        initialized.manage_local("--build_and_push_docker_image")
        assert initialized.run("data_handler.py", "--prepare").returncode == 0
        prepared = "data/images-sets-prepared"
        try:
            text = error(initialized, "--local", "--launch_training")
        finally:
            shutil.rmtree(initialized.root / prepared)
        assert f"s3://{DATA} holds no shards, and this machine's are in {prepared}: upload what is here by" in text

    def test_changed_code_is_another_image(self, initialized: Project) -> None:
        initialized.manage_local("--build_and_push_docker_image")
        code: Path = initialized.root / "container/modeling/run.py"
        before = code.read_text()
        code.write_text(before + "\n# a remark\n")
        assert "has no image of the present code" in error(initialized, "--local", "--launch_training")
        code.write_text(before)
