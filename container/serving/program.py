"""The program `serve`, from its start to its end: listens at once, loads the model beside, answers until SIGTERM.

What is wrong with the settings or the model's folder ends it within a second, before TensorFlow is imported.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import uvicorn
from PIL import Image as Picture

from container.errors import ProjectError
from container.modeling.devices import import_tensorflow
from container.modeling.job import OptMl
from container.modeling.logs import log_to_stdout
from container.modeling.own_parts.errors import PARTS_FOLDER
from container.modeling.own_parts.serving_functions import check_serving_functions
from container.modeling.serving_environment import from_environment
from container.modeling.serving_settings import Serving
from container.serving.application import Service
from container.serving.hosting import Hosting
from container.serving.model_folder import ModelFolder

if TYPE_CHECKING:
    from container.serving.inference import Inference

logger = logging.getLogger(__name__)

# SageMaker sends SIGKILL 30 seconds after SIGTERM.
GRACE_SECONDS = 25
# Connections that wait to be taken, and seconds that an idle one is kept.
BACKLOG, KEEP_ALIVE_SECONDS = 2_048, 75
# The largest head of a request.
MAX_HEAD_BYTES = 2**16


class StartError(ProjectError):
    """The server cannot start."""


def main() -> int:
    """Serve until SIGTERM; return the exit code. What ends the program early is its last line."""
    log_to_stdout()
    # It would tell of each request that is no HTTP.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    try:
        _serve(OptMl.from_environment(), os.environ)
    except ProjectError as error:
        logger.error("%s", error)
        return 1
    # Code of a user's that Keras calls may end in sys.exit(), whose code would be taken for ours.
    except (Exception, SystemExit) as error:
        logger.error("serving failed with %s", type(error).__name__, exc_info=error)
        return 1
    return 0


def _serve(opt_ml: OptMl, variables: Mapping[str, str]) -> None:
    settings = from_environment(variables)
    hosting = Hosting.from_environment(variables, settings)
    check_serving_functions(settings, PARTS_FOLDER)
    folder = ModelFolder.read(opt_ml.model_dir, settings)
    # Its own limit does not fit the settings'.
    Picture.MAX_IMAGE_PIXELS = None
    with _listener(hosting) as listener:
        asyncio.run(_run(listener, folder, settings, hosting))


def _listener(hosting: Hosting) -> socket.socket:
    try:
        listener = socket.create_server((hosting.address, hosting.port), backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise StartError(
            f"nobody can listen at port {hosting.port} of {hosting.address}: {error}; SAGEMAKER_BIND_TO_PORT and "
            "BIND_TO_ADDRESS name others"
        ) from None
    # An answer's head and body are sent one after the other: without this, the body would wait 40 ms for the head to be
    # acknowledged. asyncio sets it only where the socket was made with the protocol's number.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def _run(listener: socket.socket, folder: ModelFolder, settings: Serving, hosting: Hosting) -> None:
    service = Service(hosting)
    config = uvicorn.Config(
        service.application(),
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    host, port = listener.getsockname()[:2]
    logger.info("listening at http://%s:%d", host, port)
    # One thread loads the model and takes all its steps: parts of Keras's state are a thread's own.
    model_thread = ThreadPoolExecutor(1, "model")
    loading = asyncio.get_running_loop().run_in_executor(model_thread, _load, folder, settings, hosting, model_thread)
    await asyncio.wait((serving, loading), return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        if loading.exception() is None:
            service.inference = loading.result()
            logger.info("ready: %d classes, steps of up to %d images", len(folder.classes), settings.batch_size)
        else:
            server.should_exit = True
        await serving
        loading.result()


def _load(folder: ModelFolder, settings: Serving, hosting: Hosting, model_thread: ThreadPoolExecutor) -> "Inference":
    # Not before the server listens.
    import_tensorflow()

    from container.serving.inference import Inference

    return Inference.load(folder, settings, hosting, model_thread)
