"""The request that launches a tuning job (`--launch_tuning`).

What its trials run is derived from the CreateTrainingJob request that the same settings give.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from botocore.model import ListShape, Shape, StructureShape

from container.errors import SettingsError, hint
from container.modeling.job import DATA_FINGERPRINT
from container.modeling.overrides import MAX_HYPERPARAMETERS
from container.modeling.settings import Settings
from container.modeling.tuning_settings import MOST_EPOCHS, MOST_JOBS
from manager import names, template
from manager.aws import Aws, error_code
from manager.errors import JobError, TemplateError
from manager.plan import ApiCall, FileCall, Plan
from manager.template import ABSENT
from manager.training import ROLE_NOT_KNOWN, has_tags, is_just_made, is_own, listed_jobs
from manager.trials import describe_tuning_job
from manager.tuning_ranges import Parameter, combinations

TEMPLATE = "tuning-job-config-template.json"
RENDERED = "tuning-job-config.json"
# SageMaker's limit on the environment variables of trials; a training job may have 100.
MOST_VARIABLES = 48
# What a tuning job has itself, or calls otherwise.
MOVED = ("TrainingJobName", "HyperParameters", "Tags")


@dataclass(frozen=True)
class Definition:
    """What the trials of a tuning job have in common: the API's HyperParameterTrainingJobDefinition."""

    request: Any
    left_out: tuple[str, ...]
    """Fields of the training job's request that a tuning job cannot have, dotted."""


def define_trials(aws: Aws, training_request: Any, parameters: Sequence[Parameter]) -> Definition:
    """Return a training job's request as the definition of trials.

    Args:
        aws: which fields there are is known to its client.
        training_request: a CreateTrainingJob request.
        parameters: what the tuning job varies; the request's values of these have no part in it.

    Raises:
        SettingsError: there are more hyperparameters or environment variables than SageMaker takes.
    """
    varied = {parameter.name for parameter in parameters}
    static = {name: text for name, text in training_request.get("HyperParameters", {}).items() if name not in varied}
    # SageMaker adds one, the objective metric.
    if len(static) + len(varied) + 1 > MAX_HYPERPARAMETERS:
        raise SettingsError(
            f"{len(static)} settings differ from their defaults and {len(varied)} are tuned; together they may be "
            f"{MAX_HYPERPARAMETERS - 1}: leave some at their defaults"
        )
    variables = training_request.get("Environment", {}).keys()
    if len(variables) > MOST_VARIABLES:
        own = len(variables & {DATA_FINGERPRINT})
        raise SettingsError(
            f"training_job.environment has {len(variables) - own} variables; SageMaker takes at most "
            f"{MOST_VARIABLES - own} in a tuning job: leave some out"
        )
    given = {name: value for name, value in training_request.items() if name not in MOVED}
    if not given.get("EnableManagedSpotTraining"):
        # A trial that nothing interrupts needs none, and would begin by fetching those of all trials before it.
        given.pop("CheckpointConfig", None)
    shape = aws.client("sagemaker").meta.service_model.shape_for("HyperParameterTrainingJobDefinition")
    left_out: list[str] = []
    kept = _known(given, shape, "", left_out)
    return Definition({"StaticHyperParameters": static, **kept}, tuple(left_out))


def render_request(
    settings: Settings, job: str, definition: Definition, parameters: Sequence[Parameter], template_file: Path
) -> Any:
    """Return the CreateHyperParameterTuningJob request of a job.

    Args:
        settings: all settings.
        job: name of the job.
        definition: what its trials have in common.
        parameters: what it varies.
        template_file: the template; fields that it has beside the usual ones go through as they are.

    Raises:
        TemplateError: the template is missing, is no JSON object, or has a placeholder without a value.
        SettingsError: the objective is none of the job's metrics, or the strategy does not suit the ranges.
    """
    tuning, is_hyperband = settings.tuning, settings.tuning.strategy == "Hyperband"
    jobs = most_trials(settings, parameters)
    values = {
        "TUNING_JOB_NAME": job,
        "STRATEGY": tuning.strategy,
        "MIN_EPOCHS": tuning.min_epochs if is_hyperband else ABSENT,
        "MAX_EPOCHS": _most_epochs(settings, parameters) if is_hyperband else ABSENT,
        "OBJECTIVE": _objective(tuning.objective, definition),
        "DIRECTION": direction(settings),
        "JOBS": jobs,
        "PARALLEL": min(tuning.parallel, jobs),
        "CONTINUOUS_RANGES": _ranges(parameters, "Continuous"),
        "INTEGER_RANGES": _ranges(parameters, "Integer"),
        "CATEGORICAL_RANGES": _ranges(parameters, "Categorical"),
        "EARLY_STOPPING": "Auto" if tuning.early_stopping else "Off",
        "SEED": tuning.seed,
        "TRAINING_JOB_DEFINITION": definition.request,
        "TAGS": names.tag_list(settings),
    }
    request = template.render(template.read(template_file), values, template_file.name)
    if not isinstance(request, dict) or not isinstance(request.get("HyperParameterTuningJobName"), str):
        raise TemplateError(
            f"{template_file.name} must be a JSON object with a HyperParameterTuningJobName, as "
            "CreateHyperParameterTuningJob takes"
        )
    return request


def direction(settings: Settings) -> str:
    """Return whether the largest objective is the best, or the least: `Maximize` or `Minimize`."""
    if settings.tuning.direction != "auto":
        return settings.tuning.direction
    return "Minimize" if settings.tuning.objective.endswith("loss") else "Maximize"


def plan_tuning(request: Any, rendered_file: Path) -> Plan:
    """Plan the launch of a tuning job, after writing its request as JSON into a file."""
    job = request["HyperParameterTuningJobName"]
    write = FileCall(rendered_file, json.dumps(request, indent=2) + "\n", f"write the request to {rendered_file.name}")
    launch = ApiCall(
        "sagemaker",
        "create_hyper_parameter_tuning_job",
        request,
        f"launch the tuning job {job}",
        "created",
        retry_on=(ROLE_NOT_KNOWN,),
        is_done_by=partial(_is_launched, request),
    )
    return Plan((write, launch))


def plan_stop(job: str) -> Plan:
    """Plan the end of a tuning job and of its running trials; they keep what they wrote so far."""
    request = {"HyperParameterTuningJobName": job}
    return Plan((ApiCall("sagemaker", "stop_hyper_parameter_tuning_job", request, f"stop the tuning job {job}"),))


def last_tuning_job(aws: Aws, settings: Settings) -> str:
    """Return the name of the project's tuning job that was launched last.

    Raises:
        JobError: there is none.
        AwsError: AWS refuses to tell.
    """
    last = next(tuning_job_names(aws, settings), None)
    if last is None:
        raise JobError(f"there is no tuning job of {settings.algorithm_name} yet: launch one by --launch_tuning")
    return last


def tuning_job_names(aws: Aws, settings: Settings) -> Iterator[str]:
    """Yield the names of the project's tuning jobs, the last one first.

    Raises:
        AwsError: AWS refuses to tell.
    """
    with aws.explained("could not list the tuning jobs"):
        for name, arn in listed_jobs(aws, "HyperParameterTuningJob", names.tuning_prefix(settings)):
            if names.is_tuning_job(settings, name) and is_own(aws, settings, arn):
                yield name


def _known(value: Any, shape: Shape, name: str, left_out: list[str]) -> Any:
    """Return a value without the fields that the API's shape lacks, and note these by their names."""
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_known(item, shape.member, name, left_out) for item in value]
    if not isinstance(shape, StructureShape) or not isinstance(value, dict):
        return value
    dotted = {field: f"{name}.{field}".lstrip(".") for field in value}
    left_out += [dotted[field] for field in value if field not in shape.members and dotted[field] not in left_out]
    return {
        field: _known(content, shape.members[field], dotted[field], left_out)
        for field, content in value.items()
        if field in shape.members
    }


def most_trials(settings: Settings, parameters: Sequence[Parameter]) -> int:
    """Return how many trials there will be at most; of a grid exactly so many.

    Raises:
        SettingsError: a grid has more than SageMaker takes, or something that it cannot combine.
    """
    tuning = settings.tuning
    if tuning.strategy != "Grid":
        return tuning.jobs
    jobs, most = combinations(parameters), MOST_JOBS["Grid"]
    if jobs > most:
        raise SettingsError(
            f"tuning.strategy=Grid has {jobs:,} combinations to try; SageMaker takes at most {most}: leave out some "
            "values, or choose another strategy"
        )
    return jobs


def _most_epochs(settings: Settings, parameters: Sequence[Parameter]) -> int:
    """Return the most epochs that a trial may train: those of both phases, where there are two."""
    tuning = settings.tuning
    texts = {parameter.name: parameter.texts for parameter in parameters}
    epochs = max(map(int, texts.get("training.epochs", (str(settings.training.epochs),))))
    if "fine_tune" in texts.get("model.name", (settings.model.name,)):
        epochs += max(map(int, texts.get("fine_tuning.epochs", (str(settings.fine_tuning.epochs),))))
    most = min(tuning.max_epochs or epochs, MOST_EPOCHS)
    if most < tuning.min_epochs:
        raise SettingsError(
            f"tuning.min_epochs={tuning.min_epochs} is more than the {most} epochs of a trial: lower it"
        )
    return most


def _objective(metric: str, definition: Definition) -> str:
    logged = [found["Name"] for found in definition.request["AlgorithmSpecification"].get("MetricDefinitions", [])]
    if metric not in logged:
        known = f": the training job's template defines {', '.join(logged) or 'none'}"
        raise SettingsError(f"tuning.objective={metric} is no metric of the job{hint(metric, logged, known)}")
    return metric


def _ranges(parameters: Sequence[Parameter], kind: str) -> Any:
    return [parameter.range for parameter in parameters if parameter.kind == kind] or ABSENT


def _is_launched(request: Any, aws: Aws, error: ClientError) -> bool:
    """Whether the tuning job whose name AWS says to be taken is the one of this request, made some moments ago.

    Raises:
        ProjectError: AWS refuses to tell.
    """
    if error_code(error) != "ResourceInUse":
        return False
    job = describe_tuning_job(aws, request["HyperParameterTuningJobName"])
    wanted, found = request["TrainingJobDefinition"], job["TrainingJobDefinition"]
    return (
        is_just_made(job, error)
        and job["HyperParameterTuningJobConfig"]["Strategy"] == request["HyperParameterTuningJobConfig"]["Strategy"]
        and found["RoleArn"] == wanted["RoleArn"]
        and found["AlgorithmSpecification"].get("TrainingImage") == wanted["AlgorithmSpecification"]["TrainingImage"]
        # SageMaker adds to them.
        and wanted["StaticHyperParameters"].items() <= found.get("StaticHyperParameters", {}).items()
        and has_tags(aws, job["HyperParameterTuningJobArn"], request.get("Tags", []))
    )
