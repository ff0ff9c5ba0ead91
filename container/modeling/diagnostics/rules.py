"""What looks wrong, by figures that are known when an epoch is over. Pure: each rule is a function.

Each returns what is wrong, or None. Messages give figures; remedies name settings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from container.modeling.optimization.history import History
from container.modeling.optimization.measures import VariableGradients
from container.report.facts import Epoch

# A loss that changed by less than this share of it stayed as it was.
CHANGE = 0.01
# How far a validation loss must rise, in nats: less is the noise of a few images.
LEAST_RISE = 0.02
# From this accuracy on the training images there is little left to learn: losses stand still, gradients vanish.
LEARNED = 0.99
# Epochs in a row in which a process must grow, after the first ones: these fill the caches.
GROWING_EPOCHS, FILLING_EPOCHS = 3, 2
# Waiting for less than so many seconds an epoch is not worth a change.
LEAST_WAIT_SECONDS = 1.0
# How many layers a message names.
MAX_NAMED = 5
MB = 1_000_000


@dataclass(frozen=True)
class Symptom:
    """Something that looks wrong."""

    message: str
    """What was seen, with its figures."""
    remedy: str
    """What to try, naming settings."""


@dataclass(frozen=True)
class LayerUnits:
    """How a layer's units answer to images."""

    layer: str
    units: int
    dead: int
    """Those of the units that are 0 for every image."""


@dataclass(frozen=True)
class Reading:
    """Where training images come from."""

    is_kept: bool
    """All that can be read are kept decoded: no file is read."""
    is_streamed: bool
    """To open a file takes the time of a request to S3."""
    cores: int
    """Of the processor, that decode them."""


def vanishing_gradient(gradients: Sequence[VariableGradients], row: Epoch, least: float) -> Symptom | None:
    """Layers whose gradients' root mean square over the epoch's steps is less than `least`."""
    if row.accuracy >= LEARNED:
        return None
    vanished = {layer: size for layer, size in root_mean_squares(gradients).items() if size < least}
    if not vanished:
        return None
    return Symptom(
        f"the gradients of {_named(list(vanished))} have a root mean square below {least:g} "
        f"({max(vanished.values()):.1e} at most): hardly anything is learned there",
        "start from weights that were trained before (model.name=fine_tune, or model.initial_weights); in a network of "
        "your own, batch normalization and relu in the place of sigmoid or tanh; with "
        "training.precision=mixed_float16, take mixed_bfloat16 or float32",
    )


def root_mean_squares(gradients: Sequence[VariableGradients]) -> dict[str, float]:
    """Return the root mean square of each layer's gradients, over its weights and the epoch's steps."""
    layers: dict[str, list[VariableGradients]] = {}
    for variable in gradients:
        layers.setdefault(variable.path.rpartition("/")[0] or variable.path, []).append(variable)
    return {
        layer: math.sqrt(
            sum(variable.mean_square * variable.size for variable in variables)
            / max(sum(variable.size for variable in variables), 1)
        )
        for layer, variables in layers.items()
    }


def loss_not_decreasing(epochs: Sequence[Epoch], stuck_epochs: int) -> Symptom | None:
    """`stuck_epochs` epochs that brought the training loss no 1 % below what it was; of the epochs of a phase."""
    if len(epochs) <= stuck_epochs or epochs[-1].accuracy >= LEARNED:
        return None
    before, since = (min(row.loss for row in part) for part in (epochs[:-stuck_epochs], epochs[-stuck_epochs:]))
    if since < (1 - CHANGE) * before:
        return None
    row = epochs[-1]
    setting = "training.learning_rate" if row.phase == 1 else "fine_tuning.learning_rate"
    return Symptom(
        f"the training loss was {before:.4f}, and at best {since:.4f} in the {_epochs(stuck_epochs)} since",
        f"another {setting} (it is {row.learning_rate:g}): ten times less, then ten times more; "
        "schedule.name=plateau; a larger network (model.filters, model.head, or model.name=fine_tune)",
    )


def overfit(epochs: Sequence[Epoch], overfit_epochs: int) -> Symptom | None:
    """`overfit_epochs` epochs in a row with less training loss, and validation loss clearly above its least one."""
    if len(epochs) <= overfit_epochs:
        return None
    least = min(row.val_loss for row in epochs[:-overfit_epochs])
    for before, row in pairwise(epochs[-overfit_epochs - 1 :]):
        if row.loss >= before.loss or row.val_loss < least + max(CHANGE * least, LEAST_RISE):
            return None
    return Symptom(
        f"for {_epochs(overfit_epochs)} the training loss fell, to {epochs[-1].loss:.4f}, but the validation loss "
        f"stayed above its least one: it was {least:.4f}, and is {epochs[-1].val_loss:.4f}",
        "more images; augmentation.layers; a larger dropout in model.head; optimizer.weight_decay; "
        "loss.label_smoothing; fewer fine_tuning.released_layers. training.monitor=val_loss keeps the epoch before",
    )


def overtraining(history: History, overtraining_epochs: int) -> Symptom | None:
    """`overtraining_epochs` epochs of a phase without one that is the best so far."""
    best, behind = history.best, history.without_improvement
    if best is None or behind < overtraining_epochs:
        return None
    return Symptom(
        f"training has gone on for {_epochs(behind)} since its best one, epoch {best.epoch}",
        f"training.patience={max(overtraining_epochs // 2, 1)} ends training earlier; fewer training.epochs or "
        "fine_tuning.epochs, with a schedule.name that lets the learning rate fall in them",
    )


def dead_units(layers: Sequence[LayerUnits], images: int, share: float) -> Symptom | None:
    """Layers of which more than a share of the units are 0 for each of some images."""
    dead = [layer for layer in layers if layer.dead > share * layer.units]
    if not dead:
        return None
    worst = max(dead, key=lambda layer: layer.dead / layer.units)
    return Symptom(
        f"more than {share:.0%} of the units of {_named([layer.layer for layer in dead])} are 0 for each of {images} "
        f"validation images: {worst.dead} of {worst.units} in {worst.layer}",
        "a lower training.learning_rate, or schedule.warmup_epochs; smaller layers (model.filters, model.head), which "
        "would do as much; in a network of your own, batch normalization before relu, or leaky_relu",
    )


def growing_memory(sizes: Sequence[int], growth_mb: float) -> Symptom | None:
    """A process that grew by `growth_mb` in each of the last epochs; `sizes` are in bytes, after each epoch."""
    last = sizes[FILLING_EPOCHS - 1 :][-GROWING_EPOCHS - 1 :]
    if len(last) <= GROWING_EPOCHS or any(after - before < growth_mb * MB for before, after in pairwise(last)):
        return None
    return Symptom(
        f"the process grew by {(last[-1] - last[0]) / MB:,.0f} MB in {_epochs(GROWING_EPOCHS)}, to "
        f"{last[-1] / MB:,.0f} MB",
        "look in functions of your own (parts.loader, parts.augmentor) for lists that only grow; until it is found, a "
        "lower input.memory_share or a training_job.instance_type with more memory lets the job live longer",
    )


def low_gpu_utilization(utilizations: Sequence[float], least: float, row: Epoch) -> Symptom | None:
    """A GPU that computed for less than a share of the time of an epoch's steps; the shares of all GPUs are given."""
    idlest = min(utilizations, default=1.0)
    if idlest >= least:
        return None
    gpu = "the GPU" if len(utilizations) == 1 else "the least busy GPU"
    waited = waiting_share(row)
    return Symptom(
        f"{gpu} computed for {idlest:.0%} of the time of the training steps, which waited for images for {waited:.0%}",
        "a larger training.batch_size, with training.learning_rate raised alike; training.xla=true; or a smaller "
        "training_job.instance_type, which costs less. Where steps wait for images, first what helps against that",
    )


def waiting_for_data(row: Epoch, most: float, reading: Reading) -> Symptom | None:
    """Training steps that waited for images for more than a share of their time."""
    share = waiting_share(row)
    if share <= most or row.data_seconds < LEAST_WAIT_SECONDS:
        return None
    cores = f"a training_job.instance_type with more processor cores (this one has {reading.cores})"
    kept = "a larger input.memory_share, or an instance type with more memory, so that decoded images are kept there"
    if reading.is_kept:
        remedy = f"all images are in memory or on the disk already: {cores}, or a larger training.batch_size"
    elif reading.is_streamed:
        remedy = f"training_job.input_mode=File, which copies the images once, before training; {kept}"
    else:
        remedy = (
            f"{kept}; input.disk_cache=true with a larger training_job.volume_size_gb; {cores}; a smaller image.height "
            "and image.width"
        )
    return Symptom(
        f"the training steps waited for images for {row.data_seconds:.1f} seconds, {share:.0%} of their time", remedy
    )


def waiting_share(row: Epoch) -> float:
    """Return the share of the time of an epoch's training steps in which they waited for images."""
    seconds = row.seconds - row.validation_seconds
    return min(row.data_seconds / seconds, 1.0) if seconds > 0 else 0.0


def _named(layers: Sequence[str]) -> str:
    names = ", ".join(layers[:MAX_NAMED])
    return names if len(layers) <= MAX_NAMED else f"{names} and {len(layers) - MAX_NAMED} more layers"


def _epochs(count: int) -> str:
    return "one epoch" if count == 1 else f"{count} epochs"
