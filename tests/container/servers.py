"""Servers of trackers for the tests: what their clients ask for, and ports where nobody answers."""

import base64
import json
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"


@dataclass
class MlflowServer:
    """An MLflow server in this process, and all that it was told: https://mlflow.org/docs/latest/rest-api.html."""

    url: str = ""
    password: str = ""
    """Of any user; empty: none is asked for."""
    experiments: dict[str, str] = field(default_factory=dict)
    """Id by name."""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By id: `info`, `tags`, `params` and `metrics`, the last as lists of (step, value)."""
    artifacts: dict[str, bytes] = field(default_factory=dict)
    """By their paths in the server."""

    def answer(self, method: str, path: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer a request of the REST API."""
        match method, path:
            case "GET", "experiments/get-by-name":
                name = asked["experiment_name"]
                if name not in self.experiments:
                    return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": name}
                return 200, {"experiment": {"experiment_id": self.experiments[name], "name": name}}
            case "POST", "experiments/create":
                self.experiments[asked["name"]] = f"{len(self.experiments) + 1}"
                return 200, {"experiment_id": self.experiments[asked["name"]]}
            case "POST", "runs/search":
                tag, _, value = asked["filter"].removeprefix("tags.").partition(" = ")
                found = [run for run in self.runs.values() if run["tags"].get(tag) == value.strip("'")]
                return 200, {"runs": list(map(_shown, found))}
            case "POST", "runs/create":
                return 200, {"run": _shown(self._create(asked))}
            case "GET", "runs/get":
                return 200, {"run": _shown(self.runs[asked["run_id"]])}
            case "POST", "runs/update":
                run = self.runs[asked["run_id"]]
                run["info"] |= {name: asked[name] for name in ("status", "end_time") if name in asked}
                return 200, {"run_info": run["info"]}
            case "POST", "runs/log-batch":
                run = self.runs[asked["run_id"]]
                run["params"] |= {entry["key"]: entry["value"] for entry in asked.get("params", ())}
                for entry in asked.get("metrics", ()):
                    run["metrics"].setdefault(entry["key"], []).append((int(entry.get("step", 0)), entry["value"]))
                return 200, {}
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": path}

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        # MLflow's client remembers what it asked of a run.
        run = uuid.uuid4().hex
        info = {
            "run_id": run,
            "run_name": asked.get("run_name", ""),
            "experiment_id": asked["experiment_id"],
            "status": "RUNNING",
            "start_time": asked.get("start_time", 0),
            "lifecycle_stage": "active",
            "artifact_uri": f"mlflow-artifacts:/{asked['experiment_id']}/{run}/artifacts",
        }
        tags = {tag["key"]: tag["value"] for tag in asked.get("tags", ())}
        self.runs[run] = {"info": info, "tags": tags, "params": {}, "metrics": {}}
        return self.runs[run]

    def respond(self, request: "Request") -> tuple[int, dict[str, Any]]:
        """Answer any request, where it comes with the password."""
        if self.password and request.password != self.password:
            return 401, {"error_code": "UNAUTHENTICATED", "message": "who are you?"}
        if request.method == "PUT" and request.path.startswith(ARTIFACTS):
            self.artifacts[request.path.removeprefix(ARTIFACTS)] = request.content
            return 200, {}
        return self.answer(request.method, request.path.removeprefix(API), request.document)


@dataclass
class WandbServer:
    """A server of Weights & Biases in this process, as far as one run needs it, and all that it was told."""

    url: str = ""
    run: dict[str, Any] = field(default_factory=dict)
    """Variables of the mutation that made it."""
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    """Files of the run, and of its artifacts, by name."""
    keys: set[str] = field(default_factory=set)
    """By which requests came."""

    hangs_after_begin: bool = False
    """Whether nothing is answered any more once there is a run."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Ends the hanging."""

    def respond(self, request: "Request") -> tuple[int, dict[str, Any]]:
        """Answer any request."""
        self.keys.add(request.password)
        if self.hangs_after_begin and self.run:
            self.ended.wait()
        if request.path == "/graphql":
            operation = re.search(r"(query|mutation)\s+(\w+)", request.document["query"])
            assert operation
            return 200, {"data": self._answer(operation[2], request.document.get("variables") or {})}
        if request.method == "PUT":
            self.uploaded[request.path.removeprefix("/upload/")] = request.content
        elif request.path.endswith("/file_stream"):
            for name, chunk in request.document.get("files", {}).items():
                rows = list(map(json.loads, chunk["content"]))
                self.history += rows if name == "wandb-history.jsonl" else []
                self.summary |= rows[-1] if name == "wandb-summary.json" else {}
        return 200, {}

    def _answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        match operation:
            case "UpsertBucket":
                self.run = self.run or variables
                project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "team"}}
                run = {"id": "r", "name": variables["name"], "displayName": variables["name"], "project": project}
                return {"upsertBucket": {"bucket": run, "inserted": True}}
            case "Viewer":
                return {
                    "viewer": {"id": "u", "entity": "team", "username": "me", "flags": "{}", "teams": {"edges": []}}
                }
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": self._upload(name)} for name in variables["files"]]
                return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
            case "ArtifactType":
                return {"project": {"artifact": None}}
            case "CreateArtifact":
                made = {"id": "a", "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
                return {"createArtifact": {"artifact": made}}
            case "CreateArtifactManifest" | "UpdateArtifactManifest":
                file = {"id": "f", "uploadUrl": self._upload("manifest.json"), "uploadHeaders": []}
                made = {"artifactManifest": {"id": "m", "file": file}}
                return {f"{operation[0].lower()}{operation[1:]}": made}
            case "CreateArtifactFiles":
                names = [file["name"] for file in variables["input"]["artifactFiles"]]
                nodes = [
                    {
                        "storagePath": name,
                        "uploadUrl": self._upload(name),
                        "uploadHeaders": [],
                        "uploadMultipartUrls": None,
                        "artifact": {"id": "a"},
                    }
                    for name in names
                ]
                return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
            case "CommitArtifact":
                return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}
        return {}

    def _upload(self, name: str) -> str:
        return f"{self.url}/upload/{name}"


@dataclass(frozen=True)
class Request:
    """What a client asks."""

    method: str
    path: str
    query: str
    password: str
    """Of basic authentication; empty: there is none."""
    content: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The content, as JSON, and the query's fields."""
        return json.loads(self.content or "{}") | {name: values[0] for name, values in parse_qs(self.query).items()}


S = TypeVar("S", MlflowServer, WandbServer)


@contextmanager
def answering(server: S) -> Iterator[S]:
    """The server, which answers while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def do_PUT(self) -> None:
            self._respond()

        def _respond(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            _, _, given = self.headers.get("Authorization", "").partition(" ")
            url = urlsplit(self.path)
            password = base64.b64decode(given).decode().partition(":")[2]
            status, answer = server.respond(Request(self.command, url.path, url.query, password, content))
            sent = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", f"{len(sent)}")
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@contextmanager
def silent_server() -> Iterator[str]:
    """Where connections are taken, and nothing is ever answered; yields its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def dead_url() -> str:
    """Return a URL where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _shown(run: dict[str, Any]) -> dict[str, Any]:
    entries = {
        "tags": [{"key": key, "value": value} for key, value in run["tags"].items()],
        "params": [{"key": key, "value": value} for key, value in run["params"].items()],
    }
    return {"info": run["info"], "data": entries}
