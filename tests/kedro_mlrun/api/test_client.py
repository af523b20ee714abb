"""An MLRun API that doesn't answer, or says no."""

import pickle
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import mlrun
import pytest
from helpers import Store
from stub_api import stub_api

from kedro_mlrun.api import client as api


class Server(ThreadingHTTPServer):
    """A server that says the same to whatever it is asked."""

    status = HTTPStatus.OK

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers with the server's status."""

    server: Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_PUT = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_what_answers(server: Server) -> None:
    """Also who wants a log-in; but no other server, and no gateway without an API behind it."""
    for status in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        server.status = status
        api.check(server.url)
    for status in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_GATEWAY):
        server.status = status
        with pytest.raises(api.APIUnreachableError, match=f"it says {status.value}"):
            api.check(server.url)


def test_what_does_not_answer(server: Server) -> None:
    """A wrong scheme, a closed port; without the password in the message."""
    for url in (server.url.replace("http:", "https:"), "http://me:hunt/er@2@127.0.0.1:9"):
        with pytest.raises(api.APIUnreachableError, match="sqlite:///.mlrun/mlrun.db") as error:
            api.check(url)
        assert "hunt" not in str(error.value)


def test_a_refusal_is_no_loss(server: Server, tmp_path: Path) -> None:
    """What the API refuses is an error, and not put elsewhere in silence."""
    from kedro_mlrun.api.keeping import KeepingRunDB, unsent

    client = KeepingRunDB(lambda: f"sqlite:///{tmp_path}/kept.db", server.url)
    server.status = HTTPStatus.BAD_REQUEST
    with pytest.raises(mlrun.errors.MLRunBadRequestError):
        client.store_run({"metadata": {"name": "train"}}, "1f", "iris")
    assert unsent(client) is None
    assert not (tmp_path / "kept.db").exists()


def test_the_client_takes_the_arguments_of_mlruns_own(server: Server) -> None:
    """Also by their names."""
    client = import_module("kedro_mlrun.api.keeping").KeepingRunDB(lambda: "", server.url)
    server.status = HTTPStatus.NOT_FOUND
    for method in (client.list_runs, client.paginated_list_runs, client.list_artifacts):
        with pytest.raises(mlrun.errors.MLRunNotFoundError):
            method(name="train", project="iris")


def test_what_is_no_run_database(embedded: Store) -> None:
    """MLRun would record nothing at all."""
    mlrun.mlconf.dbpath = "127.0.0.1:8080"
    with pytest.raises(import_module("kedro_mlrun.project").MLRunConfigError, match="http://"):
        _ = embedded.manager.context


def test_what_may_be_kept_does_not_grow_with_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 7: of a run's record only the newest is remembered, and is whole where it is kept."""
    # MLRun's client waits between its tries.
    monkeypatch.setattr("time.sleep", lambda _: None)
    with stub_api() as stub:
        new_client = import_module("kedro_mlrun.api.keeping").KeepingRunDB
        client, worker = (
            new_client(lambda: f"sqlite:///{tmp_path}/kept.db", stub.url) for _ in range(2)
        )
        run = {"metadata": {"name": "long", "labels": {}}, "spec": {}, "status": {"results": {}}}
        run["status"]["state"] = "running"
        for step in range(50):
            run["status"]["results"][f"loss-{step}"] = step
            client.store_run(run, "1f", "iris")
            client.update_run({"status.results.step": step, "status.last": step}, "1f", "iris")
            worker.update_run({"status.results.stale": step}, "1f", "iris")
            worker.update_run({"status.results": run["status"]["results"]}, "1f", "iris")
            # Iterations end before their sweep.
            client.store_run({**run, "status": {"state": "completed"}}, "1f", "iris", iter=step % 2)
        for each in (client, worker):
            assert 0 < len(pickle.dumps(each.journal)) < 4 * len(pickle.dumps(run))
        stub.is_away = True
        client.update_run({"status.results.end": True}, "1f", "iris")
        found = client.kept.read_run("1f", "iris")["status"]["results"]
        assert (found["loss-0"], found["step"], found["end"]) == (0, 49, True)
        # What comes last holds, in whatever order the fields were sent before.
        worker.update_run({"status.results.sent": 1}, "1f", "iris")
        found = client.kept.read_run("1f", "iris")["status"]["results"]
        assert found == run["status"]["results"] | {"sent": 1}
