"""Pictures of what a model gets wrong, and right, for notebooks and scripts. It needs matplotlib: no job imports it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike, NDArray

from container.dataset.text import printable
from container.report.charts import shortened
from container.report.class_names import checked_probabilities, names_in_order, positions_of
from container.report.picture import Picture
from container.report.pixels import Pixels
from container.words import plural

COLUMNS = 5
# In inches: of a picture with its texts, of a heading, and of a panel without pictures.
PICTURE_WIDTH, PICTURE_HEIGHT, HEADING_HEIGHT, EMPTY_HEIGHT = 2.0, 2.5, 0.4, 0.6
# In points, and how wide a character is in the mean, as a share of that.
FONT_SIZE, HEADING_FONT_SIZE, CHARACTER_WIDTH = 9.0, 11.0, 0.65
WRONG_COLOR, RIGHT_COLOR, QUIET_COLOR = "#b3261e", "#1b6e3c", "#5f6368"


@dataclass(frozen=True, eq=False)
class _Panel:
    """The wrong or the right predictions of a class."""

    heading: str
    positions: tuple[int, ...]
    """Of the images to show."""
    if_empty: str
    """What is written where there are none."""
    color: str
    """Of the texts about the predictions."""

    def rows(self, columns: int) -> int:
        return math.ceil(len(self.positions) / columns)

    def height(self, columns: int) -> float:
        """In inches."""
        return HEADING_HEIGHT + (self.rows(columns) * PICTURE_HEIGHT if self.positions else EMPTY_HEIGHT)


class ErrorAnalyzer:
    """Shows what a model takes the images of a class for."""

    def __init__(
        self,
        y_true: ArrayLike,
        images: Sequence[Any] | NDArray[Any],
        y_pred: ArrayLike,
        label_mapping: Mapping[Any, Any],
    ) -> None:
        """Take images and what a model says of them.

        Args:
            y_true: name or position of each image's true class, shape (images,).
            images: an array of shape (images, height, width, channels), or (images, height, width) for grey ones, of
                integers from 0 to 255 or floating-point numbers from 0 to 255 or 0 to 1; or a sequence with an array,
                or the path of a file, for each image. Files are read when they are shown.
            y_pred: probability of each class, shape (images, classes).
            label_mapping: position by class name, as classes_dict.pkl holds it; name by position does as well.

        Raises:
            ValueError: one of them is something else, or they do not fit each other.
        """
        self._names = names_in_order(label_mapping)
        self._true = positions_of(y_true, self._names, "y_true")
        self._probabilities = checked_probabilities(y_pred, len(self._true), self._names)
        self._pixels = Pixels(images)
        if len(self._pixels) != len(self._true):
            raise ValueError(
                f"images has {len(self._pixels)} images and y_true {len(self._true)}: give both for the same images"
            )

    def plot_mis_clf(
        self,
        class_label: str | int,
        figsize: tuple[float, float] | None = None,
        sample_mis_clf: int = 10,
        sample_correct_clf: int = 5,
    ) -> Picture:
        """Show images of a class that the model gets wrong, and some that it gets right.

        Each has the predicted class and its probability above, and its file name or number below. Both kinds begin with
        the predictions that the model is most sure of: those wrong ones tell most, and are the same at each call.

        Args:
            class_label: the true class, by name or by position.
            figsize: width and height in inches; None: what the pictures need.
            sample_mis_clf: wrong predictions to show, at most; 0 leaves their panel out.
            sample_correct_clf: right predictions to show, at most; 0 leaves their panel out.

        Returns:
            The figure. A notebook shows it as a cell's last value; a script writes it by `savefig`.

        Raises:
            ValueError: the class is unknown, or another argument is out of its range.
            DataError: an image's file cannot be read.
        """
        position = int(positions_of([class_label], self._names, "class_label")[0])
        counts = _count(sample_mis_clf, "sample_mis_clf"), _count(sample_correct_clf, "sample_correct_clf")
        panels = self._panels(position, *counts)
        columns = min(COLUMNS, max(len(panel.positions) for panel in panels)) or 1
        heights = [panel.height(columns) for panel in panels]
        size = (COLUMNS * PICTURE_WIDTH, sum(heights)) if figsize is None else _checked_size(figsize)
        figure = Picture(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.08, hspace=0.0))
        parts = figure.subfigures(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, panel in zip(parts, panels, strict=True):
            self._draw(part, panel, columns, size[0])
        return figure

    def _panels(self, position: int, wrong_count: int, right_count: int) -> list[_Panel]:
        sure_first = np.argsort(-self._probabilities.max(axis=1), kind="stable")
        of_class = sure_first[self._true[sure_first] == position]
        is_right = self._probabilities[of_class].argmax(axis=1) == position
        name = printable(self._names[position])
        panels = [
            _panel(name, "wrong", of_class[~is_right], wrong_count, len(of_class), WRONG_COLOR),
            _panel(name, "right", of_class[is_right], right_count, len(of_class), RIGHT_COLOR),
        ]
        shown = [panel for panel, count in zip(panels, (wrong_count, right_count), strict=True) if count]
        if not shown:
            raise ValueError("sample_mis_clf and sample_correct_clf are both 0: give at least one of them")
        return shown

    def _draw(self, part: SubFigure, panel: _Panel, columns: int, width: float) -> None:
        """Draw a panel that is so many inches wide."""
        heading = shortened(panel.heading, _characters(width, HEADING_FONT_SIZE))
        part.suptitle(heading, fontsize=HEADING_FONT_SIZE, fontweight="bold", parse_math=False)
        cells = part.subplots(panel.rows(columns) or 1, columns if panel.positions else 1, squeeze=False).ravel()
        for axes in cells:
            axes.axis("off")
            axes.set(xticks=[], yticks=[])
        if not panel.positions:
            cells[0].text(0.5, 0.5, panel.if_empty, ha="center", va="center", color=QUIET_COLOR, fontsize=FONT_SIZE)
        for axes, position in zip(cells, panel.positions, strict=False):
            self._draw_image(axes, position, panel.color, _characters(width / columns, FONT_SIZE))

    def _draw_image(self, axes: Axes, position: int, color: str, longest: int) -> None:
        """Draw an image with its texts, of at most so many characters a line."""
        probabilities = self._probabilities[position]
        predicted = shortened(printable(self._names[probabilities.argmax()]), longest)
        name = shortened(self._pixels.name(position), longest)
        pixels = self._pixels[position]
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        # In the middle of a square, so that the texts stand at one height.
        height, width = pixels.shape[:2]
        margins = (max(height, width) - np.array([height, width])) / 2
        axes.set_ylim(height + margins[0] - 0.5, -margins[0] - 0.5)
        axes.set_xlim(-margins[1] - 0.5, width + margins[1] - 0.5)
        axes.set_title(f"{predicted}\n{probabilities.max():.3f}", fontsize=FONT_SIZE, color=color, parse_math=False)
        axes.annotate(
            name,
            (0.5, 0),
            (0, -3),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=FONT_SIZE - 1,
            color=QUIET_COLOR,
            parse_math=False,
        )


def _panel(name: str, kind: str, found: NDArray[np.int64], count: int, images: int, color: str) -> _Panel:
    """Return the panel of the first few of the images that were found among so many of the class."""
    shown = tuple(found[:count].tolist())
    how_many = f" ({len(shown)} of {len(found)})" if shown else ""
    if_empty = f"no {kind} prediction among {plural(images, 'image')} of this class"
    if not images:
        if_empty = "there is no image of this class"
    return _Panel(f"{kind} predictions of {name}{how_many}", shown, if_empty, color)


def _characters(width: float, font_size: float) -> int:
    """Return how many characters fit into a width in inches."""
    return max(6, int(width * 72 / font_size / CHARACTER_WIDTH))


def _count(value: Any, argument: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"{argument} is {value!r}: give a whole number from 0 on")
    return int(value)


def _checked_size(figsize: Any) -> tuple[float, float]:
    try:
        width, height = map(float, figsize)
    except (TypeError, ValueError):
        width = height = math.nan
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise ValueError(f"figsize is {figsize!r}: give width and height in inches, such as (10, 8)")
    return width, height
