"""From a trained model to one that serves, and to nothing left running: every command of serving, for real."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_training_jobs import aws
from tests.project import Project

pytestmark = pytest.mark.slow

WAY = ("--init_s3_buckets", "--build_and_push_docker_image", "--launch_training", "--download_results", "--deploy")
OWN_FUNCTION = 'def output_fn(prediction, accept):\n    return "mine", "text/plain"\n'
# Long enough to tell the images apart.
LEARN = ("--set", "training.epochs=30", "--set", "training.patience=0", "--set", "training.learning_rate=0.01")
SETS = "data/images-sets/evaluation"
# Single precision, written and read with nine digits.
EQUAL = 1e-5


@pytest.fixture(scope="module")
def sagemaker(split_project: Project) -> Any:
    return split_project.client("sagemaker")


@pytest.fixture(scope="module")
def deployed(split_project: Project, sagemaker: Any) -> str:
    """The endpoint configuration by which a project's endpoint serves its one trained model."""
    shown = split_project.manage_local(*WAY, *LEARN).stdout
    assert "shades is in service" in shown
    return configuration(sagemaker)


@pytest.fixture
def served(split_project: Project, deployed: str, sagemaker: Any) -> Project:
    """A project with one trained model, which its endpoint serves, whatever the test before made of that."""
    if configuration(sagemaker) != deployed:
        split_project.manage_local("--deploy", trained_job(split_project))
        assert configuration(sagemaker) == deployed
    return split_project


@pytest.fixture
def own_function(served: Project) -> Iterator[tuple[str, ...]]:
    """The arguments that deploy a model with a function that came into being after the training."""
    file = served.root / "container" / "parts" / "later.py"
    file.write_text(OWN_FUNCTION)
    yield ("--deploy", "--set", "serving.output_fn=later:output_fn")
    file.unlink()


def trained_job(project: Project) -> str:
    (job,) = project.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    return str(job["TrainingJobName"])


def evaluated(project: Project) -> dict[str, dict[str, str]]:
    """The rows of the training job's predictions.csv that are of the evaluation set, by their paths."""
    with (project.root / "results" / trained_job(project) / "predictions.csv").open() as opened:
        return {row["path"]: row for row in csv.DictReader(opened) if row["set"] == "evaluation"}


def predicted(file: Path, folder: str = "") -> dict[str, dict[str, str]]:
    """The rows of another table of predictions, by their paths inside a folder."""
    with file.open() as opened:
        return {row["path"].removeprefix(f"{folder}/"): row for row in csv.DictReader(opened)}


def assert_equal(found: dict[str, dict[str, str]], expected: dict[str, dict[str, str]]) -> None:
    assert expected
    assert found.keys() == expected.keys()
    for path, row in expected.items():
        for column in ("label", "prediction"):
            assert found[path][column] == row[column]
        for column in ("probability_dark", "probability_light"):
            assert float(found[path][column]) == pytest.approx(float(row[column]), abs=EQUAL)


def test_the_endpoint_predicts_what_the_training_job_did(served: Project) -> None:
    shown = served.manage_local("--predict", SETS, "--output", "predicted.csv").stdout
    found, expected = predicted(served.root / "predicted.csv", SETS), evaluated(served)
    assert_equal(found, expected)
    assert len({row["probability_dark"] for row in expected.values()}) > 1
    right = sum(row["label"] == row["prediction"] for row in expected.values())
    assert f"{len(expected)} of {len(expected)} images predicted; {right} of {len(expected)} as their folders" in shown


def test_a_batch_transform_by_two_instances_does_too(served: Project) -> None:
    two = ("--set", "batch_transform.instance_count=2")
    shown = served.manage_local("--batch_transform", SETS, *two).stdout
    assert f"Classification of {len(evaluated(served))} images, labeled by folders" in shown
    assert "Confusion matrix" in shown
    found = re.search(r"the predictions are in (results/shades-batch-\d{6}-\d{6}/predictions\.csv)", shown)
    assert found
    assert_equal(predicted(served.root / found[1]), evaluated(served))
    listed = served.client("s3").list_objects_v2(Bucket="shades-project.data", Prefix="transforms/")
    assert listed["KeyCount"] == 0


@pytest.mark.long
def test_images_on_s3_are_predicted_where_they_are(served: Project) -> None:
    shown = served.manage_local("--batch_transform", "s3://shades-project.data/evaluation", "--no_follow").stdout
    (job,) = set(re.findall(r"shades-batch-\d{6}-\d{6}", shown))
    served.manage_local("--monitor", job)
    served.manage_local("--transform_results", job)
    assert_equal(predicted(served.root / "results" / job / "predictions.csv"), evaluated(served))
    images = served.client("s3").list_objects_v2(Bucket="shades-project.data", Prefix="evaluation/")
    assert images["KeyCount"] == len(evaluated(served))


def test_the_aws_command_line_is_answered(served: Project, tmp_path: Path) -> None:
    path, row = next(iter(evaluated(served).items()))
    image = served.root / SETS / path
    runtime = ("sagemaker-runtime", "invoke-endpoint", "--endpoint-name", "shades")
    aws(
        served,
        *runtime,
        "--content-type",
        "image/png",
        "--accept",
        "application/json;verbose",
        "--body",
        f"fileb://{image}",
        str(tmp_path / "answer.json"),
    )
    (answer,) = json.loads((tmp_path / "answer.json").read_text())["predictions"]
    assert answer["predicted_label"] == row["prediction"]
    assert answer["labels"] == ["dark", "light"]
    assert answer["probabilities"][0] == pytest.approx(float(row["probability_dark"]), abs=EQUAL)


def test_python_is_answered(served: Project) -> None:
    path, row = next(iter(evaluated(served).items()))
    program = (
        "import json, sys\n"
        "import numpy as np\n"
        "from PIL import Image\n"
        "from manager.predictor import Predictor\n"
        "predictor = Predictor('shades')\n"
        "found = [predictor.predict(sys.argv[1]), predictor.predict(np.asarray(Image.open(sys.argv[1])))]\n"
        "print(json.dumps([[one.label, dict(one.probabilities)] for one in found]))\n"
    )
    account = {
        "AWS_ENDPOINT_URL": served.endpoint_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    done = Project(served.root, served.environment | account).run("-c", program, f"{SETS}/{path}")
    assert done.returncode == 0, done.stderr
    for label, probabilities in json.loads(done.stdout):
        assert label == row["prediction"]
        assert probabilities["dark"] == pytest.approx(float(row["probability_dark"]), abs=EQUAL)


def test_once_more_changes_nothing_and_status_warns(served: Project) -> None:
    before = endpoint(served)
    shown = served.manage_local("--deploy", trained_job(served)).stdout
    assert "unchanged  endpoint shades" in shown
    assert endpoint(served)["LastModifiedTime"] == before["LastModifiedTime"]
    warned = served.manage_local("--status")
    assert re.search(
        r"warning: the endpoint shades is InService with the model shades-\S+ on 1 x ml\.m5\.xlarge.* until `python "
        r"project_manager\.py --local --undeploy`",
        warned.stderr,
    )


def test_what_is_no_image_is_named_and_the_rest_goes_on(served: Project) -> None:
    path = next(iter(evaluated(served)))
    done = served.manage("--local", "--predict", "data_handler.py", f"{SETS}/{path}")
    assert done.returncode == 1
    assert "warning: data_handler.py: " in done.stderr
    assert "1 of 2 images predicted" in done.stdout
    assert "error: 1 of 2 images was not predicted: see above" in done.stderr


@pytest.mark.long
def test_other_settings_take_over_in_place(served: Project) -> None:
    sagemaker = served.client("sagemaker")
    before = endpoint(served)
    served.manage_local("--deploy", "--set", "serving.batch_size=2", "--set", "endpoint.instance_count=2")
    after = endpoint(served)
    assert after["EndpointConfigName"] != before["EndpointConfigName"]
    assert after["CreationTime"] == before["CreationTime"]
    (config,) = sagemaker.list_endpoint_configs()["EndpointConfigs"]
    assert config["EndpointConfigName"] == after["EndpointConfigName"]
    (model,) = sagemaker.list_models()["Models"]
    described = sagemaker.describe_model(ModelName=model["ModelName"])
    assert described["PrimaryContainer"]["Environment"] == {"SERVING_BATCH_SIZE": "2"}
    served.manage_local("--predict", SETS, "--output", "again.csv")
    assert_equal(predicted(served.root / "again.csv", SETS), evaluated(served))


@pytest.mark.long
def test_a_function_that_the_image_lacks_leaves_the_other_model_at_work_until_it_is_pushed(
    served: Project, own_function: tuple[str, ...]
) -> None:
    before = endpoint(served)
    failed = served.manage("--local", *own_function)
    assert failed.returncode == 1
    assert "warning: your functions of serving are those of the image that trained the model" in failed.stderr
    assert re.search(r"error: shades was not changed, and serves by \S+ as before: ", failed.stderr)
    assert "later" in failed.stdout
    assert endpoint(served)["EndpointConfigName"] == before["EndpointConfigName"]
    served.manage_local("--predict", SETS)

    served.manage_local("--build_and_push_docker_image", *own_function, "--set", "endpoint.image=present")
    refused = served.manage("--local", "--predict", SETS)
    assert refused.returncode == 1
    assert "an answer is none of application/json;verbose: 'mine'" in refused.stderr


def test_nothing_is_left_running_though_a_prediction_failed(served: Project) -> None:
    refused = served.manage("--local", "--predict", "data_handler.py", "--undeploy")
    assert refused.returncode == 1
    assert "error: 1 of 1 image was not predicted" in refused.stderr
    sagemaker = served.client("sagemaker")
    assert sagemaker.list_endpoints()["Endpoints"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert sagemaker.list_models()["Models"] == []
    # This project's AWS runs no containers, of which tests/docker tells.
    assert serving_processes(served) == []
    failed = served.manage("--local", "--predict", SETS)
    assert failed.returncode == 1
    assert "error: there is no endpoint 'shades' in this account and region: --deploy makes one" in failed.stderr


def configuration(sagemaker: Any) -> str:
    """The name of the endpoint configuration that an endpoint is in service with; empty: there is none."""
    for found in sagemaker.list_endpoints()["Endpoints"]:
        if found["EndpointStatus"] == "InService":
            return str(sagemaker.describe_endpoint(EndpointName=found["EndpointName"])["EndpointConfigName"])
    return ""


def endpoint(project: Project) -> Any:
    return project.client("sagemaker").describe_endpoint(EndpointName="shades")


def serving_processes(project: Project) -> list[str]:
    """The command lines of the programs `serve` of this project's AWS that run on this machine."""
    commands = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            # It ended meanwhile.
            continue
        if str(project.root) in command and re.search(r"/serve( |$)", command):
            commands.append(command)
    return commands
