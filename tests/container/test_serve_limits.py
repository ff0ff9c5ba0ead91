"""`serve` at its limits: too many bytes, pixels or requests, and URLs, are refused, and it serves on."""

import io
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image as Picture

from tests.container.served import (
    Server,
    encoded,
    gif_of_frames,
    in_base64,
    in_json,
    npy,
    npy_header,
    serving,
    write_tiny_model,
)

pytestmark = pytest.mark.slow

PIXELS, WAITING, IMAGES = 10_000, 8, 100
# Images that the server fetches at a time.
FETCHING_THREADS = 8
PICTURE = encoded(np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8))
HEAD = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(PICTURE)}\r\n\r\n".encode()


class Host(BaseHTTPRequestHandler):
    """A host of images."""

    is_open = threading.Event()
    """Until it is set, what lies at /later does not come."""
    asked_later: ClassVar[list[str]] = []
    """What was asked for there."""

    def do_GET(self) -> None:
        if self.path == "/picture.png?size=1":
            self.answer(200, PICTURE)
        elif self.path.startswith("/later/"):
            self.asked_later.append(self.path)
            self.is_open.wait()
            self.answer(200, PICTURE)
        elif self.path == "/elsewhere":
            self.answer(302, b"", Location="/picture.png?size=1")
        elif self.path == "/large":
            self.answer(200, bytes(2**20 + 1))
        elif self.path == "/page":
            self.answer(200, b"<html>")
        else:
            self.answer(404, b"")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def image_host() -> Iterator[str]:
    host = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    thread = threading.Thread(target=host.serve_forever, args=(0.02,))
    thread.start()
    yield f"127.0.0.1:{host.server_port}"
    host.shutdown()
    thread.join()
    host.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, image_host: str) -> Iterator[Server]:
    port = image_host.partition(":")[2]
    with serving(
        write_tiny_model(tmp_path_factory.mktemp("model")),
        SERVING_MAX_BODY_MB="1",
        SERVING_MAX_PIXELS=f"{PIXELS}",
        SERVING_MAX_WAITING=f"{WAITING}",
        SERVING_MAX_IMAGES=f"{IMAGES}",
        SERVING_URL_HOSTS=json.dumps([image_host, f"localhost:{port}", "nowhere.invalid", "127.0.0.1:9"]),
    ) as server:
        yield server


def test_a_body_that_is_too_large_is_refused_by_its_length(server: Server) -> None:
    status, reason = server.refusal(bytes(2**20 + 1), "image/png")
    assert (status, "serving.max_body_mb" in reason) == (413, True)
    assert server.post(PICTURE).status == 200


def test_a_body_without_a_length_is_refused_when_it_becomes_too_large(server: Server) -> None:
    assert server.refusal((bytes(1000) for _ in range(2000)), "image/png")[0] == 413
    parts = (PICTURE[start : start + 10] for start in range(0, len(PICTURE), 10))
    assert server.post(parts).status == 200


def test_a_huge_body_is_not_waited_for(server: Server) -> None:
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {5 * 10**9}\r\n"
    with connected(server) as connection:
        connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert received(connection).startswith(b"HTTP/1.1 413 ")
    with connected(server) as connection:
        connection.sendall(f"{head}\r\n".encode())
        assert received(connection).startswith(b"HTTP/1.1 413 ")


def test_a_head_without_end_is_refused(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000)
        assert received(connection).startswith(b"HTTP/1.1 400 ")


def gif(frames: int, width: int, height: int) -> bytes:
    file = io.BytesIO()
    pictures = [Picture.new("L", (width, height), shade) for shade in range(frames)]
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:])
    return file.getvalue()


def png_of_claimed_size(width: int, height: int) -> bytes:
    content = bytearray(encoded(np.zeros((8, 8), np.uint8)))
    content[16:24] = struct.pack(">II", width, height)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        encoded(np.zeros((101, 100), np.uint8)),
        encoded(np.zeros((101, 100), np.uint8), "JPEG"),
        encoded(np.zeros((101, 100, 3), np.uint8), "WEBP"),
        encoded(np.zeros((101, 100), np.uint8), "BMP"),
        png_of_claimed_size(2**31 - 1, 2**31 - 1),
        gif(2, 80, 80),
        gif_of_frames((1, 1), (300, 1), (1, 300)),
        gif_of_frames((300, 1), (1, 300)),
        encoded(np.zeros((90, 90), np.uint8), "JPEG") + 101 * b"\xff\xda",
    ],
)
def test_an_image_that_would_become_too_large_is_never_decoded(server: Server, content: bytes) -> None:
    status, reason = server.refusal(content, "application/x-image")
    assert status in (400, 413)
    assert status == 413 or "cannot be read" in reason
    assert server.post(encoded(np.zeros((100, 100, 3), np.uint8))).status == 200
    assert server.post(gif(3, 50, 50)).status == 200


def test_overload_is_told_at_once_and_passes(server: Server) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(server)) for _ in range(WAITING)]
        for connection in slow:
            connection.sendall(HEAD.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"))
            # The server asks for the body of a request that it has taken on.
            assert received(connection).startswith(b"HTTP/1.1 100 ")
        answer = server.post(PICTURE)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert "too many images" in answer.json()["error"]
        assert server.get("/ping").status == 200
        for connection in slow:
            connection.sendall(PICTURE)
        for connection in slow:
            assert received(connection).startswith(b"HTTP/1.1 200 ")
    assert server.post(PICTURE).status == 200


def test_one_request_may_have_more_images_than_may_wait(server: Server) -> None:
    pixels = np.zeros((10 * WAITING, 8, 8, 3), np.uint8)
    assert server.probabilities(npy(pixels), "application/x-npy").shape == (10 * WAITING, 3)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", in_json(*(IMAGES + 1) * [{"b64": in_base64(gif_of_frames((1, 1), (1, 1)))}])),
        ("application/json", in_json(*np.zeros((IMAGES + 1, 8, 8, 3), int).tolist())),
        ("application/jsonlines", (IMAGES + 1) * (json.dumps({"b64": in_base64(PICTURE)}) + "\n").encode()),
        ("text/csv", (IMAGES + 1) * (",".join(192 * ["1"]) + "\n").encode()),
        ("application/x-npy", npy(np.zeros((IMAGES + 1, 8, 8, 3), np.uint8))),
    ],
)
def test_a_request_has_no_more_images_than_it_may(server: Server, content_type: str, body: bytes) -> None:
    status, reason = server.refusal(body, content_type)
    assert (status, f"more than {IMAGES} images (serving.max_images)" in reason) == (413, True)


def test_texts_in_place_of_pixels_cost_no_memory(server: Server) -> None:
    before = server.peak_memory
    status, reason = server.refusal(in_json("a" * 20_000, *6_000 * ["b"]), "application/json")
    assert (status, "must be numbers" in reason) == (400, True)
    assert server.peak_memory - before < 100 * 2**20


SHORT_OF_MEMORY = """
import re, resource
from container.modeling.container_settings import Image
from container.serving.bodies import images_of
from container.serving.errors import RefusedError
from container.serving.media_types import Input
body = {header!r} + bytes({size})
used = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1])
resource.setrlimit(resource.RLIMIT_AS, (used + {size} // 4,) * 2)
try:
    images_of(body, Input.NPY, Image(height=8, width=8), 10**9)
except RefusedError as error:
    print(error.status, error)
"""


def test_what_needs_more_memory_than_there_is_is_refused() -> None:
    count = 40_000
    code = SHORT_OF_MEMORY.format(header=npy_header((count, 8, 8, 3)).replace(b"|u1", b"<f8"), size=count * 192 * 8)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("413 ")
    assert "more memory than there is" in told


def test_a_client_that_leaves_takes_no_room(server: Server) -> None:
    for _ in range(3 * WAITING):
        with connected(server) as connection:
            connection.sendall(HEAD + PICTURE[:10])
    until(lambda: server.post(PICTURE).status == 200)


def test_for_a_client_that_left_nothing_more_is_done(server: Server, image_host: str) -> None:
    body = in_json(*({"url": f"http://{image_host}/later/{number}"} for number in range(50)))
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with connected(server) as connection:
        connection.sendall(f"{head}\r\n".encode() + body)
        until(lambda: len(Host.asked_later) == FETCHING_THREADS)
        assert server.post(PICTURE).status == 503
    # There is room again although the host has not answered.
    until(lambda: server.post(PICTURE).status == 200)
    Host.is_open.set()
    url = f"http://{image_host}/picture.png?size=1"
    for _ in range(2 * FETCHING_THREADS):
        assert server.post(in_json({"url": url}), "application/json").status == 200
    assert len(Host.asked_later) == FETCHING_THREADS


def test_an_image_is_fetched_from_a_host_that_is_allowed(server: Server, image_host: str) -> None:
    expected = server.probabilities(PICTURE)
    url = f"http://{image_host}/picture.png?size=1"
    np.testing.assert_allclose(server.probabilities(in_json({"url": url}), "application/json"), expected, atol=1e-6)
    alone = json.dumps({"url": url}).encode()
    np.testing.assert_allclose(server.probabilities(alone, "application/json"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("url", "status", "reason"),
    [
        ("http://example.com/a.png", 403, "images are not fetched from example.com"),
        ("http://169.254.169.254/latest/meta-data", 403, "not fetched from 169.254.169.254"),
        ("http://{host}@example.com/", 400, "a user or a password"),
        ("http://example.com#@{host}/", 403, "not fetched from example.com"),
        ("http://{name}/picture.png?size=1", 403, "not fetched from localhost: it is at 127.0.0.1"),
        ("http://nowhere.invalid/", 400, "there is no host nowhere.invalid"),
        ("http://127.0.0.1:9/", 400, "cannot be fetched"),
        ("https://{host}/picture.png", 400, "cannot be fetched"),
        ("http://{host}/elsewhere", 400, "status 302; redirects are not followed"),
        ("http://{host}/missing", 400, "status 404"),
        ("http://{host}/large", 413, "more than 1,048,576 bytes"),
        ("http://{host}/page", 400, "this is no image"),
        ("ftp://{host}/", 400, "must begin with https:// or http://"),
        ("http://[", 400, "the URL cannot be read"),
        ("http://{host}/\r\nHost: x", 400, ""),
    ],
)
def test_a_url_that_must_not_be_fetched_is_refused(
    server: Server, image_host: str, url: str, status: int, reason: str
) -> None:
    filled = url.format(host=image_host, name=image_host.replace("127.0.0.1", "localhost"))
    told = server.refusal(in_json({"url": filled}), "application/json")
    assert told[0] == status, told
    assert reason in told[1]


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        yield connection


def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become so."""
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def received(connection: socket.socket) -> bytes:
    """Return the beginning of what comes."""
    return connection.recv(65_536)
