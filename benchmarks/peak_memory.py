"""How much memory training takes, and that it does not grow with the number of files beyond the cache's set share.

    python benchmarks/peak_memory.py IMAGES [--files N]

IMAGES is a folder of photos with one sub-folder per class, or a .tar of one; it is repeated to N files, and to a
quarter of them. A job trains two epochs on each: with decoded images nowhere, on the disk and in the memory. The figure
is the peak of the resident memory of the program `train`, as Linux counts it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.photos import repeated  # noqa: E402

SIDE = 96
SETTINGS = {
    "image.height": str(SIDE),
    "image.width": str(SIDE),
    "model.filters": "[8, 8, 8, 8, 8]",
    "training.epochs": "2",
}
CACHES = {
    "nowhere": {"input.memory_share": "0", "input.disk_cache": "false"},
    "on the disk": {"input.memory_share": "0"},
    "in the memory": {"input.memory_share": "0.5"},
}


def main() -> None:
    """Print the peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--files", type=int, default=8000)
    arguments = parser.parse_args()
    counts = (arguments.files // 4, arguments.files)
    for place, cache in CACHES.items():
        few, many = (peak(arguments.images, count, SETTINGS | cache) for count in counts)
        decoded = (counts[1] - counts[0]) * SIDE * SIDE * 3 / 1e6
        print(
            f"decoded images {place}: {counts[0]:,} files {few:,.0f} MB, {counts[1]:,} files {many:,.0f} MB: "
            f"{many - few:+,.0f} MB (the decoded images: {decoded:,.0f} MB)",
            flush=True,
        )


def peak(source: Path, files: int, settings: dict[str, str]) -> float:
    """Return the peak of the memory of a job that trains on so many files, in MB."""
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "ml"
        for channel, count in (("training", files), ("validation", 64), ("evaluation", 64)):
            folder = repeated(source, Path(scratch) / channel, count)
            target = base / "input" / "data" / channel
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
        config = base / "input" / "config"
        config.mkdir()
        contents = {
            "hyperparameters": settings,
            "inputdataconfig": {},
            "resourceconfig": {"hosts": ["algo-1"], "current_host": "algo-1"},
        }
        for name, content in contents.items():
            (config / f"{name}.json").write_text(json.dumps(content))
        train = [sys.executable, str(REPOSITORY / "container" / "train")]
        environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(base)}
        program = subprocess.Popen(train, env=environment, cwd=scratch, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(program.pid, 0)
        if status:
            sys.exit((base / "output" / "failure").read_text())
        return usage.ru_maxrss / 1e3


if __name__ == "__main__":
    main()
