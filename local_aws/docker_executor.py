"""Running images as containers of this machine's Docker engine, `docker run IMAGE train` as SageMaker does."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import docker
from docker.errors import APIError
from docker.types import Mount

from local_aws import docker_engine
from local_aws.docker_engine import ENGINE_ERRORS, OPT_ML, Engine, explanation
from local_aws.executors import Ending, ExecutorError, Host, HttpAddress, Output, Program
from local_aws.images import Image

# The part of the machine's memory that a job gets without a setting: the rest is this server's and the user's.
_SHARE_OF_MEMORY = 0.8

# What docker says and the shell's exit codes are where there is no such program, or it cannot be run.
_NOT_STARTED = (126, 127)

# Where SageMaker's containers answer HTTP.
_HTTP_PORT = 8080

_WITHOUT_MACHINE = {"com.docker.network.bridge.inhibit_ipv4": "true"}

_END_SECONDS = 10.0


class DockerExecutor:
    """Runs the images of a registry as containers.

    One container is one host. Several hosts of a job share a network of their own, in which they find each other by
    name. A single one has the engine's default network, or none. Where it answers HTTP, its port 8080 is published to a
    free port of this machine's loopback; an isolated one then has a network of its own, with nothing but this machine
    in it.

    Args:
        engine: runs the containers.
        login: `username` and `password` of the registry that the images are in.
        labels: for all that is made in the engine.
        memory_bytes: what the containers of one job, or of one deployment of an endpoint, may use together; None means
            most of the machine's memory.
    """

    name = "docker"
    most_hosts = 8
    network_interface = "eth0"
    has_own_root = True
    reaches_server = False
    remark_on_isolated_serving = (
        "EnableNetworkIsolation: the container has no other network than one with this machine, by which its answers "
        "come: it reaches what listens here on all addresses"
    )
    cannot_honor: Mapping[str, str] = {}

    def __init__(
        self,
        engine: Engine,
        login: Mapping[str, str],
        labels: Mapping[str, str],
        memory_bytes: int | None = None,
    ) -> None:
        self._engine = engine
        self._login = login
        self._labels = {**labels, docker_engine.LABEL_OWNER: f"{os.getuid()}:{os.getgid()}"}
        self._memory_bytes = memory_bytes or int(engine.info()["MemTotal"] * _SHARE_OF_MEMORY)

    def addresses(self, names: Sequence[str]) -> Sequence[str]:
        return names

    def refusal(self, image: Image) -> str | None:
        if image.pull_uri:
            return None
        return f"{image.uri} is a directory image, which a container engine cannot run: push it with `docker push`"

    def start(self, program: Program, hosts: Sequence[Host], output: Output) -> _Containers:
        assert program.image.pull_uri
        containers = _Containers(self._engine, output, hosts[0].name)
        try:
            self._pull(program.image.pull_uri)
            network = self._network(program, hosts, containers.job)
            memory = self._memory_bytes // (len(hosts) + program.hosts_beside)
            for host in hosts:
                containers.add(host.name, self._create(program, host, memory, network, containers.job))
            containers.start()
        except ENGINE_ERRORS as error:
            containers.close()
            raise ExecutorError(f"cannot start {program.image.uri}: {explanation(error)}") from error
        return containers

    def _pull(self, uri: str) -> None:
        # By its digest, which is always the same image: the engine need not ask for what it has.
        with contextlib.suppress(docker.errors.ImageNotFound):
            self._engine.inspect_image(uri)
            return
        repository, _, digest = uri.partition("@")
        for step in self._engine.pull(repository, digest, stream=True, decode=True, auth_config=dict(self._login)):
            if "error" in step:
                raise APIError(step["error"])

    def _network(self, program: Program, hosts: Sequence[Host], job: str) -> str:
        is_reached = program.serves_http and program.network_isolation
        if len(hosts) == 1 and not is_reached:
            return "none" if program.network_isolation else "bridge"
        name = f"local-aws-{job}"
        self._engine.create_network(
            name,
            driver="bridge",
            internal=program.network_isolation,
            # An internal network still has this machine in it, and whatever listens on all of its addresses. That is so
            # where this machine is to reach the program, too.
            options=_WITHOUT_MACHINE if program.network_isolation and not is_reached else None,
            labels=self._labels_of(job),
        )
        return name

    def _create(self, program: Program, host: Host, memory: int, network: str, job: str) -> str:
        engine = self._engine
        is_published = program.serves_http and not program.network_isolation
        host_config = engine.create_host_config(
            mounts=_mounts(program, host),
            network_mode=network,
            # Without a network nothing else would resolve the host's own name.
            extra_hosts={host.address: "127.0.0.1"} if network == "none" else None,
            mem_limit=memory,
            memswap_limit=memory,
            # Shared memory is what data loaders with several processes use; docker's 64 MB are too few for them.
            shm_size=memory // 2,
            log_config=docker_engine.without_log(),
            port_bindings={_HTTP_PORT: ("127.0.0.1",)} if is_published else None,
        )
        # Only a network of its own has names for its hosts.
        has_names = network not in ("none", "bridge")
        endpoints: Any = {network: engine.create_endpoint_config(aliases=[host.address])} if has_names else None
        container: dict[str, Any] = engine.create_container(
            program.image.pull_uri,
            entrypoint=list(program.entrypoint) or None,
            command=list(program.arguments),
            environment=dict(program.environment),
            hostname=host.address,
            ports=[_HTTP_PORT] if is_published else None,
            host_config=host_config,
            networking_config=engine.create_networking_config(endpoints),
            labels={**self._labels_of(job), docker_engine.LABEL_DIRECTORY: str(host.directory)},
            use_config_proxy=False,
        )
        return str(container["Id"])

    def _labels_of(self, job: str) -> dict[str, str]:
        return {**self._labels, docker_engine.LABEL_JOB: job}


class _Containers:
    def __init__(self, engine: Engine, output: Output, first_host: str) -> None:
        self.job = uuid.uuid4().hex
        self._engine = engine
        self._output = output
        self._first_host = first_host
        self._ids: dict[str, str] = {}
        self._readers: dict[str, threading.Thread] = {}
        self._endings: dict[str, Ending] = {}
        self._errors: dict[str, str] = {}

    def add(self, host: str, container: str) -> None:
        self._ids[host] = container

    def start(self) -> None:
        for host, container in self._ids.items():
            # Attached before the start, so that no output is missed.
            stream = self._engine.attach(container, stdout=True, stderr=True, stream=True, demux=True)
            self._start(host, container)
            reader = threading.Thread(target=self._follow, args=(host, container, stream), daemon=True)
            self._readers[host] = reader
            reader.start()

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        for reader in self._readers.values():
            reader.join(max(0.0, deadline - time.monotonic()))
        return not any(reader.is_alive() for reader in self._readers.values())

    def endings(self) -> Mapping[str, Ending]:
        for host, reader in self._readers.items():
            if not reader.is_alive() and host not in self._endings:
                reason = self._errors.get(host, "its log has the reason")
                raise ExecutorError(f"nobody knows how the container of {host} ended: {reason}")
        return dict(self._endings)

    def http_address(self, host: str) -> HttpAddress:
        try:
            network = self._engine.inspect_container(self._ids[host])["NetworkSettings"]
        except (KeyError, *ENGINE_ERRORS) as error:
            raise ExecutorError(f"the container of {host} has no address: {error}") from error
        for published in network["Ports"].get(f"{_HTTP_PORT}/tcp") or ():
            return HttpAddress(published["HostIp"], int(published["HostPort"]))
        # An isolated container's ports cannot be published.
        for attached in network["Networks"].values():
            if attached["IPAddress"]:
                return HttpAddress(attached["IPAddress"], _HTTP_PORT)
        raise ExecutorError(f"the container of {host} has no address")

    def terminate(self) -> None:
        self._signal("SIGTERM")

    def kill(self) -> None:
        self._signal("SIGKILL")

    def close(self) -> None:
        for problem in docker_engine.remove_all(self._engine, docker_engine.LABEL_JOB, self.job):
            self._output(self._first_host, f"local_aws: warning: {problem}\n".encode(), 0)
        for reader in self._readers.values():
            # An engine that hangs must not keep the job from its end.
            reader.join(_END_SECONDS)

    def _start(self, host: str, container: str) -> None:
        try:
            self._engine.start(container)
        except APIError as error:
            if self._engine.inspect_container(container)["State"]["ExitCode"] not in _NOT_STARTED:
                raise
            self._output(host, f"{explanation(error)}\n".encode(), 0)

    def _follow(self, host: str, container: str, stream: Any) -> None:
        try:
            for out, err in stream:
                self._output(host, out or err, 1 if out else 2)
            # The output ends a moment before the container does.
            code = self._engine.wait(container)["StatusCode"]
            state = self._engine.inspect_container(container)["State"]
            if state["Status"] == "created" and code == 0:
                raise OSError(f"the container of {host} never ran")
            ended = datetime.fromisoformat(state["FinishedAt"]).timestamp()
            self._endings[host] = Ending(code, ended, out_of_memory=state["OOMKilled"])
        except ENGINE_ERRORS as error:
            self._errors[host] = explanation(error)
        finally:
            # The other side may have closed it.
            with contextlib.suppress(OSError):
                stream.close()

    def _signal(self, signal: str) -> None:
        for container in self._ids.values():
            # It may have ended already, and the end of an engine ends the reading as well.
            with contextlib.suppress(*ENGINE_ERRORS):
                self._engine.kill(container, signal)


def _mounts(program: Program, host: Host) -> list[Mount]:
    inner = [
        Mount(f"{OPT_ML}/{path}", str(host.opt_ml / path), type="bind", read_only=True) for path in program.read_only
    ]
    outer = [Mount(str(path), str(host.path(path)), type="bind") for path in program.outer_directories]
    return [Mount(OPT_ML, str(host.opt_ml), type="bind"), *inner, *outer]
