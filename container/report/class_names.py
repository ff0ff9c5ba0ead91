"""Classes as people give them to the tools for notebooks, by name or by position, brought to positions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from container.errors import hint

# An error about an unknown class lists so many that there are.
LISTED = 10


def checked_names(labels: Sequence[Any]) -> tuple[str, ...]:
    """Return the class names, as text.

    Raises:
        ValueError: there are none, one is there twice, or it is no sequence of names.
    """
    if isinstance(labels, str | Mapping) or np.ndim(labels) != 1:
        raise ValueError("labels must be the class names in the order of the outputs, as classes.json lists them")
    names = tuple(map(str, labels))
    if not names:
        raise ValueError("labels is empty: give the class names in the order of the outputs")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"labels has {twice!r} twice: each class needs a name of its own")
    return names


def names_in_order(label_mapping: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return the class names in the order of the outputs.

    Args:
        label_mapping: position by name, as classes_dict.pkl holds it, or name by position.

    Raises:
        ValueError: it is neither, or its positions are not 0, 1, 2 and so on.
    """
    if not isinstance(label_mapping, Mapping) or not label_mapping:
        raise ValueError("label_mapping must be a dict of positions by class name, as classes_dict.pkl holds it")
    pairs = list(label_mapping.items())
    if all(isinstance(name, str) and _is_whole(position) for name, position in pairs):
        names = {int(position): name for name, position in pairs}
    elif all(_is_whole(position) and isinstance(name, str) for position, name in pairs):
        names = {int(position): name for position, name in pairs}
    else:
        raise ValueError(
            "label_mapping must have text on one side and whole numbers on the other: {'daisy': 0, 'rose': 1}"
        )
    if len(names) < len(pairs) or sorted(names) != list(range(len(pairs))):
        found = ", ".join(map(str, sorted(names)[:LISTED]))
        raise ValueError(
            f"label_mapping must have each position from 0 to {len(pairs) - 1} once for its {len(pairs)} classes, and "
            f"has {found}"
        )
    return checked_names([names[position] for position in range(len(pairs))])


def positions_of(values: ArrayLike, names: Sequence[str], argument: str) -> NDArray[np.int64]:
    """Return the position of each class, shape (values,).

    Args:
        values: names or positions, shape (values,).
        names: of all classes, in the order of the outputs.
        argument: what errors call the values.

    Raises:
        ValueError: there are no values, one is no class, or numbers may be names as well as positions.
    """
    array = _one_dimensional(as_array(values, argument), argument)
    if array.dtype.kind in "biu":
        return _checked_positions(array.astype(np.int64), names, argument)
    if array.dtype.kind not in "OUT":
        raise ValueError(
            f"{argument} holds {array.dtype} where names or positions of classes are wanted: for probabilities give "
            f"the whole matrix, of shape (images, {len(names)})"
        )
    positions = {name: position for position, name in enumerate(names)}
    texts = [str(value) for value in array]
    for text in texts:
        if text not in positions:
            raise ValueError(f"{argument} has {text!r}, which is no class{hint(text, names, _listed(names))}")
    return np.array([positions[text] for text in texts], np.int64)


def checked_probabilities(y_pred: ArrayLike, images: int, names: Sequence[str]) -> NDArray[Any]:
    """Return the matrix of probabilities, shape (images, classes).

    Raises:
        ValueError: it has another shape, or holds what is no probability.
    """
    matrix = as_array(y_pred, "y_pred")
    if matrix.shape != (images, len(names)):
        raise ValueError(
            f"y_pred has the shape {matrix.shape}, and must have {images, len(names)}: a row for each of {images} "
            f"images, and a column for each of {len(names)} classes"
        )
    if matrix.dtype.kind not in "fiu" or not np.isfinite(matrix).all():
        raise ValueError("y_pred must hold probabilities, and has something that is no finite number")
    # Rounding takes a probability a little beyond 1.
    if matrix.min() < -1e-3 or matrix.max() > 1 + 1e-3:
        raise ValueError(
            f"y_pred must hold probabilities from 0 to 1, and goes from {matrix.min():g} to {matrix.max():g}: apply "
            "softmax to a model's logits"
        )
    return matrix


def as_array(values: ArrayLike, argument: str) -> NDArray[Any]:
    """Return the values as an array.

    Raises:
        ValueError: they have no common shape.
    """
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(
            f"{argument} must be one array, and its rows differ in length: give the same to each"
        ) from None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _one_dimensional(array: NDArray[Any], argument: str) -> NDArray[Any]:
    if array.ndim != 1:
        raise ValueError(
            f"{argument} must have one class for each image, shape (images,), and has the shape {array.shape}"
            + (": of one-hot rows give argmax(axis=1)" if array.ndim == 2 else "")
        )
    if not len(array):
        raise ValueError(f"{argument} is empty: there are no images to look at")
    if array.dtype.kind == "O" and all(map(_is_whole, array)):
        return array.astype(np.int64)
    return array


def _checked_positions(positions: NDArray[np.int64], names: Sequence[str], argument: str) -> NDArray[np.int64]:
    by_name = {name: position for position, name in enumerate(names)}
    for position in np.unique(positions).tolist():
        if by_name.get(str(position), position) != position:
            raise ValueError(
                f"{argument} has the number {position}, which may be the class {str(position)!r} or the one at that "
                "position: give names as text"
            )
        if not 0 <= position < len(names):
            raise ValueError(
                f"{argument} has the position {position}, and those of the {len(names)} classes go from 0 to "
                f"{len(names) - 1}"
            )
    return positions


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > LISTED else ""
    return f": the classes are {', '.join(map(repr, names[:LISTED]))}{more}"
