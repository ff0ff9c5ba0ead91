"""What an endpoint says of images, in Python and at the command line; the endpoint answers over the wire."""

import csv
import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from container.errors import DataError
from container.modeling.config_file import load_settings
from manager import predicting, serving_commands
from manager.console import Terminal
from manager.errors import AwsError, EndpointError, ImageRefusedError
from manager.labeled_predictions import label_of
from manager.plan import execute
from manager.predictor import Prediction, Predictor, parse_predictions
from manager.session import Session
from tests.conftest import png
from tests.manager.serving_answers import Account
from tests.manager.wire import Answer, Wire

pytestmark = pytest.mark.slow

CLASSES = ("dark", "grey", "light")


def verbose(*rows: tuple[float, ...]) -> dict[str, Any]:
    """The container's answer for images with these probabilities."""
    return {
        "predictions": [
            {"probabilities": row, "labels": CLASSES, "predicted_label": CLASSES[int(np.argmax(row))]} for row in rows
        ]
    }


def model_error(status: int, reason: str) -> Answer:
    """InvokeEndpoint's answer where the container refuses."""
    original = json.dumps({"error": reason})
    text = {
        "Message": f'Received client error ({status}) from primary with message "{original}".',
        "OriginalStatusCode": status,
        "OriginalMessage": original,
        "LogStreamArn": "",
        "code": "ModelError",
    }
    return Answer(json.dumps(text).encode(), 424, "application/json")


# What InvokeEndpoint answers of an endpoint that is not in service, whether or not it is there.
NOT_FOUND = Answer(
    b'{"Message": "Endpoint digits-cnn of account 123456789012 not found.", "code": "ValidationError"}',
    400,
    "application/json",
)


def shade(body: bytes) -> int:
    """The value of an image's first pixel, whatever way it was sent."""
    if body.startswith(b"\x93NUMPY"):
        return int(np.load(io.BytesIO(body), allow_pickle=False).ravel()[0])
    return int(np.asarray(Image.open(io.BytesIO(body))).ravel()[0])


class Container:
    """Takes dark images for dark, and refuses what is no image."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.overloaded = 0

    def __call__(self, headers: Any, body: bytes) -> Answer:
        self.asked.append((headers["Content-Type"], headers["Accept"], body))
        if self.overloaded:
            self.overloaded -= 1
            return model_error(503, "too many images are waiting")
        if body.startswith(b"\x93NUMPY"):
            images = np.load(io.BytesIO(body), allow_pickle=False)
            rows = [self.row(int(image.ravel()[0])) for image in images]
        elif body.startswith(b"\x89PNG"):
            rows = [self.row(shade(body))]
        else:
            return model_error(400, "the image cannot be decoded")
        return Answer(json.dumps(verbose(*rows)).encode(), content_type="application/json")

    def row(self, value: int) -> tuple[float, ...]:
        return (0.75, 0.2, 0.05) if value < 128 else (0.125, 0.0625, 0.8125)


@pytest.fixture
def container(wire: Wire) -> Container:
    answering = Container()
    wire.invocations = answering
    return answering


@pytest.fixture
def predictor(container: Container, wire: Wire) -> Predictor:
    return Predictor("digits-cnn", wire.aws())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two images in folders called as classes, one of them wrong, one in no such folder, and what is no image."""
    folder = tmp_path / "images"
    for name, value in (("dark/0.png", 10), ("light/inner/1.png", 20), ("others/2.png", 240), (".hidden/3.png", 0)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(value))
    (folder / "dark" / "notes.txt").write_text("x")
    (folder / "dark" / "broken.jpg").write_bytes(b"no image")
    return folder


class TestPredictor:
    def test_a_file_goes_as_its_bytes(self, predictor: Predictor, container: Container, images: Path) -> None:
        found = predictor.predict(images / "dark" / "0.png")
        assert isinstance(found, Prediction)
        assert (found.label, found.probability) == ("dark", 0.75)
        assert dict(found.probabilities) == {"dark": 0.75, "grey": 0.2, "light": 0.05}
        assert found.ranked == CLASSES
        content = (images / "dark" / "0.png").read_bytes()
        assert container.asked == [("application/x-image", "application/json;verbose", content)]
        assert predictor.predict(str(images / "dark" / "0.png")) == found

    @pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3)])
    def test_an_array_is_one_image(self, shape: tuple[int, ...], predictor: Predictor, container: Container) -> None:
        found = predictor.predict(np.full(shape, 200, np.uint8))
        assert isinstance(found, Prediction)
        assert found.label == "light"
        (content_type, _, body) = container.asked[0]
        assert content_type == "application/x-npy"
        assert np.load(io.BytesIO(body)).shape == (1, *shape, *([1] if len(shape) == 2 else []))

    def test_four_axes_are_several(self, predictor: Predictor, container: Container) -> None:
        found = predictor.predict(np.stack([np.full((4, 4, 1), value) for value in (0, 255)]))
        assert isinstance(found, tuple)
        assert [prediction.label for prediction in found] == ["dark", "light"]
        assert len(container.asked) == 1

    def test_a_list_is_answered_in_its_order(self, predictor: Predictor, images: Path) -> None:
        several = [np.full((4, 4), 250), images / "dark" / "0.png", str(images / "others" / "2.png")]
        assert [found.label for found in predictor.predict(several)] == ["light", "dark", "light"]

    @pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3, 4, 5)])
    def test_what_is_no_image_is_not_sent(
        self, shape: tuple[int, ...], predictor: Predictor, container: Container
    ) -> None:
        with pytest.raises(DataError, match="are no image"):
            predictor.predict(np.zeros(shape))
        assert container.asked == []

    def test_the_containers_reason_is_told(self, predictor: Predictor, tmp_path: Path) -> None:
        (tmp_path / "x.png").write_bytes(b"no image")
        with pytest.raises(ImageRefusedError, match="the image cannot be decoded") as refused:
            predictor.predict(tmp_path / "x.png")
        assert refused.value.status == 400

    def test_a_file_that_is_not_there_is_named(self, predictor: Predictor) -> None:
        with pytest.raises(DataError, match=r"gone\.png cannot be read: No such file"):
            predictor.predict("gone.png")

    @pytest.mark.parametrize(
        ("found", "message"),
        [
            (None, "an object of the type NoneType is no image: name the path of a file, give an array"),
            (
                b"x",
                r"of the type bytes is no image: .* \(predict_body\(content, 'application/x-image'\) takes the bytes",
            ),
            ({}, "of the type dict is no image"),
            (
                Image.new("L", (2, 2)),
                r"of the type PIL\.Image\.Image is no image: .* \(numpy\.asarray makes an array of it\)",
            ),
            (np.zeros((0, 8, 3)), r"an array of the shape \(0, 8, 3\), without any pixel, is no image"),
            (np.zeros((0, 8, 8, 3)), r"an array of the shape \(0, 8, 8, 3\), without any pixel, is no image"),
            (np.array([["a"]]), "an array of the type <U1 is no image"),
            (np.array([[None]]), "an array of the type object is no image"),
            ("ftp://x/y.png", "^ftp://x/y.png is a URL, and Predictor reads files of this machine"),
        ],
    )
    def test_what_cannot_be_an_image_is_named_with_what_can(
        self, found: Any, message: str, predictor: Predictor, container: Container
    ) -> None:
        with pytest.raises(DataError, match=message):
            predictor.predict(found)
        if not isinstance(found, str):
            with pytest.raises(DataError, match=r"^images\[1\]: "):
                predictor.predict([np.zeros((2, 2)), found])
            assert container.asked == []

    def test_of_a_list_the_image_is_named_that_is_refused(self, predictor: Predictor, tmp_path: Path) -> None:
        (tmp_path / "x.png").write_bytes(b"no image")
        with pytest.raises(ImageRefusedError, match=r"^images\[1\]: the image cannot be decoded") as refused:
            predictor.predict([np.zeros((2, 2)), tmp_path / "x.png"])
        assert refused.value.status == 400
        with pytest.raises(DataError, match=r"^images\[0\]: https://x/y.png is a URL"):
            predictor.predict(["https://x/y.png"])

    def test_an_endpoint_that_answers_in_a_form_of_its_own_is_asked_otherwise(self, wire: Wire, images: Path) -> None:
        wire.invocations = lambda headers, body: Answer(b"mine", content_type="text/plain")
        command = "aws sagemaker-runtime invoke-endpoint --endpoint-name digits-cnn --content-type application/x-image"
        with pytest.raises(
            EndpointError,
            match=rf"'digits-cnn' answers in a form of its own: .*'mine'; .*output_fn.*`{command} .*serving\.md",
        ):
            Predictor("digits-cnn", wire.aws()).predict(images / "dark" / "0.png")

    def test_an_overloaded_endpoint_is_asked_again(
        self, predictor: Predictor, container: Container, images: Path
    ) -> None:
        container.overloaded = 1
        predictor.predict(images / "dark" / "0.png")
        assert len(container.asked) == 2

    def test_an_endpoint_that_is_not_there_has_a_next_step(self, wire: Wire, images: Path) -> None:
        wire.invocations = lambda headers, body: NOT_FOUND
        with pytest.raises(EndpointError, match=r"there is no endpoint 'digits-cnn' .*: --deploy makes one"):
            Predictor("digits-cnn", wire.aws()).predict(images / "dark" / "0.png")

    @pytest.mark.parametrize(
        ("status", "failure", "message"),
        [
            ("Creating", "", r"it is Creating; try again when that is over: --status tells"),
            ("Deleting", "", r"it is Deleting; --deploy makes another when that is over"),
            ("Failed", "no capacity", r"it is Failed: no capacity; --deploy makes it anew"),
            ("InService", "", r"it is InService, but AWS says: Endpoint digits-cnn .* not found\."),
        ],
    )
    def test_of_one_that_is_there_but_not_found_the_status_is_told(
        self, status: str, failure: str, message: str, wire: Wire, images: Path
    ) -> None:
        account = Account(settled=status, failure=failure).answer_on(wire)
        account.put("Endpoint", "digits-cnn", {"EndpointConfigName": "x"})
        wire.invocations = lambda headers, body: NOT_FOUND
        with pytest.raises(EndpointError, match=f"the endpoint 'digits-cnn' does not answer: {message}"):
            Predictor("digits-cnn", wire.aws()).predict(images / "dark" / "0.png")

    def test_who_may_not_look_at_endpoints_is_told_what_is_known(self, wire: Wire, images: Path) -> None:
        refusal = {"__type": "AccessDeniedException", "Message": "not authorized"}
        wire.answers["DescribeEndpoint"] = lambda _: Answer.of_json(refusal, 400)
        wire.invocations = lambda headers, body: NOT_FOUND
        with pytest.raises(
            EndpointError, match=r"'digits-cnn' is in service; whether there is one is unknown: .*autho"
        ):
            Predictor("digits-cnn", wire.aws()).predict(images / "dark" / "0.png")

    def test_another_refusal_is_not_taken_for_a_missing_endpoint(self, wire: Wire, images: Path) -> None:
        text = {"Message": "The key was not found.", "code": "AccessDeniedException"}
        wire.invocations = lambda headers, body: Answer(json.dumps(text).encode(), 403, "application/json")
        with pytest.raises(AwsError, match="The key was not found"):
            Predictor("digits-cnn", wire.aws()).predict(images / "dark" / "0.png")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"[]",
            b'{"predictions": [[0.5, 0.5]]}',
            b'{"predictions": [{"probabilities": [1], "labels": ["a", "b"], "predicted_label": "a"}]}',
            b'{"predictions": [{"probabilities": [1], "labels": ["a"], "predicted_label": "b"}]}',
        ],
    )
    def test_an_answer_of_another_kind_is_an_error(self, content: bytes) -> None:
        with pytest.raises(EndpointError, match=r"is none of application/json;verbose"):
            parse_predictions(content)


@pytest.fixture
def website() -> Iterator[str]:
    """A server with a light image at /light.png, and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = png(240) if self.path == "/light.png" else b""
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def told(terminal: Terminal) -> str:
    assert isinstance(terminal.out.file, io.StringIO)
    assert isinstance(terminal.err.file, io.StringIO)
    return terminal.out.file.getvalue() + terminal.err.file.getvalue()


class TestCommand:
    def predict(self, wire: Wire, terminal: Terminal, *named: str, output: Path | None = None) -> str:
        """What the command shows."""
        session = Session(
            load_settings(), wire.aws(), terminal, execute, "directory", Path(), lambda question, answer: None, "manage"
        )
        serving_commands.predict(session, named, output)
        return told(terminal)

    def test_all_images_of_a_folder_are_shown_with_their_labels(
        self, container: Container, wire: Wire, terminal: Terminal, images: Path
    ) -> None:
        shown = self.predict(wire, terminal, str(images))
        rows = [line.split() for line in shown.splitlines() if ".png " in line]
        assert [row[0].removeprefix(f"{images}/") for row in rows] == [
            "dark/0.png",
            "light/inner/1.png",
            "others/2.png",
        ]
        assert rows[0][1:] == ["dark", "0.7500", "███████████████░░░░░", "grey", "0.2000", "dark"]
        assert rows[1][1:] == ["dark", "0.7500", "███████████████░░░░░", "grey", "0.2000", "light"]
        assert rows[2][1:3] == ["light", "0.8125"]
        assert "3 of 3 images predicted; 1 of 2 as their folders say (50.0%)" in shown
        assert "broken.jpg is left out: its first bytes are no known image's" in shown

    def test_a_folder_that_is_itself_called_as_a_class_tells_the_label(
        self, container: Container, wire: Wire, terminal: Terminal, images: Path
    ) -> None:
        assert "1 of 1 image predicted; 1 of 1 as their folders say" in self.predict(
            wire, terminal, str(images / "dark")
        )

    def test_files_and_urls_are_predicted_and_what_is_refused_is_named(
        self, container: Container, wire: Wire, terminal: Terminal, images: Path, website: str
    ) -> None:
        named = (f"{website}/light.png", str(images / "dark" / "notes.txt"), f"{website}/gone.png")
        with pytest.raises(EndpointError, match="2 of 3 images were not predicted"):
            self.predict(wire, terminal, *named)
        shown = told(terminal)
        assert f"{website}/light.png" in shown
        assert "notes.txt: the image cannot be decoded" in shown
        assert "/gone.png: it cannot be fetched: HTTP Error 404" in shown
        assert "1 of 3 images predicted" in shown

    def test_the_predictions_are_written(
        self, container: Container, wire: Wire, terminal: Terminal, images: Path, tmp_path: Path
    ) -> None:
        self.predict(wire, terminal, str(images), output=tmp_path / "out" / "p.csv")
        with (tmp_path / "out" / "p.csv").open() as opened:
            rows = list(csv.DictReader(opened))
        assert [row["label"] for row in rows] == ["dark", "light", ""]
        assert rows[2]["prediction"] == "light"
        assert [float(rows[2][f"probability_{name}"]) for name in CLASSES] == [0.125, 0.0625, 0.8125]

    @pytest.mark.parametrize("named", ["nowhere.png", "empty"])
    def test_nothing_to_predict_is_an_error(
        self, named: str, container: Container, wire: Wire, terminal: Terminal, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="name a file, a folder with images, or a URL"):
            self.predict(wire, terminal, str(tmp_path / named))

    @pytest.mark.parametrize(
        ("named", "message"),
        [
            ("ftp://x/y.png", r"^ftp://x/y\.png is not taken: .* a URL of http:// or https://$"),
            ("s3://bucket/y.png", r"^s3://bucket/y\.png is not taken: .*; --batch_transform takes a folder on S3$"),
        ],
    )
    def test_a_url_that_is_not_taken_is_named_whole(
        self, named: str, message: str, wire: Wire, terminal: Terminal
    ) -> None:
        with pytest.raises(DataError, match=message):
            self.predict(wire, terminal, named)

    def test_of_many_the_first_are_shown(self) -> None:
        out = io.StringIO()
        terminal = Terminal(out=Console(file=out, width=120), err=Console(file=io.StringIO()))
        prediction = Prediction("a", {"a": 0.6, "b": 0.4})
        rows = [predicting.LabeledPrediction(f"{number}.png", prediction) for number in range(predicting.MOST_ROWS + 7)]
        predicting.show(rows, (), terminal)
        assert "7 more are not shown: --output FILE writes them all" in out.getvalue()
        assert "second class" not in out.getvalue()

    @pytest.mark.parametrize("width", [60, 80, 160])
    def test_the_table_fits_the_terminal(self, width: int) -> None:
        out = io.StringIO()
        prediction = Prediction("chrysanthemum", {"chrysanthemum": 0.6, "forget-me-not": 0.3, "x": 0.1})
        rows = [predicting.LabeledPrediction("a/long/path/of/folders/to/an/image.png", prediction, "x")]
        predicting.show(rows, (), Terminal(out=Console(file=out, width=width)))
        assert max(map(len, out.getvalue().splitlines())) <= width

    @pytest.mark.parametrize("width", [60, 70, 80, 100, 160])
    def test_in_a_narrow_terminal_bars_are_shorter_and_still_tell_probabilities_apart(self, width: int) -> None:
        out = io.StringIO()
        rows = [
            predicting.LabeledPrediction(f"validation/3/image-{number}.png", Prediction("3", probabilities), "3")
            for number, probabilities in enumerate(
                (
                    {"3": 1.0, "5": 0.0, "7": 0.0},
                    {"3": 0.9736, "5": 0.02, "7": 0.0064},
                    {"3": 0.5, "5": 0.25, "7": 0.25},
                )
            )
        ]
        predicting.show(rows, (), Terminal(out=Console(file=out, width=width)))
        full, nearly, half = re.findall("█+░*", out.getvalue())
        assert len(full) == len(nearly) == len(half) >= 4
        assert full.count("░") == 0
        assert nearly.count("░") == 1
        assert abs(half.count("█") - len(half) / 2) <= 0.5


@pytest.mark.parametrize(
    ("folders", "label"), [(("dark",), "dark"), (("x", "light", "dark"), "light"), (("Dark",), ""), ((), "")]
)
def test_the_outermost_folder_that_is_called_as_a_class_tells_it(folders: tuple[str, ...], label: str) -> None:
    assert label_of(folders, CLASSES) == label
