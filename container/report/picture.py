"""The figures of notebooks and scripts. It needs matplotlib: no job imports it."""

import io

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that a notebook shows when it is a cell's last value, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        self.savefig(written, format="png")
        return written.getvalue()
