"""The settings of what is seen of a training: trackers, diagnostics, the evaluation and its report."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from container.modeling.section import Section

Rule = Literal[
    "vanishing_gradient",
    "exploding_gradient",
    "loss_not_decreasing",
    "overfit",
    "overtraining",
    "dead_units",
    "growing_memory",
    "low_gpu_utilization",
    "waiting_for_data",
]
# https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
SECRET = (
    r"^$|^[A-Za-z0-9/_+=.@-]{1,512}$|"
    r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[A-Za-z0-9/_+=.@-]{1,512}-[A-Za-z0-9]{6}$"
)
# A password in it would stand in the job's request, which DescribeTrainingJob shows.
SERVER = r"^(https?://[^\s/?#@]+(/[^\s?#]*)?)?$"
# Environment variables of trackers that nobody else is to see.
TRACKERS_KEY = r"(WANDB|MLFLOW)_[A-Z0-9_]*(KEY|TOKEN|PASSWORD|SECRET|USERNAME)[A-Z0-9_]*"
Share = Annotated[float, Field(gt=0, le=1)]


class Evaluation(Section):
    """How the finished model is judged."""

    top_k: int = Field(5, ge=1, le=10_000)
    """A prediction counts in `top_k_accuracy` where the image's class is among so many most probable ones."""
    false_positive_cost: float = Field(1.0, ge=0, le=1e9)
    """Two classes: what it costs to take an image of the first one for the second; decides the threshold."""
    false_negative_cost: float = Field(1.0, ge=0, le=1e9)
    """Two classes: what it costs to take an image of the second one for the first."""


class Report(Section):
    """The page report.html of each job."""

    images: bool = True
    """Show small pictures of the most confident mistakes; turn it off where images are private."""
    pictures: int = Field(48, ge=0, le=1_000)
    """How many of them, at most."""


class Diagnostics(Section):
    """What is watched while the model is trained; what looks wrong is logged once and stands in the report."""

    off: tuple[Rule, ...] = ()
    """Rules that are not checked, by name."""
    vanishing_gradient: float = Field(1e-7, ge=0, le=1)
    """`vanishing_gradient`: a layer hardly learns if the root mean square of an epoch's gradients is less."""
    exploding_gradient: float = Field(1e8, gt=0, le=1e30)
    """`exploding_gradient`: ends the job if the loss is no number, or the norm of unclipped gradients is larger."""
    stuck_epochs: int = Field(5, ge=1, le=10_000)
    """`loss_not_decreasing`: epochs that brought the training loss no 1 % below what it was before."""
    overfit_epochs: int = Field(3, ge=1, le=10_000)
    """`overfit`: epochs in a row in which the training loss falls, and the validation loss stays above its least."""
    overtraining_epochs: int = Field(10, ge=1, le=10_000)
    """`overtraining`: epochs that a phase goes on for after the best one."""
    dead_units_share: Share = 0.5
    """`dead_units`: share of a layer's units with relu that are 0 for all of up to 256 validation images."""
    memory_growth_mb: float = Field(50.0, gt=0, le=1e6)
    """`growing_memory`: MB that the process grows by in each of three epochs; not in the first two."""
    gpu_utilization: Share = 0.4
    """`low_gpu_utilization`: least share of the training steps' time in which each GPU computes."""
    waiting_share: Share = 0.2
    """`waiting_for_data`: largest share of the training steps' time that they may wait for images."""


class Tracking(Section):
    """Where training is followed beside CloudWatch."""

    tensorboard: bool = False
    """Write events for TensorBoard, which SageMaker copies to the output bucket while the job runs."""
    profile_first_step: int = Field(0, ge=0)
    """With `tensorboard`: first training step, from 1 on, that is profiled; 0: none."""
    profile_steps: int = Field(10, ge=1, le=1_000)
    """How many steps are profiled, at least: those that run at once are profiled together."""
    mlflow_uri: str = Field("", max_length=1_000, pattern=SERVER)
    """Address of an MLflow server, such as `https://mlflow.example.com`, without user and password; empty: none."""
    mlflow_experiment: str = Field("image-classification", min_length=1, max_length=250)
    """The experiment that gets a run of each job's name."""
    wandb_project: str = Field("", max_length=128, pattern=r"^[\w .-]*$")
    """Project of Weights & Biases; empty: none."""
    wandb_entity: str = Field("", max_length=128, pattern=r"^[\w .-]*$")
    """The user or team that it belongs to; empty: the key's own."""
    wandb_mode: Literal["online", "offline"] = "online"
    """`offline`: the run lies in model.tar.gz, for `wandb sync`."""
    secret: str = Field("", pattern=SECRET)
    """Secret of Secrets Manager with the keys, by name or ARN: a JSON object such as `{"WANDB_API_KEY": "..."}`."""

    @model_validator(mode="after")
    def _profile_is_shown(self) -> Self:
        if self.profile_first_step and not self.tensorboard:
            raise ValueError("profile_first_step is shown by TensorBoard alone: set tensorboard=true, or leave it at 0")
        return self

    @property
    def online(self) -> tuple[str, ...]:
        """The settings that need the job to have a network."""
        by_setting = {
            "tracking.mlflow_uri": self.mlflow_uri,
            "tracking.wandb_mode=online": self.wandb_project and self.wandb_mode == "online",
        }
        return tuple(name for name, value in by_setting.items() if value)

    @property
    def extras(self) -> tuple[str, ...]:
        """What the image needs beside its usual packages: `container/requirements-NAME.txt`, by name."""
        return tuple(name for name, value in {"mlflow": self.mlflow_uri, "wandb": self.wandb_project}.items() if value)
