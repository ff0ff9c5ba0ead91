"""`serve` under thousands of mutated and of made-up requests: none crashes it, or is answered by a 5xx but 503.

The made-up ones are well-formed, but not what a model takes; what each must be answered with is known.
"""

import json
import math
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

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

CLIENTS = 8
MAX_PIXELS, MAX_IMAGES = 1_000_000, 20
# How much more memory than when it is ready the server may need, in bytes.
GROWTH = 150 * 2**20
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
PHOTO = encoded(PIXELS[0], "JPEG")
SEEDS = (
    (b"image/jpeg", PHOTO),
    (b"image/jpeg", encoded(PIXELS[0], "JPEG", progressive=True, exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00")),
    (b"image/png", encoded(PIXELS[0])),
    (b"image/webp", encoded(PIXELS[0], "WEBP")),
    (b"image/webp", encoded(PIXELS[0], "WEBP", lossless=True)),
    (b"application/x-image", encoded(PIXELS[0], "GIF")),
    (b"application/x-image", encoded(PIXELS[0], "BMP")),
    (b"application/x-npy", npy(PIXELS)),
    (b"application/x-npy", npy(PIXELS.astype(np.float32))),
    (b"application/json", in_json({"b64": in_base64(PHOTO)})),
    (b"application/json", in_json(*PIXELS.tolist())),
    (b"application/json", in_json({"url": "http://127.0.0.1/a.png"})),
    (b"application/jsonlines", json.dumps(PIXELS[0].tolist()).encode()),
    (b"text/csv", b"\n".join(b",".join(b"%d" % value for value in image.ravel()) for image in PIXELS)),
)
ACCEPTS = (
    b"application/json",
    b"application/json;verbose",
    b"text/csv",
    b"application/x-npy",
    b"application/jsonlines",
)
PIECES = (
    b"",
    b"\0",
    b"\xff" * 4,
    b"-1",
    b"1e999",
    b"NaN",
    b"[" * 500,
    b'{"b64":',
    b",",
    b"\r\n",
    b"9" * 50,
    b"\xd8\xff",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = write_tiny_model(tmp_path_factory.mktemp("model"))
    with serving(base, SERVING_MAX_PIXELS=f"{MAX_PIXELS}", SERVING_MAX_IMAGES=f"{MAX_IMAGES}") as server:
        ready = server.peak_memory
        yield server
        assert server.peak_memory - ready < GROWTH


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """Change some bytes, take some away, repeat some, put others in their place."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 5)):
        start = int(random.integers(0, len(changed) + 1))
        end = start + int(random.integers(0, 1 + min(len(changed) - start, 64)))
        match random.integers(0, 5):
            case 0:
                changed[start:end] = random.bytes(end - start)
            case 1:
                del changed[start:end]
            case 2:
                changed[start:start] = changed[start:end]
            case 3:
                changed[start:end] = PIECES[random.integers(0, len(PIECES))]
            case 4:
                del changed[start:]
    return bytes(changed)


def request(random: np.random.Generator) -> tuple[bytes, bool]:
    """Return a request of which the body, the headers or the whole head are mutated, and whether its end is clear."""
    content_type, body = SEEDS[random.integers(0, len(SEEDS))]
    accept = ACCEPTS[random.integers(0, len(ACCEPTS))]
    what = random.integers(0, 10)
    if what < 7:
        body = mutated(body, random)
    length = b"%d" % len(body)
    if what == 7:
        content_type, accept = mutated(content_type, random), mutated(accept, random)
    if what == 8:
        content_type, length = SEEDS[random.integers(0, len(SEEDS))][0], mutated(length, random)
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: %s\r\nAccept: %s\r\n" % (
        content_type,
        accept,
    )
    head += b"Content-Length: %s\r\n\r\n" % length
    return (mutated(head, random) if what == 9 else head) + body, bool(what < 8)


def status(port: int, sent: bytes, is_whole: bool) -> int | None:
    """Return the status of the answer; None: there was none before the connection was closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            connection.sendall(sent)
            if not is_whole:
                # What the server may still wait for does not come. It need not answer whoever hangs up.
                connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65_536)
        except ConnectionError:
            return None
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def check(server: Server, count: int) -> None:
    def one(number: int) -> int | None:
        sent, is_whole = request(np.random.default_rng(number))
        found = status(server.port, sent, is_whole)
        assert found is None or found < 500 or found == 503, (number, found, sent, server.log[-2000:])
        if number % 100 == 0:
            assert server.get("/ping").status == 200
        return found

    with ThreadPoolExecutor(CLIENTS) as clients:
        seen = list(clients.map(one, range(count)))
    # Some survive being mutated, most do not.
    assert {200, 400, 415} <= set(seen)
    assert seen.count(None) < count / 4
    assert "Traceback" not in server.log


@dataclass(frozen=True)
class Made:
    """A request, and what it must be answered with."""

    content_type: str
    body: bytes
    statuses: frozenset[int]


def texts_for_numbers(random: np.random.Generator) -> Made:
    long, many = "a" * int(random.integers(1, 20_000)), int(random.integers(1, 4_000)) * ["b"]
    pixels = PIXELS[0].tolist()
    pixels[random.integers(0, 8)][random.integers(0, 8)][random.integers(0, 3)] = long
    body = in_json(long, *many) if random.integers(0, 2) else in_json(*pixels)
    return Made("application/json", body, frozenset({400}))


def array_of_any_rank(random: np.random.Generator) -> Made:
    shape = [1] * int(random.integers(0, 70))
    for axis in random.integers(0, max(len(shape), 1), 3)[: len(shape)]:
        shape[axis] = int(random.integers(1, 5))
    return Made("application/x-npy", npy_header(tuple(shape)) + bytes(math.prod(shape)), frozenset({400}))


def lists_of_any_depth(random: np.random.Generator) -> Made:
    pixels: Any = [1, "1", None, True, 2**70, -1, 1e300, {}, []][random.integers(0, 9)]
    for _ in range(random.integers(1, 9)):
        pixels = [pixels] * int(random.integers(1, 5))
        if random.integers(0, 5) == 0:
            pixels.append(0)
    return Made("application/json", in_json(*pixels), frozenset({400}))


def many_images(random: np.random.Generator) -> Made:
    count = int(random.integers(1, 2 * MAX_IMAGES))
    instances = count * [{"b64": in_base64(PHOTO)}]
    made = {
        "application/json": in_json(*instances),
        "application/jsonlines": "\n".join(map(json.dumps, instances)).encode(),
        "application/x-npy": npy(np.repeat(PIXELS[:1], count, axis=0)),
    }
    content_type = list(made)[random.integers(0, len(made))]
    return Made(content_type, made[content_type], frozenset({200 if count <= MAX_IMAGES else 413}))


def gif_of_odd_sizes(random: np.random.Generator) -> Made:
    sides = 1, 2, 30, 900, 4_000
    screen, *frames = (
        (sides[random.integers(0, 5)], sides[random.integers(0, 5)]) for _ in range(random.integers(2, 5))
    )
    # What is claimed is as large as what is there, and that is to take no time to make.
    frames = [(width, 1 if width > 30 else height) for width, height in frames]
    widths, heights = zip(screen, *frames, strict=True)
    is_large = max(widths) * max(heights) > MAX_PIXELS
    return Made("image/gif", gif_of_frames(screen, *frames), frozenset({413} if is_large else {200, 400}))


MAKERS = texts_for_numbers, array_of_any_rank, lists_of_any_depth, many_images, gif_of_odd_sizes


def check_made(server: Server, count: int) -> None:
    def one(number: int) -> None:
        made = MAKERS[number % len(MAKERS)](np.random.default_rng(number))
        answer = server.post(made.body, made.content_type)
        # All images of all clients may be more than it takes on.
        assert answer.status in made.statuses | {503}, (number, made.content_type, made.body[:500], answer.data)
        assert answer.status == 200 or answer.json().keys() == {"error"}

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(one, range(count)))
    assert "Traceback" not in server.log


def test_made_up_requests_are_answered(server: Server) -> None:
    check_made(server, 200)


def test_thousands_of_made_up_requests_are_answered(server: Server) -> None:
    check_made(server, 5_000)


def test_mutated_requests_are_answered(server: Server) -> None:
    check(server, 300)


def test_ten_thousand_mutated_requests_are_answered(server: Server) -> None:
    check(server, 10_000)
