"""How busy the GPUs are, asked of NVIDIA's NVML by a thread while training runs.

https://docs.nvidia.com/deploy/nvml-api/structnvmlUtilization__t.html: the share of the time since the last sample in
which a kernel was at work, so that a GPU that computes little, but always something, counts as busy.
"""

import os
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, NamedTuple, Self

import pynvml

from container.modeling.diagnostics.errors import NotCheckedError

SAMPLE_SECONDS = 1.0
# Fewer samples of a time say little of it.
LEAST_SAMPLES = 5
# More than an epoch of a day has.
MOST_SAMPLES = 100_000


class _Sample(NamedTuple):
    seconds: float
    """By time.perf_counter."""
    utilizations: tuple[float, ...]
    """Of each GPU, from 0 to 1."""


class GpuSampler:
    """Asks again and again how busy the GPUs are, until it is left as a context."""

    def __init__(self, count: int, every_seconds: float = SAMPLE_SECONDS) -> None:
        """Connect to NVML.

        Args:
            count: GPUs that train, as many as CUDA shows.
            every_seconds: time between two samples.

        Raises:
            NotCheckedError: there is no GPU, no NVML, or a GPU that does not tell: a part of one (MIG) does not.
        """
        if not count:
            raise NotCheckedError("no GPU trains")
        try:
            pynvml.nvmlInit()
            self._handles = [_handle(name) for name in _shown(count)]
            self._sample()
        except pynvml.NVMLError as error:
            raise NotCheckedError(f"NVML does not tell how busy the GPUs are: {error}") from error
        self._every_seconds = every_seconds
        self._samples: deque[_Sample] = deque(maxlen=MOST_SAMPLES)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        pynvml.nvmlShutdown()

    def utilizations(self, begin: float, end: float) -> tuple[float, ...]:
        """Return the mean utilization of each GPU between two times of time.perf_counter; earlier samples are dropped.

        Empty where there are too few samples.
        """
        while self._samples and self._samples[0].seconds < begin:
            self._samples.popleft()
        # A copy, since the thread goes on.
        chosen = [sample.utilizations for sample in tuple(self._samples) if sample.seconds <= end]
        if len(chosen) < LEAST_SAMPLES:
            return ()
        return tuple(sum(of_gpu) / len(of_gpu) for of_gpu in zip(*chosen, strict=True))

    def _run(self) -> None:
        while not self._ended.wait(self._every_seconds):
            try:
                sample = self._sample()
            except pynvml.NVMLError:
                # A GPU that is lost ends training by itself, with a better text.
                return
            self._samples.append(sample)

    def _sample(self) -> _Sample:
        rates = [pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100 for handle in self._handles]
        return _Sample(time.perf_counter(), tuple(rates))


def _shown(count: int) -> list[str]:
    """Return the numbers or UUIDs of the GPUs that CUDA shows: those of CUDA_VISIBLE_DEVICES, or all."""
    shown = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return (shown or list(map(str, range(count))))[:count]


def _handle(name: str) -> Any:
    if name.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(name))
    return pynvml.nvmlDeviceGetHandleByUUID(name)
