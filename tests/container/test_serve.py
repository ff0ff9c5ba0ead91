"""`serve` on a model that `train` trained: it predicts what the evaluation did, whatever form images come in."""

import csv
import io
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from container.modeling.job import OptMl
from container.report import facts
from tests.container.jobs import CLASSES, TINY, lay_out, run
from tests.container.served import Server, await_ready, encoded, in_base64, in_json, npy, npy_header, serving, start


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> OptMl:
    opt_ml = lay_out(tmp_path_factory.mktemp("trained"), TINY | {"training.learning_rate": "0.01"})
    exit_code, log = run(opt_ml)
    assert exit_code == 0, log
    return opt_ml


@pytest.fixture(scope="module")
def server(trained: OptMl) -> Iterator[Server]:
    with serving(trained.base) as server:
        yield server


@pytest.fixture(scope="module")
def evaluated(trained: OptMl) -> dict[Path, NDArray[np.float32]]:
    """The probabilities of predictions.csv, by image file."""
    predictions = facts.Predictions.read(trained.model_dir / facts.PREDICTIONS_FILE).of_set("evaluation")
    folder = trained.channel_dir("evaluation")
    return {folder / path: row for path, row in zip(predictions.paths, predictions.probabilities, strict=True)}


def pixels_of(server: Server, count: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, 8, 8, 1), np.uint8)


def test_ping_says_503_until_the_model_is_warm(server: Server) -> None:
    assert server.statuses[-1] == 200
    assert set(server.statuses[:-1]) == {503}


def test_a_served_prediction_is_the_evaluations(server: Server, evaluated: dict[Path, NDArray[np.float32]]) -> None:
    assert len(evaluated) == 12
    for path, row in evaluated.items():
        np.testing.assert_allclose(server.probabilities(path.read_bytes(), "image/png"), [row], atol=1e-5)


def test_requests_that_come_together_each_get_their_own_answer(
    server: Server, evaluated: dict[Path, NDArray[np.float32]]
) -> None:
    files = 8 * list(evaluated)
    with ThreadPoolExecutor(32) as clients:
        answers = list(clients.map(lambda path: server.probabilities(path.read_bytes()), files))
    for path, answer in zip(files, answers, strict=True):
        np.testing.assert_allclose(answer, [evaluated[path]], atol=1e-5)


def test_many_images_in_one_body_are_split_over_steps(
    server: Server, evaluated: dict[Path, NDArray[np.float32]]
) -> None:
    body = in_json(*({"b64": in_base64(path.read_bytes())} for path in evaluated for _ in range(10)))
    expected = np.repeat(list(evaluated.values()), 10, axis=0)
    np.testing.assert_allclose(server.probabilities(body, "application/json"), expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 70])
def test_pixels_come_as_arrays_as_json_and_as_csv(server: Server, count: int) -> None:
    pixels = pixels_of(server, count)
    expected = np.concatenate([server.probabilities(encoded(image[..., 0])) for image in pixels])
    rows = "\n".join(",".join(map(str, image.ravel())) for image in pixels)
    lines = "\n".join(json.dumps(image.tolist()) for image in pixels)
    for body, content_type in (
        (npy(pixels), "application/x-npy"),
        (npy(np.asfortranarray(pixels.astype(">f8"))), "application/x-npy"),
        (in_json(*pixels.tolist()), "application/json"),
        (in_json(*({"pixels": image.tolist()} for image in pixels)), "application/json; charset=utf-8"),
        (lines.encode(), "application/jsonlines"),
        (rows.encode(), "text/csv"),
        (f"{rows}\r\n".encode(), "text/csv; charset=utf-8"),
    ):
        np.testing.assert_allclose(server.probabilities(body, content_type), expected, atol=1e-5)


def test_one_image_needs_no_axis_for_images(server: Server) -> None:
    pixels = pixels_of(server)
    expected = server.probabilities(npy(pixels), "application/x-npy")
    np.testing.assert_allclose(server.probabilities(npy(pixels[0]), "application/x-npy"), expected, atol=1e-6)
    np.testing.assert_allclose(
        server.probabilities(in_json(*pixels[0].tolist()), "application/json"), expected, atol=1e-6
    )


def test_pixels_that_are_no_whole_numbers_are_not_rounded(server: Server, trained: OptMl) -> None:
    import keras

    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 1)).astype(np.float32)
    model = keras.models.load_model(trained.model_dir / facts.KERAS_FILE)
    expected = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(server.probabilities(npy(pixels), "application/x-npy"), expected, atol=1e-5)


@pytest.mark.parametrize("key", ["b64", "image", "image_bytes"])
def test_a_file_in_base64_is_one_image(server: Server, key: str) -> None:
    file = encoded(pixels_of(server)[0, ..., 0])
    expected = server.probabilities(file)
    text = in_base64(file)
    for instance in ({key: text}, {key: {"b64": text}}, {key: f"{text[:20]}\n{text[20:]}"}):
        np.testing.assert_allclose(server.probabilities(in_json(instance), "application/json"), expected, atol=1e-6)
    alone = json.dumps({key: text}).encode()
    np.testing.assert_allclose(server.probabilities(alone, "application/json"), expected, atol=1e-6)


def test_a_photo_is_turned_upright(server: Server) -> None:
    pixels = np.zeros((40, 20), np.uint8)
    pixels[:10] = 255
    exif = Picture.Exif()
    exif[0x0112] = 6
    lying = encoded(np.rot90(pixels).copy(), "JPEG", exif=exif, quality=95)
    upright = encoded(pixels, "JPEG", quality=95)
    untold = encoded(np.rot90(pixels).copy(), "JPEG", quality=95)
    np.testing.assert_allclose(server.probabilities(lying), server.probabilities(upright), atol=0.02)
    assert not np.allclose(server.probabilities(untold), server.probabilities(upright), atol=0.02)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_the_bytes_tell_what_an_image_is(server: Server, kind: str) -> None:
    file = encoded(pixels_of(server)[0, ..., 0], kind)
    expected = server.probabilities(file)
    for content_type in ("image/jpeg", "image/png", "image/webp", "application/octet-stream", None):
        answer = server.post(file, content_type)
        np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-6)


def test_answers_come_as_accept_has_it(server: Server) -> None:
    body, content_type = npy(pixels_of(server, 3)), "application/x-npy"
    expected = server.probabilities(body, content_type)
    labels = [CLASSES[best] for best in expected.argmax(axis=1)]

    def answer(accept: str, named: str) -> bytes:
        answer = server.post(body, content_type, {"Accept": accept})
        assert (answer.status, answer.headers["Content-Type"]) == (200, named)
        return answer.data

    for accept in ("application/json", "*/*", "text/html, */*;q=0.1", "application/*"):
        predicted = json.loads(answer(accept, "application/json"))["predictions"]
        np.testing.assert_allclose(predicted, expected, atol=1e-7)
    for accept in ("application/json;verbose", "application/json; verbose", "text/csv;q=0.3, application/json;verbose"):
        verbose = json.loads(answer(accept, "application/json;verbose"))["predictions"]
        assert [row["predicted_label"] for row in verbose] == labels
        assert {tuple(row["labels"]) for row in verbose} == {CLASSES}
        np.testing.assert_allclose([row["probabilities"] for row in verbose], expected, atol=1e-7)
    lines = answer("application/jsonlines", "application/jsonlines").decode().splitlines()
    assert [json.loads(line)["predicted_label"] for line in lines] == labels
    rows = list(csv.reader(io.StringIO(answer("text/csv", "text/csv").decode())))
    np.testing.assert_allclose(np.array(rows, np.float32), expected, atol=1e-7)
    array = np.load(io.BytesIO(answer("application/x-npy", "application/x-npy")))
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, expected, atol=1e-7)


def test_execution_parameters_are_those_of_a_transform_job(server: Server) -> None:
    assert server.get("/execution-parameters").json() == {
        "MaxConcurrentTransforms": 4,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": 25,
    }


NOISE = np.random.default_rng(0).integers(0, 256, (90, 90), np.uint8)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (b"x", "text/html", 415, "the Content-Type 'text/html' is not taken: send one of image/jpeg, image/png"),
        (b"x", "application/x-www-form-urlencoded", 415, "is not taken"),
        (b"", "image/png", 400, "the body is empty"),
        (b"no image", "image/png", 400, "its first bytes are those of none of JPEG, PNG, GIF, BMP, WEBP"),
        (encoded(np.zeros((9, 9), np.uint8))[:50], "image/png", 400, "the image "),
        (encoded(NOISE)[:-2000], "image/png", 400, "the image cannot be decoded: "),
        (encoded(NOISE, "JPEG")[:-200], "image/jpeg", 400, "the image cannot be decoded: "),
        (b"{", "application/json", 400, "the body is no JSON: "),
        (b"[" * 100_000, "application/json", 400, "the body is no JSON: "),
        (b"\xff\xfe", "application/json", 400, "the body is no JSON: "),
        (b"[1]", "application/json", 400, "must be an object"),
        (b'{"instances": []}', "application/json", 400, "at least one"),
        (b'{"instances": [], "more": 1}', "application/json", 400, "'more'"),
        (b'{"instances": [{"b64": "?"}]}', "application/json", 400, "in base64"),
        (b'{"instances": [{"b64": 1}]}', "application/json", 400, "must be a text"),
        (b'{"instances": [{"b64": "", "url": ""}]}', "application/json", 400, "'b64', 'url'"),
        (b'{"instances": [[[[1]]]]}', "application/json", 400, "the model takes (8, 8, 1) (height, width, channels)"),
        (b'{"instances": [[1], [1, 2]]}', "application/json", 400, "lists of equal lengths"),
        (b'{"instances": ["a"]}', "application/json", 400, "must be numbers"),
        (b'{"instances": [[[["a"]]]]}', "application/json", 400, "must be numbers"),
        (b'{"instances": [[[[true]]]]}', "application/json", 400, "must be numbers"),
        (b'{"instances": [[[[[1]]]]]}', "application/json", 400, "too deep"),
        (b'{"instances": [1, [1]]}', "application/json", 400, "lists of equal lengths"),
        (b'{"instances": [[]]}', "application/json", 400, "of shape (1, 0)"),
        (b'{"instances": [NaN]}', "application/json", 400, "no JSON"),
        (b'{"instances": [1e999]}', "application/json", 400, "the pixels"),
        (b'{"instances": [' + b"9" * 400 + b"]}", "application/json", 400, ""),
        (in_json({"url": "https://example.com/a.png"}), "application/json", 403, "serving.url_hosts"),
        (in_json({"url": "file:///etc/passwd"}), "application/json", 400, "https://"),
        (b"\n\n", "application/jsonlines", 400, "no line"),
        (b"{}", "application/jsonlines", 400, "an image in JSON has one of"),
        (b"1,2,3\n", "text/csv", 400, "row 1 has 3 values; an image has 64"),
        (b"\n", "text/csv", 400, "no row"),
        (",".join(["x"] * 64).encode(), "text/csv", 400, "no CSV of numbers"),
        (",".join(["nan"] * 64).encode(), "text/csv", 400, "finite"),
        (b"\xff", "text/csv", 400, "no CSV"),
        (b"no array", "application/x-npy", 400, "no NumPy file"),
        (npy(np.full((8, 8, 1), np.nan)), "application/x-npy", 400, "finite, 0 to 255"),
        (npy(np.full((8, 8, 1), np.inf)), "application/x-npy", 400, "finite, 0 to 255"),
        (npy(np.full((8, 8, 1), 256)), "application/x-npy", 400, "from 256 to 256"),
        (npy(np.full((8, 8, 1), -1)), "application/x-npy", 400, "from -1 to -1"),
        (npy(np.zeros((8, 8, 3))), "application/x-npy", 400, "the pixels are of shape (8, 8, 3)"),
        (npy(np.zeros((0, 8, 8, 1))), "application/x-npy", 400, "(0, 8, 8, 1)"),
        (npy(np.zeros(64)), "application/x-npy", 400, "of shape (64,)"),
        (npy_header(65 * (1,)) + b"1", "application/x-npy", 400, "the model takes (8, 8, 1)"),
        (npy(np.zeros((8, 8, 1), bool)), "application/x-npy", 400, "holds bool"),
        (npy(np.array(["a"])), "application/x-npy", 400, "holds <U1"),
        (npy(np.zeros((8, 8, 1)))[:-1], "application/x-npy", 400, "bytes of it"),
    ],
)  # fmt: skip
def test_what_cannot_be_predicted_is_refused_with_the_reason(
    server: Server, body: bytes, content_type: str, status: int, reason: str
) -> None:
    told = server.refusal(body, content_type)
    assert told[0] == status, told
    assert reason in told[1]
    assert not any(word in told[1] for word in ("Traceback", "[Op:", "\n"))


def test_of_several_images_the_refused_one_is_named(server: Server) -> None:
    files = [in_base64(content) for content in (encoded(NOISE), b"no image", encoded(NOISE))]
    told = server.refusal(json.dumps({"instances": [{"b64": file} for file in files]}).encode(), "application/json")
    assert told[0] == 400
    assert told[1].startswith("image 2 of 3: this is no image: its first bytes are those of none of JPEG")


def test_an_array_is_never_unpickled(server: Server) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return print, ("unpickled",)

    file = io.BytesIO()
    np.save(file, np.array([Harmful()]), allow_pickle=True)
    assert server.refusal(file.getvalue(), "application/x-npy")[0] == 400
    assert "unpickled" not in server.log


def test_a_header_that_claims_too_much_costs_no_memory(server: Server) -> None:
    status, reason = server.refusal(npy_header((10**6, 10**3, 10**3)) + b"few bytes", "application/x-npy")
    assert (status, "has 9 bytes of it" in reason) == (400, True)


@pytest.mark.parametrize("accept", ["image/png", "text/html", "application/json;q=0", "nonsense"])
def test_an_answer_that_nobody_makes_is_not_acceptable(server: Server, accept: str) -> None:
    status, reason = server.refusal(npy(pixels_of(server)), "application/x-npy", Accept=accept)
    assert (status, "application/x-npy" in reason) == (406, True)


def test_an_encoded_body_is_not_taken(server: Server) -> None:
    status, reason = server.refusal(b"x", "image/png", **{"Content-Encoding": "gzip"})
    assert (status, "'gzip'" in reason) == (415, True)


@pytest.mark.parametrize(("path", "status"), [("/invocations", 405), ("/", 404)])
def test_other_paths_are_told_what_there_is(server: Server, path: str, status: int) -> None:
    answer = server.get(path)
    assert answer.status == status
    assert "POST /invocations" in answer.json()["error"]


@pytest.mark.slow
def test_sigterm_lets_what_is_in_flight_be_answered(trained: OptMl) -> None:
    server = start(trained.base)
    await_ready(server)
    body = next(trained.channel_dir("evaluation").glob("*/*.png")).read_bytes()
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode() + body[:10])
        # Answered in order: by now the server has the head above.
        assert server.get("/ping").status == 200
        server.process.terminate()
        while is_listening(server.port):
            time.sleep(0.05)
        connection.sendall(body[10:])
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"]
    assert server.process.wait(20) == 0


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_sigterm_before_the_model_is_loaded_ends_at_once(trained: OptMl) -> None:
    server = start(trained.base)
    while "listening" not in server.log:
        assert server.process.poll() is None
        time.sleep(0.02)
    began = time.monotonic()
    assert server.end() == 0
    assert time.monotonic() - began < 10
