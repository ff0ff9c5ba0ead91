"""Pictures of a tuning job's trials, for notebooks and scripts. It needs pandas, and matplotlib for static pictures."""

import difflib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from container.dataset.text import printable
from container.report.charts import LONGEST_LABEL, chart_text, distinct_labels, shortened
from container.report.tuning_axes import Axis, category_axis, number_axis, value_text
from container.words import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from plotly.graph_objects import Figure

    from container.report.picture import Picture

OBJECTIVE = "FinalObjectiveValue"
# As the pages have them in light colors: the lowest objective, the middle, the highest.
COLORS = ("#c2510a", "#b9c0c9", "#0a5ea8")
INK, MUTED, GRID = "#1a1f26", "#57606a", "#d5dae0"
DOTS_PER_INCH = 100


class TuningVisualizer:
    """Shows which values of the settings went with which objective."""

    def __init__(self, tune_data: pd.DataFrame, cat_params: Sequence[str] = (), num_params: Sequence[str] = ()) -> None:
        """Take the trials of a tuning job.

        Args:
            tune_data: a row for each trial, as --tuning_results writes them into trials.csv, and as SageMaker's
                HyperparameterTuningJobAnalytics has them.
            cat_params: the columns that hold categories.
            num_params: the columns that hold numbers. The column FinalObjectiveValue does, whether it is named or not.

        Raises:
            ValueError: a column is not there, is in both lists, or holds something else than it should.
        """
        if not isinstance(tune_data, pd.DataFrame):
            raise ValueError(f"tune_data is of {type(tune_data).__name__}: give a DataFrame with a row for each trial")
        categories, numbers = _names(cat_params, "cat_params"), _names(num_params, "num_params")
        if OBJECTIVE in tune_data and OBJECTIVE not in (*categories, *numbers):
            numbers = (*numbers, OBJECTIVE)
        for name in (*categories, *numbers):
            if (found := list(tune_data).count(name)) != 1:
                has = f"has {found} columns" if found else "has no column"
                raise ValueError(f"tune_data {has} {name!r}{_hint(name, list(map(str, tune_data)))}")
        if both := next((name for name in categories if name in numbers), None):
            raise ValueError(f"{both!r} is in cat_params and in num_params: name it once")
        self._categories = {name: [_category(value) for value in tune_data[name]] for name in categories}
        self._numbers = {name: _numbers(tune_data[name]) for name in numbers}
        self._default = (*(name for name in (*categories, *numbers) if name != OBJECTIVE), OBJECTIVE)

    def plot_parallel_coordinate(
        self,
        columns: Sequence[str] | None = None,
        static: bool = False,
        figsize: tuple[float, float] = (1100, 700),
    ) -> "Figure | Picture":
        """Draw each trial as a line over an axis for each column, colored by the last one: the objective.

        Trials without an objective, or without a number where one is needed, are left out; the title counts them.
        Numbers that differ by a factor of more than 100 lie on a logarithmic axis.

        Args:
            columns: which columns, in this order; the last one is the objective. None: all parameters, and
                FinalObjectiveValue.
            static: whether a picture is drawn instead of an interactive chart. matplotlib draws it, since plotly needs
                a browser to make a picture.
            figsize: width and height in pixels.

        Returns:
            plotly's figure, in which ranges of each axis can be chosen and axes be moved; or matplotlib's, which a
            script writes by `savefig`. A notebook shows either as a cell's last value.

        Raises:
            ValueError: a column is unknown or in neither list, the objective is no number or no trial has one, or
                another argument is out of its range.
        """
        names = self._default if columns is None else self._checked_columns(columns)
        width, height = _checked_size(figsize)
        kept, title = self._judged(names)
        axes = [self._axis(name, kept) for name in names]
        draw = _picture if static else _chart
        return draw(axes, title, width, height)

    def _checked_columns(self, columns: Sequence[str]) -> tuple[str, ...]:
        names = _names(columns, "columns")
        known = [*self._categories, *self._numbers]
        for name in names:
            if name not in known:
                raise ValueError(
                    f"columns has {name!r}, which is in neither cat_params nor num_params{_hint(name, known)}"
                )
        return names

    def _judged(self, names: Sequence[str]) -> tuple[list[int], str]:
        """Return the rows that can be drawn, and what the picture is of."""
        if len(names) < 2:
            raise ValueError(f"{plural(len(names), 'column')} cannot be drawn: give a parameter and the objective")
        objective = names[-1]
        if objective in self._categories:
            raise ValueError(f"columns ends with {objective!r}, which holds categories: the last one is the objective")
        if objective not in self._numbers:
            raise ValueError(f"tune_data has no column {objective!r}: name the objective as the last one of columns")
        if not any(map(math.isfinite, self._numbers[objective])):
            raise ValueError(
                f"no trial has a {objective}: there is nothing to draw before one has logged its objective"
            )
        numbers = [self._numbers[name] for name in names if name in self._numbers]
        rows = range(len(numbers[0]))
        kept = [row for row in rows if all(math.isfinite(column[row]) for column in numbers)]
        if not kept:
            raise ValueError(f"no trial has a number in each of {', '.join(names)}: leave out the emptiest column")
        left_out = f", {len(rows) - len(kept)} of {len(rows)} left out" if len(kept) < len(rows) else ""
        return kept, f"{plural(len(kept), 'trial')} by {printable(objective)}{left_out}"

    def _axis(self, name: str, rows: Sequence[int]) -> Axis:
        if name in self._categories:
            return category_axis(name, [self._categories[name][row] for row in rows])
        return number_axis(name, [self._numbers[name][row] for row in rows])


def _names(names: Any, argument: str) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{argument} is {names!r}: give a list of names of columns")
    if twice := next((name for name in names if list(names).count(name) > 1), None):
        raise ValueError(f"{argument} has {twice!r} twice: name it once")
    return tuple(names)


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known) or 'none'}"


def _category(value: Any) -> str:
    """Return a category as text; what is missing is one of its own."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "-"
    return value_text(value.item() if isinstance(value, np.generic) else value)


def _numbers(column: "pd.Series[Any]") -> list[float]:
    if pd.api.types.is_bool_dtype(column):
        raise ValueError(f"{column.name!r} in num_params holds true and false: name it in cat_params")
    for value in column:
        if pd.isna(value) or (pd.api.types.is_number(value) and not isinstance(value, bool)):
            continue
        raise ValueError(f"{column.name!r} in num_params holds {value!r}, which is no number: name it in cat_params")
    return [float(value) for value in pd.to_numeric(column).astype("float64")]


def _checked_size(figsize: Any) -> tuple[int, int]:
    try:
        width, height = map(float, figsize)
    except (TypeError, ValueError):
        width = height = math.nan
    # What is smaller has no room for axes.
    if not (200 <= width <= 20_000 and 200 <= height <= 20_000):
        raise ValueError(f"figsize is {figsize!r}: give width and height in pixels, from 200 on, such as (1100, 700)")
    return round(width), round(height)


def _chart(axes: Sequence[Axis], title: str, width: int, height: int) -> "Figure":
    from plotly.graph_objects import Figure, Layout, Parcoords

    objective = axes[-1]
    lines = Parcoords(
        dimensions=[_dimension(axis) for axis in axes],
        line={
            "color": objective.values,
            "colorscale": list(zip((0.0, 0.5, 1.0), COLORS, strict=True)),
            "cmin": objective.low,
            "cmax": objective.high,
            "showscale": True,
            "colorbar": {
                "title": {"text": chart_text(objective.name), "side": "right"},
                "tickvals": [tick.at for tick in objective.ticks],
                "ticktext": [tick.text for tick in objective.ticks],
            },
        },
        labelfont={"color": INK, "size": 13},
        tickfont={"color": MUTED, "size": 12},
        rangefont={"color": MUTED, "size": 11},
    )
    layout = Layout(
        title={"text": chart_text(title), "font": {"color": INK, "size": 16}},
        width=width,
        height=height,
        margin={"l": 90, "r": 60, "t": 110, "b": 40},
        paper_bgcolor="white",
        font={"color": INK},
    )
    return Figure(lines, layout)


def _dimension(axis: Axis) -> dict[str, Any]:
    name = shortened(printable(axis.name), LONGEST_LABEL)
    return {"label": chart_text(name), "values": axis.values, "range": [axis.low, axis.high]} | _ticks(axis)


def _ticks(axis: Axis) -> dict[str, Any]:
    # An axis with ticks of ours lets only whole ticks be chosen; of numbers any range may be.
    if axis.kind == "linear" and len(axis.ticks) != 1:
        return {}
    # plotly shows these as they are, and takes equal ones for one.
    return {"tickvals": [tick.at for tick in axis.ticks], "ticktext": distinct_labels([t.text for t in axis.ticks])}


def _picture(axes: Sequence[Axis], title: str, width: int, height: int) -> "Picture":
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    from container.report.picture import Picture

    objective = axes[-1]
    figure = Picture((width / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH, layout="constrained")
    field = figure.subplots()
    field.axis("off")
    field.set(xlim=(-0.45, len(axes) - 0.7), ylim=(-0.06, 1.12))
    field.set_title(title, color=INK, loc="left", pad=14, parse_math=False)
    scale = ScalarMappable(Normalize(objective.low, objective.high), LinearSegmentedColormap.from_list("", COLORS))
    values = np.array(objective.values, dtype=float)
    # The best and the worst ones are seen best: they are drawn last.
    order = np.argsort(np.abs(values - np.median(values)), kind="stable")
    heights = np.array([axis.places for axis in axes], dtype=float).T
    lines = [np.column_stack([np.arange(len(axes)), heights[row]]) for row in order]
    thin = 1.6 if len(lines) <= 100 else 0.9
    field.add_collection(LineCollection(lines, colors=scale.to_rgba(values[order]), linewidths=thin, alpha=0.85))
    for position, axis in enumerate(axes):
        _draw_axis(field, axis, position)
    bar = figure.colorbar(scale, ax=field, shrink=0.8, pad=0.02, ticks=[tick.at for tick in objective.ticks])
    bar.ax.set_yticklabels([tick.text for tick in objective.ticks], color=MUTED, fontsize=9)
    bar.set_label(printable(objective.name), color=INK, parse_math=False)
    return figure


def _draw_axis(field: "Axes", axis: Axis, position: int) -> None:
    field.plot([position, position], [0, 1], color=MUTED, linewidth=1)
    # Long names in two heights, so that neighbors do not touch.
    name = shortened(printable(axis.name), LONGEST_LABEL)
    field.text(position, 1.03 + 0.04 * (position % 2), name, ha="center", color=INK, fontsize=10, parse_math=False)
    for tick, text in zip(axis.ticks, distinct_labels([tick.text for tick in axis.ticks]), strict=True):
        place = axis.place(tick.at)
        field.plot([position - 0.012, position], [place, place], color=MUTED, linewidth=1)
        field.text(
            position - 0.02,
            place,
            text,
            ha="right",
            va="center",
            color=INK,
            fontsize=9,
            parse_math=False,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
        )
