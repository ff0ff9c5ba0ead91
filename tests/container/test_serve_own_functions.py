"""`serve` with functions of the user's own: each in its place, what they may return, and what fails in them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.container.jobs import copied_program
from tests.container.served import CLASSES, Server, encoded, failed_start, npy, serving, write_tiny_model

# The mean brightness decides; what a request asks for is told by its content type.
OWN = """\
import io
import json
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
    return np.load(io.BytesIO(request_body))


def predict_fn(data, model):
    share = float(data.mean()) / model["white"]
    return share if data.ndim == 1 else [share, 1 - share, 0.0]


def output_fn(prediction, accept):
    if accept == "text/nothing":
        return None
    if accept == "text/exact":
        return f"{prediction[0]:.3f}"
    return json.dumps(prediction), "application/own"


def bright(model_dir):
    import keras

    return keras.Sequential([
        keras.Input((8, 8, 3)),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Rescaling(1 / 255),
    ])


def no_numbers(data, model):
    return "no numbers"


def wrong_arguments(body):
    return body


def failing(model_dir):
    raise OSError("no such weights")
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied_program(tmp_path_factory.mktemp("program"), {"own.py": OWN}).with_name("serve")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


def all_of(*names: str) -> Mapping[str, str]:
    return {f"SERVING_{name.upper()}": f"own:{name}" for name in names}


@pytest.fixture(scope="module")
def all_own(program: Path, base: Path) -> Iterator[Server]:
    with serving(base, program, **all_of("model_fn", "input_fn", "predict_fn", "output_fn")) as server:
        yield server


def test_all_four_functions_answer(all_own: Server) -> None:
    answer = all_own.post(npy(np.full((2, 3), 51)), "any/thing", {"Accept": "some/thing"})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/own")
    assert json.loads(answer.data) == pytest.approx([0.2, 0.8, 0])


def test_a_plain_answer_is_of_the_type_that_was_asked_for(all_own: Server) -> None:
    answer = all_own.post(npy(np.full((2, 3), 51)), "any/thing", {"Accept": "text/exact"})
    assert (answer.data, answer.headers["Content-Type"]) == (b"0.200", "text/exact")


def test_a_function_may_refuse_a_request(all_own: Server) -> None:
    assert all_own.refusal(b"x", "text/refused") == (422, "not this one")


def test_what_fails_in_a_function_stands_in_the_log_alone(all_own: Server) -> None:
    status, reason = all_own.refusal(b"x", "text/failing")
    assert (status, reason) == (500, "the input_fn own:input_fn failed: the server's log says why")
    assert "container/parts/own.py:20: KeyError: 'secret of the code'" in all_own.log
    status, reason = all_own.refusal(npy(np.zeros((2, 3))), "any/thing", Accept="text/nothing")
    assert (status, "returned what it must not" in reason) == (500, True)
    assert "must return text or bytes, or (these, content type); it returned NoneType" in all_own.log


@pytest.mark.slow
def test_a_model_of_ones_own_is_batched_like_any(program: Path, base: Path) -> None:
    with serving(base, program, SERVING_MODEL_FN="own:bright") as server:
        pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
        expected = pixels.mean(axis=(1, 2)) / 255
        np.testing.assert_allclose(server.probabilities(npy(pixels), "application/x-npy"), expected, atol=1e-5)


@pytest.mark.slow
def test_a_predict_fn_gets_the_projects_pixels_and_gives_numbers(program: Path, base: Path) -> None:
    with serving(base, program, **all_of("model_fn", "predict_fn")) as server:
        file = encoded(np.full((20, 20, 3), 51, np.uint8))
        np.testing.assert_allclose(server.probabilities(file), [[0.2, 0.8, 0]], atol=1e-6)
        verbose = server.post(file, headers={"Accept": "application/json;verbose"}).json()["predictions"]
        assert verbose[0]["predicted_label"] == CLASSES[1]
        assert server.refusal(b"no image", "image/png")[0] == 400


@pytest.mark.slow
def test_an_input_fn_gives_pixels_to_the_projects_model(program: Path, base: Path) -> None:
    with serving(base, program, **all_of("input_fn")) as server:
        pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
        assert server.probabilities(npy(pixels), "any/thing").shape == (3, 3)
        status, reason = server.refusal(npy(pixels[:, :4]), "any/thing")
        assert (status, "(3, 4, 8, 3)" in reason) == (400, True)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own:failing", "container/parts/own.py:56: OSError: no such weights"),
        ("own:model_fn", "returned a dict: return a keras.Model, or set serving.predict_fn"),
    ],
)
def test_a_model_fn_that_gives_no_model_ends_the_start(program: Path, base: Path, name: str, told: str) -> None:
    assert told in failed_start(base, program, SERVING_MODEL_FN=name)
