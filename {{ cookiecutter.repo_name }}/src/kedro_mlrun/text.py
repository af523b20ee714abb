"""Words for a person: what several rooms write in messages and tables."""

import difflib
import io
import math
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

MINUTE = 60
# What a terminal obeys instead of showing it, turns round, or can't be sent; not tab and newline.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Show what a terminal would obey as the escape that JSON has for it; CR is a newline."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def plain_refusal(text: str) -> str:
    """Shorten what Kedro and pydantic say of parameters, to name, what is allowed, and value."""
    text = re.sub(r" For further information visit \S+", "", " ".join(text.split()))
    text = re.sub(r" ?\[type=\w+, input_value=(.*?), input_type=\w+\]", r", and is \1", text)
    made = r"Parameter '([\w.]+)': Failed to instantiate \w+ for parameter '\1': "
    text = re.sub(made + r"\d+ validation errors? for \w+ ", r"'\1': ", text)
    return re.sub(r"^Parameter validation failed: - ", "", text).rstrip(".")


class Visible:
    """What Rich prints, or what is written to a stream, with its text `visible`."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """Leave Rich's own styles as they are, which are beside the text."""
        for part in console.render(self.inner, options):
            yield part if part.control else part._replace(text=visible(part.text))

    def write(self, text: str) -> int:
        """Write to the stream."""
        return int(self.inner.write(visible(text)))

    def flush(self) -> None:
        """Flush the stream."""
        self.inner.flush()


def rendered(console: Any, shown: Any) -> str:
    """Give what a console of Rich would print, without the padding of tables at their right."""
    with console.capture() as capture:
        console.print(Visible(shown), soft_wrap=True)
    # A terminal would fold it into empty lines.
    return "\n".join(map(str.rstrip, capture.get().splitlines()))


def show_all(stream: Any) -> None:
    """Let a stream write what its encoding has no character for as an escape, and not fail."""
    if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
        stream.reconfigure(errors="backslashreplace")


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether another name was meant: a question with a space after it, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean '{found[0]}'? " if found else ""


def shown(value: Any) -> str:
    """Write a parameter or result: four digits after the point, or twelve in all; — for None."""
    if value is None:
        return "—"
    if isinstance(value, float) and math.isfinite(value):
        is_usual = value == 0 or 1e-3 <= abs(value) < 1e6  # noqa: PLR2004
        return f"{value:.4f}" if is_usual else f"{value:.{12 if abs(value) > 1 else 4}g}"
    return str(value)


def took(seconds: float | None) -> str:
    """Write how long something took."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < MINUTE else str(timedelta(seconds=round(seconds)))


def shown_path(path: str) -> str:
    """Write a path or URL as it is used from the working folder."""
    return path.removeprefix(f"{Path.cwd().as_posix()}/") or "(in its record)"


def kedro_command() -> str:
    """Give Kedro's command as it works without an activated environment."""
    own = Path(sys.executable).with_name("kedro").as_posix()
    return "kedro" if shutil.which("kedro") == own else shlex.quote(shown_path(own))
