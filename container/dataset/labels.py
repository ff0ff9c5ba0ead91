"""Reads labels.csv, which may lie beside the class folders and tells more of the images than their classes.

It is UTF-8, separated by commas, and its first line names the columns. The column `image` tells the image of a row by
its path from the folder that holds the file, or by its bare file name where no other image has that name.
"""

import csv
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from container.dataset.text import printable
from container.errors import DataError, hint

LABELS_FILE = "labels.csv"
IMAGE_COLUMN = "image"


class Row(NamedTuple):
    """One line of a table. A tuple, because there are many."""

    line: int
    """Where it ends in the file, from 1."""
    cells: tuple[str, ...]
    """One for each column."""


@dataclass(frozen=True)
class ImageRows:
    """Which row tells of which image."""

    by_image: Mapping[str, Row]
    """By the image's path, in the order of the table; images without a row are not in it."""
    unmatched: tuple[Row, ...]
    """Rows that name none of the images."""


@dataclass(frozen=True)
class Labels:
    """The table in a labels.csv."""

    file: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Return the table in an image folder; None: it holds no labels.csv.

        Raises:
            DataError: the file cannot be read, or a row has not one cell for each column.
        """
        file = directory / LABELS_FILE
        if not file.is_file():
            return None
        try:
            # Spreadsheets begin a UTF-8 file with a mark.
            with file.open(newline="", encoding="utf-8-sig") as opened:
                reader = csv.reader(opened, strict=True)
                columns = tuple(name.strip() for name in next(reader, []))
                _check_columns(file, columns)
                return cls(file, columns, tuple(_rows(file, columns, reader)))
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise DataError(f"{file} is not UTF-8: save it as CSV in UTF-8") from None
        except csv.Error as error:
            raise DataError(f"{file}, line {reader.line_num}: {error}; save it as CSV again") from None

    def match(self, images: Collection[str]) -> ImageRows:
        """Return which row tells of which of these images, given by their paths from the table's folder.

        Raises:
            DataError: two rows tell of the same image, or a bare name is that of several.
        """
        paths, position = set(images), self.columns.index(IMAGE_COLUMN)
        # Most tables give paths: only names that are none are looked for.
        named: dict[str, list[str]] = {
            name: [] for name in (os.path.normpath(row.cells[position]) for row in self.rows) if name not in paths
        }
        for path in images:
            if (name := path.rpartition("/")[2]) in named:
                named[name].append(path)
        found: dict[str, Row] = {}
        unmatched = []
        for row in self.rows:
            name = os.path.normpath(row.cells[position])
            candidates = [name] if name in paths else named.get(name, [])
            if len(candidates) > 1:
                shown = ", ".join(map(printable, sorted(candidates)[:2]))
                raise self.wrong(row, f"{name!r} is the name of {len(candidates)} images ({shown}): give the path")
            if not candidates:
                unmatched.append(row)
            elif candidates[0] in found:
                raise self.wrong(
                    row, f"{name!r} has a row already in line {found[candidates[0]].line}: remove one of them"
                )
            else:
                found[candidates[0]] = row
        return ImageRows(found, tuple(unmatched))

    def numbers(self, column: str, rows: Sequence[Row]) -> list[float]:
        """Return what rows tell in a column of finite numbers that are not negative.

        Raises:
            DataError: there is no such column, or a cell is no such number.
        """
        if column not in self.columns:
            others = f": its columns are {', '.join(map(repr, self.columns))}"
            raise DataError(f"{self.file} has no column {column!r}{hint(column, self.columns, others)}")
        position = self.columns.index(column)
        return [self._number(column, row, row.cells[position]) for row in rows]

    def write(self, directory: Path, rows: Iterable[tuple[str, Row]]) -> None:
        """Write rows, each after the path of its image, as the labels.csv of another folder that holds these images."""
        position = self.columns.index(IMAGE_COLUMN)
        with (directory / LABELS_FILE).open("w", newline="", encoding="utf-8") as opened:
            # Of line breaks in cells, Python 3.11 quotes those alone that end lines.
            writer = csv.writer(opened, lineterminator="\r\n")
            writer.writerow(self.columns)
            writer.writerows((*row.cells[:position], path, *row.cells[position + 1 :]) for path, row in rows)

    def wrong(self, row: Row, problem: str) -> DataError:
        """Return the error that says where the table is wrong, and how."""
        return _wrong(self.file, row.line, problem)

    def _number(self, column: str, row: Row, cell: str) -> float:
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise self.wrong(row, f"{column} is {cell!r}, but must be a finite number of at least 0")
        return number


def _check_columns(file: Path, columns: tuple[str, ...]) -> None:
    if IMAGE_COLUMN not in columns:
        shown = ", ".join(map(repr, columns)) or "nothing"
        problem = f"there is no column {IMAGE_COLUMN!r}, only {shown}: name the columns there, separated by commas"
        raise _wrong(file, 1, problem)
    repeated = next((name for position, name in enumerate(columns) if name in columns[:position]), None)
    if repeated is not None:
        raise _wrong(file, 1, f"two columns are named {repeated!r}: rename one")


def _rows(file: Path, columns: tuple[str, ...], reader: Any) -> Iterator[Row]:
    for cells in reader:
        # The reader makes no cells of an empty line.
        if not cells:
            continue
        if len(cells) != len(columns):
            raise _wrong(
                file, reader.line_num, f"there are {len(cells)} cells for {len(columns)} columns: write one for each"
            )
        yield Row(reader.line_num, tuple(cells))


def _wrong(file: Path, line: int, problem: str) -> DataError:
    return DataError(f"{file}, line {line}: {problem}")
