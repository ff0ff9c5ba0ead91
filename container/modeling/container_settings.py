"""The settings that the training container reads: their types, limits and defaults."""

import re
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from container.errors import hint
from container.modeling.backbone_names import check_backbone
from container.modeling.insight_settings import Diagnostics, Evaluation, Report, Tracking
from container.modeling.section import Section

# A function of the user's own, in the folder container/parts.
FUNCTION = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"


def _one_of(*names: str) -> AfterValidator:
    """Return what checks that a text is one of these names, or names a function of the user's own."""

    def check(text: str) -> str:
        if text in names or re.fullmatch(FUNCTION, text):
            return text
        choices = ", ".join(name or "empty" for name in names)
        rule = f"must be {choices} or a function in container/parts as module:function"
        raise ValueError(rule + hint(text, names, ""))

    return AfterValidator(check)


class Image(Section):
    """What every image becomes before the model sees it."""

    height: int = Field(224, ge=8, le=2048)
    """Height of the model's input, in pixels."""
    width: int = Field(224, ge=8, le=2048)
    """Width of the model's input, in pixels."""
    channels: Literal[1, 3] = 3
    """1 for greyscale, 3 for RGB. Images of any other kind are converted."""
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    """How an image is brought to the input size: `stretch` it, `crop` its center, or `pad` it with black."""


class Model(Section):
    """Which network is trained."""

    name: Annotated[str, _one_of("baseline", "fine_tune")] = "baseline"
    """`baseline`: 5 convolutional and 2 dense layers. `fine_tune`: a trained backbone, a new head. Or a function."""
    filters: tuple[Annotated[int, Field(ge=1, le=2048)], ...] = Field((32, 32, 64, 64, 128), min_length=5, max_length=5)
    """`baseline`: filters of its five convolutional layers."""
    head: tuple[tuple[Annotated[int, Field(ge=1, le=8192)], Annotated[float, Field(ge=0, lt=1)]], ...] = Field(
        ((128, 0.3),), max_length=8
    )
    """Dense layers before the last one: units of each, and the share of them that each training step drops."""
    output: Literal["softmax", "sigmoid"] = "softmax"
    """`sigmoid`: the model of a problem of two classes ends in one unit, the probability of the second class."""
    initial_weights: str = ""
    """What the whole model starts from: empty for fresh weights, `pretrained` for the channel, or a file."""


class Training(Section):
    """How long the network is trained, on what, and by what it is judged meanwhile."""

    epochs: int = Field(20, ge=1, le=10_000)
    """Passes over the training set, at most (see `patience`)."""
    batch_size: int = Field(32, ge=1, le=65_536)
    """Images in a training step, on each GPU of each instance."""
    learning_rate: float = Field(1e-3, gt=0, le=10)
    """Step size of the optimizer; where a schedule changes it, the highest."""
    monitor: Literal["val_loss", "val_accuracy", "val_f1"] = "val_accuracy"
    """The metric that decides which epoch's weights are kept and when training stops early."""
    mode: Literal["auto", "min", "max"] = "auto"
    """Whether the least or the largest `monitor` is the best; `auto`: the least loss, the largest of all others."""
    patience: int = Field(5, ge=0, le=10_000)
    """Epochs without improvement after which training stops; 0 never stops early."""
    min_delta: float = Field(0.0, ge=0, le=100)
    """The least change of `monitor` that counts as an improvement."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """Numbers that the network computes with; the mixed ones are faster: float16 on GPUs, bfloat16 on the newest."""
    xla: bool = False
    """Compile the training step by XLA; takes longer to start, and may run faster."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Seed of every random choice in training: weights, order of images, dropout, augmentation."""


class FineTuning(Section):
    """What `fine_tune` starts from, and its second phase, in which the end of the backbone learns too."""

    backbone: Annotated[str, AfterValidator(partial(check_backbone, others=("pretrained",)))] = "MobileNetV2"
    """A model of keras.applications by its name, or `pretrained`: the earlier model in the channel of that name."""
    weights: str = Field("imagenet", min_length=1)
    """The backbone's first weights: `imagenet`, `none` (random), `pretrained` (the channel), or a file."""
    epochs: int = Field(10, ge=0, le=10_000)
    """Passes over the training set in the second phase; 0 trains the new head only."""
    released_layers: int = Field(30, ge=0, le=10_000)
    """How many of the backbone's last layers learn in the second phase; batch normalization stays frozen."""
    learning_rate: float = Field(1e-5, gt=0, le=10)
    """Step size of the optimizer in the second phase."""


class Optimizer(Section):
    """What turns gradients into changes of the weights."""

    name: Literal["adam", "adamw", "nadam", "sgd", "rmsprop", "adagrad", "lion", "lamb"] = "adam"
    """An optimizer of Keras."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """`sgd` and `rmsprop`: share of the last change that is kept."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    """Share of the weights, times the learning rate, that each step takes away; not of biases and normalization."""
    clip_norm: float = Field(0.0, ge=0, le=1e6)
    """The largest norm that the gradients of a step have together; 0: any."""


class Schedule(Section):
    """How the learning rate changes while training goes on; each phase has a schedule of its own."""

    name: Literal["constant", "exponential", "cosine", "plateau"] = "constant"
    """`exponential`: times `factor` each epoch. `cosine`: falls to `minimum`. `plateau`: times `factor` when stuck."""
    warmup_epochs: float = Field(0.0, ge=0, le=10_000)
    """Epochs in which the learning rate rises to its highest; may be a part of one."""
    factor: float = Field(0.5, gt=0, lt=1)
    """`exponential` and `plateau`: what the learning rate is multiplied by."""
    patience: int = Field(3, ge=1, le=10_000)
    """`plateau`: epochs without a better `training.monitor` after which the learning rate falls."""
    minimum: float = Field(0.0, ge=0, lt=1)
    """Share of the highest learning rate below which it does not fall."""


class Loss(Section):
    """What training makes small, and which images count how much in it."""

    name: Literal["cross_entropy", "focal"] = "cross_entropy"
    """`focal`: images that are recognized already count less."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of each label that is spread over all classes."""
    focal_gamma: float = Field(2.0, ge=0, le=20)
    """`focal`: how much less they count."""
    balance: Literal["none", "class_weights", "oversampling"] = "none"
    """For classes of unequal size: rare ones count more by `class_weights`, or are shown more often."""
    class_weights: dict[str, Annotated[float, Field(gt=0, le=1e6)]] = Field({})
    """How much the images of a class count, by its name; 1 for those not named. Multiplies what `balance` gives."""
    weight_column: str = ""
    """Column of `labels.csv` that tells how much each training image counts; empty: all the same."""


class Augmentation(Section):
    """Random changes of the training images, made anew in each step on the device."""

    layers: dict[str, dict[str, JsonValue]] = Field({})
    """Keras's preprocessing layers by name, with their arguments: `{"RandomFlip": {"mode": "horizontal"}}`."""


class Input(Section):
    """How the images come to the model."""

    memory_share: float = Field(0.25, ge=0, le=0.9)
    """Share of the instance's memory that decoded images may fill, so that each is decoded once."""
    disk_cache: bool = True
    """Keep decoded images on the instance's disk where the memory does not suffice and the disk does."""
    max_broken_share: float = Field(0.01, ge=0, le=1)
    """Share of a channel's images that may be broken: they are named and left out; with more, the job fails."""


class Distribution(Section):
    """How several GPUs and instances train one model; a training step has `training.batch_size` images on each."""

    learning_rate_scaling: Literal["none", "linear", "sqrt"] = "none"
    """What the learning rates are multiplied by: 1, the number of GPUs of all instances, or its square root."""
    synchronized_batch_normalization: bool = False
    """Normalize by the statistics of the whole step and not of each GPU's part; for small batches, and slower."""


class Checkpoints(Section):
    """What an interrupted job goes on from."""

    every_epochs: int = Field(1, ge=0, le=10_000)
    """Epochs between two checkpoints; 0: only by time."""
    every_minutes: float = Field(10.0, ge=0, le=100_000)
    """Minutes after which one is written in the middle of an epoch; 0: only by epochs."""
    keep: int = Field(2, ge=1, le=1_000)
    """How many are kept; the newest may be damaged."""


PartName = Annotated[str, _one_of("")]


class Parts(Section):
    """Functions of your own in the folder container/parts, each as `module:function`; docs/parts.md."""

    loader: PartName = ""
    """Reads the images of a channel; empty: one folder per class."""
    preprocessor: PartName = ""
    """Layers between the pixels and the model, which become a part of it; empty: none."""
    augmentor: PartName = ""
    """Changes training batches at random; empty: `augmentation.layers`."""
    evaluator: PartName = ""
    """Further metrics of each evaluated image; empty: none."""
    settings: dict[str, str] = Field({})
    """Values of the settings that these functions and a model of your own declare, by name."""


class ContainerSettings(Section):
    """What the container reads: its defaults are those below, and the job's hyperparameters override them."""

    image: Image = Image()
    model: Model = Model()
    training: Training = Training()
    fine_tuning: FineTuning = FineTuning()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    input: Input = Input()
    distribution: Distribution = Distribution()
    checkpoints: Checkpoints = Checkpoints()
    evaluation: Evaluation = Evaluation()
    report: Report = Report()
    diagnostics: Diagnostics = Diagnostics()
    tracking: Tracking = Tracking()
    parts: Parts = Parts()

    @model_validator(mode="after")
    def _schedule_fits_the_epochs(self) -> Self:
        phases = {"training.epochs": self.training.epochs}
        if self.model.name == "fine_tune" and self.fine_tuning.epochs:
            phases["fine_tuning.epochs"] = self.fine_tuning.epochs
        for name, epochs in phases.items():
            if self.schedule.warmup_epochs >= epochs:
                raise ValueError(
                    f"schedule.warmup_epochs={self.schedule.warmup_epochs:g} must be less than {name}={epochs}"
                )
        schedule, patience = self.schedule, self.training.patience
        if schedule.name == "plateau" and 0 < patience <= schedule.patience:
            raise ValueError(
                f"schedule.patience={schedule.patience} must be less than training.patience={patience}: training would "
                "end before the learning rate falls"
            )
        return self

    @model_validator(mode="after")
    def _devices_fit_the_compiler(self) -> Self:
        if self.training.xla and self.distribution.synchronized_batch_normalization:
            raise ValueError(
                "training.xla cannot compile distribution.synchronized_batch_normalization: turn one of them off"
            )
        return self

    @model_validator(mode="after")
    def _output_fits_the_model(self) -> Self:
        if self.model.output == "sigmoid" and ":" in self.model.name:
            raise ValueError(
                "model.output=sigmoid is for baseline and fine_tune: a function of your own returns the probability of "
                "each class"
            )
        return self
