"""The server: moto's WSGI application behind the guards, with the training engine in it."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from local_aws import lifecycle, moto_patches
from local_aws.executors import ProcessExecutor
from local_aws.guards import guarded
from local_aws.images import ImageSnapshots
from local_aws.settings import CREDENTIALS, Settings
from local_aws.training_service import TrainingService

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ADDRESS = "127.0.0.1"

# How soon the listener sees that it is to end.
_POLL_SECONDS = 0.1

_log = logging.getLogger(__name__)


def serve(settings: Settings, port: int, log_file: Path | None) -> None:
    """Runs a server in the foreground until SIGINT or SIGTERM; its jobs end with it.

    Args:
        port: to listen on; 0 for any that is free.
        log_file: where this process's output goes, if it is a file; only told to others.

    Raises:
        LifecycleError: another server has the home directory.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    _forget_the_users_aws()
    signals = _catch_signals()
    home = lifecycle.Home(settings.home)
    with lifecycle.claimed(home):
        listener = make_server(ADDRESS, port, _not_ready, threaded=True, request_handler=_RequestHandler)
        endpoint_url = f"http://{ADDRESS}:{listener.server_port}"
        training = _assemble(listener, settings, home, endpoint_url)
        thread = threading.Thread(target=listener.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        thread.start()
        running = lifecycle.RunningServer(
            endpoint_url, os.getpid(), str(log_file) if log_file else None, settings.executor
        )
        lifecycle.publish(home, running)
        _print_exports(endpoint_url, settings.region)
        signals.recv(1)
        listener.shutdown()
        training.close()


def client_environment(endpoint_url: str, region: str) -> Mapping[str, str]:
    """The environment variables that make any AWS client use this server."""
    return {"AWS_ENDPOINT_URL": endpoint_url, **CREDENTIALS, "AWS_DEFAULT_REGION": region}


def _catch_signals() -> socket.socket:
    # A byte comes for each signal. Waiting for an Event instead would miss one that arrives just before the wait.
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.detach())
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: None)
    return receiver


def _assemble(listener: BaseWSGIServer, settings: Settings, home: lifecycle.Home, endpoint_url: str) -> TrainingService:
    snapshots = ImageSnapshots(home.images)
    training = TrainingService(
        jobs_directory=home.jobs,
        snapshots=snapshots,
        executor=ProcessExecutor(),
        endpoint_url=endpoint_url,
        stop_grace_seconds=settings.stop_grace_seconds,
    )
    moto_patches.install(training, snapshots)
    listener.app = guarded(DomainDispatcherApplication(create_backend_app))
    return training


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
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        # An upload is thousands of requests; only those that went wrong are worth a line.
        if not str(code).startswith("2"):
            _log.info("%s %s: %s", self.requestline, self.headers.get("X-Amz-Target", ""), code)
