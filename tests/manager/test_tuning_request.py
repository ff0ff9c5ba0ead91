"""The rendered CreateHyperParameterTuningJob request: what AWS takes, made of what a training job would run."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.validate import ParamValidator

from container.errors import SettingsError
from container.modeling.config_file import load_settings
from container.modeling.settings import Settings
from manager import names, training, tuning
from manager.aws import Aws, connect_local
from manager.errors import TemplateError
from manager.tuning_ranges import read_ranges

ROOT = Path(__file__).resolve().parents[2]
PLACE = names.Place("123456789012", "eu-central-1")
IMAGE = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/p@sha256:{'0' * 64}"
RATE = '{"minimum": 0.0001, "maximum": 0.1, "scaling": "Logarithmic"}'
BATCH = '{"values": [32, 64, 128]}'
EPOCHS = '{"minimum": 6, "maximum": 10}'
MIXED = f'{{"training.learning_rate": {RATE}, "training.batch_size": {BATCH}, "training.epochs": {EPOCHS}}}'
JOB = "digits-cnn-300102-030405"


@pytest.fixture(scope="module")
def aws() -> Aws:
    """An account that is never asked for anything."""
    return connect_local(load_settings(), "http://127.0.0.1:9")


def configured(ranges: str = MIXED, **assignments: str) -> Settings:
    given = {name.replace("__", "."): text for name, text in assignments.items()}
    return load_settings(assignments={"tuning.ranges": ranges, **given})


def render(aws: Aws, settings: Settings, template: Path = ROOT / tuning.TEMPLATE, **fields: Any) -> Any:
    """The request of these settings; the training job's template has more fields."""
    parameters = read_ranges(settings, ROOT / "container" / "parts")
    trained = training.render_request(settings, PLACE, IMAGE, JOB, ROOT / training.TEMPLATE) | fields
    return tuning.render_request(settings, JOB, tuning.define_trials(aws, trained, parameters), parameters, template)


def problems(aws: Aws, request: Any) -> str:
    """What botocore's model of the API finds wrong."""
    shape = aws.client("sagemaker").meta.service_model.operation_model("CreateHyperParameterTuningJob").input_shape
    return str(ParamValidator().validate(request, shape).generate_report())


@pytest.mark.parametrize(
    ("ranges", "assignments"),
    [
        (MIXED, {}),
        (MIXED, {"tuning__strategy": "Random", "tuning__jobs": "800", "tuning__early_stopping": "true"}),
        (MIXED, {"tuning__strategy": "Hyperband"}),
        (f'{{"training.batch_size": {BATCH}}}', {"tuning__strategy": "Grid"}),
        (MIXED, {"training_job__spot": "true", "training_job__instance_count": "2", "aws__customer": "Ada"}),
    ],
)
def test_the_request_is_one_that_aws_takes(ranges: str, assignments: dict[str, str], aws: Aws) -> None:
    request = render(aws, configured(ranges, **assignments))
    assert problems(aws, request) == ""
    assert "${" not in json.dumps(request)


def test_what_is_tuned_is_no_static_hyperparameter(aws: Aws) -> None:
    request = render(aws, configured(training__learning_rate="0.5", training__seed="7"))
    static = request["TrainingJobDefinition"]["StaticHyperParameters"]
    assert static["training.seed"] == "7"
    assert static["image.channels"] == "1"
    assert not {"training.learning_rate", "training.batch_size", "training.epochs"} & set(static)
    ranges = request["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert ranges["CategoricalParameterRanges"] == [{"Name": "training.batch_size", "Values": ["32", "64", "128"]}]
    assert [varied["Name"] for varied in ranges["IntegerParameterRanges"]] == ["training.epochs"]


def test_trials_run_what_a_training_job_would(aws: Aws) -> None:
    settings = configured(training_job__max_runtime_seconds="777", training_job__volume_size_gb="99")
    definition = render(aws, settings)["TrainingJobDefinition"]
    trained = training.render_request(settings, PLACE, IMAGE, JOB, ROOT / training.TEMPLATE)
    for field in ("AlgorithmSpecification", "RoleArn", "InputDataConfig", "ResourceConfig", "StoppingCondition"):
        assert definition[field] == trained[field]
    assert not {"TrainingJobName", "HyperParameters", "Tags"} & set(definition)


def test_kinds_of_ranges_that_nobody_wants_are_left_out(aws: Aws) -> None:
    config = render(aws, configured(f'{{"training.epochs": {EPOCHS}}}'))["HyperParameterTuningJobConfig"]
    assert list(config["ParameterRanges"]) == ["IntegerParameterRanges"]
    assert "StrategyConfig" not in config


def test_only_trials_that_may_be_interrupted_share_a_folder_of_checkpoints(aws: Aws) -> None:
    assert "CheckpointConfig" not in render(aws, configured())["TrainingJobDefinition"]
    definition = render(aws, configured(training_job__spot="true"))["TrainingJobDefinition"]
    assert definition["CheckpointConfig"]["S3Uri"] == f"s3://handwritten-digits.output/checkpoints/{JOB}/"


def test_what_a_tuning_job_cannot_have_is_left_out_and_told(aws: Aws) -> None:
    settings = configured()
    trained = training.render_request(settings, PLACE, IMAGE, JOB, ROOT / training.TEMPLATE)
    trained["AlgorithmSpecification"]["ContainerArguments"] = ["x"]
    trained["ExperimentConfig"] = {"ExperimentName": "e"}
    definition = tuning.define_trials(aws, trained, read_ranges(settings, ROOT / "container" / "parts"))
    assert set(definition.left_out) == {"ExperimentConfig", "AlgorithmSpecification.ContainerArguments"}
    assert "ContainerArguments" not in definition.request["AlgorithmSpecification"]
    assert definition.request["AlgorithmSpecification"]["TrainingImage"] == IMAGE


@pytest.mark.parametrize(
    ("objective", "direction", "expected"),
    [
        ("best_val_accuracy", "auto", "Maximize"),
        ("best_val_loss", "auto", "Minimize"),
        ("best_val_loss", "Maximize", "Maximize"),
    ],
)
def test_a_loss_is_minimized_unless_told_otherwise(objective: str, direction: str, expected: str, aws: Aws) -> None:
    request = render(aws, configured(tuning__objective=objective, tuning__direction=direction))
    found = request["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    assert found == {"MetricName": objective, "Type": expected}


def test_the_objective_must_be_a_metric_of_the_job(aws: Aws) -> None:
    with pytest.raises(SettingsError, match="did you mean 'best_val_accuracy'"):
        render(aws, configured(tuning__objective="best_val_acuracy"))
    with pytest.raises(SettingsError, match="template defines loss, accuracy"):
        render(aws, configured(tuning__objective="wisdom"))


class TestLimits:
    def test_a_grid_has_as_many_jobs_as_combinations(self, aws: Aws) -> None:
        ranges = f'{{"training.batch_size": {BATCH}}}'
        limits = render(aws, configured(ranges, tuning__strategy="Grid", tuning__parallel="9"))
        assert limits["HyperParameterTuningJobConfig"]["ResourceLimits"] == {
            "MaxNumberOfTrainingJobs": 3,
            "MaxParallelTrainingJobs": 3,
        }

    def test_a_grid_that_is_too_large_is_refused(self, aws: Aws) -> None:
        seeds = json.dumps({"values": list(range(30))})
        ranges = f'{{"training.seed": {seeds}, "training.patience": {seeds}}}'
        with pytest.raises(SettingsError, match="900 combinations to try; SageMaker takes at most 750"):
            render(aws, configured(ranges, tuning__strategy="Grid"))

    def test_only_a_random_search_may_have_more_than_750_jobs(self) -> None:
        with pytest.raises(SettingsError, match="jobs=751 must be at most 750 with Bayesian"):
            configured(tuning__jobs="751")

    def test_hyperband_stops_by_itself(self) -> None:
        with pytest.raises(SettingsError, match="leave out early_stopping"):
            configured(tuning__strategy="Hyperband", tuning__early_stopping="true")

    @pytest.mark.parametrize(
        ("assignments", "most"),
        [
            ({}, 10),
            ({"tuning__max_epochs": "8"}, 8),
            ({"model__name": "fine_tune", "fine_tuning__epochs": "5"}, 15),
        ],
    )
    def test_hyperband_knows_how_long_a_trial_may_train(self, assignments: dict[str, str], most: int, aws: Aws) -> None:
        config = render(aws, configured(tuning__strategy="Hyperband", **assignments))["HyperParameterTuningJobConfig"]
        assert config["StrategyConfig"]["HyperbandStrategyConfig"] == {"MinResource": 1, "MaxResource": most}

    def test_hyperband_cannot_train_longer_than_trials_do(self, aws: Aws) -> None:
        with pytest.raises(SettingsError, match=r"tuning\.min_epochs=11 is more than the 10 epochs of a trial"):
            render(aws, configured(tuning__strategy="Hyperband", tuning__min_epochs="11"))

    def test_all_hyperparameters_together_are_limited(self, aws: Aws) -> None:
        settings = configured()
        static = {f"x{number}": "1" for number in range(97)}
        with pytest.raises(SettingsError, match="97 settings differ from their defaults and 3 are tuned"):
            render(aws, settings, HyperParameters=static)
        assert render(aws, settings, HyperParameters=dict(list(static.items())[1:]))

    def test_trials_may_have_fewer_environment_variables_than_training_jobs(self, aws: Aws) -> None:
        variables = json.dumps({f"V{number}": "1" for number in range(49)})
        with pytest.raises(SettingsError, match="has 49 variables; SageMaker takes at most 48"):
            render(aws, configured(training_job__environment=variables))


class TestTemplate:
    def test_fields_that_a_user_adds_go_through(self, aws: Aws, tmp_path: Path) -> None:
        template = json.loads((ROOT / tuning.TEMPLATE).read_text())
        template["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxRuntimeInSeconds"] = 3600
        (tmp_path / "t.json").write_text(json.dumps(template))
        request = render(aws, configured(), tmp_path / "t.json")
        assert request["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxRuntimeInSeconds"] == 3600
        assert problems(aws, request) == ""

    @pytest.mark.parametrize("content", ["[]", '{"Strategy": "${STRATEGY}"}', '{"a": "${NOTHING}"}'])
    def test_one_that_is_no_request_is_refused(self, content: str, aws: Aws, tmp_path: Path) -> None:
        (tmp_path / "t.json").write_text(content)
        with pytest.raises(TemplateError, match=r"t\.json"):
            render(aws, configured(), tmp_path / "t.json")


class TestNames:
    @pytest.mark.parametrize(
        "algorithm", ["a", "digits-cnn", "a-very-long-name-of-an-algorithm", "seventeen-chars-x-y"]
    )
    def test_a_name_is_as_short_as_sagemaker_wants_it_and_recognized(self, algorithm: str) -> None:
        settings = load_settings(assignments={"algorithm_name": algorithm})
        job = names.tuning_job(settings, datetime(2030, 1, 2, 3, 4, 5))
        assert len(job) <= 32
        assert "--" not in job
        assert job.endswith("-300102-030405")
        assert names.is_tuning_job(settings, job)
        assert not names.is_training_job(settings, job)
        assert not names.is_tuning_job(settings, names.training_job(settings, datetime(2030, 1, 2, 3, 4, 5)))
        # A trial is none of the jobs that --status lists.
        assert not names.is_training_job(settings, f"{job}-001-0123abcd")
