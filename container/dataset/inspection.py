"""What is wrong with single images, their names and their classes. Pure: nothing is read."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from container.dataset.findings import Finding
from container.dataset.image_files import (
    EMPTY,
    IMAGE_EXTENSIONS,
    NO_FILE,
    NO_IMAGE,
    NOT_UNICODE,
    NOWHERE,
    ImageFile,
)
from container.dataset.index import ClassFolder
from container.dataset.looks import Look
from container.dataset.record import SETS
from container.modeling.settings import Data
from container.words import plural

EXTENSIONS: Mapping[str, tuple[str, ...]] = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
}
REASONS = {
    EMPTY: "empty",
    NO_IMAGE: "undecodable",
    NOT_UNICODE: "name_not_unicode",
    NOWHERE: "no_file",
    NO_FILE: "no_file",
}
# How many times as many images the largest class may have.
MOST_IMBALANCE = 10
# Of a key in S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html. A set's name stands before it.
MOST_KEY_BYTES = 1024 - len("evaluation/")
# Quotes and slashes of shells and tables, wildcards, and what S3's own guide advises against.
ODD_CHARACTERS = frozenset("\\'\"`|<>*?{}^%~#")


def reason_rule(reason: str) -> str:
    """Return the rule that a file breaks that was left out for a reason."""
    return REASONS.get(reason, "unreadable")


def look_findings(path: str, class_name: str, look: Look, data: Data) -> Iterator[Finding]:
    """Yield what is wrong with an image."""
    size = f"{look.width} x {look.height} pixels"
    suffix = PurePosixPath(path).suffix.lower()
    if trouble := trouble_of(look, data):
        detail = look.detail
        if trouble == "too_many_pixels":
            # Of images that Pillow does not open, the detail tells it.
            many = detail or f"{look.width * look.height:,} pixels"
            detail = f"{many}, more than data.most_pixels ({data.most_pixels:,})"
        yield Finding(trouble, path, class_name, detail)
        return
    left_out = "" if suffix in IMAGE_EXTENSIONS else ", and left out of the sets"
    for rule, is_so, detail in (
        ("wrong_extension", suffix not in EXTENSIONS[look.format], f"it is {look.format}{left_out}"),
        ("too_small", min(look.width, look.height) < data.smallest_side, size),
        ("animated", look.is_animated, look.format),
        ("cmyk", look.mode == "CMYK", look.format),
        ("sixteen_bit", look.bits > 8, f"{look.bits} bits a channel"),
        ("rotated", look.orientation != 1, f"EXIF orientation {look.orientation}"),
    ):
        if is_so:
            yield Finding(rule, path, class_name, detail, has_pixels=True)


def trouble_of(look: Look, data: Data) -> str:
    """Return the rule that an image breaks so that it is not to be decoded; empty: none."""
    return look.trouble or ("too_many_pixels" if look.width * look.height > data.most_pixels else "")


def name_findings(path: str, class_name: str, has_pixels: bool = False) -> Iterator[Finding]:
    """Yield what is odd about the name of a file, which may be an image with pixels."""
    why = []
    if not path.isprintable():
        why.append("characters that cannot be printed")
    if found := "".join(sorted(ODD_CHARACTERS.intersection(path))):
        why.append(f"the characters {found}")
    if any(part != part.strip() or part.startswith("-") for part in path.split("/")):
        why.append("a blank at an end, or - in front")
    if unicodedata.normalize("NFC", path) != path:
        why.append("letters made of several characters (not NFC)")
    if len(path.encode(errors="replace")) > MOST_KEY_BYTES:
        why.append(f"more than {MOST_KEY_BYTES} bytes, so that S3 does not take it")
    if why:
        yield Finding("odd_name", path, class_name, "; ".join(why), has_pixels=has_pixels)


def class_findings(counts: Mapping[str, Mapping[str, int]], is_split: bool) -> Iterator[Finding]:
    """Yield what is wrong with the classes.

    Args:
        counts: how many images of each class a split would take, by the class's and the set's name.
        is_split: whether the images lie in sets already.
    """
    images = {name: sum(by_set.values()) for name, by_set in counts.items()}
    for names in colliding_names(images):
        for name in names:
            others = ", ".join(repr(other) for other in names if other != name)
            yield Finding("class_names", name, name, f"beside {others}")
    if len(images) == 1:
        yield from (Finding("one_class", name, name, "there is no other") for name in images)
    # A training set that cannot be read has no counts, and is told of for itself.
    if any(SETS[0] in by_set for by_set in counts.values()):
        for name, by_set in counts.items():
            if not by_set.get(SETS[0]):
                yield Finding("untrained_class", name, name, f"{plural(images[name], 'image')} in other sets")
    largest, most = max(images.items(), key=lambda item: item[1])
    for name, count in images.items():
        if count < len(SETS) and not is_split:
            yield Finding("small_class", name, name, f"{count} of at least {len(SETS)} images")
        elif count * MOST_IMBALANCE < most:
            yield Finding("imbalance", name, name, f"{plural(count, 'image')}; {largest!r} has {most:,}")


def colliding_names(names: Iterable[str]) -> list[list[str]]:
    """Return which of these names of classes are the same but for case or form, in groups."""
    forms: dict[str, list[str]] = {}
    for name in names:
        forms.setdefault(unicodedata.normalize("NFKC", name).casefold().strip(), []).append(name)
    return [found for found in forms.values() if len(found) > 1]


def file_of(folders: Iterable[ClassFolder]) -> Iterator[tuple[str, str, ImageFile]]:
    """Yield path, class and file of each image."""
    for folder in folders:
        for file in folder.files:
            yield folder.path(file), folder.name, file
