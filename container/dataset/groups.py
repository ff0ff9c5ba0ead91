"""Images that must stay in one set, since a model that learned one of them knows the others.

These are files with the same bytes, images that a check found alike, and those that an expression ties together, such
as all of a patient. What is tied to the same image is tied to each other.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from container.dataset.alike import Alike
from container.dataset.source import ImageSource
from container.dataset.text import printable
from container.errors import DataError


class Ties:
    """Which of so many things are tied together, by their positions: a forest that is kept flat (union by minimum)."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def tie(self, positions: Iterable[int]) -> None:
        """Tie these together."""
        roots = {self._root(position) for position in positions}
        least = min(roots, default=0)
        for root in roots:
            self._parent[root] = least

    def groups(self) -> list[tuple[int, ...]]:
        """Return the groups of at least two, each sorted, in the order of their first ones."""
        members: dict[int, list[int]] = {}
        for position in sorted(self._parent):
            members.setdefault(self._root(position), []).append(position)
        return [tuple(found) for found in members.values() if len(found) > 1]

    def _root(self, position: int) -> int:
        path = []
        while (parent := self._parent.setdefault(position, position)) != position:
            path.append(position)
            position = parent
        for passed in path:
            self._parent[passed] = position
        return position


@dataclass(frozen=True, slots=True)
class Grouping:
    """The images of a source that must stay together."""

    groups: tuple[tuple[int, ...], ...]
    """Positions of the images, in the order of the source; each group has at least two."""
    keys: Mapping[int, str]
    """What the expression found in each image, by position."""
    identical: int
    """Images of which there is another with the same bytes."""
    alike: int
    """Images that a check found to be the same as others, or nearly so."""
    unmatched: tuple[str, ...]
    """Paths in which the expression found nothing."""
    largest: str
    """How many images the largest group has, and what ties them, in words; empty: there are no groups."""

    @property
    def images(self) -> int:
        """Images in all groups."""
        return sum(map(len, self.groups))


def group_images(source: ImageSource, expression: str, alike: Alike, keeps_near: bool) -> Grouping:
    """Return which images must stay together.

    Args:
        source: the images.
        expression: a regular expression; images in whose paths it finds the same text stay together, by its first
            group where it has one. Empty: none.
        alike: what a check found alike.
        keeps_near: nearly the same images stay together; else only those that are the same.

    Raises:
        DataError: the expression finds nothing in any path.
    """
    paths = [path for path, _ in source.images()]
    ties = Ties()
    identical = _identical(source, paths)
    tied = {path for found in (alike.same, alike.near) for group in found for path in group}
    known = {path: position for position, path in enumerate(paths) if path in tied}
    same, near = (
        [tuple(known[path] for path in group) for group in found]
        for found in (alike.same, alike.near if keeps_near else ())
    )
    keys = _keys(paths, expression) if expression else {}
    by_key: dict[str, list[int]] = {}
    for position, key in keys.items():
        by_key.setdefault(key, []).append(position)
    for group in (*identical, *same, *near, *by_key.values()):
        ties.tie(group)
    groups = tuple(ties.groups())
    unmatched = tuple(path for position, path in enumerate(paths) if position not in keys) if expression else ()
    causes: dict[str, Iterable[Sequence[int]]] = {
        "are the same file": identical,
        "have the same pixels": same,
        "are nearly the same (data.keep_near)": near,
        "share what data.group_by finds": by_key.values(),
    }
    return Grouping(
        groups,
        keys,
        sum(map(len, identical)),
        len({position for group in (*same, *near) for position in group}),
        unmatched,
        _told(max(groups, key=len), paths, causes) if groups else "",
    )


def matched_text(match: re.Match[str]) -> str:
    """Return what ties an image to others: what the expression's first group found, or without one the expression."""
    return match[1] if match.re.groups and match[1] is not None else match[0]


def _told(group: Sequence[int], paths: Sequence[str], causes: Mapping[str, Iterable[Sequence[int]]]) -> str:
    """Return what ties a group, in words."""
    members = set(group)
    counts = {
        cause: sum(len(tied) for tied in found if len(tied) > 1 and tied[0] in members)
        for cause, found in causes.items()
    }
    why = ", ".join(f"{count:,} {cause}" for cause, count in counts.items() if count)
    return (
        f"the largest group ties {len(group):,} of {len(paths):,} images, such as {printable(paths[group[0]])!r}: {why}"
    )


def _keys(paths: Sequence[str], expression: str) -> dict[int, str]:
    search = re.compile(expression).search
    # Each text once, however many images have it.
    texts: dict[str, str] = {}
    keys = {}
    for position, path in enumerate(paths):
        if match := search(path):
            key = matched_text(match)
            keys[position] = texts.setdefault(key, key)
    if not keys:
        example = f", such as {printable(paths[0])!r}" if paths else ""
        raise DataError(f"data.group_by={expression} finds nothing in the path of any image{example}")
    return keys


def _identical(source: ImageSource, paths: Sequence[str]) -> list[list[int]]:
    """Return the positions of files with the same bytes, which have the same size and the same trace as well."""
    # Numbers in arrays, since this is a step that has all files at once.
    kinds = np.fromiter(((file.size, file.trace) for _, file in source.images()), np.dtype((np.int64, 2)), len(paths))
    order = np.lexsort(kinds.T)
    is_like_before = (kinds[order[1:]] == kinds[order[:-1]]).all(axis=1)
    starts = np.flatnonzero(np.concatenate(([True], ~is_like_before)))
    lengths = np.diff(starts, append=len(order))
    digests = _Digests(f"{source.directory}/")
    found: list[list[int]] = []
    for start, length in zip(starts[lengths > 1].tolist(), lengths[lengths > 1].tolist(), strict=True):
        parts: dict[object, list[int]] = {}
        for position in order[start : start + length].tolist():
            parts.setdefault(digests.of(paths[position]), []).append(position)
        found += [part for part in parts.values() if len(part) > 1]
    return found


class _Digests:
    """Of the bytes of files."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._known: dict[tuple[int, int], bytes] = {}

    def of(self, path: str) -> object:
        """Return the digest of a file's bytes; a file under several names is read once.

        One that cannot be read is like no other: whoever puts it into a set will say so.
        """
        try:
            with open(self._directory + path, "rb") as file:  # noqa: PTH123
                found = os.fstat(file.fileno())
                identity = (found.st_dev, found.st_ino)
                if identity not in self._known:
                    self._known[identity] = hashlib.file_digest(file, "sha256").digest()
                return self._known[identity]
        except OSError:
            return path
