"""Who may ask the page, and what a browser may do with its answers."""

from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from ..web import LOOPBACK

COOKIE = "kedro-mlrun-token-{}"  # with a port, for browsers don't tell cookies apart by it
LONGEST = 1_000_000  # bytes of a request
# Nothing but what this page itself serves; no script or style in the text of a page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # With "no-referrer", browsers send the page's own forms with `Origin: null`.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
App = Callable[[Any, Any, Any], Awaitable[None]]


class Guard:
    """Lets requests through to an application that come from the page itself.

    Args:
        app: the application.
        token: what a browser has to show, once in the address and then as a cookie; without one,
            only what was addressed to this machine by a name that no other site can have.
    """

    def __init__(self, app: App, token: str = "") -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, or refuse to."""
        request = Request(scope, receive)
        answer: App = self._refusal(request) or self.app

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await answer(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        name, port = _host(headers.get("host", ""))
        if not self.token and name not in LOOPBACK:
            # Another site may have let its name point here.
            return PlainTextResponse("Open this page as http://127.0.0.1 or http://localhost.", 421)
        if self.token and (answer := self._asked_for_token(request, COOKIE.format(port))):
            return answer
        if request.method not in {"GET", "HEAD", "POST"}:
            return PlainTextResponse("Use GET or POST.", 405)
        if request.method == "POST":
            origin = headers.get("origin", "").partition("://")[2]
            if not origin or origin != headers.get("host"):
                return PlainTextResponse("Changes are made from this page only.", 403)
            length = headers.get("content-length", "")
            if not length.isascii() or not length.isdigit() or int(length) > LONGEST:
                return PlainTextResponse("The request is too large, or doesn't tell its size.", 413)
        return None

    def _asked_for_token(self, request: Request, cookie: str) -> Response | None:
        if self._fits(request.query_params.get("token", "")):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(cookie, self.token, httponly=True, samesite="strict")
            return answer
        text = "Open the address that `kedro mlrun ui` has printed, with its token."
        is_known = self._fits(request.cookies.get(cookie, ""))
        return None if is_known else PlainTextResponse(text, 401)

    def _fits(self, given: str) -> bool:
        return compare_digest(given.encode(errors="replace"), self.token.encode())


def _host(host: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None
