"""What `--predict` does: sends files, the images of folders, and what URLs name, and shows what comes back."""

import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.text import Text

from container.dataset.index import find_images
from container.errors import DataError
from container.words import plural
from manager.console import Terminal
from manager.errors import ImageRefusedError
from manager.labeled_predictions import LabeledPrediction, folders_around, label_of
from manager.predictor import ENCODED, PARALLEL_REQUESTS, URL, Predictor

URL_SCHEMES = ("http://", "https://")
URL_TIMEOUT_SECONDS = 30
# More than any endpoint takes.
MOST_URL_BYTES = 32 << 20
BAR_WIDTH, LEAST_BAR_WIDTH = 20, 4
# What reads 1.0000, and alone fills a bar.
CERTAIN = 0.99995
# A table of more is for a file: `--output`.
MOST_ROWS = 200
# Beside a class, which of two comes second is no news.
FEWEST_FOR_SECOND = 3


@dataclass(frozen=True)
class Source:
    """An image that is to be predicted."""

    name: str
    """As the user knows it."""
    file: Path | None = None
    """None: `name` is a URL."""
    folders: tuple[str, ...] = ()
    """What may be called as its class, in the order of `folders_around`; empty: nothing."""

    def read(self) -> bytes:
        """Return the image's bytes.

        Raises:
            DataError: it cannot be read or fetched.
        """
        if self.file is None:
            return _fetch(self.name)
        try:
            return self.file.read_bytes()
        except OSError as error:
            raise DataError(f"it cannot be read: {error.strerror}") from None


@dataclass(frozen=True)
class Refusal:
    """An image that was not predicted."""

    name: str
    reason: str


def sources(named: Sequence[str], terminal: Terminal) -> tuple[Source, ...]:
    """Return the images that a user names by files, folders and URLs; a folder stands for all images in it.

    Raises:
        DataError: a file or folder does not exist, or there is no image at all.
    """
    found = tuple(source for text in named for source in _sources(text, terminal))
    if not found:
        raise DataError(f"there is no image in {', '.join(named)}: name a file, a folder with images, or a URL")
    return found


def predict_all(
    predictor: Predictor, images: Sequence[Source], terminal: Terminal
) -> tuple[tuple[LabeledPrediction, ...], tuple[Refusal, ...]]:
    """Ask an endpoint about images, several at a time; return predictions and refusals, each in the images' order.

    Raises:
        EndpointError: there is no such endpoint, or its answer is none of ours.
        AwsError: AWS refuses, or does not answer.
    """
    outcomes: dict[int, LabeledPrediction | Refusal] = {}
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool, terminal.progress("predict", len(images)) as advance:
        futures = {pool.submit(_predict, predictor, image): place for place, image in enumerate(images)}
        try:
            for future in as_completed(futures):
                outcomes[futures[future]] = future.result()
                advance(1)
        finally:
            pool.shutdown(cancel_futures=True)
    ordered = [outcomes[place] for place in range(len(images))]
    return (
        tuple(outcome for outcome in ordered if isinstance(outcome, LabeledPrediction)),
        tuple(outcome for outcome in ordered if isinstance(outcome, Refusal)),
    )


def show(rows: Sequence[LabeledPrediction], refusals: Sequence[Refusal], terminal: Terminal) -> None:
    """Print predictions as a table, those that were refused with their reasons, and a summary."""
    if rows:
        classes = len(rows[0].prediction.probabilities)
        header = ["image", "class", "probability", ""]
        header += ["second class"] * (classes >= FEWEST_FOR_SECOND)
        header += ["class by folder"] * any(row.label for row in rows)
        terminal.table("Predictions", header, [_row(row, len(header)) for row in rows[:MOST_ROWS]], whole=2)
    if len(rows) > MOST_ROWS:
        terminal.prose(f"{len(rows) - MOST_ROWS:,} more are not shown: --output FILE writes them all")
    for refusal in refusals:
        terminal.warn(f"{refusal.name}: {refusal.reason}")
    summary = f"{len(rows):,} of {plural(len(rows) + len(refusals), 'image')} predicted"
    if known := [row for row in rows if row.label]:
        right = sum(row.is_right for row in known)
        summary += f"; {right:,} of {len(known):,} as their folders say ({right / len(known):.1%})"
    terminal.plain(summary)


def _sources(text: str, terminal: Terminal) -> Iterator[Source]:
    if text.lower().startswith(URL_SCHEMES):
        yield Source(text)
        return
    if URL.match(text):
        hint = "; --batch_transform takes a folder on S3" if text.lower().startswith("s3://") else ""
        raise DataError(
            f"{text} is not taken: name a file, a folder with images, or a URL of http:// or https://{hint}"
        )
    path = Path(text).expanduser()
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"{path} does not exist: name a file, a folder with images, or a URL")
        yield Source(text, path, folders_around(path.name, path.resolve().parent.name))
        return
    (names, left_out), folder = find_images(path), path.resolve().name
    for bad in left_out.bad_files:
        terminal.warn(f"{path / bad.path} is left out: {bad.reason}")
    for name in names:
        yield Source(str(path / name), path / name, folders_around(name, folder))


def _predict(predictor: Predictor, source: Source) -> LabeledPrediction | Refusal:
    try:
        prediction = predictor.predict_body(source.read(), ENCODED)
    except (DataError, ImageRefusedError) as error:
        return Refusal(source.name, str(error))
    return LabeledPrediction(source.name, prediction, label_of(source.folders, prediction.probabilities))


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=URL_TIMEOUT_SECONDS) as answer:
            content: bytes = answer.read(MOST_URL_BYTES + 1)
    except (OSError, HTTPException, ValueError) as error:
        # An HTTPError tells its status itself.
        reason = error.reason if type(error) is urllib.error.URLError else error
        raise DataError(f"it cannot be fetched: {reason}") from None
    if len(content) > MOST_URL_BYTES:
        raise DataError(f"it cannot be fetched: it has more than {MOST_URL_BYTES:,} bytes")
    return content


@dataclass(frozen=True)
class _Bar:
    """Shows a probability as long as its column is wide: whole in a narrow terminal, too."""

    probability: float

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(LEAST_BAR_WIDTH, BAR_WIDTH).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, BAR_WIDTH)
        filled = min(round(self.probability * width), width - (self.probability < CERTAIN))
        yield Text("█" * filled, style="cyan") + Text("░" * (width - filled), style="dim")


def _row(row: LabeledPrediction, columns: int) -> tuple[RenderableType, ...]:
    prediction = row.prediction
    style = ("green" if row.is_right else "bold red") if row.label else ""
    cells: list[RenderableType] = [
        row.path,
        Text(prediction.label, style=style),
        f"{prediction.probability:.4f}",
        _Bar(prediction.probability),
    ]
    if len(prediction.probabilities) >= FEWEST_FOR_SECOND:
        second = prediction.ranked[1]
        cells.append(f"{second} {prediction.probabilities[second]:.4f}")
    return (*cells, row.label) if columns > len(cells) else tuple(cells)
