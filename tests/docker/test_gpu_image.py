"""The GPU flavor of the image, as far as a machine without a GPU can tell: built, small enough, nothing missing.

Building it downloads some gigabytes: `make test-gpu-image` asks for it, `make test-docker` does not.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from manager.console import Terminal
from manager.docker_engine import Engine

pytestmark = pytest.mark.skipif("TEST_GPU_IMAGE" not in os.environ, reason="only on demand: make test-gpu-image")

CONTAINER = Path(__file__).resolve().parents[2] / "container"
NAME = "sagemaker-image-classification-test:gpu"

# What TensorFlow opens by name once it sees a GPU: xla/tsl/platform/default/dso_loader.cc in openxla/xla.
OPENED_BY_NAME = ("cudart", "cublas", "cublasLt", "cufft", "cusolver", "cusparse", "cupti", "cudnn", "nccl")
# The driver's own, which come from the host.
OF_THE_DRIVER = ("libcuda.so.1", "libnvidia-ml.so.1")

FIND_LIBRARIES = f"""
import pathlib, subprocess, sysconfig
packages = pathlib.Path(sysconfig.get_path("purelib"))
for name in {OPENED_BY_NAME!r}:
    assert list(packages.glob(f"nvidia/*/lib/lib{{name}}.so.*")), name
for library in packages.glob("nvidia/*/lib/*.so*"):
    needed = subprocess.run(["ldd", library], capture_output=True, text=True).stdout.splitlines()
    beside = {{path.name for path in packages.glob("nvidia/*/lib/*")}}
    missing = [line.split()[0] for line in needed if "not found" in line]
    assert not set(missing) - beside - set({OF_THE_DRIVER!r}), (library, missing)
(ptxas,) = packages.glob("nvidia/cuda_nvcc/bin/ptxas")
subprocess.run([ptxas, "--version"], check=True)
assert list(packages.glob("nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc"))
"""

TRAIN_A_STEP = """
import keras, numpy, tensorflow
assert tensorflow.test.is_built_with_cuda()
layers = keras.layers
model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)])
model.compile("adam", "mse")
assert numpy.isfinite(model.train_on_batch(numpy.ones((4, 8, 8, 1)), numpy.zeros((4, 2))))
"""


@pytest.fixture(scope="module")
def image(base_image: str) -> Iterator[Any]:
    """The built image."""
    engine = Engine.connect()
    engine.build(CONTAINER, NAME, {"BASE_IMAGE": base_image, "FLAVOR": "gpu"}, Terminal())
    yield engine.client.images.get(NAME)
    engine.client.images.remove(NAME, force=True)


def run(image: Any, program: str) -> None:
    """Run a Python program in the image, without a network."""
    docker.from_env().containers.run(image.id, ["python3", "-c", program], network_mode="none", remove=True)


def test_it_adds_less_than_6_4_gb(image: Any, base_image: str) -> None:
    base = docker.from_env().images.get(base_image)
    assert image.attrs["Size"] - base.attrs["Size"] < 6.4e9


def test_it_trains_a_step_on_the_processor(image: Any) -> None:
    run(image, TRAIN_A_STEP)


def test_every_library_that_tensorflow_opens_by_name_is_there(image: Any) -> None:
    run(image, FIND_LIBRARIES)
