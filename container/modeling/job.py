"""What SageMaker gives a training job: the folder /opt/ml and a few environment variables, as objects.

The contract is https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html;
SAGEMAKER_BASE_DIR moves the folder, for sagemaker-training and for us alike.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from container.errors import DataError, ProjectError

# Beginnings of the names of hyperparameters that SageMaker adds, such as a tuning job's _tuning_objective_metric.
SAGEMAKERS_OWN = ("_", "sagemaker_")

# The variable by which who launches a job tells what lies in its channels.
DATA_FINGERPRINT = "DATA_FINGERPRINT"

T = TypeVar("T")
# The one that tells the training jobs of a tuning job, its trials, from all others.
OBJECTIVE = "_tuning_objective_metric"


class JobError(ProjectError):
    """The training job is not set up as SageMaker would, or asks for what this image cannot do."""


@dataclass(frozen=True)
class OptMl:
    """The folders and files of /opt/ml, wherever it lies."""

    base: Path

    @classmethod
    def from_environment(cls) -> Self:
        """Return /opt/ml, or the folder that SAGEMAKER_BASE_DIR names."""
        return cls(Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")))

    @property
    def model_dir(self) -> Path:
        """What lies here at the end becomes model.tar.gz."""
        return self.base / "model"

    @property
    def output_data_dir(self) -> Path:
        """What lies here at the end becomes output.tar.gz."""
        return self.base / "output" / "data"

    @property
    def tensorboard_dir(self) -> Path:
        """Synced with TensorBoardOutputConfig's S3OutputPath while the job runs."""
        return self.base / "output" / "tensorboard"

    @property
    def failure_file(self) -> Path:
        """Its first 1024 characters become the job's FailureReason."""
        return self.base / "output" / "failure"

    @property
    def checkpoints_dir(self) -> Path:
        """Synced with CheckpointConfig's S3Uri while the job runs."""
        return self.base / "checkpoints"

    @property
    def hyperparameters_file(self) -> Path:
        """The request's HyperParameters."""
        return self.base / "input" / "config" / "hyperparameters.json"

    @property
    def channels_file(self) -> Path:
        """The request's InputDataConfig, by channel."""
        return self.base / "input" / "config" / "inputdataconfig.json"

    @property
    def resources_file(self) -> Path:
        """The names of the job's hosts, and which one this is."""
        return self.base / "input" / "config" / "resourceconfig.json"

    def check(self) -> None:
        """Raise JobError where SageMaker's description of the job is missing."""
        for file in (self.hyperparameters_file, self.channels_file, self.resources_file):
            if not file.is_file():
                raise JobError(f"{file} does not exist: SageMaker writes it before it calls `train`")

    def channel_dir(self, channel: str) -> Path:
        """Holds the files of one entry of InputDataConfig."""
        return self.base / "input" / "data" / channel


@dataclass(frozen=True)
class Job:
    """One training job, as SageMaker describes it to this host."""

    opt_ml: OptMl
    name: str
    """TrainingJobName; empty where nobody gave one."""
    hyperparameters: Mapping[str, str]
    channels: tuple[str, ...]
    sharded_channels: tuple[str, ...]
    """Those whose files are spread over the hosts (S3DistributionType is ShardedByS3Key)."""
    streamed_channels: tuple[str, ...]
    """Those whose files are fetched when they are read (TrainingInputMode is FastFile)."""
    hosts: tuple[str, ...]
    current_host: str
    instance_type: str
    """Such as ml.g5.xlarge; empty where nobody told."""
    is_trial: bool = False
    """Whether a tuning job launched it."""
    uploaded_fingerprint: str = ""
    """SHA-256 over paths and contents of the uploaded files, as their manifest tells; empty: nobody told."""

    @classmethod
    def read(cls, opt_ml: OptMl) -> Self:
        """Read the job's description from the files under `opt_ml` and the environment.

        Raises:
            JobError: a file is missing or is not what SageMaker writes.
        """
        hyperparameters = _read_table(opt_ml.hyperparameters_file)
        channels = _read_table(opt_ml.channels_file)
        resources = _read_table(opt_ml.resources_file)
        hosts = tuple(resources.get("hosts", ["algo-1"]))
        current_host = resources.get("current_host", hosts[0])
        if current_host not in hosts:
            raise JobError(f"{opt_ml.resources_file}: current_host {current_host!r} is none of the hosts {list(hosts)}")
        return cls(
            opt_ml=opt_ml,
            name=os.environ.get("TRAINING_JOB_NAME", ""),
            hyperparameters={name: str(value) for name, value in without_sagemakers_own(hyperparameters).items()},
            channels=tuple(channels),
            sharded_channels=_channels_with(channels, "S3DistributionType", "ShardedByS3Key") if len(hosts) > 1 else (),
            streamed_channels=_channels_with(channels, "TrainingInputMode", "FastFile"),
            hosts=hosts,
            current_host=current_host,
            instance_type=str(resources.get("current_instance_type", "")),
            is_trial=OBJECTIVE in hyperparameters,
            uploaded_fingerprint=os.environ.get(DATA_FINGERPRINT, ""),
        )

    @property
    def checkpoints_dir(self) -> Path:
        """Where this job keeps its checkpoints.

        The trials of a tuning job have one CheckpointConfig, so that each of them finds the others' checkpoints: in
        folders of their own they do not go on from them, nor delete them.
        """
        return self.opt_ml.checkpoints_dir / self.name if self.is_trial else self.opt_ml.checkpoints_dir

    def channel(self, name: str) -> Path:
        """Return the folder of a channel's files.

        Raises:
            DataError: the request has no such channel, or it holds nothing.
        """
        folder = self.opt_ml.channel_dir(name)
        if not folder.is_dir():
            given = ", ".join(map(repr, self.channels)) or "none"
            raise DataError(f"the channel {name!r} is missing: add it to the job's InputDataConfig (given: {given})")
        if next(folder.iterdir(), None) is None:
            raise DataError(f"the channel {name!r} is empty: upload images under the S3 prefix that it names")
        return folder


def without_sagemakers_own(hyperparameters: Mapping[str, T]) -> dict[str, T]:
    """Return the hyperparameters that are settings: those that SageMaker did not add."""
    return {name: value for name, value in hyperparameters.items() if not name.startswith(SAGEMAKERS_OWN)}


def _channels_with(channels: Mapping[str, Any], name: str, value: str) -> tuple[str, ...]:
    return tuple(key for key, channel in channels.items() if isinstance(channel, dict) and channel.get(name) == value)


def _read_table(file: Path) -> dict[str, Any]:
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"{file} cannot be read ({error}): SageMaker writes it before it calls `train`") from None
    if not isinstance(table, dict):
        raise JobError(f"{file} is not a JSON object: SageMaker writes it before it calls `train`")
    return table
