"""A stand-in for MLRun's API on this machine: it keeps what a client sends, and tells it again."""

import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from hashlib import sha1
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

CRON = ("minute", "hour", "day", "month", "day_of_week")


class StubAPI(ThreadingHTTPServer):
    """The part of MLRun's API that a run needs. `requests` has all that it took, in order."""

    daemon_threads = True

    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.requests: list[tuple[str, str, Any]] = []
        self.projects: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.artifacts: dict[str, Any] = {}
        """By their uids."""
        self.tags: dict[tuple[str, str], str] = {}
        """The uid of the version that has a tag, by key and tag."""
        self.logs: dict[str, Any] = {}
        self.functions: dict[tuple[str, str], Any] = {}
        """By name and tag, or by name and hash."""
        self.schedules: dict[str, Any] = {}
        self.version = "1.12.1"
        self.refusal = ""
        """Why it takes no job."""
        self.job_state = "completed"
        """What becomes of a job that it takes."""
        self.build_state, self.build_log = "ready", "INFO pushed\n"
        self.is_away = False
        """Whether a gateway answers in its place."""
        self.takes: float = math.inf
        """So many more writes does it take before it lets nobody in any more."""
        self.routes = {
            "v1/(?:healthz|client-spec)": "spec",
            "v1/projects/?([^/]*)": "project",
            "v1/(?:run/[^/]+|projects/[^/]+/runs)/([^/]+)": "run",
            "v1/projects/([^/]+)/runs": "list_runs",
            "v2/projects/[^/]+/artifacts": "list_artifacts",
            "v2/projects/[^/]+/artifacts/([^/]+)": "artifact",
            "v1/projects/[^/]+/tags/([^/]+)": "tag",
            "v1/projects/[^/]+/logs/([^/]+)": "log",
            "v1/projects/[^/]+/functions/([^/]+)": "function",
            "v1/submit_job": "submit_job",
            "v1/projects/[^/]+/runs/([^/]+)/abort": "abort",
            "v1/projects/([^/]+)/schedules/?([^/]*)": "schedule",
            "v1/projects/[^/]+/runtime-resources": "runtime_resources",
            "v1/projects/([^/]+)/workflows/([^/]+)/submit": "submit_workflow",
            "v1/projects/[^/]+/workflows/[^/]+/runs/[^/]+": "workflow_id",
            "v1/build/function": "build",
            "v1/build/status": "build_status",
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """What is said to a request; None for 404."""
        if self.is_away:
            return HTTPStatus.BAD_GATEWAY
        self.takes -= method != "GET"
        if self.takes < 0:
            return HTTPStatus.UNAUTHORIZED
        self.requests.append((method, path, body))
        for pattern, reply in self.routes.items():
            if found := re.fullmatch(pattern, path):
                return getattr(self, reply)(method, *found.groups(), query, body)
        return None

    def spec(self, *_: Any) -> Any:
        return {"version": self.version, "status": "ok"}

    def project(self, method: str, name: str, _: Any, body: Any) -> Any:
        if method == "POST":
            body["metadata"]["created"] = "2026-01-01T00:00:00+00:00"
            self.projects[body["metadata"]["name"]] = body
            return body
        return self.projects.get(name)

    def list_runs(self, _: str, __: str, query: dict[str, str], *___: Any) -> Any:
        # Newest first, as MLRun has them.
        uids = query.get("uid", "").split(",") if query.get("uid") else [*reversed(self.runs)]
        found = [self.runs[uid] for uid in uids if uid in self.runs]
        for wanted in filter(None, query.get("label", "").split(",")):
            label, has_value, value = wanted.partition("=")
            labels = ((run, run["metadata"].get("labels") or {}) for run in found)
            found = [
                run
                for run, own in labels
                if (own.get(label) == value if has_value else label in own)
            ]
        return {"runs": found}

    def run(self, method: str, uid: str, query: dict[str, str], body: Any) -> Any:
        iteration = query.get("iter", "0")
        uid = uid if iteration == "0" else f"{uid}-{iteration}"
        if method == "GET":
            return {"data": self.runs[uid]} if uid in self.runs else None
        if method == "POST":
            self.runs[uid] = body
        for name, value in (body if method == "PATCH" else {}).items():
            part, _, field = name.partition(".")
            self.runs[uid][part][field] = value
        return {}

    def artifact(self, method: str, key: str, query: dict[str, str], body: Any) -> Any:
        if method == "PUT":
            metadata = body["metadata"]
            metadata["uid"] = metadata["tag"] = ""
            # One that no client would give it, and the same for the same content.
            text = f"{id(self)} {json.dumps(body, sort_keys=True)}"
            metadata["uid"] = sha1(text.encode()).hexdigest()
            self.artifacts[metadata["uid"]] = body
            if body["kind"] != "link":
                self.tags[key, "latest"] = metadata["uid"]
            return body
        found = self.list_artifacts(method, {**query, "name": key}, body)["artifacts"]
        return found[0] if found else None

    def list_artifacts(self, _: str, query: dict[str, str], __: Any) -> Any:
        rows = []
        for uid, body in self.artifacts.items():
            key = body["spec"]["db_key"]
            tags = [tag for (of, tag), tagged in self.tags.items() if (of, tagged) == (key, uid)]
            for tag in tags or [""]:
                found = {"name": key, "tree": body["metadata"]["tree"], "tag": tag}
                if all(query.get(name, value) == value for name, value in found.items()):
                    rows.append({**body, "metadata": {**body["metadata"], "tag": tag}})
        return {"artifacts": rows}

    def tag(self, _: str, tag: str, __: Any, body: Any) -> Any:
        for identifier in body["identifiers"]:
            self.tags[identifier["key"], tag] = identifier["uid"]
        return {}

    def log(self, method: str, uid: str, query: dict[str, str], body: Any) -> Any:
        if method == "POST":
            self.logs[uid] = body
            return {}
        state = self.runs[uid]["status"]["state"]
        return self.logs.get(uid, b"")[int(query.get("offset", 0)) :], {"x-mlrun-run-state": state}

    def function(self, method: str, name: str, query: dict[str, str], body: Any) -> Any:
        if method == "POST":
            digest = sha1(json.dumps(body, sort_keys=True).encode()).hexdigest()
            self.functions[name, digest] = body
            return {"hash_key": digest}
        found = self.functions.get((name, query.get("hash_key") or query.get("tag", "")))
        return {"func": found} if found else None

    def submit_job(self, _: str, __: Any, body: Any) -> Any:
        if self.refusal:
            return HTTPStatus.BAD_REQUEST, self.refusal
        metadata = body["task"]["metadata"]
        if "schedule" in body:
            self.schedules[metadata["name"]] = body
            names = {"project": metadata["project"], "name": metadata["name"]}
            return {"data": {"schedule": body["schedule"], "action": "created", **names}}
        status = {"state": self.job_state, "start_time": datetime.now(UTC).isoformat()}
        if self.job_state == "error":
            status["error"] = "ValueError: the job's own error"
        self.runs[metadata["uid"]] = {**body["task"], "status": status}
        self.logs[metadata["uid"]] = b"the job's own words\n"
        return {"data": self.runs[metadata["uid"]]}

    def abort(self, _: str, uid: str, __: Any, body: Any) -> Any:
        self.runs[uid]["status"] |= {"state": "aborted", **body}
        return {}

    def runtime_resources(self, *_: Any) -> Any:
        return {}

    def schedule(self, method: str, project: str, name: str, _: Any, __: Any) -> Any:
        if method == "DELETE":
            return {"deleted": self.schedules.pop(name)["schedule"]}
        found = [
            {
                "name": name,
                "kind": "job",
                "scheduled_object": body,
                "cron_trigger": dict(zip(CRON, body["schedule"].split(), strict=True)),
                "creation_time": "2026-01-01T00:00:00+00:00",
                "project": project,
                "concurrency_limit": 1,
                "next_run_time": "2026-01-02T02:00:00+00:00",
                "last_run": None,
            }
            for name, body in self.schedules.items()
        ]
        return {"schedules": found}

    def submit_workflow(self, _: str, project: str, name: str, __: Any, ___: Any) -> Any:
        return {"project": project, "name": name, "status": "running", "run_id": "5f"}

    def workflow_id(self, *_: Any) -> Any:
        return {"workflow_id": "f5"}

    def build(self, _: str, __: Any, body: Any) -> Any:
        function = body["function"]
        self.functions[function["metadata"]["name"], function["metadata"]["tag"]] = function
        return {"data": {**function, "status": {"state": "running"}}, "ready": False}

    def build_status(self, _: str, query: dict[str, str], __: Any) -> Any:
        function = self.functions.get((query["name"], query.get("tag", "")))
        if function is None:
            return None
        headers = {"x-mlrun-function-status": self.build_state}
        headers["function_image"] = function["spec"]["build"]["image"]
        return self.build_log.encode() if query["logs"] == "yes" else b"", headers


class _Handler(BaseHTTPRequestHandler):
    server: StubAPI

    def _handle(self) -> None:
        url = urlparse(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length)
        body = text if "/logs/" in url.path else json.loads(text or "null")
        query = {name: ",".join(values) for name, values in parse_qs(url.query).items()}
        path = url.path.removeprefix("/api/")
        answer = self.server.answer(self.command, path, query, body)
        status, said, headers = HTTPStatus.OK, answer, {}
        if isinstance(answer, tuple) and isinstance(answer[0], HTTPStatus):
            status, said = answer[0], {"detail": answer[1]}
        elif isinstance(answer, tuple):
            said, headers = answer
        elif answer is None or isinstance(answer, HTTPStatus):
            status = answer or HTTPStatus.NOT_FOUND
            said = {"detail": f"{status.phrase}: {path}"}
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(api: StubAPI) -> Iterator[Any]:
    """Have an API answer, until it is closed or the block ends."""
    with api:
        threading.Thread(target=api.serve_forever, args=(0.05,), daemon=True).start()
        yield api
        api.shutdown()


def stub_api(port: int = 0) -> AbstractContextManager[StubAPI]:
    """Give an API that answers, until it is closed or the block ends."""
    return serving(StubAPI(port))
