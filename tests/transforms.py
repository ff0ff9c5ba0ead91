"""Short ways to ask a server on this machine for transform jobs; all goes over HTTP, by boto3."""

from __future__ import annotations

import io
import itertools
import tarfile
from dataclasses import dataclass
from typing import Any

from tests.aws import ENGINE, WARNING, Aws

LOG_GROUP = "/aws/sagemaker/TransformJobs"

_numbers = itertools.count(1)

# Answers with the body in capitals. A body of the form `COMMAND ARGUMENT...` asks for something else, see there.
SERVE = """\
#!/usr/bin/env python3
import collections, http.server, json, os, threading, time

port, address = int(os.environ["SAGEMAKER_BIND_TO_PORT"]), os.environ["BIND_TO_ADDRESS"]
model = os.path.join(os.environ["SAGEMAKER_BASE_DIR"], "model")
seen = collections.Counter()
pair = threading.Barrier(2)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parameters = os.environ.get("PARAMETERS")
        if self.path == "/ping":
            self.answer(int(os.environ.get("PING", "200")), b"")
        elif self.path == "/execution-parameters" and parameters:
            self.answer(200, parameters.encode())
        else:
            self.answer(404, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        text = body[:200].decode(errors="replace")
        print("got", repr(text), flush=True)
        seen[text] += 1
        command, *arguments = text.split() or [""]
        if command == "status" and seen[text] <= int((arguments + ["1000"])[1]):
            # status CODE [TIMES [RETRY_AFTER]]
            self.answer(int(arguments[0]), b"no: " + body, *arguments[2:])
        elif command == "sleep":
            time.sleep(float(arguments[0]))
            self.answer(200, b"slept")
        elif command == "pair":
            # Answered only while another one is under way.
            pair.wait(10)
            self.answer(200, b"paired")
        elif command == "die":
            os._exit(3)
        elif command == "describe":
            facts = {name: self.headers[name] for name in ("Content-Type", "Accept")}
            facts["files"] = {name: open(os.path.join(model, name)).read() for name in os.listdir(model)}
            facts["writable"] = os.access(model, os.W_OK)
            facts["environment"] = dict(os.environ)
            self.answer(200, json.dumps(facts).encode())
        else:
            self.answer(200, body.upper())

    def answer(self, status, body, retry_after="0"):
        self.send_response(status)
        self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


print("serving", os.getpid(), flush=True)
http.server.ThreadingHTTPServer((address, port), Handler).serve_forever()
"""


@dataclass
class Transforms:
    """What a test asks for."""

    aws: Aws

    def image(self, serve: str = SERVE) -> str:
        """Pushes an image whose `serve` is this script, and returns its URI."""
        directory = self.aws.directory / f"serving-{next(_numbers)}"
        directory.mkdir()
        (directory / "serve").write_text(serve)
        (directory / "serve").chmod(0o755)
        return self.aws.push(directory, tag=directory.name)

    def model(self, serve: str = SERVE, is_isolated: bool = False, **environment: str) -> str:
        """Makes a model with this program, whose model.tar.gz has the file `weights`, and returns its name.

        Args:
            environment: the model's.
        """
        name = f"model-{next(_numbers)}"
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            member = tarfile.TarInfo("weights")
            member.size = 3
            tar.addfile(member, io.BytesIO(b"1 2"))
        self.aws.s3.put_object(Bucket=self.aws.bucket, Key=f"{name}.tar.gz", Body=archive.getvalue())
        self.aws.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=self.aws.role,
            EnableNetworkIsolation=is_isolated,
            PrimaryContainer={
                "Image": self.image(serve),
                "ModelDataUrl": f"s3://{self.aws.bucket}/{name}.tar.gz",
                "Environment": environment,
            },
        )
        return name

    def request(self, model: str, prefix: str = "in", **changes: Any) -> dict[str, Any]:
        """A small CreateTransformJob request with some fields changed; a field that is None is left out.

        Args:
            changes: a change of TransformInput or TransformOutput adds to what the small request has.
        """
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{self.aws.bucket}/{prefix}"}
        small = {
            "TransformJobName": f"transform-{next(_numbers)}",
            "ModelName": model,
            "TransformInput": {"DataSource": {"S3DataSource": source}, **changes.pop("TransformInput", {})},
            "TransformOutput": {"S3OutputPath": f"s3://{self.aws.bucket}/out", **changes.pop("TransformOutput", {})},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **changes,
        }
        return {name: value for name, value in small.items() if value is not None}

    def start(self, model: str, prefix: str = "in", **changes: Any) -> str:
        """Starts a job and returns its name."""
        request = self.request(model, prefix, **changes)
        self.aws.sagemaker.create_transform_job(**request)
        return request["TransformJobName"]

    def describe(self, name: str) -> dict[str, Any]:
        return self.aws.sagemaker.describe_transform_job(TransformJobName=name)

    def finish(self, name: str) -> dict[str, Any]:
        """Waits for the end of a job and returns its description."""

        def ended() -> dict[str, Any] | None:
            job = self.describe(name)
            return None if job["TransformJobStatus"] in ("InProgress", "Stopping") else job

        return self.aws.eventually(ended)

    def run(self, model: str, prefix: str = "in", **changes: Any) -> dict[str, Any]:
        """Runs a job to its end."""
        return self.finish(self.start(model, prefix, **changes))

    def outputs(self) -> dict[str, str]:
        """The content of all outputs by their keys below `out/`."""
        found = self.aws.s3.list_objects_v2(Bucket=self.aws.bucket, Prefix="out/").get("Contents", [])
        contents = {
            entry["Key"]: self.aws.s3.get_object(Bucket=self.aws.bucket, Key=entry["Key"])["Body"].read()
            for entry in found
        }
        return {key.removeprefix("out/"): content.decode() for key, content in contents.items()}

    def streams(self, name: str) -> list[str]:
        """The names of a job's log streams, without the job's name."""
        try:
            found = self.aws.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")
        except self.aws.logs.exceptions.ResourceNotFoundException:
            return []
        return [entry["logStreamName"].removeprefix(f"{name}/") for entry in found["logStreams"]]

    def log(self, name: str) -> list[str]:
        """What the programs of all hosts have written so far, the engine's own lines left out."""
        return [line for line in self._lines(name, "") if not line.startswith(ENGINE)]

    def warnings(self, name: str) -> str:
        """The engine's warnings in a job's log, one in a line."""
        return "\n".join(line for line in self._lines(name, "") if line.startswith(WARNING))

    def data_log(self, name: str) -> list[str]:
        """The lines of all hosts' data logs so far, without their times."""
        return [line.partition(":[sagemaker logs]: ")[2] for line in self._lines(name, "/data-log")]

    def _lines(self, name: str, suffix: str) -> list[str]:
        streams = [stream for stream in self.streams(name) if stream.endswith("/data-log") is bool(suffix)]
        return [
            event["message"]
            for stream in streams
            for event in self.aws.logs.get_log_events(
                logGroupName=LOG_GROUP, logStreamName=f"{name}/{stream}", startFromHead=True
            )["events"]
        ]
