"""The settings of what is seen of a training: trackers, diagnostics, the evaluation and its report."""

from typing import Annotated, Literal

from pydantic import Field

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
    vanishing_gradient: float = Field(1e-8, ge=0, le=1)
    """`vanishing_gradient`: a layer hardly learns if its gradients' root mean square stays below this for an epoch."""
    exploding_gradient: float = Field(1e8, gt=0, le=1e30)
    """`exploding_gradient`: the job ends when the norm of a step's gradients passes this, or the loss is no number."""
    stuck_epochs: int = Field(5, ge=1, le=10_000)
    """`loss_not_decreasing`: epochs in which the training loss did not fall by 1 %."""
    overfit_epochs: int = Field(3, ge=1, le=10_000)
    """`overfit`: epochs in a row in which the training loss falls and the validation loss rises above its least."""
    overtraining_epochs: int = Field(10, ge=1, le=10_000)
    """`overtraining`: epochs that training goes on for after its best one."""
    dead_units_share: Share = 0.5
    """`dead_units`: share of a layer's units that are zero for all of some hundred validation images."""
    memory_growth_mb: float = Field(50.0, gt=0, le=1e6)
    """`growing_memory`: MB that the process grows by in each of three epochs, the first ones left out."""
    gpu_utilization: Share = 0.4
    """`low_gpu_utilization`: share of an epoch's time in which the least busy GPU computes."""
    waiting_share: Share = 0.2
    """`waiting_for_data`: share of the training steps' time that they wait for images."""


class Tracking(Section):
    """Where training is followed beside CloudWatch; each kind but the logs needs a package in the image."""

    tensorboard: bool = False
    """Write events for TensorBoard, which SageMaker copies to the output bucket while the job runs."""
    profile_first_step: int = Field(0, ge=0)
    """With `tensorboard`: first training step, from 1 on, that is profiled; 0: none."""
    profile_steps: int = Field(10, ge=1, le=1_000)
    """How many steps are profiled."""
    mlflow_uri: str = Field("", max_length=1_000)
    """Tracking URI of an MLflow server; empty: none."""
    mlflow_experiment: str = Field("image-classification", min_length=1, max_length=250)
    """The experiment that gets a run of each job's name."""
    wandb_project: str = Field("", max_length=128, pattern=r"^[\w .-]*$")
    """Project of Weights & Biases; empty: none."""
    wandb_entity: str = Field("", max_length=128, pattern=r"^[\w .-]*$")
    """The user or team that it belongs to; empty: the key's own."""
    wandb_mode: Literal["online", "offline"] = "online"
    """`offline`: the run lies in model.tar.gz, for `wandb sync`."""
    secret: str = Field("", max_length=2048, pattern=r"^[\w/+=.@:-]*$")
    """Secrets Manager's name or ARN of a JSON object of environment variables, such as {"WANDB_API_KEY": "..."}."""
