"""The charts that have a row or a column for each class: how well it is recognized, and how many images it has."""

from collections.abc import Mapping, Sequence
from typing import Any

from container.dataset.text import printable
from container.report.charts import (
    COLUMN_WIDTH,
    MOST_ROWS,
    PAPER,
    SET_COLORS,
    Chart,
    Table,
    axis_labels,
    full_name,
    new_figure,
)
from container.report.facts import ClassScores
from container.report.results import EVALUATION, JUDGED_SETS, TRAINING, VALIDATION, Results
from container.words import plural

SYMBOLS = {TRAINING: "circle", VALIDATION: "diamond", EVALUATION: "square"}
ROW_HEIGHT = 22


def scores_chart(results: Results) -> Chart:
    """Return the F1 score of each class, the best one first."""
    evaluated = results.metrics.classes
    order = sorted(range(len(evaluated)), key=lambda position: (-evaluated[position].f1, position))
    validated = results.metrics.validation.classes
    worst = evaluated[order[-1]]
    return Chart(
        key="class-scores",
        title="F1 score by class",
        summary=f"F1 score of each class, the best one first: {evaluated[order[0]].f1:.3f} at the best, {worst.f1:.3f} "
        f"at the worst, the class {printable(worst.name)}.",
        note="Bars: evaluation set. Marks: validation set. F1 is the harmonic mean of precision (how many of those "
        "given the class are of it) and recall (how many of the class are given it).",
        figure=_class_figure(
            [evaluated[position].name for position in order],
            {
                EVALUATION: [evaluated[position].f1 for position in order],
                VALIDATION: [validated[position].f1 for position in order],
            },
            [_scores_text(evaluated[position], validated[position]) for position in order],
            "F1 score",
        ),
        table=_scores_table(results, order),
        least_width=_least_width(len(order)),
    )


def balance_chart(results: Results) -> Chart:
    """Return the share of each class in each set."""
    counts = results.metrics.class_counts
    sets = [name for name in (TRAINING, VALIDATION, EVALUATION) if name in counts]
    order = sorted(range(len(results.classes)), key=lambda position: [-counts[name][position] for name in sets])
    names = [results.classes[position] for position in order]
    totals = {name: max(1, sum(counts[name])) for name in sets}
    shares = {name: [counts[name][position] / totals[name] for position in order] for name in sets}
    sizes = ", ".join(f"{sum(counts[name]):,} {name}" for name in sets)
    largest, smallest = order[0], order[-1]
    hover = [
        "<br>".join(
            [
                full_name(results.classes[position]),
                *(f"{name}: {plural(counts[name][position], 'image')}" for name in sets),
            ]
        )
        for position in order
    ]
    return Chart(
        key="class-balance",
        title="Class balance",
        summary=f"Share of each class in each set ({sizes} images), the largest class first, which is "
        f"{printable(results.classes[largest])}; the smallest one is {printable(results.classes[smallest])}.",
        note="Share of each class in a set, the largest class first. Sets that are split alike have the same shares.",
        figure=_class_figure(names, shares, hover, "share of the set", is_share=True),
        table=Table(
            header=("class", *(f"{name} images" for name in sets)),
            rows=tuple(
                (printable(results.classes[position]), *(f"{counts[name][position]:,}" for name in sets))
                for position in order
            ),
        ),
        least_width=_least_width(len(names)),
    )


def _class_figure(
    names: Sequence[str],
    values: Mapping[str, Sequence[float]],
    hover: Sequence[str],
    title: str,
    is_share: bool = False,
) -> Any:
    """Return bars of classes: rows where they are few, else narrow columns, which also fit a printed page."""
    from plotly.graph_objects import Bar, Scatter

    labels = axis_labels(names)
    in_rows = len(names) <= MOST_ROWS
    is_scores = not is_share
    category = {"type": "category", "categoryorder": "array", "categoryarray": labels, "showgrid": False}
    category["range"] = [len(names) - 0.5, -0.5] if in_rows else [-0.5, len(names) - 0.5]
    number = {"tickformat": ".2~%" if is_share else ".1f", "rangemode": "tozero"} | (
        {"range": [0, 1.005]} if is_scores else {}
    )
    per_row = ROW_HEIGHT if is_scores else ROW_HEIGHT * 1.5
    figure = new_figure(
        int(90 + len(names) * per_row) if in_rows else 420,
        title if in_rows else "",
        "" if in_rows else title,
        xaxis=number if in_rows else category | {"tickangle": -90},
        yaxis=category if in_rows else number,
        bargap=0.4 if is_scores else 0.3,
        hovermode="closest",
    )
    for name, row in values.items():
        x, y = (row, labels) if in_rows else (labels, row)
        common = {"x": x, "y": y, "name": name, "customdata": hover, "hovertemplate": "%{customdata}<extra></extra>"}
        if (is_scores and name != EVALUATION) or not (in_rows or is_scores):
            marker = {
                "color": SET_COLORS[name],
                "size": 9 if in_rows else 6,
                "symbol": SYMBOLS[name],
                # Seen on a bar as well.
                "line": {"color": PAPER, "width": 1},
            }
            figure.add_trace(Scatter(mode="markers", marker=marker, cliponaxis=False, **common))
        else:
            orientation = "h" if in_rows else "v"
            figure.add_trace(Bar(orientation=orientation, marker={"color": SET_COLORS[name]}, **common))
    return figure


def _scores_text(evaluated: ClassScores, validated: ClassScores) -> str:
    lines = [full_name(evaluated.name)]
    for name, scores in ((EVALUATION, evaluated), (VALIDATION, validated)):
        lines.append(
            f"{name}: F1 {scores.f1:.3f}, precision {scores.precision:.3f}, recall {scores.recall:.3f}, "
            f"{plural(scores.support, 'image')}"
        )
    return "<br>".join(lines)


def _scores_table(results: Results, order: Sequence[int]) -> Table:
    rows = []
    for position in order:
        cells = [printable(results.classes[position])]
        for name in JUDGED_SETS:
            scores = results.judgement(name).classes[position]
            cells += [f"{scores.support:,}"]
            cells += [f"{value:.3f}" for value in (scores.precision, scores.recall, scores.f1, scores.specificity)]
        rows.append(tuple(cells))
    header = [
        f"{name} {column}" for name in JUDGED_SETS for column in ("images", "precision", "recall", "F1", "specificity")
    ]
    return Table(("class", *header), tuple(rows))


def _least_width(count: int) -> int:
    return 0 if count <= MOST_ROWS else 80 + count * COLUMN_WIDTH
