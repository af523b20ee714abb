"""Who may ask the page, and what a browser may do with its answers."""

from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Any
from urllib.parse import quote, unquote, urlsplit

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


def guarded(app: App, token: str = "") -> App:
    """Let requests through to an application that come from the page itself.

    Args:
        app: the application.
        token: what a browser has to show, once in the address and then as a cookie; without one,
            only what was addressed to this machine by a name that no other site can have.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (_refusal(Request(scope), token) or app)(scope, receive, sent)

    return answer


def _refusal(request: Request, token: str) -> Response | None:
    headers = request.headers
    name, port = _host(headers.get("host", ""))
    if not token and name not in LOOPBACK:
        # Another site may have let its name point here.
        return PlainTextResponse("Open this page as http://127.0.0.1 or http://localhost.", 421)
    if token and (answer := _asked_for_token(request, token, COOKIE.format(port))):
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


def _asked_for_token(request: Request, token: str, cookie: str) -> Response | None:
    given = (request.query_params.get("token", ""), unquote(request.cookies.get(cookie, "")))
    in_address, is_known = (
        compare_digest(each.encode(errors="replace"), token.encode()) for each in given
    )
    if in_address:
        answer = RedirectResponse("/", 303)
        answer.set_cookie(cookie, quote(token, safe=""), httponly=True, samesite="strict")
        return answer
    text = "Open the address that `kedro mlrun ui` has printed, with its token."
    return None if is_known else PlainTextResponse(text, 401)


def _host(host: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None
