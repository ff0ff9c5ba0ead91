"""Several devices and several hosts that train one model: TensorFlow's strategies, as far as training needs them.

Every device has its own copy of the variables and takes part of each step; the gradients are summed. With one device
nothing of this is used. On several hosts each process runs the same program, and must come to the same collective
operations in the same order: what decides about them (a stop, a clock) is agreed on first.
"""

import faulthandler
import itertools
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
from container.modeling.job import Job, JobError
from container.modeling.rendezvous import meet

logger = logging.getLogger(__name__)

# Below the ports that Linux gives to outgoing connections; a host listens on its own one of a job's.
FIRST_PORT, PORTS = 10_000, 20_000
# A number for the group of all hosts, far from those that TensorFlow gives to groups.
GROUP_KEY = 1_000_000
# How long the hosts wait for each other at the start, in seconds.
START_SECONDS = 600
# How long TensorFlow may take to connect hosts that are all there, in seconds.
CONNECT_SECONDS = 50
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
    _messages: Iterator[int] = field(default_factory=lambda: itertools.count(1))

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

    def gather(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows of all hosts, host by host; they may have different numbers of rows."""
        if self.replicas.hosts == 1:
            return rows
        content = np.ascontiguousarray(rows)
        parts = self.gather_bytes(content.tobytes())
        return np.concatenate([np.frombuffer(part, rows.dtype).reshape(-1, *rows.shape[1:]) for part in parts])

    def gather_bytes(self, content: bytes) -> list[bytes]:
        """Return the content of each host."""
        if self.replicas.hosts == 1:
            return [content]
        lengths = self._exchanged(np.array([len(content)])).ravel()
        # As 64-bit words: the collective operations know no bytes.
        words = np.zeros(max(-(-lengths.max() // 8), 1), np.int64)
        words.view(np.uint8)[: len(content)] = np.frombuffer(content, np.uint8)
        return [part.tobytes()[:length] for part, length in zip(self._exchanged(words), lengths, strict=True)]

    def local_values(self, value: Any) -> list[Any]:
        """Return what `run` returned on each device of this host."""
        return list(self.strategy.experimental_local_results(value)) if self.strategy else [value]

    def from_chief(self, content: bytes) -> bytes:
        """Return the chief's content, which the other hosts do not have."""
        if self.replicas.hosts == 1:
            return content
        return self.gather_bytes(content if self.is_chief else b"")[0]

    def gather_texts(self, text: str) -> list[str]:
        """Return a text of each host."""
        return [part.decode() for part in self.gather_bytes(text.encode())]

    def sum_hosts(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of an array over all hosts."""
        return self.gather(np.asarray(array)[np.newaxis]).sum(axis=0)

    def any_host(self, *flags: bool) -> tuple[bool, ...]:
        """Return of each flag whether it is set on any host."""
        if self.replicas.hosts == 1:
            return flags
        set_flags = np.any(self._exchanged(np.array(flags, np.int64)), axis=0)
        return tuple(map(bool, set_flags))

    def averager(self, variables: Sequence[Any]) -> Callable[[], object]:
        """Return what gives each variable, all of them floats, the mean of its copies on all devices."""
        if self.strategy is None or not variables:
            return lambda: None

        def local() -> None:
            # In one type, since they go in one message; and what is summed must have been made on the device.
            totals = self.sum([tf.cast(tf.identity(variable), tf.float32) for variable in variables])
            for variable, total in zip(variables, totals, strict=True):
                variable.assign(tf.cast(total / self.replicas.count, variable.dtype))

        return tf.function(lambda: self.strategy.run(local))

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

    def _exchanged(self, words: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the words of each host, shape (hosts, words): all have equally many.

        By the processors, whatever the devices are: graphics cards are for the gradients.
        """
        hosts = self.replicas.hosts
        with tf.device(f"/job:worker/task:{self.replicas.host}/device:CPU:0"):
            # A key of its own for each message; TensorFlow counts the groups of its own from 1.
            key = tf.constant(next(self._messages))
            gathered = tf.raw_ops.CollectiveGatherV2(
                input=tf.constant(words),
                group_size=tf.constant(hosts),
                group_key=tf.constant(GROUP_KEY),
                instance_key=key,
                ordering_token=[],
                communication_hint="ring",
            )
        return np.asarray(gathered).reshape(hosts, -1)


def distribute(job: Job) -> Distribution:
    """Return who trains: all GPUs of this host, or its processor, together with the job's other hosts.

    To be called before TensorFlow has done anything. Waits for the other hosts.

    Raises:
        HostMissingError: another host did not come.
        HostLostError: another host is gone.
        JobError: the hosts cannot meet.
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
    try:
        meet(job.hosts, number, port, job.name, START_SECONDS)
    except OSError as error:
        raise JobError(f"the hosts cannot meet at port {port}: {error}") from error
    handler = signal.getsignal(signal.SIGTERM)
    # It waits without an end if a host is lost just now, and no Python runs meanwhile.
    faulthandler.dump_traceback_later(CONNECT_SECONDS, exit=True)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except tf.errors.OpError as error:
        raise HostLostError(f"the hosts cannot be connected: {' '.join(str(error).split())[:MAX_REASON]}") from error
    finally:
        faulthandler.cancel_dump_traceback_later()
        # TensorFlow put a handler of its own in the place of Python's.
        signal.signal(signal.SIGTERM, handler)
    local = strategy.num_replicas_in_sync // len(job.hosts)
    return Distribution(strategy, Replicas(strategy.num_replicas_in_sync, number * local, local))


def _implementation() -> Any:
    implementations = tf.distribute.experimental.CommunicationImplementation
    return implementations.NCCL if tf.config.list_physical_devices("GPU") else implementations.RING
