"""The settings of serving: of the program `serve`, which answers requests with a trained model (docs/serving.md).

Training does not read them. They come to the container as variables of the model's Environment
(serving_environment.py); what the model is stands in its own config.json.
"""

from typing import Annotated

from pydantic import Field

from container.modeling.container_settings import PartName
from container.modeling.section import Section

# A name or an address, with a port where it is not the scheme's own.
HOST = r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$"


class Serving(Section):
    """How the trained model answers requests, as an endpoint and in a batch transform."""

    batch_size: int = Field(32, ge=1, le=4096)
    """Images of one step of the model, at most; requests that arrive together share a step."""
    batch_window_ms: float = Field(5.0, ge=0, le=10_000)
    """Milliseconds that the first image of a step waits for others, at most; it never waits where none is coming."""
    max_waiting: int = Field(256, ge=1, le=100_000)
    """Images that the server takes on at a time; further requests are told to come again (503)."""
    max_images: int = Field(10_000, ge=1, le=1_000_000)
    """Most images of one request."""
    max_body_mb: int = Field(25, ge=1, le=1_024)
    """Largest body of a request, in MB; SageMaker's own limit for endpoints is 25."""
    answer_seconds: float = Field(60.0, gt=0, le=3_600)
    """Seconds after which a request is given up; SageMaker's own limit for endpoints is 60."""
    max_pixels: int = Field(50_000_000, ge=64, le=1_000_000_000)
    """Largest image, in pixels; it takes up to 16 bytes of memory a pixel while it is decoded."""
    url_hosts: tuple[Annotated[str, Field(pattern=HOST)], ...] = Field((), max_length=100)
    """Hosts from which images are fetched that requests name by a URL; a port goes with its host (`name:8000`)."""
    decoding_threads: int = Field(0, ge=0, le=1_024)
    """Images that are decoded at the same time; 0: as many as there are processor cores."""
    model_fn: PartName = ""
    """`model_fn(model_dir)` returns the model; empty: model.keras is loaded."""
    input_fn: PartName = ""
    """`input_fn(request_body, content_type)` returns what is predicted; empty: images, as docs/serving.md has it."""
    predict_fn: PartName = ""
    """`predict_fn(data, model)` returns the prediction, for each request by itself; empty: batches of images."""
    output_fn: PartName = ""
    """`output_fn(prediction, accept)` returns the answer, or (answer, content type); empty: by Accept."""
