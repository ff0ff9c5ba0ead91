"""A server between the manager and an AWS: it answers what that AWS does not know, and breaks connections on demand."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3

from manager.aws import Aws
from tests.aws import REGION

HOP_HEADERS = ("connection", "transfer-encoding", "keep-alive", "content-length", "date", "server")


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    body: bytes
    status: int = 200
    content_type: str = "text/xml"

    @classmethod
    def of_json(cls, document: Any, status: int = 200) -> "Answer":
        return cls(json.dumps(document).encode(), status, "application/x-amz-json-1.1")


@dataclass
class Wire:
    """What the server does, and what it saw."""

    upstream: str
    """Where all else goes."""
    url: str = ""
    answers: dict[str, Callable[[Any], Answer | None]] = field(default_factory=dict)
    """By the name of an operation: from its JSON document, or its query, to an answer, or to None: it is upstream's."""
    invocations: Callable[[Any, bytes], Answer] | None = None
    """From the headers and the body of what is sent to an endpoint, whatever its name, to an answer."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes of the answer to the next GET, and the one after it, the connection breaks."""
    ranges: list[str | None] = field(default_factory=list)
    """The Range header of each GET."""
    lost: list[str] = field(default_factory=list)
    """Operations whose next answer never arrives, though they are carried out."""
    before: dict[str, list[Callable[[], object]]] = field(default_factory=dict)
    """What happens right before a request by its method and path, such as `DELETE /bucket`, each time the next one."""
    operations: list[str] = field(default_factory=list)
    """Of each request the HTTP method, and the name of the operation where a POST tells it."""

    def aws(self, region: str = REGION) -> Aws:
        """The manager's way to all that answers here."""
        session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=region)
        return Aws(session, self.url)

    def answer(self, method: str, target: str, body: bytes) -> Answer | None:
        """The answer to an operation that is known here."""
        name, document = method, None
        if method == "POST" and target:
            name, document = target.rpartition(".")[2], json.loads(body)
        elif method == "POST":
            document = parse_qs(body.decode(errors="replace"))
            name = document.get("Action", [method])[0]
        self.operations.append(name)
        return self.answers[name](document) if name in self.answers else None

    def loses(self) -> bool:
        """Whether the answer to the last operation is lost."""
        if self.operations[-1] not in self.lost:
            return False
        self.lost.remove(self.operations[-1])
        return True


@contextmanager
def listening(upstream: str) -> Iterator[Wire]:
    """Let a wire answer on this machine."""
    wire = Wire(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if wire.invocations and self.path.endswith("/invocations"):
                answer: Answer | None = wire.invocations(self.headers, body)
            else:
                answer = wire.answer(self.command, self.headers.get("X-Amz-Target", ""), body)
            if coming := wire.before.get(f"{self.command} {self.path}"):
                coming.pop(0)()
            if answer:
                headers = {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body))}
                self._send(answer.status, headers, answer.body)
            else:
                self._forward(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815

        def _forward(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(urlsplit(wire.upstream).netloc)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "expect")}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in HOP_HEADERS}
            length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            if self.command == "GET":
                wire.ranges.append(self.headers.get("Range"))
                content = content[: wire.cuts.pop(0)] if wire.cuts else content
            if wire.loses():
                self.close_connection = True
            else:
                self._send(response.status, kept | {"Content-Length": length or "0"}, content)
            connection.close()

        def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    wire.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield wire
    server.shutdown()
    thread.join()
    server.server_close()
