"""A stand-in for MLRun's API on this machine: it keeps what a client sends, and tells it again."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse


class StubAPI(ThreadingHTTPServer):
    """The part of MLRun's API that a run needs. `requests` has all that came, in order."""

    daemon_threads = True

    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.requests: list[tuple[str, str, Any]] = []
        self.projects: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.artifacts: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """What is said to a request; None for 404."""
        routes = {
            "v1/(?:healthz|client-spec)": self.spec,
            "v1/projects/?([^/]*)": self.project,
            "v1/(?:run/[^/]+|projects/[^/]+/runs)/([^/]+)": self.run,
            "v1/projects/([^/]+)/runs": self.list_runs,
            "v2/projects/[^/]+/artifacts/([^/]+)": self.artifact,
        }
        for pattern, reply in routes.items():
            if found := re.fullmatch(pattern, path):
                return reply(method, *found.groups(), query, body)
        return None

    def spec(self, *_: Any) -> Any:
        return {"version": "1.12.1", "status": "ok"}

    def project(self, method: str, name: str, _: Any, body: Any) -> Any:
        if method == "POST":
            body["metadata"]["created"] = "2026-01-01T00:00:00+00:00"
            self.projects[body["metadata"]["name"]] = body
            return body
        return self.projects.get(name)

    def list_runs(self, *_: Any) -> Any:
        return {"runs": list(self.runs.values())}

    def run(self, method: str, uid: str, _: Any, body: Any) -> Any:
        if method == "GET":
            return {"data": self.runs[uid]} if uid in self.runs else None
        if method == "POST":
            self.runs[uid] = body
        for name, value in (body if method == "PATCH" else {}).items():
            part, _, field = name.partition(".")
            self.runs[uid][part][field] = value
        return {}

    def artifact(self, method: str, key: str, query: dict[str, str], body: Any) -> Any:
        name = f"{key}@{query.get('tree')}"
        if method == "PUT":
            # A uid that no client would give it.
            body["metadata"]["uid"] = sha1(f"{id(self)} {name}".encode()).hexdigest()
            self.artifacts[name] = body
        return self.artifacts.get(name)


class _Handler(BaseHTTPRequestHandler):
    server: StubAPI

    def _handle(self) -> None:
        url = urlparse(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "null")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        path = url.path.removeprefix("/api/")
        self.server.requests.append((self.command, path, body))
        answer = self.server.answer(self.command, path, query, body)
        content = json.dumps(answer or {"detail": f"there is no {path}"}).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def stub_api(port: int = 0) -> Iterator[StubAPI]:
    """Give an API that answers, until it is closed or the block ends."""
    with StubAPI(port) as api:
        threading.Thread(target=api.serve_forever, args=(0.05,), daemon=True).start()
        yield api
        api.shutdown()
