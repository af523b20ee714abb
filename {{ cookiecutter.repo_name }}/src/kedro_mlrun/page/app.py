"""What the views have in common: how a page and its addresses are written."""

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ..records.records import Records
from ..text import visible
from .shown import FILTERS

HERE = Path(__file__).parent


def _finalized(value: Any) -> Any:
    return value if isinstance(value, Markup) else visible("" if value is None else str(value))


class Page:
    """What the views are given, beside a request.

    Args:
        records: opens the records.
        changes: `config` gives how models are promoted, `abort` aborts a run; without them, the
            page changes nothing.
        where: the store in words.
    """

    def __init__(
        self,
        records: Callable[[], Records],
        changes: Mapping[str, Callable[..., Any]] | None = None,
        where: str = "",
    ) -> None:
        self.records, self.changes = records, changes or {}
        # Every text is `visible`, and none is HTML.
        self.environment = Environment(autoescape=True, undefined=StrictUndefined)
        self.environment.loader = FileSystemLoader(HERE / "templates")
        self.environment.trim_blocks = self.environment.lstrip_blocks = True
        self.environment.finalize = _finalized
        self.environment.filters |= FILTERS
        self.environment.globals |= {"where": where, "view": "", "changes": self.changes}

    def render(self, name: str, **context: Any) -> str:
        """Write a template."""
        return self.environment.get_template(name).render(context)

    def html(self, request: Request, name: str, status: int = 200, **context: Any) -> Response:
        """Answer with a template; with nothing if the browser has the very same."""
        own = f"//{request.headers.get('host')}/"  # another site is not led back to
        back = "/" + request.headers.get("referer", "").partition(own)[2].lstrip("/\\")
        text = self.render(name, **{"back": back, **context})
        headers = {"etag": f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(text, status, headers)


def whole(request: Request, name: str) -> int:
    """Read a whole number of an address; 0 for what is none."""
    found = re.fullmatch("[0-9]{1,15}", request.query_params.get(name, ""))
    return int(found[0]) if found else 0


def address(path: str, **query: Any) -> str:
    """Write an address of this page; what is None or empty is left out."""
    given = {name: value for name, value in query.items() if value not in (None, "", [])}
    return f"{path}?{urlencode(given, doseq=True, quote_via=quote, errors='replace')}"
