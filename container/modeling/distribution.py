"""Several devices and several hosts that train one model: TensorFlow's strategies, as far as training needs them.

Every device has its own copy of the variables and takes part of each step; the gradients are summed. With one device
nothing of this is used. On several hosts each process runs the same program, and must come to the same collective
operations in the same order: what decides about them (a stop, a clock) is agreed on first.
"""

import functools
import json
import logging
import os
import signal
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.errors import ProjectError
from container.modeling.input_pipeline.epochs import Replicas
from container.modeling.job import Job

logger = logging.getLogger(__name__)

# Below the ports that Linux gives to outgoing connections; a host listens on its own one of a job's.
FIRST_PORT, PORTS = 10_000, 20_000
# How long the hosts wait for each other at the start, and until one that is silent counts as lost, in seconds.
START_SECONDS = 600
SILENCE_SECONDS = 30
# What TensorFlow raises then.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
# How much of its text the log repeats, in characters.
MAX_REASON = 1000


class HostLostError(ProjectError):
    """Another host of the job is gone."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """Who trains the model."""

    strategy: Any = None
    """A tf.distribute.Strategy; None: one device, one host."""
    replicas: Replicas = field(default_factory=Replicas)

    @property
    def is_chief(self) -> bool:
        """Whether this host writes what the job leaves."""
        return self.replicas.host == 0

    def scope(self) -> AbstractContextManager[Any]:
        """Variables that are made inside have a copy on each device."""
        return self.strategy.scope() if self.strategy else nullcontext()

    def run(self, function: Callable[..., Any], *arguments: Sequence[Any]) -> Any:
        """Run a function on each device of this host, inside a tf.function; each argument has an entry for each."""
        if self.strategy is None:
            return function(*(parts[0] for parts in arguments))
        return self.strategy.run(function, args=tuple(map(self._values, arguments)))

    def sum(self, tensors: list[Any]) -> list[Any]:
        """Return the sums over all devices, where `run` runs a function."""
        if self.strategy is None:
            return tensors
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)

    def mean(self, tensors: list[Any], images: Any) -> list[Any]:
        """Return the means over the images of all devices, of means over the `images` (a scalar) of this one."""
        if self.strategy is None:
            return tensors
        images = tf.cast(images, tf.float32)
        *totals, count = self.sum([*(tensor * images for tensor in tensors), images])
        return [total / count for total in totals]

    def gather(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows of all hosts, host by host; they may have different numbers of rows."""
        if self.replicas.hosts == 1:
            return rows
        counts = self._of_hosts(np.array(len(rows)))
        padded = np.zeros((max(counts.max(), 1), *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        parts = zip(self._of_hosts(padded), counts.tolist(), strict=True)
        return np.concatenate([part[:count] for part, count in parts])

    def local_values(self, value: Any) -> list[Any]:
        """Return what `run` returned on each device of this host."""
        return list(self.strategy.experimental_local_results(value)) if self.strategy else [value]

    def from_chief(self, content: bytes) -> bytes:
        """Return the chief's content, which the other hosts do not have."""
        padded = content + bytes(-len(content) % 4)
        (length, *_) = self.gather(np.array([len(content)]))
        return self.gather(np.frombuffer(padded if self.is_chief else b"", np.int32)).tobytes()[:length]

    def gather_texts(self, text: str) -> list[str]:
        """Return a text of each host."""
        if self.replicas.hosts == 1:
            return [text]
        # The collective operations know no bytes.
        encoded = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        ends = np.cumsum(self.gather(np.array([len(encoded)])))
        return [part.astype(np.uint8).tobytes().decode() for part in np.split(self.gather(encoded), ends[:-1])]

    def sum_hosts(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of an array over all hosts."""
        return array if self.replicas.hosts == 1 else self._summed(np.asarray(array))

    def any_host(self, *flags: bool) -> tuple[bool, ...]:
        """Return of each flag whether it is set on any host."""
        if self.replicas.hosts == 1:
            return flags
        return tuple((self._summed(np.array(flags, np.int32)) > 0).tolist())

    def average(self, variables: Sequence[Any]) -> None:
        """Give each variable the mean of its copies on all devices."""
        if self.strategy is not None and variables:
            self._averager(variables)()

    @contextmanager
    def explained_errors(self) -> Iterator[None]:
        """Run what several hosts do together.

        Raises:
            HostLostError: another host is gone.
        """
        try:
            yield
        except LOST as error:
            if self.replicas.hosts == 1:
                raise
            logger.error("what TensorFlow says of it: %s", " ".join(str(error).split())[:MAX_REASON])
            raise HostLostError(
                "another host of the job is gone, or failed: its log may tell why; --resume goes on from the last "
                "checkpoint"
            ) from error

    def _values(self, parts: Sequence[Any]) -> Any:
        if len(parts) == 1:
            return parts[0]
        first = self.replicas.first
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group - first]
        )

    def _of_hosts(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the arrays of all hosts, which have one shape, stacked."""
        # TensorFlow's own gathering is traced anew at each call, and crashes where there is nothing to gather.
        table = np.zeros((self.replicas.hosts, *array.shape), array.dtype)
        table[self.replicas.host] = array
        return self._summed(table)

    def _summed(self, array: NDArray[Any]) -> NDArray[Any]:
        zeros = [tf.zeros_like(array)] * (self.replicas.local - 1)
        return np.asarray(self._summer(self._values([tf.constant(array), *zeros])))

    @functools.cached_property
    def _summer(self) -> Any:
        def local(tensor: Any) -> Any:
            # What is summed must have been made on the device.
            return self.sum([tf.identity(tensor)])[0]

        def summed(value: Any) -> Any:
            return self.local_values(self.strategy.run(local, args=(value,)))[0]

        return tf.function(summed, reduce_retracing=True)

    def _averager(self, variables: Sequence[Any]) -> Any:
        def local() -> None:
            totals = self.sum([tf.identity(variable) for variable in variables])
            for variable, total in zip(variables, totals, strict=True):
                variable.assign(total / self.replicas.count)

        return tf.function(lambda: self.strategy.run(local))


def distribute(job: Job) -> Distribution:
    """Return who trains: all GPUs of this host, or its processor, together with the job's other hosts.

    To be called before TensorFlow has done anything. Waits for the other hosts.

    Raises:
        HostLostError: another host did not come.
    """
    if len(job.hosts) > 1:
        return _several_hosts(job)
    gpus = tf.config.list_logical_devices("GPU")
    cpus = tf.config.list_logical_devices("CPU")
    # A test may cut the processor into several devices.
    devices = gpus or cpus
    if len(devices) == 1:
        return Distribution()
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    return Distribution(strategy, Replicas(len(devices), 0, len(devices)))


def expect_summed_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Let an optimizer take the gradients that it gets as sums over all devices.

    Keras would clip those of each device by themselves, and only then sum them up.
    """
    for each in (optimizer, getattr(optimizer, "inner_optimizer", None)):
        if each is not None:
            each._all_reduce_sum_gradients = list


def _several_hosts(job: Job) -> Distribution:
    number = job.hosts.index(job.current_host)
    # Every host comes to the same ports by the job's name; hosts that are processes of one machine need different ones.
    port = FIRST_PORT + zlib.crc32(job.name.encode()) % PORTS
    workers = [f"{host}:{port + position}" for position, host in enumerate(job.hosts)]
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": number}})
    options = tf.distribute.experimental.CommunicationOptions(implementation=_implementation())
    _configure_coordination(len(job.hosts))
    handler = signal.getsignal(signal.SIGTERM)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    # TensorFlow put a handler of its own in the place of Python's.
    signal.signal(signal.SIGTERM, handler)
    local = strategy.num_replicas_in_sync // len(job.hosts)
    return Distribution(strategy, Replicas(strategy.num_replicas_in_sync, number * local, local))


def _implementation() -> Any:
    implementations = tf.distribute.experimental.CommunicationImplementation
    return implementations.NCCL if tf.config.list_physical_devices("GPU") else implementations.RING


def _configure_coordination(hosts: int) -> None:
    """Bound the waiting: TensorFlow's strategy would set up the same service, with none of these limits."""
    from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
    from tensorflow.python.eager import context

    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=START_SECONDS * 1000,
        heartbeat_timeout_in_ms=SILENCE_SECONDS * 1000,
        coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=hosts)],
    )
