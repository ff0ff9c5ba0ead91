"""The confusion matrix, with the images of each cell."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from container.dataset.text import printable
from container.report.charts import (
    COLUMN_WIDTH,
    LONGEST_FILE_NAME,
    MOST_ROWS,
    Chart,
    Choice,
    Option,
    Table,
    axis_labels,
    chart_text,
    full_name,
    new_figure,
    shortened,
)
from container.report.facts import METRICS_FILE, SetPredictions
from container.report.results import JUDGED_SETS, Results
from container.words import percent, plural

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Wider matrices have no numbers in their cells, and a list of mistakes for a table.
MOST_CLASSES_WITH_NUMBERS = 20
FILES_PER_PAIR = 10
MOST_PAIRS = 300
MATRIX_SIDE = 900
# A cell's level is 0 where it is empty, up to LEVELS for mistakes, and from twice to three times LEVELS for hits: a
# mistake is to be seen beside a hundred times as many hits.
LEVELS = 1000
COLORS = [
    [0, "rgba(0,0,0,0)"],
    [1 / (3 * LEVELS), "var(--wrong-low)"],
    [1 / 3, "var(--wrong-high)"],
    [2 / 3, "var(--right-low)"],
    [1, "var(--right-high)"],
]

Pairs = Mapping[tuple[int, int], Sequence[str]]
"""Paths of images by their true and predicted class."""


def confusion_chart(results: Results) -> Chart:
    """Return the confusion matrix of both sets, in images and in shares of the true class."""
    count = len(results.classes)
    has_numbers = count <= MOST_CLASSES_WITH_NUMBERS
    figure = _figure(results, has_numbers)
    evaluation = np.array(results.metrics.confusion_matrix)
    zooming = "" if has_numbers else " Drag over a part to enlarge it, double-click to go back."
    return Chart(
        key="confusion-matrix",
        title="Confusion matrix",
        summary=f"Images by true class (rows) and predicted class (columns), for {plural(count, 'class', 'classes')}. "
        f"On the evaluation set {int(evaluation.trace()):,} of {plural(int(evaluation.sum()), 'image')} lie on the "
        "diagonal, where both are the same.",
        note="Blue cells, on the diagonal, are right; orange ones are mistakes, the stronger the more of them. Shares "
        f"are of the true class. Hover over a cell for its images.{zooming}",
        figure=figure,
        table=_matrix_table(results) if has_numbers else _pairs_table(results),
        choices=(
            Choice("set", "Set", tuple(Option(name, name) for name in JUDGED_SETS)),
            Choice("unit", "Cells show", (Option("images", "images"), Option("shares", "shares"))),
        ),
        least_width=0 if count <= 6 else 150 + count * (36 if has_numbers else COLUMN_WIDTH),
        # Cells are nearly square, beside the names.
        most_width=figure.layout.height + 110,
    )


def most_confused(results: Results, name: str) -> tuple[tuple[int, int, int], ...]:
    """Return the mistakes on a set as (images, true class, predicted class), the most frequent first."""
    matrix = results.judgement(name).confusion_matrix
    pairs = (
        (images, true, predicted)
        for true, row in enumerate(matrix)
        for predicted, images in enumerate(row)
        if images and true != predicted
    )
    return tuple(sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])))


def _figure(results: Results, has_numbers: bool) -> "Figure":
    count, labels = len(results.classes), axis_labels(results.classes)
    axis = {"type": "category", "categoryorder": "array", "categoryarray": labels, "showgrid": False}
    axis["fixedrange"] = has_numbers
    figure = new_figure(
        min(MATRIX_SIDE, max(300, 100 + count * (44 if has_numbers else 24))),
        "predicted class",
        "true class",
        # Plotly counts categories from 0, each at the middle of its cell.
        xaxis=axis | {"range": [-0.5, count - 0.5]},
        yaxis=axis | {"range": [count - 0.5, -0.5]},
        dragmode=False if has_numbers else "zoom",
        margin={"l": 8, "r": 24, "t": 8, "b": 8},
        showlegend=False,
    )
    for name in JUDGED_SETS:
        matrix = np.array(results.judgement(name).confusion_matrix)
        hover = _hover_texts(matrix, results.classes, labels, _files_of_pairs(results.sets[name]))
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        for unit, values in (("images", matrix), ("shares", shares)):
            texts = _cell_texts(values, unit) if has_numbers else None
            heatmap = _heatmap(values, labels, hover, texts, has_gaps=count <= MOST_ROWS)
            figure.add_trace(heatmap.update(meta={"set": name, "unit": unit}))
    return figure


def _heatmap(
    values: NDArray[Any], labels: Sequence[str], hover: NDArray[Any], texts: NDArray[Any] | None, has_gaps: bool
) -> Any:
    from plotly.graph_objects import Heatmap

    return Heatmap(
        x=labels,
        y=labels,
        z=_levels(values),
        zmin=0,
        zmax=3 * LEVELS,
        colorscale=COLORS,
        showscale=False,
        customdata=hover,
        hovertemplate="true: %{y}<br>predicted: %{x}%{customdata}<extra></extra>",
        xgap=1 if has_gaps else 0,
        ygap=1 if has_gaps else 0,
        text=texts,
        texttemplate=None if texts is None else "%{text}",
    )


def _levels(values: NDArray[Any]) -> NDArray[np.int16]:
    """Return each cell's level, by COLORS."""
    is_right = np.eye(len(values), dtype=bool)
    largest_hit, largest_mistake = (max(values[shown].max(initial=0), 1e-9) for shown in (is_right, ~is_right))
    levels = np.where(is_right, (2 + values / largest_hit) * LEVELS, 1 + values / largest_mistake * (LEVELS - 1))
    return np.where(values > 0, levels, 0).astype(np.int16)


def _cell_texts(values: NDArray[Any], unit: str) -> NDArray[Any]:
    texts = [[_cell_text(value, unit) for value in row] for row in values.tolist()]
    return np.array(texts, dtype=object)


def _cell_text(value: float, unit: str) -> str:
    if not value:
        return ""
    return percent(value, 0) if unit == "shares" else f"{value:,}"


def _hover_texts(matrix: NDArray[Any], names: Sequence[str], labels: Sequence[str], files: Pairs) -> NDArray[Any]:
    """Return what hovering over each cell shows below the two labels; nothing where the cell is empty."""
    is_short = [label != chart_text(name) for name, label in zip(names, labels, strict=True)]
    sums = matrix.sum(axis=1)
    texts = np.full(matrix.shape, "", dtype=object)
    for true, predicted in np.argwhere(matrix).tolist():
        images, shown = int(matrix[true, predicted]), files.get((true, predicted), ())[:FILES_PER_PAIR]
        lines = [
            f"{plural(images, 'image')}, {percent(images / sums[true])} of the true class",
            # A file lies in the folder of its class, which is named above.
            *(
                chart_text(shortened(printable(path.removeprefix(f"{names[true]}/")), LONGEST_FILE_NAME))
                for path in shown
            ),
            *([f"and {images - len(shown):,} more"] if images > len(shown) else []),
            *([f"the true class is {full_name(names[true])}"] if is_short[true] else []),
            *([f"the predicted class is {full_name(names[predicted])}"] if is_short[predicted] else []),
        ]
        texts[true, predicted] = "".join(f"<br>{line}" for line in lines)
    return texts


def _files_of_pairs(predictions: SetPredictions) -> Pairs:
    pairs: dict[tuple[int, int], list[str]] = defaultdict(list)
    predicted = predictions.probabilities.argmax(axis=1).tolist()
    for path, true, guess in zip(predictions.paths, predictions.labels.tolist(), predicted, strict=True):
        pairs[true, guess].append(path)
    return pairs


def _matrix_table(results: Results) -> Table:
    names = [printable(name) for name in results.classes]
    rows = [
        (group, names[true], *(f"{images:,}" for images in row))
        for group in JUDGED_SETS
        for true, row in enumerate(results.judgement(group).confusion_matrix)
    ]
    return Table(("set", "true class", *(f"as {name}" for name in names)), tuple(rows), text_columns=2)


def _pairs_table(results: Results) -> Table:
    names = [printable(name) for name in results.classes]
    rows, left_out = [], 0
    for group in JUDGED_SETS:
        pairs = most_confused(results, group)
        supports = [scores.support for scores in results.judgement(group).classes]
        left_out += max(0, len(pairs) - MOST_PAIRS)
        rows += [
            (group, names[true], names[predicted], f"{images:,}", percent(images / max(1, supports[true])))
            for images, true, predicted in pairs[:MOST_PAIRS]
        ]
    return Table(
        header=("set", "true class", "predicted class", "images", "share of the true class"),
        rows=tuple(rows),
        note=f"{plural(left_out, 'rarer pair')} left out; {METRICS_FILE} has all." if left_out else "",
        text_columns=3,
    )
