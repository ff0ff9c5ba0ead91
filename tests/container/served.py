"""Servers for the tests: the real program `serve` on a model's folder, spoken to by HTTP."""

import base64
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import urllib3
from numpy.typing import NDArray
from PIL import Image as Picture

from tests.container.jobs import TRAIN

SERVE = TRAIN.with_name("serve")
START_SECONDS, END_SECONDS = 120, 30
# A model's input, and its classes, where a test does not train one.
SIDE, CLASSES = 8, ("bright", "dark", "striped")


@dataclass
class Server:
    """A running `serve`."""

    process: subprocess.Popen[bytes]
    log_file: Path
    port: int = 0
    statuses: list[int] = field(default_factory=list)
    """What /ping said until the server was ready."""

    def __post_init__(self) -> None:
        self._http = urllib3.PoolManager(maxsize=64, retries=False)

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self.log_file.read_text(encoding="utf-8")

    @property
    def peak_memory(self) -> int:
        """The most bytes of memory that it took at a time so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        assert found
        return 1024 * int(found[1])

    @property
    def invocations(self) -> str:
        """Where requests go."""
        return f"http://127.0.0.1:{self.port}/invocations"

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        """Ask for a path."""
        return self._http.request("GET", f"http://127.0.0.1:{self.port}{path}")

    def post(
        self, body: Any, content_type: str | None = "application/x-image", headers: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Ask for a prediction."""
        sent = {"Content-Type": content_type} if content_type is not None else {}
        return self._http.request("POST", self.invocations, body=body, headers={**sent, **(headers or {})})

    def probabilities(self, body: bytes, content_type: str = "application/x-image") -> NDArray[np.float32]:
        """Return what is predicted, shape (images, classes)."""
        answer = self.post(body, content_type)
        assert answer.status == 200, answer.data
        return np.array(answer.json()["predictions"], np.float32)

    def refusal(self, body: Any, content_type: str | None, **headers: str) -> tuple[int, str]:
        """Return the status and the reason of a refused request."""
        answer = self.post(body, content_type, headers)
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json().keys() == {"error"}
        return answer.status, answer.json()["error"]

    def end(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_SECONDS)


@contextmanager
def serving(base: Path, program: Path = SERVE, **variables: str) -> Iterator[Server]:
    """Run `serve` on the model in the folder `model` of a base, with more variables, until the block ends."""
    server = start(base, program, **variables)
    try:
        await_ready(server)
        yield server
        assert server.process.poll() is None, server.log
        assert server.get("/ping").status == 200
        assert server.end() == 0, server.log
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def start(base: Path, program: Path = SERVE, **variables: str) -> Server:
    """Start `serve` on any free port."""
    environment = {
        "PATH": os.environ["PATH"],
        "SAGEMAKER_BASE_DIR": str(base),
        "BIND_TO_ADDRESS": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": "0",
    }
    log = base / "serve.log"
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [sys.executable, str(program)], env=environment | variables, stdout=opened, stderr=subprocess.STDOUT
        )
    return Server(process, log)


def await_ready(server: Server) -> None:
    """Wait until /ping says 200."""
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and server.process.poll() is None:
        if found := re.search(r"listening at http://127\.0\.0\.1:(\d+)", server.log):
            server.port = int(found[1])
            server.statuses.append(server.get("/ping").status)
            if server.statuses[-1] == 200:
                return
        time.sleep(0.05)
    raise AssertionError(server.log)


def failed_start(base: Path, program: Path = SERVE, **variables: str) -> str:
    """Return the last line of a `serve` that cannot start."""
    server = start(base, program, **variables)
    assert server.process.wait(START_SECONDS) == 1, server.log
    return server.log.splitlines()[-1]


def write_tiny_model(base: Path) -> Path:
    """Write what a training job leaves for a tiny model of colored images, with random weights; return the base."""
    import keras

    from container.modeling.artifacts import write_model
    from container.modeling.networks.models import build_model
    from container.modeling.settings import ContainerSettings, Image, Model

    keras.utils.set_random_seed(0)
    settings = ContainerSettings(
        image=Image(height=SIDE, width=SIDE), model=Model(filters=(4, 4, 4, 4, 4), head=((8, 0.3),))
    )
    write_model(base / "model", build_model(settings, len(CLASSES)), settings, CLASSES)
    return base


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """Return an image's file."""
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def gif_of_frames(screen: tuple[int, int], *frames: tuple[int, int]) -> bytes:
    """Return a GIF whose screen and frames are of any widths and heights, all black."""
    content = b"GIF89a" + struct.pack("<HHBBB", *screen, 0xF6, 0, 0) + bytes(3 * 128)
    for width, height in frames:
        # As many codes as fit before they become longer, each behind a code that begins anew.
        codes = b"".join(b"\x80" + bytes(min(120, width * height - at)) for at in range(0, width * height, 120))
        codes += b"\x81"
        blocks = (codes[at : at + 255] for at in range(0, len(codes), 255))
        content += struct.pack("<BHHHHBB", 0x2C, 0, 0, width, height, 0, 7)
        content += b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    return content + b";"


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the head of a NumPy file of bytes, of any shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    """Return a NumPy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def in_json(*instances: Any) -> bytes:
    """Return a body of instances."""
    return json.dumps({"instances": instances}).encode()


def in_base64(content: bytes) -> str:
    """Return bytes as JSON holds them."""
    return base64.b64encode(content).decode()
