"""The secrets that this process knows: by the names that they go by, and by their values."""

import base64
import dataclasses
import logging
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import pairwise
from threading import Lock
from typing import Any
from urllib.parse import quote, unquote

import click

from ..lazy import ipython

REDACTED = "*****"

# A name's last words say what its value is: `db_password` is a password, `password_column` isn't.
# With the words of _END after it, it is still the same thing.
_END = r"\d*(_(b64|base64|default|dev|file|hash|header|id|json|new|old|pem|plain|prod|production"
_END += r"|staging|str|string|test|text|uri|url|value|v?\d+))*$"
_SECRET = re.compile(
    r"((passwords?|passwort|passwd|passphrase|passcode|pwd|secrets?|credentials?|cookies?|token"
    r"|(access|account|admin|aes|api|app|auth|client|consumer|crypto|deploy|encryption|fernet|gpg|hmac"
    r"|license|master|private|project|rsa|sas|secret|service|session|shared|signing|ssh|ssl"
    r"|storage|subscription|tls)_?keys?|(access|api|auth|bearer|bot|refresh|session)_?tokens"
    r"|conn(ection)?_?(string|str|uri|url))"
    r"|(amz|goog)_signature|(^|_)(auth|authorization|bearer|creds|dsn|jwt|oauth|otp|pat|pw|sig"
    r"|userpass|webhook)"
    rf"|(^|(admin|db|email|ftp|login|mail|proxy|smtp|sql|ssh|user)_)pass){_END}"
)
# One of them is in each name that _SECRET finds.
_STEMS = "token key pw pass pat sig secret cred cookie conn auth bearer dsn jwt otp webhook".split()
_STEM = re.compile("|".join(_STEMS))
_TOKEN_OF_TEXT = re.compile(
    rf"(^|_)(bos|cls|end|eos|mask|max|min|next|num|pad|sep|special|start|stop|unk)_token{_END}"
)
# What stands beside a password in credentials, and may stand in any configuration as well.
_PUBLIC = frozenset(
    "account address bucket catalog container database db dialect domain driver endpoint host "
    "hostname location login name namespace path port project protocol region role schema scheme "
    "server service tenant type uri url user username version warehouse zone".split()
)
# Values that are words of any text: to hide them would only spoil it.
_ORDINARY = frozenset(
    "admin anonymous default false guest http https local localhost main minio none null password "
    "postgres public root secret test true user username".split()
)
# The shell's variables, which are called like passwords. Code names the file that it is of.
_FOLDERS = {"PWD", "OLDPWD"}
_BETWEEN_WORDS = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# What a text itself shows to be secret. These see any text, so none may go back over much of it.
# In http the user alone may be a token; elsewhere (`abfss://container@account`) it is a name.
_URL = re.compile(r"""(?<=://)(?:[^\s/?#'"<>:]*:|(?<=http://)|(?<=https://))([^\s/?#'"<>]*)@""")
# A name, what stands after it, and its value.
_NAMED = re.compile(
    r"""(?<![\w.-])((?:--[\w-]++=)?[\w.-]++)(=["']?|["']\s?:\s?["']?|:\s?(?=(?:%s) ))"""
    r"""((?<=")[^"\n]+(?=")|(?<=')[^'\n]+(?=')|(?:(?:%s) )?[^&;,\s'"})]+)"""
    % (2 * (r"Bearer|Basic|Token|ApiKey",))
)

_SHORTEST, _FEWEST_DIGITS, _SHORTEST_IN_FILES = 4, 6, 6
_PLAIN = re.compile(r"([+-]?[\d.]+)|[^\W\d_]{1,11}")
_CONTAINERS = (list, tuple, set, frozenset)
_LEFT = logging.makeLogRecord({}).__dict__.keys() - {"args", "stack_info", "exc_text"}


@dataclasses.dataclass
class _Known:
    lock: Lock = dataclasses.field(default_factory=Lock)
    # Longest first; True for what is hidden as a whole word only.
    forms: dict[str, bool] = dataclasses.field(default_factory=dict)
    allowed: tuple[str, ...] = ()  # names or patterns of what only sounds like a secret


_known = _Known()


@lru_cache(4096)
def is_secret(name: str, below: bool = False) -> bool:
    """Tell whether a name is a secret's; so is all below such a name, but hosts and the like."""
    if not below and not _STEM.search(name.lower()):
        return False
    parts = name.replace("=", ".").split(".")
    for number, part in enumerate(parts, 1):
        words = _BETWEEN_WORDS.sub("_", part).lower().strip("_")
        names = part, ".".join(parts[:number])
        if any(fnmatchcase(each, pattern) for pattern in _known.allowed for each in names):
            below = False
        elif _SECRET.search(words):
            below = not _TOKEN_OF_TEXT.search(words)
        elif words.rpartition("_")[2] in _PUBLIC:
            below = False
    return below


def allow(names: Sequence[str]) -> None:
    """Take names, or patterns of them, for no secrets' from now on."""
    _known.allowed = tuple(names)
    is_secret.cache_clear()


def register(values: Any, *, everything: bool = False) -> None:
    """Remember the secrets among parameters; of credentials everything but hosts and the like."""
    forms = _forms_of(values, everything)
    with _known.lock:
        # A new one each time, so that it can be read without the lock.
        forms |= _known.forms
        _known.forms = {form: forms[form] for form in sorted(forms, key=len, reverse=True)}


def _forms_of(values: Any, everything: bool = False) -> dict[str, bool]:
    return {form: word for text in set(_texts(values, everything)) for form, word in _forms(text)}


def _texts(value: Any, below: bool, name: str = "") -> Iterator[str]:
    # By what Pydantic's classes have, for it isn't imported for this.
    if hasattr(value, "get_secret_value"):
        value, below, name = value.get_secret_value(), True, ""
    if dataclasses.is_dataclass(value) or hasattr(type(value), "model_fields"):
        value = vars(value)
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, below, f"{name}.{key}" if name else str(key))
    elif isinstance(value, _CONTAINERS):
        for item in value:
            yield from _texts(item, is_secret(name, below))
    elif is_secret(name, below) and value is not None and not isinstance(value, bool):
        yield value.decode(errors="ignore") if isinstance(value, bytes) else str(value)
    if isinstance(value, str):
        for url in _URL.finditer(value):
            yield from (url[1], unquote(url[1]))
        yield from (named[3] for named in _NAMED.finditer(value) if is_secret(named[1]))


def _forms(value: str) -> Iterator[tuple[str, bool]]:
    """Give the four texts that a secret is found as, and whether only as a whole word."""
    value = value.strip()
    plain = _PLAIN.fullmatch(value)
    shortest = _FEWEST_DIGITS if plain and plain[1] else _SHORTEST
    if len(value) < shortest or not value.strip("*") or value.lower() in _ORDINARY:
        return
    raw = value.encode(errors="replace")
    yield from ((form, bool(plain)) for form in (value, repr(value)[1:-1], quote(raw, safe="")))
    # As Kubernetes keeps secrets. Within a longer text that is encoded it can't be found.
    yield base64.b64encode(raw).decode().rstrip("="), False


def line_with_secret(content: bytes) -> int | None:
    """Find a file's first line with a known secret that isn't a mere word or number."""
    secrets = (form for form, whole in _known.forms.items() if not whole)
    sought = (form.encode(errors="replace") for form in secrets if len(form) >= _SHORTEST_IN_FILES)
    found = [position for form in sought if (position := content.find(form)) >= 0]
    return content.count(b"\n", 0, min(found)) + 1 if found else None


def has_secret(content: bytes, *places: Mapping[str, Any]) -> bool:
    """Tell whether bytes hold a secret that is known, or named in the environment or a place."""
    forms, text = dict(_known.forms), content.decode(errors="replace")
    environment = {name: value for name, value in os.environ.items() if name not in _FOLDERS}
    for place in (environment, *places):
        named = {name: place[name] for name in [*place] if not name.startswith("__")}
        forms |= _forms_of({n: v for n, v in named.items() if isinstance(v, str | bytes | dict)})
    return _without(forms, text) != text


def _without(forms: Mapping[str, bool], text: str) -> str:
    for form, whole in forms.items():
        if form in text:
            # A word isn't part of another one, nor digits of a fraction.
            pattern = r"(?<!\w)(?<!\d\.){}(?!\w)" if whole else "{}"
            text = re.sub(pattern.format(re.escape(form)), REDACTED, text)
    return text


def hide(text: str) -> str:
    """Hide known secrets in a text, and what it shows by itself: `token=…`, a URL's password."""
    text = _without(_known.forms, text)
    if "://" in text and "@" in text:
        text = _URL.sub(f"{REDACTED}@", text)
    # Most texts name no secret, which is faster to see than to replace.
    if not any(map(text.lower().__contains__, _STEMS)):
        return text
    # Not by a function for each match: in a long text that alone would take a tenth of a second.
    parts = _NAMED.split(text)
    secret = set(filter(is_secret, set(parts[1::4])))
    found = zip(parts[1::4], parts[3::4], strict=True)
    parts[3::4] = [REDACTED if name in secret else value for name, value in found]
    return "".join(parts)


def hide_in(value: Any, name: str = "", below: bool = False) -> Any:
    """Copy dicts, lists and scalars without secrets; not for ids and paths, which it may spoil."""
    secret = is_secret(name, below)
    if isinstance(value, Mapping):
        names = {key: f"{name}.{key}" if name else str(key) for key in value}
        return {hide_in(key): hide_in(value[key], names[key], below) for key in value}
    if type(value) in _CONTAINERS:
        return type(value)([hide_in(item, "", secret) for item in value])
    if value is None or secret:
        return None if value is None else REDACTED
    if isinstance(value, int | float):
        return REDACTED if str(value) in _known.forms else value
    hidden = hide(str(value))
    return value if hidden == str(value) else hidden


def command_line(argv: Sequence[str]) -> str:
    """Give a command as one types it, without the secrets in it."""
    folder, program = os.path.split(argv[0] if argv else "")
    words = ["python", "-m", os.path.basename(folder)] if program == "__main__.py" else [program]
    for option, word in pairwise(["", *argv[1:]]):
        # A password may begin with a hyphen; with two, what came before was a switch.
        is_named = re.fullmatch("--[^=]*", option) and is_secret(option)
        words.append(REDACTED if is_named and not word.startswith("--") else shlex.quote(word))
    return hide(" ".join(words))


def hide_in_record(record: logging.LogRecord) -> logging.LogRecord:
    """Change a log record where there is a secret in it."""
    arguments = record.args
    # `args` stay as many as they were, for some formatters take them apart.
    for name in record.__dict__.keys() - _LEFT:
        with suppress(Exception):  # of an argument that has no text
            setattr(record, name, hide_in(record.__dict__[name], name))
    # Only of the whole can be seen what stands at `token=%s`. A number that is hidden fits no `%d`.
    for shown in record.args, arguments:
        with suppress(Exception):
            whole = str(record.msg) % shown if shown else str(record.msg)
            if (hidden := hide(whole)) != whole or shown is not record.args:
                record.msg, record.args = hidden, ()
            break
    else:
        # Logging itself will tell that arguments don't fit.
        record.msg = hide_in(record.msg)
    error = record.exc_info[1] if record.exc_info else None
    if error and (text := _hidden_traceback(error)):
        # In the message, for Rich renders `exc_info` itself, source and all.
        text = text.replace("%", "%%") if record.args else text
        record.msg = f"{record.msg}\n{text}"
        record.exc_info = record.exc_text = None
        record.markup = False
    return record


def _hidden_traceback(error: BaseException) -> str | None:
    """Give a traceback as plain text, where one with more in it would show a secret."""
    text = "".join(traceback.format_exception(error)).rstrip("\n")
    handlers = (reference() for reference in logging._handlerList)  # type: ignore[attr-defined]
    shows = any(getattr(handler, "tracebacks_show_locals", False) for handler in handlers)
    return hidden if (hidden := hide(text)) != text or (shows and _known.forms) else None


def _make_record(wrapped: Any, _: Any, args: Any, kwargs: Any) -> logging.LogRecord:
    return hide_in_record(wrapped(*args, **kwargs))


def _show_error(wrapped: Any, _: Any, args: Any, kwargs: Any) -> None:
    found = [found for found in (*args, sys.exc_info()[1]) if isinstance(found, BaseException)]
    if found and (text := _hidden_traceback(found[0])):
        sys.stderr.write(f"{text}\n")
    else:
        wrapped(*args, **kwargs)


def install() -> None:
    """Hide known secrets in all logs, and in the error that ends a process or a cell."""
    import wrapt

    places = [(logging.Logger, "makeRecord", _make_record), (sys, "excepthook", _show_error)]
    if shell := ipython():
        places.append((shell, "showtraceback", _show_error))
    for place, name, wrapper in places:
        if getattr(getattr(place, name), "_self_wrapper", None) is not wrapper:
            wrapt.wrap_function_wrapper(place, name, wrapper)


class MissingSecretError(click.ClickException, LookupError):
    """The configuration needs a secret that MLRun doesn't have: one line for the user of Kedro."""


_given_later: ContextVar[bool] = ContextVar("given_later", default=False)


@contextmanager
def given_later(later: bool = True) -> Iterator[None]:
    """Do without the secrets that only a job elsewhere will have, while it is examined here."""
    token = _given_later.set(later)
    try:
        yield
    finally:
        _given_later.reset(token)


def mlrun_secret(name: str) -> str:
    """Read a secret of the MLRun job or the environment, for `${mlrun.secret:NAME}`."""
    mlrun = sys.modules.get("mlrun")
    job = mlrun.run.global_context.get() if mlrun else None
    value = job.get_secret(name) if job else os.environ.get(name)
    if not value and not _given_later.get():
        raise MissingSecretError(
            f"The configuration takes the secret '{name}' from MLRun, and it isn't there. Set the "
            f"environment variable {name}; for jobs on a cluster, store it in the MLRun project: "
            f'project.set_secrets({{"{name}": "…"}}).'
        )
    return str(value or REDACTED)
