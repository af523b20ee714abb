"""Models over HTTP: an ASGI application that answers rows, and the server that runs it."""

import asyncio
import contextlib
import logging
import re
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hmac import compare_digest
from http import HTTPStatus
from itertools import accumulate, pairwise
from time import perf_counter
from typing import Any
from urllib.parse import unquote

from markupsafe import Markup
from pydantic_core import from_json, to_json

from .. import __version__, web
from ..web import make_server
from . import protocol
from .following import Followed
from .prediction import Answer
from .requests import RequestLog
from .schema import RequestError, Rows, is_tensors

LOG = logging.getLogger(__name__)
LARGEST = 10_000_000  # bytes of a request
WAITING = 1_000  # requests
MANY = 1_024  # rows that are answered at once
# What is answered at once and not in a thread: that is quicker, and nobody waits for long.
FEW_ROWS, SHORT = 64, 0.005
OPEN = {"/health", "/ready", "/v2/health/live", "/v2/health/ready"}  # for probes, without a token
JSON, CSV = b"application/json", b"text/csv"
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Batches:
    """Answers what is waiting at once, where a model lets that be done.

    Requests that come while the model is at work wait for it together. Few quick rows are answered
    in the event loop itself, others in a thread.
    """

    def __init__(self, followed: Followed, waiting: int) -> None:
        self.followed, self.limit = followed, waiting
        self._waiting: deque[tuple[Rows, asyncio.Future[Answer]]] = deque()
        self._is_called = self._is_busy = False
        self._thread = ThreadPoolExecutor(1, "predict")

    @property
    def length(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def add(self, rows: Rows) -> "asyncio.Future[Answer]":
        """Let rows be answered."""
        if len(self._waiting) >= self.limit:
            raise RequestError(
                "Too many requests are waiting. Send it again later.", HTTPStatus.TOO_MANY_REQUESTS
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((rows, future))
        if not (self._is_called or self._is_busy):
            # After the requests that have come with it.
            self._is_called = True
            loop.call_soon(self._answer)
        return future

    def _answer(self) -> None:
        self._is_called = False
        while self._waiting and not self._is_busy:
            predictor, batch = self.followed.predictor, [self._waiting.popleft()]
            rows = len(batch[0][0])
            while predictor.together and self._waiting:
                rows += len(self._waiting[0][0])
                if rows > MANY:
                    break
                batch.append(self._waiting.popleft())
            if rows <= FEW_ROWS and predictor.seconds < SHORT:
                _settle(batch, _answers(predictor, batch))
            else:
                self._is_busy = True
                loop = asyncio.get_running_loop()
                done = loop.run_in_executor(self._thread, _answers, predictor, batch)
                done.add_done_callback(partial(self._done, batch))

    def _done(self, batch: list[Any], done: "asyncio.Future[list[Any]]") -> None:
        if not done.cancelled():
            _settle(batch, done.result())
        self._is_busy = False
        self._answer()

    def close(self) -> None:
        """End the thread, without waiting for what it does."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _answers(predictor: Any, batch: list[Any]) -> list[Any]:
    """Answer each request of a batch, with an answer or an error."""
    parts = [rows for rows, _ in batch]
    try:
        answer = predictor.answer(Rows.joined(parts))
        if len(parts) == 1:
            return [answer]
        spans = pairwise(accumulate(map(len, parts), initial=0))
        return [answer.part(*each, part.ignored) for each, part in zip(spans, parts, strict=True)]
    except Exception as error:
        # One of them may be at fault, and the others are not to suffer from it.
        return [error] if len(batch) == 1 else [_answers(predictor, [each])[0] for each in batch]


def _settle(batch: list[Any], answers: list[Any]) -> None:
    for (_, future), answer in zip(batch, answers, strict=True):
        if future.done():  # whoever asked has gone
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


class App:
    """The ASGI application for one model or pipeline.

    Args:
        followed: what is served.
        token: what requests have to bring as `Authorization: Bearer`, if any.
        log: where requests and answers are recorded, if they are.
        largest: how many bytes a request may have.
        waiting: how many requests may wait.
    """

    def __init__(
        self,
        followed: Followed,
        token: str = "",
        log: RequestLog | None = None,
        largest: int = LARGEST,
        waiting: int = WAITING,
    ) -> None:
        self.followed, self.log, self.largest = followed, log, largest
        self.counts, self.batches = protocol.Counts(), Batches(followed, waiting)
        self._token = token.encode()
        name = self.name = followed.source.name
        model = f"/v2/models/{name}"
        self._gets: dict[str, Callable[[], Any]] = {
            "/": lambda: protocol.page(self.followed.predictor),
            "/openapi.json": lambda: protocol.openapi(self.followed.predictor),
            "/metadata": lambda: protocol.metadata(self.followed.predictor),
            "/metrics": lambda: protocol.metrics(self.counts, followed, self.batches.length, log),
            "/v2": lambda: {"name": "kedro-mlrun", "version": __version__, "extensions": []},
            "/v2/models": lambda: {"models": [name]},
            model: lambda: protocol.metadata(self.followed.predictor),
            f"{model}/ready": lambda: {"name": name, "ready": True},
            **dict.fromkeys(OPEN - {"/v2/health/live"}, lambda: {"ready": True}),
            "/v2/health/live": lambda: {"live": True},
        }
        self._posts = {"/predict", *(f"{model}/{op}" for op in protocol.OPERATIONS)}

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            raise ValueError(f"a connection of type {scope['type']} is not served")
        start, version, status = perf_counter(), "", HTTPStatus.OK.value
        try:
            path, headers = scope["path"], dict(scope["headers"])
            body = await self._body(headers, receive)
            self._check(path, headers)
            path = self._without_version(path)
            if scope["method"] == "POST" and path in self._posts:
                version, content = await self._predict(headers, body)
            else:
                content = self._told(scope["method"], path)
        except RequestError as error:
            status, content = error.status, {"error": error.message}
        except Exception as error:
            LOG.exception("A request failed.")
            status = HTTPStatus.INTERNAL_SERVER_ERROR.value
            content = {"error": f"The model failed with {type(error).__name__}. The log says why."}
        kind = b"text/html; charset=utf-8" if isinstance(content, Markup) else JSON
        if isinstance(content, str):
            kind = b"text/plain; version=0.0.4" if kind == JSON else kind
            body = content.encode()
        else:
            body = to_json(content, fallback=str)
        answered = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        version = version or self.followed.predictor.version
        answered.append((b"model-version", version.encode()))
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            answered.append((b"retry-after", b"1"))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            answered.append((b"allow", b"POST" if path in self._posts else b"GET, HEAD"))
        if status == HTTPStatus.UNAUTHORIZED:
            answered.append((b"www-authenticate", b"Bearer"))
        # Before it is sent: who has the answer finds it counted.
        self.counts.note(status, perf_counter() - start)
        await send({"type": "http.response.start", "status": status, "headers": answered})
        await send({"type": "http.response.body", "body": body})

    async def _body(self, headers: Mapping[bytes, bytes], receive: Any) -> bytes:
        """Read a request's body; what is too large is read, too, so that the answer is."""
        parts, size, has_more = [], 0, True
        length = headers.get(b"content-length", b"0")
        announced = int(length) if length.isdigit() else 0
        while has_more and max(size, announced) <= 10 * self.largest:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError("The request ended early.")
            part, has_more = message.get("body", b""), message.get("more_body")
            size += len(part)
            if size <= self.largest:
                parts.append(part)
        if has_more or size > self.largest:
            raise RequestError(
                f"The request has more than {self.largest / 1e6:g} MB. Send fewer rows at once.",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        return b"".join(parts)

    def _check(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        if not self._token or path in OPEN:
            return
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not compare_digest(token.strip(), self._token):
            raise RequestError(
                "Send the server's token as Authorization: Bearer TOKEN.", HTTPStatus.UNAUTHORIZED
            )

    def _without_version(self, path: str) -> str:
        """Give the path without the version in it, which must be the one that is served."""
        if found := re.match("(/v2/models/[^/]*)/versions/([^/]*)", path):
            if found[2] != (version := self.followed.predictor.version):
                raise RequestError(
                    f"Version '{found[2][:64]}' isn't served, but {version}.", HTTPStatus.NOT_FOUND
                )
            path = found[1] + path[found.end() :]
        return path.rstrip("/") or "/"

    def _told(self, method: str, path: str) -> Any:
        if path in self._posts or path in self._gets:
            if method in {"GET", "HEAD"} and path in self._gets:
                return self._gets[path]()
            wanted = "POST" if path in self._posts else "GET"
            raise RequestError(f"Use {wanted} for {path}.", HTTPStatus.METHOD_NOT_ALLOWED)
        _, _, name = path.partition("/v2/models/")
        if name and name.partition("/")[0] != self.name:
            shown = unquote(name.partition("/")[0])[:64]
            raise RequestError(
                f"There is no model '{shown}' here, but {self.name}.", HTTPStatus.NOT_FOUND
            )
        raise RequestError(f"There is nothing at {path[:64]}. See /.", HTTPStatus.NOT_FOUND)

    async def _predict(self, headers: Mapping[bytes, bytes], body: bytes) -> tuple[str, Any]:
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        schema, identifier, as_tensors = self.followed.predictor.schema, None, False
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise RequestError(
                "Send rows without Content-Encoding.", HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            )
        if kind == CSV:
            rows = schema.csv(body)
        elif kind == JSON:
            try:
                found = from_json(body)
            except ValueError as error:
                raise RequestError(f"The body isn't JSON: {error}.") from None
            if isinstance(found, dict):
                identifier, as_tensors = found.get("id"), is_tensors(found.get("inputs"))
            rows = schema.body(found)
        else:
            raise RequestError(
                "Send rows as Content-Type: application/json or text/csv.",
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            )
        answer = await self.batches.add(rows)
        self.counts.rows += len(rows)
        if self.log:
            self.log.put(rows, answer, identifier, len(body))
        return answer.version, protocol.said(answer, self.name, identifier, as_tensors)


def run(app: App, opened: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    with contextlib.closing(app.batches):
        web.run(make_server(app), opened)
