"""A Docker engine at the wire: it answers what it is told to, and builds nothing."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = {"Version": "28.0.0", "ApiVersion": "1.48", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"}


@contextmanager
def engine(answers: dict[str, tuple[int, Any]]) -> Iterator[str]:
    """Let an engine answer on this machine; yields what DOCKER_HOST must be.

    Args:
        answers: statuses and documents by the path that is asked, without the version of the API.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = re.sub(r"^/v[\d.]+", "", self.path)
            known = {"/version": (200, VERSION), "/_ping": (200, "OK"), **answers}
            status, document = known.get(path, (404, {"message": f"No such image: {path}"}))
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"tcp://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
