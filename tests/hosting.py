"""Short ways to bring a model into service, and a program that serves it."""

from __future__ import annotations

import io
import itertools
import tarfile
from dataclasses import dataclass
from typing import Any

from tests.aws import Aws

# Answers who it is (`who`), with any status (`status 400 because`), after a while (`sleep 3`), or by ending (`crash`);
# anything else comes back reversed. After `ping 503` it answers /ping so. It does not listen before there is a file
# where its variable GATE says.
SERVE = """\
#!/usr/bin/env python3
import json, os, signal, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
ping = 200

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(ping if self.path == "/ping" else 404, b"")

    def do_POST(self):
        global ping
        body = self.rfile.read(int(self.headers["Content-Length"]))
        command, _, rest = body.decode(errors="replace").partition(" ")
        if command == "crash":
            print("it crashes", flush=True)
            os._exit(3)
        if command == "ping":
            ping = int(rest)
        if command == "sleep":
            print("it sleeps", flush=True)
            time.sleep(float(rest))
        if command == "status":
            code, _, text = rest.partition(" ")
            self.answer(int(code), text.encode())
        elif command == "who":
            model = {path.name: path.read_text() for path in (BASE / "model").rglob("*") if path.is_file()}
            who = {"model": model, "headers": dict(self.headers), "environment": dict(os.environ), "pid": os.getpid()}
            self.answer(200, json.dumps(who).encode())
        else:
            self.answer(200, body[::-1])

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", self.headers.get("Accept") or "text/plain")
        if "X-Amzn-SageMaker-Custom-Attributes" in self.headers:
            self.send_header("X-Amzn-SageMaker-Custom-Attributes", self.headers["X-Amzn-SageMaker-Custom-Attributes"])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass

def end(*_):
    print("it ends", flush=True)
    os._exit(0)

signal.signal(signal.SIGTERM, end)
port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
address = os.environ.get("BIND_TO_ADDRESS", "0.0.0.0")
while "GATE" in os.environ and not os.path.exists(os.environ["GATE"]):
    time.sleep(0.01)
print("it serves", flush=True)
ThreadingHTTPServer((address, port), Handler).serve_forever()
"""

_numbers = itertools.count(1)


@dataclass
class Hosting:
    """What a test asks of a server about models and endpoints; each has a name of its own."""

    aws: Aws

    def __post_init__(self) -> None:
        self.sagemaker = self.aws.sagemaker
        self.runtime = self.aws.server.client("sagemaker-runtime")
        self._created: list[str] = []

    def image(self, serve: str = SERVE, tag: str = "1") -> str:
        """Pushes an image whose `serve` is this script."""
        directory = self.aws.image_directory("true", name=f"program-{next(_numbers)}")
        (directory / "serve").write_text(serve)
        (directory / "serve").chmod(0o755)
        return self.aws.push(directory, tag)

    def model_data(self, key: str = "model.tar.gz", **files: str) -> str:
        """Puts a model.tar.gz with these files; a double underscore in a name is a slash."""
        members = [self.member(name.replace("__", "/"), content) for name, content in files.items()]
        return self.put_model_data(self.archive_of(*members), key)

    @staticmethod
    def member(name: str, content: str = "x", link: str | None = None) -> tuple[tarfile.TarInfo, bytes]:
        """A file of an archive, or a symbolic link."""
        member = tarfile.TarInfo(name)
        if link:
            member.type, member.linkname, content = tarfile.SYMTYPE, link, ""
        member.size = len(content.encode())
        return member, content.encode()

    @staticmethod
    def archive_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for member, content in members:
                tar.addfile(member, io.BytesIO(content))
        return buffer.getvalue()

    def put_model_data(self, content: bytes, key: str = "model.tar.gz") -> str:
        self.aws.s3.put_object(Bucket=self.aws.bucket, Key=key, Body=content)
        return f"s3://{self.aws.bucket}/{key}"

    def model_request(self, image: str, data: str | None = None, **changes: Any) -> dict[str, Any]:
        """A small CreateModel request with some fields changed; `Environment` is the container's."""
        container = {"Image": image, "ModelDataUrl": data, "Environment": changes.pop("Environment", {})}
        request = {
            "ModelName": f"served-{next(_numbers)}",
            "ExecutionRoleArn": self.aws.role,
            "PrimaryContainer": {name: value for name, value in container.items() if value is not None},
            **changes,
        }
        return {name: value for name, value in request.items() if value is not None}

    def model(self, serve: str = SERVE, data: str | None = None, **changes: Any) -> str:
        """Creates a model that this script serves, and returns its name."""
        tag = str(next(_numbers))
        request = self.model_request(self.image(serve, tag), data or self.model_data(name="cat"), **changes)
        self.sagemaker.create_model(**request)
        return request["ModelName"]

    def config(self, *variants: dict[str, Any], **changes: Any) -> str:
        """Creates an endpoint configuration, and returns its name."""
        name = f"config-{next(_numbers)}"
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=list(variants), **changes)
        return name

    @staticmethod
    def variant(model: str, **changes: Any) -> dict[str, Any]:
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": model,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        return {**variant, **changes}

    def create(self, config: str, name: str | None = None, **changes: Any) -> str:
        """Creates an endpoint, and returns its name."""
        name = name or f"endpoint-{next(_numbers)}"
        self._created.append(name)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config, **changes)
        return name

    def deploy(self, serve: str = SERVE, **changes: Any) -> str:
        """Brings a model that this script serves into service, and returns the endpoint's name."""
        name = self.create(self.config(self.variant(self.model(serve, **changes))))
        endpoint = self.settle(name)
        assert endpoint["EndpointStatus"] == "InService", endpoint
        return name

    def describe(self, name: str) -> dict[str, Any]:
        return self.sagemaker.describe_endpoint(EndpointName=name)

    def settle(self, name: str) -> dict[str, Any]:
        """Waits until an endpoint is neither created nor updated any more, and returns its description."""

        def settled() -> dict[str, Any] | None:
            endpoint = self.describe(name)
            return None if endpoint["EndpointStatus"] in ("Creating", "Updating") else endpoint

        return self.aws.eventually(settled)

    def delete(self, name: str) -> None:
        """Deletes an endpoint and waits until it is gone."""
        self.sagemaker.delete_endpoint(EndpointName=name)
        self.aws.eventually(lambda: name not in self.endpoints())

    def close(self) -> None:
        """Deletes all endpoints that were created here."""
        for name in self._created:
            if name in self.endpoints() and self.settle(name):
                self.delete(name)

    def endpoints(self) -> list[str]:
        return [entry["EndpointName"] for entry in self.sagemaker.list_endpoints(MaxResults=100)["Endpoints"]]

    def invoke(self, name: str, body: bytes, **arguments: Any) -> bytes:
        """What the endpoint answers."""
        return self.runtime.invoke_endpoint(EndpointName=name, Body=body, **arguments)["Body"].read()

    def streams(self, name: str) -> list[str]:
        """The streams of an endpoint's log."""
        try:
            found = self.aws.logs.describe_log_streams(logGroupName=f"/aws/sagemaker/Endpoints/{name}")
        except self.aws.logs.exceptions.ResourceNotFoundException:
            return []
        return [stream["logStreamName"] for stream in found["logStreams"]]

    def log(self, name: str) -> list[str]:
        """All lines of an endpoint's log so far, a stream's together."""
        group = f"/aws/sagemaker/Endpoints/{name}"
        lines: list[str] = []
        for stream in self.streams(name):
            events = self.aws.logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
            lines += [event["message"] for event in events["events"]]
        return lines
