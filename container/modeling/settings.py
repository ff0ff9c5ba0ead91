"""The types, limits and defaults of all settings: those of the user's machine stand here.

`Settings` is what the user's machine knows; `ContainerSettings` is the part that the training container reads
(container_settings.py). Whatever overrides a setting (`--set`, a hyperparameter, a tuning job) is a pair of texts,
`name = value`, where the name is dotted (`training.learning_rate`) and the value is parsed by the setting's own type
(overrides.py).
"""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from container.modeling.backbone_names import check_backbone
from container.modeling.container_settings import (
    Augmentation,
    Checkpoints,
    ContainerSettings,
    Distribution,
    FineTuning,
    Image,
    Input,
    Loss,
    Model,
    Optimizer,
    Parts,
    Schedule,
    Training,
)
from container.modeling.data_settings import Data
from container.modeling.hosting_settings import BatchTransform, Endpoint
from container.modeling.insight_settings import TRACKERS_KEY, Diagnostics, Evaluation, Report, Tracking
from container.modeling.instances import InstanceType, KmsKeyArn, check_network, check_volume_key, has_gpu
from container.modeling.preparation_settings import Ingestion, Preparation
from container.modeling.section import Section
from container.modeling.serving_settings import Serving
from container.modeling.tuning_settings import Choice, Range, Tuning

__all__ = [
    "Augmentation",
    "Aws",
    "BatchTransform",
    "Checkpoints",
    "Choice",
    "ContainerSettings",
    "Data",
    "Diagnostics",
    "Distribution",
    "Endpoint",
    "Evaluation",
    "FineTuning",
    "Image",
    "Ingestion",
    "Input",
    "Loss",
    "Model",
    "Optimizer",
    "Parts",
    "Preparation",
    "Range",
    "Report",
    "Schedule",
    "Section",
    "Serving",
    "Settings",
    "Storage",
    "Tracking",
    "Training",
    "TrainingImage",
    "TrainingJob",
    "Tuning",
]


def _tag_key(key: str) -> str:
    if key.lower().startswith("aws:"):
        raise ValueError(f"the tag {key!r} must not begin with aws:, which AWS keeps for itself")
    return key


# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
TagValue = Annotated[str, Field(max_length=256, pattern=r"^[\w .:/=+@-]*$")]
TagKey = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\w .:/=+@-]*$"), AfterValidator(_tag_key)]
PolicyArn = Annotated[str, Field(pattern=r"^(arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+)?$")]


class Aws(Section):
    """The account that the project lives in."""

    region: str = Field("", pattern=r"^([a-z]{2}(-[a-z]+)+-\d)?$")
    """AWS region, for example `eu-central-1`; empty: the one that the AWS command line is configured for."""
    profile: str = ""
    """Named profile of the AWS command line; empty: its default, or the credentials in the environment."""
    customer: TagValue = ""
    """Whom the costs are for: the tag `Customer` of everything that the project creates; empty: no such tag."""
    tags: dict[TagKey, TagValue] = Field({}, max_length=40)
    """Further tags of everything that the project creates, beside `Project` and `Service`."""
    permissions_boundary: PolicyArn = ""
    """Policy that bounds whatever SageMaker's role may do, where the administrator asks for one; empty: none."""
    ask_above_usd: float = Field(50, ge=0)
    """Ask before what can cost more than this many USD, an endpoint in a day; without a price nothing is asked."""


class Storage(Section):
    """The project's buckets."""

    kms_key: KmsKeyArn = ""
    """KMS key that encrypts images and results; empty: a key of S3's own (SSE-S3)."""
    abort_uploads_after_days: int = Field(7, ge=1, le=3650)
    """Days after which the parts of an upload that was never finished are deleted."""
    delete_old_versions_after_days: int = Field(30, ge=1, le=3650)
    """Days that an overwritten or deleted object can still be brought back."""
    delete_logs_after_days: int = Field(90, ge=1, le=3650)
    """Days that the record of who accessed the buckets is kept."""
    upload_threads: int = Field(16, ge=1, le=128)
    """Files that are uploaded at the same time."""


class TrainingImage(Section):
    """The Docker image that SageMaker trains in."""

    flavor: Literal["gpu", "cpu"] = "gpu"
    """`gpu`: TensorFlow with the CUDA libraries. `cpu`: without, for instance types that have no GPU."""
    base_image: str = Field("python:3.11-slim-bookworm", pattern=r"^[a-z0-9][A-Za-z0-9._:/@-]*$")
    """What the image is built on: Debian or Ubuntu with Python 3.11 to 3.13."""
    backbones: tuple[Annotated[str, AfterValidator(check_backbone)], ...] = Field((), max_length=40)
    """Backbones whose imagenet weights are downloaded into the image, so that no job needs to; names of Keras."""
    keep_last: int = Field(10, ge=1, le=1000)
    """Images that the repository keeps; older ones are deleted."""


class TrainingJob(Section):
    """The machine that SageMaker trains on, and under which conditions."""

    instance_type: InstanceType = "ml.g5.xlarge"
    """SageMaker instance type; see https://aws.amazon.com/sagemaker/pricing for what each costs."""
    instance_count: int = Field(1, ge=1)
    """Instances that train one model together, as far as the account's quota goes; see `distribution`."""
    volume_size_gb: int = Field(30, ge=1, le=16_384)
    """Storage for images and results, in GB."""
    max_runtime_seconds: int = Field(86_400, ge=1, le=2_419_200)
    """Seconds after which SageMaker stops the job and keeps what it wrote so far."""
    input_mode: Literal["File", "FastFile"] = "File"
    """`File`: images are copied to the instance before training. `FastFile`: each is fetched when it is first read."""
    data_distribution: Literal["FullyReplicated", "ShardedByS3Key"] = "FullyReplicated"
    """Whether each of several instances gets all training images, or a share of its own, which starts sooner."""
    spot: bool = False
    """Use spare capacity, which costs up to 90 % less; when it is taken away, the job waits for more, and goes on."""
    max_wait_seconds: int = Field(0, ge=0, le=2_419_200)
    """With `spot`: seconds that waiting and running may take together; 0: twice `max_runtime_seconds`."""
    save_checkpoints: bool = True
    """Copy checkpoints to the output bucket while training, from which `--resume` and an interrupted spot job go on."""
    retry_attempts: int = Field(0, ge=0, le=30)
    """How often SageMaker starts the job again after an internal error of its own."""
    keep_alive_seconds: int = Field(0, ge=0, le=3_600)
    """Seconds that the instance is kept for a next job, which then starts at once; kept time costs."""
    network_isolation: bool = False
    """Give the container no network at all; SageMaker itself still moves images and results."""
    subnets: tuple[str, ...] = Field((), max_length=16)
    """Subnets of your VPC that the instance joins; needs `security_group_ids`."""
    security_group_ids: tuple[str, ...] = Field((), max_length=5)
    """Security groups of the instance in your VPC; needs `subnets`."""
    volume_kms_key: KmsKeyArn = ""
    """KMS key that encrypts the instance's storage; empty: a key of SageMaker's own."""
    encrypt_traffic: bool = False
    """Encrypt what several instances send each other; slower, and without effect on one instance."""
    environment: dict[str, Annotated[str, Field(max_length=512)]] = Field({}, max_length=99)
    """Environment variables of the container, no secrets: DescribeTrainingJob shows them."""

    @model_validator(mode="after")
    def _sagemaker_takes_the_combination(self) -> Self:
        if self.max_wait_seconds and not self.spot:
            raise ValueError("max_wait_seconds is for spot jobs only: set spot=true, or leave it at 0")
        if self.max_wait_seconds and self.max_wait_seconds < self.max_runtime_seconds:
            raise ValueError("max_wait_seconds must be at least max_runtime_seconds, since it holds the running too")
        if self.spot and self.keep_alive_seconds:
            raise ValueError("a spot job's instance cannot be kept: set keep_alive_seconds=0, or spot=false")
        check_network(self.subnets, self.security_group_ids)
        check_volume_key(self.instance_type, self.volume_kms_key)
        return self

    @property
    def max_wait(self) -> int:
        """Seconds that a spot job may wait and run: `max_wait_seconds`, or its default."""
        return self.max_wait_seconds or min(2 * self.max_runtime_seconds, 2_419_200)


def _project_name(name: str) -> str:
    rule = "3 to 54 lower-case letters and digits, in groups joined by single dots or hyphens"
    if not (3 <= len(name) <= 54 and re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", name)):
        raise ValueError(f"must be {rule} (it names S3 buckets, an ECR repository and an IAM role)")
    if name.startswith(("sthree-", "amzn-s3-demo-")):
        raise ValueError("must not begin with sthree- or amzn-s3-demo-, which S3 keeps for itself")
    return name


def _algorithm_name(name: str) -> str:
    rule = "1 to 43 letters and digits, in groups joined by single hyphens"
    if not (len(name) <= 43 and re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", name)):
        raise ValueError(f"must be {rule} (it begins the name of each training job)")
    return name


class Settings(ContainerSettings):
    """Everything: what the container reads, and what only the user's machine needs."""

    container_sections: ClassVar[tuple[str, ...]] = tuple(ContainerSettings.model_fields)

    project_name: Annotated[str, AfterValidator(_project_name)]
    """Names buckets, unique among all users of S3: lower-case letters, digits, dots, hyphens. `--set project_name=`."""
    algorithm_name: Annotated[str, AfterValidator(_algorithm_name)]
    """Names the jobs, `<ALGORITHM_NAME>-YYYY-mm-dd-HH-MM-SS`: letters, digits, hyphens. `--set algorithm_name=`."""
    data: Data = Data()
    ingestion: Ingestion = Ingestion()
    preparation: Preparation = Preparation()
    aws: Aws = Aws()
    storage: Storage = Storage()
    training_image: TrainingImage = TrainingImage()
    training_job: TrainingJob = TrainingJob()
    tuning: Tuning = Tuning()
    serving: Serving = Serving()
    endpoint: Endpoint = Endpoint()
    batch_transform: BatchTransform = BatchTransform()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        job, flavor = self.training_job, self.training_image.flavor
        for machines in (job, self.endpoint, self.batch_transform):
            if has_gpu(machines.instance_type) and flavor == "cpu":
                raise ValueError(
                    f"training_image.flavor=cpu would leave the GPUs of {machines.instance_type} idle: set it to gpu, "
                    "or choose an instance type without GPUs"
                )
        if job.data_distribution == "ShardedByS3Key" and self.loss.weight_column:
            raise ValueError(
                "loss.weight_column reads one labels.csv, which training_job.data_distribution=ShardedByS3Key gives to "
                "one instance alone: set it to FullyReplicated"
            )
        side, image = self.preparation.short_side, self.image
        if 0 < side < max(image.height, image.width):
            raise ValueError(
                f"preparation.short_side={side} is less than the input size of {image.height}x{image.width}: set it to "
                "0, or to at least the longer of these"
            )
        if self.serving.url_hosts and self.endpoint.network_isolation:
            raise ValueError(
                "serving.url_hosts needs a network, which endpoint.network_isolation takes away: set "
                "endpoint.network_isolation=false, or leave url_hosts empty"
            )
        self._check_tracking()
        self._check_weights()
        return self

    def _check_tracking(self) -> None:
        online = self.tracking.online
        if self.training_job.network_isolation and online:
            raise ValueError(
                f"{online[0]} needs a network, which training_job.network_isolation takes away: turn one of them off "
                "(tracking.wandb_mode=offline and tracking.tensorboard need none)"
            )
        if keys := [name for name in self.training_job.environment if re.fullmatch(TRACKERS_KEY, name)]:
            raise ValueError(
                f"training_job.environment would show {keys[0]} to all who may describe jobs: put it into a secret of "
                "Secrets Manager, and name that by tracking.secret"
            )

    def _check_weights(self) -> None:
        backbone, uses_channel = self.fine_tuning.backbone, self._pretrained_settings()
        downloads = (
            self.model.name == "fine_tune"
            and self.fine_tuning.weights == "imagenet"
            and not self.model.initial_weights
            and backbone not in ("pretrained", *self.training_image.backbones)
        )
        if self.training_job.network_isolation and downloads:
            raise ValueError(
                "fine_tuning.weights=imagenet are downloaded, which training_job.network_isolation does not allow: "
                f'turn it off, or set training_image.backbones=["{backbone}"] and build the image anew'
            )
        if uses_channel and not self.data.pretrained:
            raise ValueError(
                f"{uses_channel[0]}=pretrained needs the channel of that name: set data.pretrained to an earlier "
                "training job, an s3:// URI or a model's file"
            )
        # A function of the user's own may read the channel, and so may some trials of a tuning job.
        is_read = uses_channel or ":" in "".join((self.model.name, self.parts.loader)) or self._tunes_weights()
        if self.data.pretrained and not is_read:
            raise ValueError(
                f"data.pretrained={self.data.pretrained} is used by nothing: set model.initial_weights, "
                "fine_tuning.backbone or fine_tuning.weights to `pretrained`"
            )

    def _tunes_weights(self) -> bool:
        decide = {"model.name", "model.initial_weights", "fine_tuning.backbone", "fine_tuning.weights", "parts.loader"}
        return not decide.isdisjoint(self.tuning.ranges)

    def _pretrained_settings(self) -> tuple[str, ...]:
        """Return the settings that make the job read the channel `pretrained`."""
        fine_tunes = self.model.name == "fine_tune"
        reads = {
            "model.initial_weights": self.model.initial_weights == "pretrained",
            "fine_tuning.backbone": fine_tunes and self.fine_tuning.backbone == "pretrained",
            "fine_tuning.weights": fine_tunes and self.fine_tuning.weights == "pretrained",
        }
        return tuple(name for name, is_read in reads.items() if is_read)

    def container_settings(self) -> ContainerSettings:
        """The part that the container reads."""
        return ContainerSettings(**{name: getattr(self, name) for name in self.container_sections})
