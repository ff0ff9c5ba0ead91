"""What a training job came to, in words and in a few figures. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from container.dataset.text import printable
from container.report.confusion_chart import most_confused
from container.report.facts import Judgement
from container.report.results import EVALUATION, JUDGED_SETS, Results
from container.words import duration, percent, plural

WORST_CLASSES = 3


@dataclass(frozen=True)
class Figure:
    """A figure of both sets."""

    name: str
    evaluation: str
    validation: str
    meaning: str


def sentences(results: Results) -> tuple[str, ...]:
    """Return what was trained on what, and how well it does, each as a sentence or two."""
    return tuple(
        filter(
            None,
            (
                _what_was_trained(results),
                _how_well(results),
                _against_guessing(results),
                _against_validation(results),
                _worst_classes(results),
                _confusion(results),
                _what_is_missing(results),
            ),
        )
    )


def figures(results: Results) -> tuple[Figure, ...]:
    """Return the figures of the model on both sets, side by side."""
    metrics = results.metrics
    rows = [
        _row(results, "Accuracy", lambda it: percent(it.accuracy, 2), "share of the images that are given their class"),
        _row(results, "95 % interval", _interval, "where the accuracy on more such images lies, by Wilson's formula"),
        _row(
            results,
            "Always guessing",
            lambda it: percent(it.majority_accuracy, 2),
            "accuracy of always guessing the set's most frequent class",
        ),
        _row(
            results,
            "Balanced accuracy",
            lambda it: percent(it.balanced_accuracy, 2),
            "mean recall of the set's classes",
        ),
        _row(
            results,
            f"Top-{metrics.top_k} accuracy",
            lambda it: percent(it.top_k_accuracy, 2),
            f"share of the images whose class is among the {metrics.top_k} most probable ones",
        ),
        _row(results, "Macro F1", lambda it: _number(it.macro_average.f1), "mean of the classes' F1 scores"),
        _row(results, "Weighted F1", lambda it: _number(it.weighted_average.f1), "the same, weighted by their images"),
        _row(results, "Log loss", lambda it: f"{it.loss:.4f}", "mean cross-entropy, in nats; lower is better"),
        _row(results, "ROC AUC", lambda it: _number(it.roc_auc), "one class against the rest, mean of the classes"),
        _row(results, "Average precision", lambda it: _number(it.average_precision), "the same"),
        _row(
            results,
            "Calibration error",
            lambda it: percent(it.calibration_error, 2),
            "how far the probabilities are off the accuracy; lower is better",
        ),
        *_threshold_rows(results),
    ]
    own = [
        Figure(printable(name), f"{value:.4f}", "", "of parts.evaluator") for name, value in metrics.own_metrics.items()
    ]
    return (*rows, *own)


def quoted(name: str) -> str:
    """Return a name as it stands in a sentence."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{printable(name)}\N{RIGHT DOUBLE QUOTATION MARK}"


def _what_was_trained(results: Results) -> str:
    metrics = results.metrics
    network = next((str(setting.value) for setting in results.settings if setting.name == "model.name"), "")
    machine = plural(metrics.hosts, "instance") + (f" ({metrics.instance_type})" if metrics.instance_type else "")
    stopped = " Training was ended early, by a stop of the job or its time limit." if metrics.stopped else ""
    return (
        f"A network{f' {quoted(network)}' if network else ''} of {plural(metrics.parameters, 'weight')} learned to "
        f"tell {plural(len(results.classes), 'class', 'classes')} apart from "
        f"{plural(metrics.training_images, 'image')}, in {plural(metrics.epochs, 'epoch')} and "
        f"{duration(metrics.seconds)} on {machine} with {plural(metrics.devices, 'device')}.{stopped} Kept are the "
        f"weights of epoch {metrics.best_epoch.epoch}, the best one by {metrics.monitor}."
    )


def _how_well(results: Results) -> str:
    metrics = results.metrics
    right = round(metrics.accuracy * metrics.images)
    low, high = metrics.accuracy_interval
    return (
        f"Of {plural(metrics.images, 'evaluation image')}, none of which it was trained on, it gives {right:,} the "
        f"right class: an accuracy of {percent(metrics.accuracy)}. On more such images it would lie between "
        f"{percent(low)} and {percent(high)}, with a confidence of 95 %."
    )


def _against_guessing(results: Results) -> str:
    metrics = results.metrics
    most = max(scores.support for scores in metrics.classes)
    frequent = [scores.name for scores in metrics.classes if scores.support == most]
    named = f", {quoted(frequent[0])}," if len(frequent) == 1 else ""
    guess = f"Always guessing the most frequent class{named} would reach {percent(metrics.majority_accuracy)}"
    if metrics.accuracy <= metrics.majority_accuracy:
        return f"{guess}: the model is no better than that."
    if metrics.accuracy_interval[0] <= metrics.majority_accuracy:
        return f"{guess}: the images are too few to tell whether the model is better."
    return f"{guess}."


def _against_validation(results: Results) -> str:
    metrics = results.metrics
    if metrics.accuracy_interval[1] < metrics.validation.accuracy_interval[0]:
        return (
            f"That is clearly less than the {percent(metrics.validation.accuracy)} on the validation set: the two sets "
            "may differ in kind."
        )
    return ""


def _worst_classes(results: Results) -> str:
    judged = [scores for scores in results.metrics.classes if scores.support and scores.f1 < 1]
    if not judged:
        return ""
    worst = sorted(judged, key=lambda scores: scores.f1)[:WORST_CLASSES]
    return f"It does worst at {', '.join(f'{quoted(scores.name)} (F1 {scores.f1:.3f})' for scores in worst)}."


def _confusion(results: Results) -> str:
    pairs = most_confused(results, EVALUATION)
    if not pairs:
        return "It makes no mistakes on these images."
    images, true, predicted = pairs[0]
    support = results.metrics.classes[true].support
    return (
        f"Most often it takes {quoted(results.classes[true])} for {quoted(results.classes[predicted])}: "
        f"{images:,} of {plural(support, 'image')}."
    )


def _what_is_missing(results: Results) -> str:
    metrics = results.metrics
    parts = []
    absent = [scores.name for scores in metrics.classes if not scores.support]
    if absent:
        named = ", ".join(map(quoted, absent[:WORST_CLASSES]))
        more = f" and {len(absent) - WORST_CLASSES:,} more" if len(absent) > WORST_CLASSES else ""
        parts.append(f"The evaluation set has no images of {named}{more}: nothing is known of how well these are told.")
    if metrics.broken_images:
        were = "was" if metrics.broken_images == 1 else "were"
        parts.append(f"{plural(metrics.broken_images, 'image')} could not be read, and {were} left out.")
    return " ".join(parts)


def _row(results: Results, name: str, value: Callable[[Judgement], str], meaning: str) -> Figure:
    evaluation, validation = (value(results.judgement(group)) for group in JUDGED_SETS)
    return Figure(name, evaluation, validation, meaning)


def _threshold_rows(results: Results) -> list[Figure]:
    if results.metrics.threshold is None or results.metrics.validation.threshold is None:
        return []
    first, second = map(quoted, results.classes)
    return [
        _row(
            results,
            "Threshold",
            lambda it: _number(it.threshold.probability) if it.threshold else "",
            f"of the least cost on the validation set; from it on an image is given {second}",
        ),
        _row(
            results,
            "Cost of an image",
            lambda it: _number(it.threshold.cost) if it.threshold else "",
            "with that threshold, in the mean",
        ),
        _row(
            results,
            "False positives",
            lambda it: f"{it.threshold.false_positives:,}" if it.threshold else "",
            f"with that threshold: {first} taken for {second}",
        ),
        _row(
            results,
            "False negatives",
            lambda it: f"{it.threshold.false_negatives:,}" if it.threshold else "",
            f"with that threshold: {second} taken for {first}",
        ),
    ]


def _interval(judgement: Judgement) -> str:
    low, high = judgement.accuracy_interval
    return f"{percent(low)} to {percent(high)}"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
