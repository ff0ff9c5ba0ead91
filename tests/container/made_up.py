"""Results of training jobs that never ran: files as a job leaves them, of any size and with any names."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from container.modeling.insight_settings import Evaluation
from container.modeling.settings import ContainerSettings
from container.report import facts
from container.report.judging import cross_entropies, judge

# Each breaks out of somewhere where a name is put without care.
HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "<!-- comment",
    "<b>bold</b>",
    '<a href="javascript:alert(3)">link</a>',
    '"><img src=x onerror=alert(4)>',
    "'; alert(5); //",
    "{{ 7 * 7 }}{% raw %}",
    "%{x}<extra>extra</extra>",
    "&lt;b&gt; &amp; &#60;",
    "line\u2028separator\u2029",
    "\u202egnp.exe",
    "var(--evaluation)",
    "$\\alpha$",
    "__proto__",
    "2026-01-01",
    "1",
    "1e3",
    "null",
    "a" * 200,
    "a" * 199 + "b",
)


def write_results(
    folder: Path,
    classes: Sequence[str],
    images: int = 60,
    accuracy: float = 0.8,
    epochs: int = 6,
    settings: ContainerSettings = ContainerSettings(),  # noqa: B008
    findings: Sequence[facts.Finding] = (),
    labels: NDArray[np.int64] | None = None,
    predicted: NDArray[np.int64] | None = None,
) -> facts.Metrics:
    """Write a job's files for its report; return what metrics.json holds.

    Args:
        folder: gets the files.
        classes: their names.
        images: in the validation and in the evaluation set.
        accuracy: of the made-up predictions, about.
        epochs: trained; the last third of them in a second phase.
        settings: of the job.
        findings: of the diagnostics.
        labels: position of each image's class; None: by chance.
        predicted: position of the class that each is given; None: mostly the right one.
    """
    random = np.random.default_rng(0)
    sets = {}
    for name in ("validation", "evaluation"):
        true = random.integers(0, len(classes), images) if labels is None else labels
        guessed = _guesses(true, len(classes), accuracy, random) if predicted is None else predicted
        sets[name] = (true, _probabilities(guessed, len(classes), random))
    folder.mkdir(parents=True, exist_ok=True)
    facts.write_classes(folder / facts.CLASSES_FILE, classes)
    (folder / facts.CONFIG_FILE).write_text(settings.model_dump_json(), encoding="utf-8")
    history = [_epoch(number, epochs) for number in range(1, epochs + 1)]
    facts.write_history(folder / facts.HISTORY_FILE, history)
    rows = tuple(row for name, (true, shares) in sets.items() for row in _rows(name, classes, true, shares))
    facts.Predictions(tuple(classes), (), rows).write(folder / facts.PREDICTIONS_FILE)
    facts.Diagnostics(rules=("overfit", "dead_units"), findings=tuple(findings)).write(folder / facts.DIAGNOSTICS_FILE)
    metrics = _metrics(classes, sets, history)
    metrics.write(folder / facts.METRICS_FILE)
    return metrics


def change_json(file: Path, **values: object) -> None:
    """Change entries of an object in JSON."""
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


def _guesses(true: NDArray[np.int64], classes: int, accuracy: float, random: np.random.Generator) -> NDArray[np.int64]:
    # Some classes are much harder than others, and each is taken for its neighbors most.
    hardness = random.exponential(1, classes)[true]
    is_wrong = random.random(len(true)) < (1 - accuracy) * hardness
    neighbor = (true + random.geometric(0.5, len(true))) % classes
    return np.where(is_wrong, neighbor, true)


def _probabilities(guessed: NDArray[np.int64], classes: int, random: np.random.Generator) -> NDArray[np.float32]:
    scores = random.normal(0, 1, (len(guessed), classes))
    rows = np.arange(len(guessed))
    scores[rows, guessed] = scores.max(axis=1) + random.exponential(3, len(guessed))
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def _rows(
    name: str, classes: Sequence[str], true: NDArray[np.int64], shares: NDArray[np.float32]
) -> list[facts.Prediction]:
    losses = cross_entropies(true, shares)
    return [
        facts.Prediction(
            set=name,
            path=f"{classes[label].replace('/', '_')}/{number:05}.png",
            label=classes[label],
            prediction=classes[row.argmax()],
            loss=float(loss),
            probabilities=tuple(row.tolist()),
        )
        for number, (label, row, loss) in enumerate(zip(true.tolist(), shares, losses, strict=True))
    ]


def _epoch(number: int, epochs: int) -> facts.Epoch:
    loss = 2.5 * np.exp(-3 * number / epochs)
    return facts.Epoch(
        epoch=number,
        phase=1 if number <= epochs * 2 / 3 else 2,
        seconds=10 + number % 3,
        learning_rate=1e-3 if number <= epochs * 2 / 3 else 1e-5,
        loss=loss,
        accuracy=1 - loss / 3,
        val_loss=loss + 0.1 + 0.05 * number / epochs,
        val_accuracy=0.95 - loss / 3,
        val_f1=0.94 - loss / 3,
        validation_seconds=1.5,
        data_seconds=2 + number % 2,
        gradient_norm=1.0,
    )


def _metrics(
    classes: Sequence[str],
    sets: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]],
    history: Sequence[facts.Epoch],
) -> facts.Metrics:
    validation = judge(*sets["validation"], classes, Evaluation())
    threshold = validation.threshold.probability if validation.threshold else None
    evaluation = judge(*sets["evaluation"], classes, Evaluation(), threshold)
    counts = {name: tuple(np.bincount(true, minlength=len(classes)).tolist()) for name, (true, _) in sets.items()}
    counts["training"] = tuple(8 * count for count in counts["validation"])
    return facts.Metrics(
        **evaluation.model_dump(),
        training_job="made-up-2026-01-02-03-04-05",
        validation=validation,
        training_images=sum(counts["training"]),
        validation_images=validation.images,
        evaluation_images=evaluation.images,
        parameters=123_456,
        monitor="val_loss",
        best_epoch=history[-1],
        epochs=len(history),
        stopped=False,
        class_counts=counts,
        data_fingerprint="0f" * 32,
        seconds=sum(row.seconds for row in history),
        instance_type="ml.g5.xlarge",
        hosts=1,
        devices=1,
        versions={"python": "3.11.7", "keras": "3.15.1"},
    )
