"""Tells whether a folder of images is still the one that was split."""

from pathlib import Path

from container.dataset.record import Split
from container.dataset.source import read_source
from container.errors import DataError
from container.modeling.settings import Data


def outdated_split(data: Data, project: Path) -> Split | None:
    """Return the split in `data.sets_path` if images were added, removed or changed since; None: none were.

    Where the folder of images is gone, or holds none any more, nothing is: sets may be all that one keeps.

    Raises:
        DataError: there is no split.
    """
    split = Split.read(project / data.sets_path)
    try:
        source = read_source(project / data.directory, data.class_column)
    except DataError:
        return None
    return split if source.fingerprint() != split.fingerprint else None
