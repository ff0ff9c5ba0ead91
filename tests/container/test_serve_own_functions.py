"""`serve` with functions of the user's own: each in its place, what they may return, and what fails in them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.container.jobs import copied_program
from tests.container.served import CLASSES, Server, encoded, failed_start, npy, serving, write_tiny_model

pytestmark = pytest.mark.slow

# The mean brightness decides; what a request asks for is told by its content type.
OWN = """\
import io
import json
import sys
import time
from http import HTTPStatus
from pathlib import Path

import numpy as np

from container.serving.errors import RefusedError


def model_fn(model_dir):
    assert (Path(model_dir) / "classes.json").is_file()
    return {"white": 255.0}


def input_fn(request_body, content_type):
    if content_type == "text/refused":
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "not this one")
    if content_type == "text/failing":
        raise KeyError("secret of the code")
    if content_type == "text/leaving":
        sys.exit(0)
    while content_type == "text/waiting" and not Path(__file__).with_name("go").exists():
        time.sleep(0.02)
    return np.load(io.BytesIO(request_body))


def predict_fn(data, model):
    share = float(data.mean()) / model["white"]
    return share if data.ndim == 1 else [share, 1 - share, 0.0]


def output_fn(prediction, accept):
    if accept == "text/nothing":
        return None
    if accept in ("", "*/*") or accept.startswith("text/exact"):
        return f"{prediction[0]:.3f}"
    if accept == "text/broken":
        return "x", "text/x\\nSet-Cookie: x"
    return json.dumps(prediction), "application/own"


def bright(model_dir):
    import keras

    return keras.Sequential([
        keras.Input((8, 8, 3)),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Rescaling(1 / 255),
    ])


def flat(model_dir):
    import keras

    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def leaving(model_dir):
    sys.exit(0)


def table(request_body, content_type):
    return {"pixels": request_body}


def no_numbers(data, model):
    return "no numbers"


def wrong_arguments(body):
    return body


def failing(model_dir):
    raise OSError("no such weights")


def leaving_later(model_dir):
    import keras

    class Leaving(keras.layers.Layer):
        is_over = False

        def call(self, pixels):
            if self.is_over:
                sys.exit(0)
            return pixels

    model = keras.Sequential([keras.Input((8, 8, 3)), Leaving(), keras.layers.GlobalAveragePooling2D()])
    Leaving.is_over = True
    return model
"""
END = "raise SystemExit(0)\n\n\ndef model_fn(model_dir):\n    return None\n"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied_program(tmp_path_factory.mktemp("program"), {"own.py": OWN, "own_end.py": END}).with_name("serve")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


def all_of(*names: str) -> Mapping[str, str]:
    return {f"SERVING_{name.upper()}": f"own:{name}" for name in names}


@pytest.fixture(scope="module")
def all_own(program: Path, base: Path) -> Iterator[Server]:
    functions = all_of("model_fn", "input_fn", "predict_fn", "output_fn")
    with serving(base, program, SERVING_ANSWER_SECONDS="3", **functions) as server:
        yield server


def test_all_four_functions_answer(all_own: Server) -> None:
    answer = all_own.post(npy(np.full((2, 3), 51)), "any/thing", {"Accept": "some/thing"})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/own")
    assert json.loads(answer.data) == pytest.approx([0.2, 0.8, 0])


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/exact", "text/exact"),
        ("text/exact; Version=2;q=0.5", "text/exact; Version=2"),
        ("text/exact, application/json", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
    ],
)
def test_a_plain_answer_is_of_the_one_type_that_was_asked_for(all_own: Server, accept: str, content_type: str) -> None:
    answer = all_own.post(npy(np.full((2, 3), 51)), "any/thing", {"Accept": accept} if accept else {})
    assert (answer.data, answer.headers["Content-Type"]) == (b"0.200", content_type)


def test_a_content_type_that_no_header_can_hold_is_the_users_error(all_own: Server) -> None:
    status, reason = all_own.refusal(npy(np.zeros((2, 3))), "any/thing", Accept="text/broken")
    assert (status, "the output_fn own:output_fn" in reason) == (500, True)


def test_a_function_that_leaves_the_program_does_not_end_it(all_own: Server) -> None:
    status, reason = all_own.refusal(b"x", "text/leaving")
    assert (status, reason) == (500, "the input_fn own:input_fn failed: the server's log says why")
    assert "SystemExit: 0" in all_own.log
    assert all_own.post(npy(np.full((2, 3), 51)), "any/thing").status == 200


def test_a_request_that_takes_too_long_is_given_up(all_own: Server, program: Path) -> None:
    body = npy(np.full((2, 3), 51))
    try:
        status, reason = all_own.refusal(body, "text/waiting")
        assert (status, "more than 3 seconds (serving.answer_seconds)" in reason) == (504, True)
    finally:
        (program.parent / "parts" / "go").touch()
    assert all_own.post(body, "text/waiting").status == 200


def test_a_function_may_refuse_a_request(all_own: Server) -> None:
    assert all_own.refusal(b"x", "text/refused") == (422, "not this one")


def test_what_fails_in_a_function_stands_in_the_log_alone(all_own: Server) -> None:
    status, reason = all_own.refusal(b"x", "text/failing")
    assert (status, reason) == (500, "the input_fn own:input_fn failed: the server's log says why")
    assert "container/parts/own.py:22: KeyError: 'secret of the code'" in all_own.log
    status, reason = all_own.refusal(npy(np.zeros((2, 3))), "any/thing", Accept="text/nothing")
    assert (status, "returned what it must not" in reason) == (500, True)
    assert "must return text or bytes, or (these, content type); it returned NoneType" in all_own.log


def test_a_model_of_ones_own_is_batched_like_any(program: Path, base: Path) -> None:
    with serving(base, program, SERVING_MODEL_FN="own:bright") as server:
        pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
        expected = pixels.mean(axis=(1, 2)) / 255
        np.testing.assert_allclose(server.probabilities(npy(pixels), "application/x-npy"), expected, atol=1e-5)


def test_a_predict_fn_gets_the_projects_pixels_and_gives_numbers(program: Path, base: Path) -> None:
    with serving(base, program, **all_of("model_fn", "predict_fn")) as server:
        file = encoded(np.full((20, 20, 3), 51, np.uint8))
        np.testing.assert_allclose(server.probabilities(file), [[0.2, 0.8, 0]], atol=1e-6)
        verbose = server.post(file, headers={"Accept": "application/json;verbose"}).json()["predictions"]
        assert verbose[0]["predicted_label"] == CLASSES[1]
        assert server.refusal(b"no image", "image/png")[0] == 400
        status, reason = server.refusal(npy(np.zeros((2, 8, 8, 3))), "application/x-npy")
        assert (status, "the predict_fn own:predict_fn" in reason) == (500, True)
        assert "must return finite numbers of shape (2, 3); it returned an array of shape (1, 3)" in server.log


def test_an_input_fn_gives_pixels_to_the_projects_model(program: Path, base: Path) -> None:
    with serving(base, program, **all_of("input_fn")) as server:
        pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
        assert server.probabilities(npy(pixels), "any/thing").shape == (3, 3)
        status, reason = server.refusal(npy(pixels[:, :4]), "any/thing")
        assert (status, "the input_fn own:input_fn" in reason) == (500, True)
        assert "must return the model's pixels; it returned uint8 of shape (3, 4, 8, 3)" in server.log


def test_an_input_fn_that_returns_no_pixels_is_the_users_error(program: Path, base: Path) -> None:
    with serving(base, program, SERVING_INPUT_FN="own:table") as server:
        status, reason = server.refusal(b"x", "any/thing")
        assert (status, "the input_fn own:table" in reason) == (500, True)
        assert "must return the model's pixels; it returned dict" in server.log


def test_predictions_that_are_no_numbers_are_the_users_error(program: Path, base: Path) -> None:
    with serving(base, program, SERVING_PREDICT_FN="own:no_numbers") as server:
        status, reason = server.refusal(encoded(np.zeros((8, 8, 3), np.uint8)), "image/png")
        assert (status, "the predict_fn own:no_numbers" in reason) == (500, True)


@pytest.mark.parametrize(
    ("variable", "name", "told"),
    [
        ("SERVING_INPUT_FN", "own:imput_fn", "has no function 'imput_fn': did you mean 'input_fn'?"),
        ("SERVING_INPUT_FN", "owm:input_fn", "container/parts/owm.py does not exist: did you mean 'own'?"),
        ("SERVING_INPUT_FN", "own:wrong_arguments", "is called with (request_body, content_type)"),
    ],
)
def test_functions_that_are_not_there_end_the_start(
    program: Path, base: Path, variable: str, name: str, told: str
) -> None:
    assert told in failed_start(base, program, **{variable: name})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own:failing", "container/parts/own.py:78: OSError: no such weights"),
        ("own:model_fn", "returned a dict: return a keras.Model, or set serving.predict_fn"),
        ("own:flat", "the model takes [(None, 4)], but config.json says images of (8, 8, 3)"),
        ("own:leaving", "the model_fn own:leaving failed at container/parts/own.py:62: SystemExit: 0"),
        ("own:leaving_later", "SystemExit: 0"),
        ("own_end:model_fn", "the model_fn own_end:model_fn failed at container/parts/own_end.py:1: SystemExit: 0"),
    ],
)
def test_a_model_fn_that_gives_no_model_ends_the_start(program: Path, base: Path, name: str, told: str) -> None:
    assert told in failed_start(base, program, SERVING_MODEL_FN=name)
