"""What a job can cost, by a price list that answers like AWS's, and what is asked before it is launched."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime

import pytest

from container.modeling.config_file import load_settings
from manager import image, names, pricing
from manager.aws import Aws
from manager.plan import ApiCall
from manager.pricing import Machines, Price
from tests.aws import eventually
from tests.manager.price_list import answer_with, offer
from tests.manager.wire import Answer, Wire, listening
from tests.project import Project

REQUEST = {
    "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}


class TestPrice:
    def test_it_is_that_of_training_on_demand_in_the_region(self, wire: Wire) -> None:
        offers = [
            offer("EUC1-Train:ml.g5.xlarge", "1.7600000000"),
            offer("EUC1-SpotTrain:ml.g5.xlarge", "0.5"),
            offer("EUC1-Train:ml.g5.xlarge.extra", "9"),
        ]
        asked = answer_with(wire, *offers)
        assert pricing.training_price(wire.aws(), "ml.g5.xlarge") == Price(1.76)
        (question,) = asked
        assert question["ServiceCode"] == "AmazonSageMaker"
        assert {(found["Field"], found["Value"]) for found in question["Filters"]} == {
            ("regionCode", "eu-central-1"),
            ("usagetype", "Train:ml.g5.xlarge"),
        }

    @pytest.mark.parametrize(("usage", "price"), [("Train", 1.0), ("Host", 2.0), ("Tsform", 3.0)])
    def test_serving_has_prices_of_its_own(self, usage: pricing.Usage, price: float, wire: Wire) -> None:
        offers = [f"EUC1-{kind}:ml.m5.xlarge" for kind in ("Train", "Host", "Tsform", "AsyncInf")]
        asked = answer_with(wire, *(offer(usage_type, str(n)) for n, usage_type in enumerate(offers, 1)))
        machines = Machines("ml.m5.xlarge", 2)
        cost = pricing.hourly_cost(wire.aws(), machines, usage)
        assert cost == pricing.HourlyCost(machines, 2 * price)
        assert str(cost) == f"2 x ml.m5.xlarge: {2 * price:.2f} USD per hour"
        assert {"Type": "CONTAINS", "Field": "usagetype", "Value": f"{usage}:ml.m5.xlarge"} in asked[0]["Filters"]

    def test_of_several_the_highest_counts(self, wire: Wire) -> None:
        answer_with(wire, offer("EUC1-Train:ml.m5.large", "0.1"), offer("EUC1-Train:ml.m5.large", "0.2"))
        assert pricing.training_price(wire.aws(), "ml.m5.large") == Price(0.2)

    @pytest.mark.parametrize(
        ("offers", "why"),
        [
            ((), "the price list has no ml.g5.xlarge in eu-central-1"),
            ((offer("EUC1-Train:ml.g5.xlarge", "9", "CNY"),), "the price list has no ml.g5.xlarge in eu-central-1"),
            ((offer("EUC1-Train:ml.g5.xlarge", "9", unit="GB"),), "the price list has no ml.g5.xlarge in eu-central-1"),
            (("{}",), "the price list cannot be understood"),
            (("<html>",), "the price list cannot be understood"),
        ],
    )
    def test_without_an_offer_it_is_unknown(self, offers: tuple[str, ...], why: str, wire: Wire) -> None:
        answer_with(wire, *offers)
        assert pricing.training_price(wire.aws(), "ml.g5.xlarge") == Price(None, why)

    def test_without_the_permission_it_is_unknown(self, wire: Wire) -> None:
        refusal = {"__type": "AccessDeniedException", "Message": "no"}
        wire.answers["GetProducts"] = lambda _: Answer.of_json(refusal, 400)
        price = pricing.training_price(wire.aws(), "ml.g5.xlarge")
        assert price == Price(None, "pricing:GetProducts: AccessDeniedException")

    def test_on_the_aws_of_this_machine_it_is_unknown(self, wire: Wire) -> None:
        assert pricing.training_price(wire.aws(), "ml.g5.xlarge").usd_per_hour is None

    def test_in_china_it_is_unknown(self, wire: Wire) -> None:
        asked = answer_with(wire, offer("CNN1-Train:ml.g5.xlarge", "9"))
        assert pricing.training_price(wire.aws("cn-north-1"), "ml.g5.xlarge").usd_per_hour is None
        assert asked == []


class TestMostCost:
    @pytest.fixture
    def aws(self, wire: Wire) -> Aws:
        answer_with(wire, offer("EUC1-Train:ml.g5.xlarge", "1.50"), offer("EUC1-Train:ml.m5.large", "0.10"))
        return wire.aws()

    def test_all_instances_for_all_the_time_that_they_may_run(self, aws: Aws) -> None:
        most = pricing.most_cost(aws, REQUEST)
        assert most.usd == pytest.approx(3.0)
        assert str(most) == "2 x ml.g5.xlarge for at most 1:00:00: at most 3.00 USD"

    def test_instances_that_are_kept_are_paid_for(self, aws: Aws) -> None:
        resources = REQUEST["ResourceConfig"] | {"KeepAlivePeriodInSeconds": 1800}
        assert pricing.most_cost(aws, REQUEST | {"ResourceConfig": resources}).usd == pytest.approx(4.5)

    def test_the_waiting_of_a_spot_job_costs_nothing(self, aws: Aws) -> None:
        stopping = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 36000}
        request = REQUEST | {"StoppingCondition": stopping, "EnableManagedSpotTraining": True}
        assert pricing.most_cost(aws, request).usd == pytest.approx(3.0)

    def test_groups_of_different_instances_add_up(self, aws: Aws) -> None:
        groups = [
            {"InstanceGroupName": "a", "InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
            {"InstanceGroupName": "b", "InstanceType": "ml.m5.large", "InstanceCount": 4},
        ]
        most = pricing.most_cost(aws, REQUEST | {"ResourceConfig": {"InstanceGroups": groups}})
        assert most.machines == (Machines("ml.g5.xlarge", 1), Machines("ml.m5.large", 4))
        assert most.usd == pytest.approx(1.9)

    def test_one_unknown_price_makes_the_sum_unknown(self, aws: Aws) -> None:
        groups = [{"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}, {"InstanceType": "ml.x", "InstanceCount": 1}]
        most = pricing.most_cost(aws, REQUEST | {"ResourceConfig": {"InstanceGroups": groups}})
        assert most.usd is None
        assert "at an unknown price (the price list has no ml.x" in str(most)


@pytest.fixture(scope="module")
def priced(split_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project on an account that has a price list, with an image that has nothing to do."""
    split_project.manage_local("--init_s3_buckets")
    program = tmp_path_factory.mktemp("image")
    (program / "train").write_text("#!/bin/sh\n")
    (program / "train").chmod(0o755)
    settings, ecr = load_settings(split_project.root / "container/modeling/config.py"), split_project.client("ecr")
    ecr.create_repository(repositoryName=names.repository(settings))
    for flavor in ("gpu", "directory"):
        tag = image.content_tag(split_project.root / "container", flavor)
        (push,) = image.plan_directory_image(settings, program, tag).calls
        assert isinstance(push, ApiCall)
        ecr.put_image(**push.parameters)
    with listening(split_project.endpoint_url) as wire:
        answer_with(wire, offer("USE1-Train:ml.g5.xlarge", "10"))
        account = {
            "AWS_ENDPOINT_URL": wire.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        yield Project(split_project.root, split_project.environment | account)


class TestQuestion:
    """At a launch by the command line, as on a real account: without --local, by the environment's endpoint."""

    def launched(self, project: Project) -> int:
        """How many jobs there are, once another can be launched: two of one second would have the same name."""
        settings = load_settings(project.root / "container/modeling/config.py")
        jobs = project.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
        known = {job["TrainingJobName"] for job in jobs}
        eventually(lambda: names.training_job(settings, datetime.now()) not in known)
        return len(jobs)

    def test_with_nobody_to_answer_an_expensive_job_is_not_launched(self, priced: Project) -> None:
        before = self.launched(priced)
        failed = priced.manage("--launch_training", "--no_follow")
        assert failed.returncode == 1
        assert "1 x ml.g5.xlarge for at most 24:00:00: at most 240.00 USD" in failed.stdout
        assert "more than 50.00 (aws.ask_above_usd)" in failed.stderr
        assert "--yes" in failed.stderr
        assert self.launched(priced) == before

    @pytest.mark.slow
    @pytest.mark.parametrize("arguments", [["--yes"], ["--set", "aws.ask_above_usd=240"]])
    def test_scripts_say_yes_or_set_a_higher_limit(self, arguments: list[str], priced: Project) -> None:
        before = self.launched(priced)
        done = priced.manage("--launch_training", "--no_follow", *arguments)
        assert done.returncode == 0, done.stderr
        assert self.launched(priced) == before + 1
        assert "console.aws.amazon.com/sagemaker/home?region=us-east-1#/jobs/shades-" in done.stdout

    @pytest.mark.slow
    @pytest.mark.parametrize(("answer", "launches"), [("yes", 1), ("no", 0), ("", 0)])
    def test_a_person_is_asked(self, answer: str, launches: int, priced: Project) -> None:
        before = self.launched(priced)
        person, program = pty.openpty()
        try:
            os.write(person, f"{answer}\n".encode())
            done = subprocess.run(
                [sys.executable, "project_manager.py", "--launch_training", "--no_follow"],
                cwd=priced.root,
                env=priced.environment,
                stdin=program,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            os.close(person)
            os.close(program)
        assert "This can cost 240.00 USD" in done.stdout
        assert done.returncode == 1 - launches
        assert self.launched(priced) == before + launches

    @pytest.mark.slow
    def test_a_dry_run_asks_nothing(self, priced: Project) -> None:
        done = priced.manage("--launch_training", "--dry_run")
        assert done.returncode == 0, done.stderr
        assert "aws sagemaker create-training-job" in done.stdout

    @pytest.mark.slow
    def test_where_the_price_is_unknown_nothing_is_asked(self, priced: Project, split_project: Project) -> None:
        done = split_project.manage_local("--launch_training", "--no_follow", "--set", "aws.ask_above_usd=0")
        assert "at an unknown price" in done.stdout
        assert "console.aws.amazon.com" not in done.stdout
