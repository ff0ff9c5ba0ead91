"""The server: moto's WSGI application behind the guards, with the training engine in it."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler
from werkzeug.serving import make_server

from local_aws import lifecycle, moto_patches
from local_aws.executors import Executor
from local_aws.guards import guarded
from local_aws.images import ImageSnapshots
from local_aws.own_api import OwnApi
from local_aws.process_executor import ProcessExecutor
from local_aws.registry_api import RegistryApi
from local_aws.repositories import Repositories
from local_aws.runtime_api import RuntimeApi
from local_aws.services import Services
from local_aws.serving_hosts import ServingSurroundings
from local_aws.settings import CREDENTIALS, SERVING_STOP_GRACE_SECONDS, Settings, SettingsError
from local_aws.training_service import TrainingService
from local_aws.unknown_operations import create_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ADDRESS = "127.0.0.1"

# The beginning of a TLS connection: a record of the type `handshake`, of any version.
_TLS_HANDSHAKE = b"\x16\x03"

# How soon the listener sees that it is to end.
_POLL_SECONDS = 0.1

_log = logging.getLogger(__name__)


def serve(settings: Settings, port: int, log_file: Path | None) -> None:
    """Runs a server in the foreground until SIGINT or SIGTERM; its jobs end with it.

    Args:
        port: to listen on; 0 for any that is free.
        log_file: where this process's output goes, if it is a file; only told to others.

    Raises:
        LifecycleError: another server has the home directory, or the port is not free.
        SettingsError: the executor that was asked for cannot be had.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    _forget_the_users_aws()
    signals = _catch_signals()
    home = lifecycle.Home(settings.home)
    with lifecycle.claimed(home), ExitStack() as stack:
        open_socket = stack.enter_context(_listen(home, port))
        listener = make_server(
            ADDRESS, 0, _not_ready, threaded=True, request_handler=_RequestHandler, fd=open_socket.fileno()
        )
        endpoint_url = f"http://{ADDRESS}:{listener.port}"
        executor, images = _choose(settings, home, listener.port, stack)
        training = TrainingService(
            jobs_directory=home.jobs,
            images=images,
            executor=executor,
            endpoint_url=endpoint_url,
            stop_grace_seconds=settings.stop_grace_seconds,
            passed_variables=settings.passed_variables,
        )
        services = Services.of_server(training, images, _serving(settings, home, executor, endpoint_url))
        stack.callback(services.close)
        listener.app = _assemble(services, images)
        thread = threading.Thread(target=listener.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        thread.start()
        running = lifecycle.RunningServer(endpoint_url, os.getpid(), str(log_file) if log_file else None, executor.name)
        lifecycle.publish(home, running)
        _print_exports(endpoint_url, settings.region)
        signals.recv(1)
        listener.shutdown()


def client_environment(endpoint_url: str, region: str) -> Mapping[str, str]:
    """The environment variables that make any AWS client use this server."""
    return {"AWS_ENDPOINT_URL": endpoint_url, **CREDENTIALS, "AWS_DEFAULT_REGION": region}


def _listen(home: lifecycle.Home, port: int) -> socket.socket:
    """A socket at the port; without one (0) at that of the home's last server where it is free, else at any.

    An engine's images carry the port in their names, and a person may have exported it.
    """
    try:
        last = int(home.port_file.read_text())
    except (OSError, ValueError):
        last = 0
    with contextlib.suppress(OSError, OverflowError):
        if last and not port:
            return socket.create_server((ADDRESS, last))
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise lifecycle.LifecycleError(f"cannot listen on port {port} of {ADDRESS}: {reason}") from error


def _catch_signals() -> socket.socket:
    # A byte comes for each signal. Waiting for an Event instead would miss one that arrives just before the wait.
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.detach())
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: None)
    return receiver


def _choose(
    settings: Settings, home: lifecycle.Home, port: int, stack: ExitStack
) -> tuple[Executor, ImageSnapshots | Repositories]:
    """What runs programs, and where the images come from that it runs."""
    if settings.executor != "process":
        # A quarter of a second to load, which the other way of running programs need not wait for.
        from local_aws import containers

        try:
            return stack.enter_context(containers.running(settings, home, f"localhost:{port}"))
        except containers.UnavailableError as error:
            if settings.executor == "docker":
                raise SettingsError(f"LOCAL_AWS_EXECUTOR is docker, but {error}") from error
            _log.info("images are directories, run as processes: %s", error)
    return ProcessExecutor(), ImageSnapshots(home.images)


def _serving(settings: Settings, home: lifecycle.Home, executor: Executor, endpoint_url: str) -> ServingSurroundings:
    return ServingSurroundings(
        executor=executor,
        directory=home.jobs,
        endpoint_url=endpoint_url,
        passed_variables=settings.passed_variables,
        ping_seconds=settings.health_check_seconds,
        ping_interval_seconds=settings.ping_interval_seconds,
        stop_grace_seconds=min(settings.stop_grace_seconds, SERVING_STOP_GRACE_SECONDS),
        closing=threading.Event(),
    )


def _assemble(services: Services, images: ImageSnapshots | Repositories) -> WSGIApplication:
    moto_patches.install(services, images)
    application: WSGIApplication = DomainDispatcherApplication(create_app)
    application = RuntimeApi(services.endpoints).before(application)
    if isinstance(images, Repositories):
        application = RegistryApi(images).before(application)
    return guarded(OwnApi(services.training).before(application))


def _not_ready(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("503 Service Unavailable", [])
    return []


def _forget_the_users_aws() -> None:
    # moto makes a boto3 session of its own; a profile or a configuration file of the user's could break it,
    # and nothing in this process may ever know real credentials.
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[variable]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


def _print_exports(endpoint_url: str, region: str) -> None:
    for name, value in client_environment(endpoint_url, region).items():
        print(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()


class _RequestHandler(MotoRequestHandler):
    def parse_request(self) -> bool:
        if self.raw_requestline.startswith(_TLS_HANDSHAKE):
            # An engine tries TLS first. It goes on without only where the answer is unmistakably HTTP's.
            self.wfile.write(b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\n")
            self.close_connection = True
            return False
        parsed: bool = super().parse_request()
        return parsed

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        # An upload is thousands of requests; only those that went wrong are worth a line. An engine asks for each
        # layer whether it is there, and logs in only after it was refused.
        expected = self.path.startswith("/v2/") and str(code) in ("401", "404")
        if not str(code).startswith("2") and not expected:
            _log.info("%s %s: %s", self.requestline, self.headers.get("X-Amz-Target", ""), code)
