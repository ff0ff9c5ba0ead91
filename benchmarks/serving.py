"""How fast `serve` answers, against decoding and model.predict without HTTP; and that its memory does not grow.

    python benchmarks/serving.py IMAGES [speed] [memory]

IMAGES is a folder of photos with one sub-folder per class, or a .tar of one; some of about 100 KB are best. The model
is a MobileNetV2 of 224x224 pixels with random weights, and everything runs on two cores, the load generator included,
which is wrk (`apt-get install wrk`). 32 clients send one photo after the other.

- speed: the throughput, which should be at least 0.8 of that of tf.data's parallel decoding and model.predict, in
  batches of the same size; and the time that 99 of 100 requests take at most, which should be under three times that
  of a batch. The two take turns, and each figure is the median over the rounds.
- memory: what the server has in memory while it answers 10,000 requests.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.photos import repeated  # noqa: E402

CORES, CLIENTS, BATCH, PHOTOS = 2, 32, 32, 192
# How often model.predict goes through the photos in one call: the first batch of a call is waited for.
PASSES = 4
CLASSES = ("a", "b", "c", "d", "e")
MEMORY_REQUESTS = 10_000
LOAD = """
local requests, position = {}, 0

function init(arguments)
  for _, path in ipairs(arguments) do
    local file = io.open(path, "rb")
    wrk.headers["Content-Type"] = "image/jpeg"
    requests[#requests + 1] = wrk.format("POST", "/invocations", wrk.headers, file:read("*a"))
    file:close()
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What the load generator saw."""

    requests: int
    per_second: float
    p50: float
    """Seconds that half of the requests took at most."""
    p99: float


@dataclass(frozen=True)
class Server:
    """A running `serve`."""

    port: int
    process: int

    @property
    def megabytes(self) -> float:
        """Its resident memory."""
        status = Path(f"/proc/{self.process}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1e3


def main() -> None:
    """Measure what is asked for, or everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("benchmarks", nargs="*", choices=["speed", "memory", []], metavar="speed|memory")
    parser.add_argument("--seconds", type=int, default=20, help="of each round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk, the load generator, is missing: apt-get install wrk")
    # TensorFlow and the server begin with as many threads as there are cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        photos = [path.resolve() for path in sorted(repeated(arguments.images, scratch, PHOTOS).glob("*/*"))]
        print(f"{len(photos)} photos of {statistics.mean(path.stat().st_size for path in photos) / 1e3:.0f} KB")
        model = write_mobile_net(scratch / "ml" / "model")
        with serving(scratch / "ml") as server:
            load(server, photos, 5)
            if "speed" in (arguments.benchmarks or ["speed"]):
                speed(server, model, photos, arguments.rounds, arguments.seconds)
            if "memory" in (arguments.benchmarks or ["memory"]):
                memory(server, photos, arguments.seconds)


def speed(server: Server, model: Any, photos: Sequence[Path], rounds: int, seconds: int) -> None:
    """Print throughput and latency beside those of predicting without HTTP."""
    predict(model, photos, 3)
    plain, served = [], []
    for number in range(rounds):
        plain.append(predict(model, photos, seconds))
        served.append(load(server, photos, seconds))
        print(
            f"  round {number + 1}: {plain[-1]:.1f} images/s without HTTP; served {served[-1].per_second:.1f}/s, half "
            f"within {1e3 * served[-1].p50:.0f} ms, 99 % within {1e3 * served[-1].p99:.0f} ms",
            flush=True,
        )
    without, with_http = statistics.median(plain), statistics.median(one.per_second for one in served)
    p99, of_batch = statistics.median(one.p99 for one in served), BATCH / without
    print(f"throughput: {with_http:.1f} images/s, without HTTP {without:.1f}, ratio {with_http / without:.2f}")
    print(f"p99: {1e3 * p99:.0f} ms, a batch of {BATCH} takes {1e3 * of_batch:.0f} ms, ratio {p99 / of_batch:.2f}")


def memory(server: Server, photos: Sequence[Path], seconds: int) -> None:
    """Print the server's memory after each round of requests."""
    answered = 0
    while answered < MEMORY_REQUESTS:
        answered += load(server, photos, seconds).requests
        print(f"  after {answered:,} requests: {server.megabytes:,.0f} MB", flush=True)


def load(server: Server, photos: Sequence[Path], seconds: int) -> Load:
    """Send photos by all clients for some seconds.

    Raises:
        SystemExit: a request was not answered with 200.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LOAD)
        script.flush()
        url = f"http://127.0.0.1:{server.port}"
        options = ["-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--timeout", "30s", "-s", script.name]
        command = ["wrk", *options, url, "--", *map(str, photos)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    if seen["errors"]:
        sys.exit(f"{seen['errors']} requests failed:\n{done.stdout}")
    taken = seen["microseconds"] / 1e6
    return Load(seen["requests"], seen["requests"] / taken, seen["p50"] / 1e6, seen["p99"] / 1e6)


def predict(model: Any, photos: Sequence[Path], seconds: int) -> float:
    """Return how many images a second are decoded and predicted by tf.data and model.predict, from the memory."""
    import tensorflow as tf

    from container.modeling.decoding import decode_image
    from container.modeling.settings import Image

    image = Image()
    files = tf.data.Dataset.from_tensor_slices([path.read_bytes() for path in photos])
    decoded = files.repeat(PASSES).map(
        lambda encoded: decode_image(encoded, image), num_parallel_calls=tf.data.AUTOTUNE
    )
    batches = decoded.batch(BATCH).prefetch(tf.data.AUTOTUNE)
    began, count = time.monotonic(), 0
    while (taken := time.monotonic() - began) < seconds:
        model.predict(batches, verbose=0)
        count += PASSES * len(photos)
    return count / taken


def write_mobile_net(folder: Path) -> Any:
    """Write what a training job would, for a network with random weights; return the network."""
    import keras

    from container.modeling.artifacts import write_model
    from container.modeling.networks.models import build_model
    from container.modeling.settings import ContainerSettings, FineTuning, Model

    keras.utils.set_random_seed(0)
    settings = ContainerSettings(model=Model(name="fine_tune"), fine_tuning=FineTuning(weights="none"))
    model = build_model(settings, len(CLASSES))
    write_model(folder, model, settings, CLASSES)
    return model


@contextmanager
def serving(base: Path) -> Iterator[Server]:
    """Run `serve` on a model while the block runs.

    Raises:
        SystemExit: it does not become ready; its log is shown.
    """
    variables = {
        "SAGEMAKER_BASE_DIR": str(base),
        "BIND_TO_ADDRESS": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": "0",
        "SERVING_BATCH_SIZE": str(BATCH),
    }
    log = base / "log"
    with log.open("w") as opened:
        command = [sys.executable, str(REPOSITORY / "container" / "serve")]
        process = subprocess.Popen(command, env=os.environ | variables, stdout=opened, stderr=subprocess.STDOUT)
    try:
        yield Server(ready_port(process, log), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def ready_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Return the port of a server, once it answers /ping."""
    while process.poll() is None:
        if found := re.search(r"listening at http://127\.0\.0\.1:(\d+)", log.read_text()):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/ping", timeout=5).close()
                return int(found[1])
            except urllib.error.HTTPError:
                pass
        time.sleep(0.1)
    sys.exit(log.read_text())


if __name__ == "__main__":
    main()
