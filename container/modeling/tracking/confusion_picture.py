"""The confusion matrix as a picture, for trackers that show pictures."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# With more classes there is a colored square per cell, without names and counts.
MOST_NAMED = 40
FONT_SIZE, GAP = 12, 4
LEAST_SIDE, LONGEST_NAME = 480, 24
WHITE, BLACK, BLUE = (255, 255, 255), (30, 30, 30), (8, 64, 129)
TRUE, PREDICTED = "true class per row", "predicted class per column"


def confusion_png(matrix: NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """Return a PNG of a confusion matrix: the darker a cell, the larger its share of its row.

    Args:
        matrix: images by true class (row) and predicted class (column), shape (classes, classes).
        classes: names in the matrix's order; shown with the counts where there are at most 40.
    """
    font = ImageFont.load_default(FONT_SIZE)
    names = [_short(name) for name in classes] if len(classes) <= MOST_NAMED else []
    margin = int(max(map(font.getlength, names), default=0)) + 3 * GAP + FONT_SIZE
    widest = int(font.getlength(f"{matrix.max():,}")) + 2 * GAP if names else 1
    cell = max(widest, FONT_SIZE + 2 * GAP if names else 1, LEAST_SIDE // len(classes))
    side = margin + cell * len(classes)
    picture = Image.new("RGB", (side, side), WHITE)
    # By its root, a share of a few percent can still be seen.
    darkness = np.sqrt(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))
    colors = np.array(WHITE) + (np.array(BLUE) - WHITE) * darkness[..., None]
    squares = Image.fromarray(colors.round().astype(np.uint8))
    picture.paste(squares.resize((side - margin, side - margin), Image.Resampling.NEAREST), (margin, margin))
    draw = ImageDraw.Draw(picture)
    for row, column in np.ndindex(*matrix.shape) if names else ():
        foot = margin + (column + 0.5) * cell, margin + (row + 0.5) * cell
        color = WHITE if darkness[row, column] > 0.5 else BLACK
        draw.text(foot, f"{matrix[row, column]:,}", color, font, "mm")
    for position, name in enumerate(names):
        middle = margin + (position + 0.5) * cell
        draw.text((margin - GAP, middle), name, BLACK, font, "rm")
        _draw_turned(picture, name, (middle, margin - GAP), font)
    draw.text((margin, GAP), PREDICTED, BLACK, font)
    _draw_turned(picture, TRUE, (GAP + FONT_SIZE / 2, side), font)
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."


def _draw_turned(picture: Image.Image, text: str, foot: tuple[float, float], font: Any) -> None:
    """Draw a text that goes up from a point in the middle of its line's foot."""
    left, top, right, bottom = map(int, font.getbbox(text))
    line = Image.new("L", (right - left + 1, bottom - top + 1), 0)
    ImageDraw.Draw(line).text((-left, -top), text, 255, font)
    mask = line.transpose(Image.Transpose.ROTATE_90)
    x, y = foot
    picture.paste(BLACK, (round(x - mask.width / 2), round(y - mask.height)), mask)
