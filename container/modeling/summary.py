"""What metrics.json tells of a finished training: the judgement of the model, and how it came about."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

import keras
import numpy as np

from container.modeling.channels import EVALUATION, TRAINING, VALIDATION
from container.modeling.distribution import Distribution
from container.modeling.input_pipeline.batches import Batches
from container.modeling.job import Job
from container.modeling.optimization.fit import Fitted
from container.modeling.optimization.predictor import Outputs
from container.modeling.settings import ContainerSettings
from container.report.facts import Metrics
from container.report.judging import judge

# Whoever wants the same model again wants these; tensorflow-cpu calls itself so.
PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "scikit-learn")


@dataclass(frozen=True)
class ImageSummary:
    """The images of all sets, as all hosts together have them."""

    class_counts: dict[str, tuple[int, ...]]
    """Images of each class, by the set's channel."""
    broken: int
    """Of them: could not be read."""
    fingerprint: str

    @classmethod
    def of(cls, sets: Mapping[str, Batches], distribution: Distribution) -> "ImageSummary":
        """Look at the sets, by their channels; all hosts must call it together."""
        counts, broken, fingerprints = {}, 0, []
        for name, batches in sets.items():
            images, found = batches.images, distribution.gather(batches.broken)
            own = np.bincount(images.labels, minlength=len(images.classes))
            counts[name] = tuple((distribution.sum_hosts(own) if images.is_share else own).tolist())
            # Hosts that have the same images may each have found the same ones broken.
            broken += len(found) if images.is_share else len(np.unique(found))
            of_hosts = distribution.gather_texts(images.fingerprint())
            fingerprints.append(of_hosts if images.is_share else of_hosts[:1])
        return cls(counts, broken, hashlib.sha256(json.dumps(fingerprints).encode()).hexdigest())


def summarize(
    job: Job,
    settings: ContainerSettings,
    model: keras.Model,
    fitted: Fitted,
    classes: tuple[str, ...],
    outputs: Mapping[str, Outputs],
    images: ImageSummary,
    distribution: Distribution,
    own_metrics: dict[str, float],
) -> Metrics:
    """Return what metrics.json holds.

    Args:
        job: the training job.
        settings: its settings.
        model: as it was saved.
        fitted: how training went.
        classes: names, in the order of the model's outputs.
        outputs: of the model, for the sets `validation` and `evaluation`.
        images: those of all sets.
        distribution: the devices that trained.
        own_metrics: what `parts.evaluator` says in the mean over the evaluation images.
    """
    rules = settings.evaluation
    validation = judge(outputs[VALIDATION].labels, outputs[VALIDATION].probabilities, classes, rules)
    # The evaluation set must not choose the threshold that it judges.
    threshold = validation.threshold.probability if validation.threshold else None
    evaluation = judge(outputs[EVALUATION].labels, outputs[EVALUATION].probabilities, classes, rules, threshold)
    return Metrics(
        **evaluation.model_dump(),
        training_job=job.name,
        validation=validation,
        training_images=sum(images.class_counts[TRAINING]),
        validation_images=sum(images.class_counts[VALIDATION]),
        evaluation_images=sum(images.class_counts[EVALUATION]),
        broken_images=images.broken,
        parameters=model.count_params(),
        monitor=settings.training.monitor,
        best_epoch=fitted.best,
        epochs=len(fitted.history),
        stopped=fitted.stopped,
        own_metrics=own_metrics,
        class_counts=images.class_counts,
        data_fingerprint=images.fingerprint,
        uploaded_fingerprint=job.uploaded_fingerprint,
        seconds=sum(row.seconds for row in fitted.history),
        instance_type=job.instance_type,
        hosts=distribution.replicas.hosts,
        devices=distribution.replicas.count,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
