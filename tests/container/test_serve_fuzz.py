"""`serve` under thousands of mutated requests: none crashes it, and none is answered by a 5xx but 503."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.container.served import Server, encoded, in_base64, in_json, npy, serving, write_tiny_model

CLIENTS = 8
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
    with serving(write_tiny_model(tmp_path_factory.mktemp("model")), SERVING_MAX_PIXELS="1000000") as server:
        yield server


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
    return (mutated(head, random) if what == 9 else head) + body, what < 8


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


def test_mutated_requests_are_answered(server: Server) -> None:
    check(server, 300)


@pytest.mark.slow
def test_ten_thousand_mutated_requests_are_answered(server: Server) -> None:
    check(server, 10_000)
