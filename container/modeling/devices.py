"""TensorFlow itself, and the devices that it sees."""

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from container.modeling.instances import has_gpu
from container.modeling.job import JobError


def import_tensorflow() -> Any:
    """Import TensorFlow and return it.

    While it is imported it prints lines about oneDNN, whatever its log level; what it prints is shown only where the
    import fails.
    """
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            with _no_garbage_collection():
                import tensorflow
        except BaseException:
            printed.seek(0)
            os.write(standard_error, printed.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(standard_error, 2)
            os.close(standard_error)
    return tensorflow


def check_gpus(instance_type: str) -> None:
    """See that TensorFlow has the GPUs that are paid for.

    Raises:
        JobError: the instance type has GPUs, but TensorFlow sees none and would train on the processor, slowly.
    """
    has_gpus = has_gpu(instance_type)
    if has_gpus and not import_tensorflow().config.list_physical_devices("GPU"):
        raise JobError(
            f"{instance_type} has GPUs, but TensorFlow sees none: train in an image of training_image.flavor=gpu, or "
            "on an instance type without GPUs"
        )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """While modules are imported, do not search the growing pile of their objects for garbage, again and again.

    What there is at the end is left out of all later searches too: modules stay.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
