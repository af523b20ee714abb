"""A page on a store, asked as a browser asks it, without a server."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from threading import Thread
from typing import Any
from urllib.parse import urlencode, urlsplit

from helpers import Store

Answers = Callable[..., "Answer"]
MakeRun = Callable[..., str]
HOST = "127.0.0.1:5055"


@dataclass
class Answer:
    """What the page answers."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def words(self) -> str:
        """What a person reads of it."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", self.text)).split())

    def json(self) -> Any:
        return json.loads(self.body)

    def links(self, beginning: str) -> list[str]:
        found = re.findall(r'(?:href|src|data-part|data-trials|data-log)="([^"]*)"', self.text)
        return [link for each in found if (link := unescape(each)).startswith(beginning)]


def ask(
    app: Any,
    url: str,
    form: Any = None,
    method: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Send a request to an ASGI application."""
    parts, is_post = urlsplit(url), form is not None
    body = urlencode(form, doseq=True).encode() if is_post else body or b""
    given = {"host": HOST} | ({"origin": f"http://{HOST}"} if is_post else {})
    given |= {"content-length": str(len(body))} | dict(headers or {})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 5055),
        "client": ("127.0.0.1", 1),
        "root_path": "",
        "method": method or ("POST" if is_post else "GET"),
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(errors="surrogateescape"),
        "headers": [(n.encode(), v.encode("latin-1", "replace")) for n, v in given.items()],
    }
    sent: list[Any] = []

    parts_sent = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        # Then the browser waits, and doesn't go away.
        return next(parts_sent, None) or await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start = sent[0]
    own = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], own, b"".join(each.get("body", b"") for each in sent[1:]))


def app_of(store: Store, aborted: list[Any], **options: Any) -> Any:
    """Make the page's application on a store; what is aborted is only noted."""
    from kedro_mlrun.page import views
    from kedro_mlrun.project import ModelsConfig
    from kedro_mlrun.records.records import Records

    changes = {"config": ModelsConfig, "abort": aborted.append}
    made = {"changes": changes, "where": "a store"} | options
    return views.make(lambda: Records(*store.manager.to_read()), **made)


def page_of(store: Store, **options: Any) -> Answers:
    """Give a function that asks a page on a store."""
    aborted: list[Any] = []
    app = app_of(store, aborted, **options)

    def answers(url: str, *args: Any, **kwargs: Any) -> Answer:
        return ask(app, url, *args, **kwargs)

    def quoted(path: str, **query: Any) -> Answer:
        return answers(f"{path}?{urlencode(query, doseq=True, errors='surrogatepass')}")

    answers.aborted, answers.quoted = aborted, quoted  # type: ignore[attr-defined]
    return answers


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an application as `kedro mlrun ui` does, but in a thread; give its address."""
    from kedro_mlrun import web

    server, opened = web.make_server(app), web.bound("127.0.0.1", 0, False)
    thread = Thread(target=web.run, args=(server, opened))
    thread.start()
    try:
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def run_maker(store: Store) -> MakeRun:
    """Give a function that makes a run, and gives its id."""

    def make_run(
        name: str = "training",
        params: Any = (),
        results: Any = (),
        labels: Any = (),
        saves: Any = (),
        inputs: Any = (),
        error: str | None = None,
        ends: bool = True,
    ) -> str:
        context = store.manager.open_run(
            name, labels={"pipeline": name, **dict(labels)}, parameters=dict(params)
        )
        for key, (data, ending) in dict(saves).items():
            context.log_artifact(key, body=data, db_key=key, format=ending)
        for key, uri in dict(inputs).items():
            store.manager.add_input(key, uri)
        context.log_results(dict(results))
        if ends:
            store.manager.close_run(error)
        return str(context._uid)

    return make_run
