"""Tells whether a folder of images is still the one that was split."""

from pathlib import Path

from container.dataset.record import Split
from container.dataset.source import read_source
from container.errors import DataError
from container.modeling.settings import Data


def is_outdated(data: Data, project: Path) -> bool:
    """Tell whether images were added, removed or changed since the split in `data.sets_path`.

    Where the folder of images is gone, or holds none any more, nothing is: sets may be all that one keeps.

    Raises:
        DataError: there is no split.
    """
    split = Split.read(project / data.sets_path)
    try:
        return read_source(project / data.directory, data.class_column).fingerprint() != split.fingerprint
    except DataError:
        return False
