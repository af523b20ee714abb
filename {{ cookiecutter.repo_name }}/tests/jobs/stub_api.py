"""As much of an MLRun API as builds images and says what it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class StubAPI(ThreadingHTTPServer):
    """It builds at once. `requests` has the method, path, query and body of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.version = "1.12.1"
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.built: dict[tuple[str, str], Any] = {}
        self.outcome, self.log = "ready", "INFO pushed\n"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(
        self, path: str, query: dict[str, str], body: Any
    ) -> tuple[int, dict[str, str], Any]:
        """Give status, headers, and what is said."""
        if path == "projects" and body:
            body["metadata"]["created"] = "2026-01-01T00:00:00+00:00"
        always = {
            "client-spec": {"version": self.version},
            "healthz": {"status": "ok"},
            "projects": body,
            "runs": {"runs": []},
        }
        if (last := path.rpartition("/")[2]) in always:
            return 200, {}, always[last]
        if path == "build/function":
            function = body["function"]
            self.built[function["metadata"]["name"], function["metadata"]["tag"]] = function
            return 200, {}, {"data": {**function, "status": {"state": "running"}}, "ready": False}
        name = query.get("name", path.rpartition("/functions/")[2])
        function = self.built.get((name, query.get("tag", "")))
        if "/functions/" in path and function:
            return 200, {}, {"func": function}
        if path == "build/status" and function:
            headers = {"x-mlrun-function-status": self.outcome}
            headers["function_image"] = function["spec"]["build"]["image"]
            return 200, headers, self.log if query["logs"] == "yes" else ""
        return 404, {}, {"detail": f"there is no {path}"}


class _Handler(BaseHTTPRequestHandler):
    server: StubAPI

    def _handle(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
        path = url.path.removeprefix("/api/v1/")
        self.server.requests.append((self.command, path, query, body))
        status, headers, said = self.server.answer(path, query, body)
        content = (said if isinstance(said, str) else json.dumps(said)).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = _handle

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def stub_api() -> Iterator[StubAPI]:
    """Give an API that answers until the block ends."""
    with StubAPI() as api:
        threading.Thread(target=api.serve_forever, args=(0.01,), daemon=True).start()
        yield api
        api.shutdown()
