"""What it takes to make the report of a large job, and how large the page is.

    python benchmarks/report_page.py [--classes 133] [--images 10000]

The results are made up: so many evaluation images, as many validation images, 48 pictures of photos. The page is made
by a process of its own, whose whole time counts, imports included; the memory is the peak of what was resident, as
Linux counts it. It should take at most 15 s on two cores and 1.5 GB, and be under 8 MB.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from container.report.facts import PREDICTIONS_FILE, Predictions  # noqa: E402
from tests.container.made_up import write_results  # noqa: E402

MAKE = """\
import sys
from pathlib import Path
from container.report.page import write_report
write_report(Path(sys.argv[1]), {name: Path(sys.argv[2]) / name for name in ("validation", "evaluation")})
"""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=133)
    parser.add_argument("--images", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results, photos = Path(scratch) / "results", Path(scratch) / "photos"
        names = [f"{number:03}.Some_breed_of_dog" for number in range(arguments.classes)]
        write_results(results, names, images=arguments.images, accuracy=0.8, epochs=50)
        link_photos(results, photos)
        began = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        program = subprocess.Popen([sys.executable, "-c", MAKE, str(results), str(photos)], env=environment)
        _, status, usage = os.wait4(program.pid, 0)
        if status:
            sys.exit("the page could not be made")
        seconds, page = time.monotonic() - began, results / "report.html"
        print(
            f"{arguments.classes} classes, {arguments.images:,} evaluation and as many validation images: "
            f"{seconds:.1f} s, {usage.ru_maxrss / 1e3:,.0f} MB of memory, a page of {page.stat().st_size / 1e6:.1f} MB"
        )


def link_photos(results: Path, folder: Path) -> None:
    """Link each image of the results to one of a few photos of 500x375 pixels."""
    random = np.random.default_rng(0)
    photos = [folder / f"{number}.jpg" for number in range(20)]
    folder.mkdir()
    for photo in photos:
        # Coarse noise, smoothed: about as many bytes as a photo has.
        coarse = random.integers(0, 256, (38, 50, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(photo, quality=90)
    for number, row in enumerate(Predictions.read(results / PREDICTIONS_FILE).rows):
        link = folder / row.set / row.path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photos[number % len(photos)])


if __name__ == "__main__":
    main()
