"""The command line: `python -m local_aws [start | stop | status]`, see --help."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from local_aws import lifecycle
from local_aws.settings import Settings, SettingsError

_DESCRIPTION = """\
An AWS on this machine that really runs its training jobs.

Without a command it runs in the foreground until Ctrl-C and prints what to export
for AWS clients. With `start` it runs in the background, and one line of JSON tells
where; the one that runs already is used. Its state is lost when it ends."""

_VARIABLES = """\
environment variables:
  LOCAL_AWS_HOME                 directory for its files (default: .local_aws here)
  LOCAL_AWS_STOP_GRACE_SECONDS   from SIGTERM to SIGKILL when a job is stopped (120)
  LOCAL_AWS_HEALTH_CHECK_SECONDS from the start of a serving program until /ping must answer 200 (480)
  LOCAL_AWS_PING_INTERVAL_SECONDS between two health checks of a program that an endpoint has in service (5)
  LOCAL_AWS_EXECUTOR             docker: images are Docker images, run as containers; process: they are
                                 directories, run as processes (default: docker where a Docker engine and
                                 docker-registry are, else process)
  LOCAL_AWS_MEMORY               what the containers of one job or endpoint may use together, such as 8g (default:
                                 most of the machine's memory)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0 done, 1 failed or (status) nothing runs, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings.from_environment(os.environ)
        home = lifecycle.Home(settings.home)
        if options.command == "start":
            print(lifecycle.start(home, options.port, settings.executor).as_json())
        elif options.command == "stop":
            stopped = lifecycle.stop(home)
            print(f"stopped {stopped.endpoint_url}" if stopped else f"no local_aws runs in {home.path}")
        elif options.command == "status":
            return _status(home)
        else:
            # moto takes a third of a second to import, which the other commands need not wait for.
            from local_aws import server

            server.serve(settings, options.port, options.log_file)
    except (SettingsError, lifecycle.LifecycleError) as error:
        print(f"{lifecycle.ERROR_PREFIX}{error}", file=sys.stderr)
        return 1
    return 0


def _status(home: lifecycle.Home) -> int:
    running = lifecycle.find(home)
    if running is None:
        print(f"no local_aws runs in {home.path}", file=sys.stderr)
        return 1
    print(running.as_json())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local_aws",
        description=_DESCRIPTION,
        epilog=_VARIABLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", choices=["start", "stop", "status"])
    parser.add_argument("--port", type=_port, default=0, help="port to listen on (default: any free one)")
    parser.add_argument("--log_file", type=Path, help=argparse.SUPPRESS)
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is no port: 0 to 65535")
    return port


if __name__ == "__main__":
    sys.exit(main())
