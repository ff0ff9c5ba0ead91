"""How fast the sets are uploaded, next to `aws s3 sync` on the same server, and how much memory more files take.

    python benchmarks/upload.py [speed] [memory] [--files N] [--kilobytes N] [--rounds N]

The server is the embedded AWS; each command is timed from its start to its end, each time into a bucket of its own.

- speed: `aws s3 sync` and `--upload_data` by turns, then `--upload_data` again, which has nothing to send; the median
  of the rounds' ratios. It needs `pip install awscli`.
- memory: the peak of `--upload_data`, the first time and again, with 4,000 and with 16,000 files of 100 bytes.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.unwatched import Unwatched  # noqa: E402
from container.dataset.record import RECORD  # noqa: E402
from container.dataset.split import split_images  # noqa: E402
from container.modeling.settings import Data  # noqa: E402

REGION = "us-east-1"
SMALL = 100
COUNTS = (4_000, 16_000)
CLASSES = 10


@dataclass(frozen=True)
class Server:
    """The embedded AWS, and the environment in which commands use it."""

    environment: dict[str, str]
    s3: Any

    def new_bucket(self, project: str) -> str:
        """Create the data bucket of a project."""
        bucket = f"{project}.data"
        self.s3.create_bucket(Bucket=bucket)
        tags = {"Project": project, "Service": "sagemaker-image-classification"}
        tag_set = [{"Key": key, "Value": value} for key, value in tags.items()]
        self.s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tag_set})
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        self.s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
        return bucket

    def seconds(self, command: Sequence[str]) -> float:
        """Run a command; return how long it took."""
        began = time.perf_counter()
        self.run(command)
        return time.perf_counter() - began

    def run(self, command: Sequence[str]) -> None:
        """Run a command, which must succeed."""
        subprocess.run(command, env=self.environment, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure what is asked for, or everything."""
    benchmarks: dict[str, Callable[[argparse.Namespace], None]] = {"speed": speed, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="*", choices=[*benchmarks, []], metavar="|".join(benchmarks))
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--kilobytes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for name in arguments.benchmarks or benchmarks:
        benchmarks[name](arguments)


def speed(arguments: argparse.Namespace) -> None:
    """Next to `aws s3 sync`."""
    aws = shutil.which("aws", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not aws:
        sys.exit("the aws command line is missing: pip install awscli")
    rounds = []
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch)) as server:
        images = made_up(Path(scratch), arguments.files, arguments.kilobytes * 1000)
        for number in range(arguments.rounds):
            peer = server.new_bucket(f"sync-{number}")
            upload = upload_command(images, f"upload-{number}")
            server.new_bucket(f"upload-{number}")
            sync = [aws, "s3", "sync", f"{images}-sets", f"s3://{peer}/", "--only-show-errors"]
            rounds.append([server.seconds(command) for command in (sync, upload, upload)])
    synced, first, again = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(row[1] / row[0] for row in rounds)
    print(
        f"{arguments.files:,} files of {arguments.kilobytes} KB: aws s3 sync {synced:.2f} s, --upload_data "
        f"{first:.2f} s, which is {ratio:.2f} of it; again without changes {again:.2f} s",
        flush=True,
    )


def memory(_: argparse.Namespace) -> None:
    """Few files and many."""
    peaks = [peak(count) for count in COUNTS]
    for name, few, many in zip(("the first time", "again"), *peaks, strict=True):
        growth = (many - few) * 1000 / (COUNTS[1] - COUNTS[0])
        print(
            f"peak memory {name} with {COUNTS[0]:,} files {few / 1e3:,.0f} MB, with {COUNTS[1]:,} files "
            f"{many / 1e3:,.0f} MB: {growth:,.0f} bytes a file",
            flush=True,
        )


def peak(files: int) -> tuple[int, int]:
    """Return the peaks of the memory, in kB, of a first and a second upload of so many files."""
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch)) as server:
        images = made_up(Path(scratch), files, SMALL)
        server.new_bucket("memory")
        measure = [sys.executable, __file__, "--measured", *upload_command(images, "memory")[1:]]
        first, again = (
            subprocess.run(measure, env=server.environment, check=True, capture_output=True, text=True).stdout
            for _ in range(2)
        )
        return int(first.splitlines()[-1]), int(again.splitlines()[-1])


def measured(arguments: Sequence[str]) -> None:
    """Run project_manager.py in this process, and print the peak of its memory in kB."""
    import project_manager

    if project_manager.main(arguments):
        sys.exit(1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def upload_command(images: Path, project: str) -> list[str]:
    """Return the command that uploads the sets of a folder of images."""
    settings = (f"project_name={project}", "algorithm_name=upload", f"data.directory={images}")
    named = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, str(REPOSITORY / "project_manager.py"), "--upload_data", *named]


def made_up(scratch: Path, files: int, size: int) -> Path:
    """Write a folder of so many files that begin as JPEG does, and split them."""
    images = scratch / "images"
    for number in range(files):
        path = images / f"class {number % CLASSES}" / f"image {number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8\xff" + os.urandom(size - 3))
    split_images(Data(directory=str(images)), scratch, Unwatched())
    assert (scratch / "images-sets" / RECORD).is_file()
    return images


@contextmanager
def serving(scratch: Path) -> Iterator[Server]:
    """Start a server of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"LOCAL_AWS_HOME": str(scratch / "home"), "LOCAL_AWS_EXECUTOR": "process"}
    endpoint_url = json.loads(local_aws("start", environment))["endpoint_url"]
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": REGION}
    nowhere = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    client = boto3.client("s3", REGION, endpoint_url=endpoint_url, aws_access_key_id="any", aws_secret_access_key="any")
    try:
        yield Server(environment | keys | nowhere | {"AWS_ENDPOINT_URL": endpoint_url}, client)
    finally:
        local_aws("stop", environment)


def local_aws(action: str, environment: dict[str, str]) -> str:
    """Run a command of the embedded AWS; return what it prints."""
    command = [sys.executable, "-m", "local_aws", action]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    if "--measured" in sys.argv:
        measured(sys.argv[sys.argv.index("--measured") + 2 :])
    else:
        main()
