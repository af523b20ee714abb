"""What must not leave: names that secrets go by, and the values that this process knows of.

A secret is hidden in two ways. Where it stands under its name, in parameters, a catalog or a
command line, `redacted` and `command_line` know it by that name. Anywhere else, in an error or a
log, `hide` and `hide_in` find the values that `register` was given.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import linecache
import logging
import os
import re
import shlex
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from threading import Lock
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import click
import wrapt

REDACTED = "*****"

# What a name ends with says what it is of: `db_password` is a password, `password_column` a column.
_SECRETS = frozenset(
    "apikey auth authorization bearer cookie cookies creds credential credentials dsn jwt oauth "
    "otp passcode passkey passphrase passwd password passwords passwort pat pin pw pwd secret "
    "secrets userpass webhook".split()
)
# These are secrets after certain words only: a key may be one of a table, a pass one over the data.
_OF_KEYS = frozenset(
    "access account admin aes api app application auth client consumer crypto deploy encryption "
    "gpg hmac license licence master private project rsa sas secret service session shared signing "
    "ssh ssl storage subscription tls".split()
)
_AMBIGUOUS = {
    "key": _OF_KEYS,
    "keys": _OF_KEYS,
    "tokens": frozenset("access api auth bearer bot refresh secret session".split()),
    "pass": frozenset(["", *"admin db email ftp login mail proxy smtp sql ssh user".split()]),
}
# A language model's tokens are no secrets.
_TOKENS_OF_TEXT = frozenset(
    "bos cls class end eos first image last mask max min next pad prompt sep special start stop "
    "unk unknown word".split()
)
# These may follow without making it another thing: `password_hash`, `token_prod`, `password2`.
_QUALIFIERS = frozenset(
    "base base64 b64 default dev file hash header id json new old pem plain plaintext prod "
    "production staging str string test text uri url v1 v2 value".split()
)
_STRINGS = frozenset({("connection", "string"), ("conn", "string"), ("connection", "str")})
_STRINGS |= {("conn", "str"), ("connection", "uri"), ("connection", "url")}
_JOINED = re.compile(
    r"(password|passwd|passphrase|pwd|secret|credentials?|(api|access|secret|private)keys?"
    r"|(access|api|auth|bearer|refresh|session)tokens?|conn(ection)?str(ing)?)$"
)
_BETWEEN_WORDS = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# In http the user alone may be a token; elsewhere (`abfss://container@account`) it is a name.
_URL = re.compile(r"""(?i)((?<![a-z])[a-z][a-z0-9+.-]*)://([^\s/?#'"<>]*)@""")
_NAMED = re.compile(r"""((?:^|(?<=[?&;,\s'"({]))[\w.-]+)(=|["']\s*:\s*["']?)([^&;,\s'"})]+)""")
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)([\w.~+/=-]{8,})")

# Not what derives from them, such as named tuples, which are made in another way.
_CONTAINERS = (list, tuple, set, frozenset)
_SHORTEST = 4
_FEWEST_DIGITS = 6
_LONGEST_WORD = 12
# Values of credentials that are words of any text; to hide them would only spoil it.
_ORDINARY = frozenset(
    "admin anonymous default false guest http https local localhost main minio mysql none null "
    "postgres postgresql public root test true user username".split()
)
_LINES_AROUND = 10
# What credentials hold beside what is secret: it may stand in any configuration.
_PUBLIC = frozenset(
    "account address bucket catalog container database db dialect domain driver endpoint host "
    "hostname location login name namespace path port project protocol region role schema scheme "
    "server service tenant type uri url user username version warehouse zone".split()
)
_SHORTEST_IN_FILES = 6


def is_secret(name: str) -> bool:
    """Tell whether a name is one that secrets go by.

    The last word of a name counts, for it says what the value is. What is below a secret's name is
    a secret, too. In doubt a name is a secret, for a hidden number is the smaller harm.

    Args:
        name: the name of a parameter, an option or a variable, maybe with dots.

    Returns:
        Whether its value is to be hidden.

    Example:
        >>> [is_secret(name) for name in ("db.password", "apiKey", "AWS_SECRET_ACCESS_KEY")]
        [True, True, True]
        >>> [is_secret(name) for name in ("credentials.user", "max_tokens", "password_column")]
        [True, False, False]
    """
    return any(_is_secret(part) for part in name.split("."))


def _is_secret(name: str) -> bool:
    words = [word.lower() for word in _BETWEEN_WORDS.split(name) if word]
    if tuple(words[-2:]) in _STRINGS:
        return True
    while len(words) > 1 and (words[-1] in _QUALIFIERS or words[-1].isdigit()):
        words.pop()
    before, last = ["", "", *words][-2:]
    last = last.rstrip("0123456789")
    if last in _AMBIGUOUS:
        return before in _AMBIGUOUS[last]
    if last == "token":
        return before not in _TOKENS_OF_TEXT
    return last in _SECRETS or bool(_JOINED.search(last))


def redacted(value: Any, name: str = "") -> Any:
    """Copy a value without what stands under a secret's name, or in a URL.

    Args:
        value: dicts, lists and scalars in each other.
        name: the name that the value itself stands under.

    Returns:
        The copy. A secret is `REDACTED`; one that is None stays None.

    Example:
        >>> redacted({"db": {"password": "hunter2", "host": "https://me:hunter2@host"}})
        {'db': {'password': '*****', 'host': 'https://*****@host'}}
    """
    return _redacted(value, is_secret(name))


def _redacted(value: Any, secret: bool) -> Any:
    if isinstance(value, Mapping):
        if {"name", "value"} <= value.keys() and is_secret(str(value["name"])):
            # As HTTP headers and Kubernetes' variables are written.
            value = {**value, "value": _redacted(value["value"], True)}
        return {
            _without_credentials(key) if isinstance(key, str) else key: _redacted(
                item, secret or is_secret(str(key))
            )
            for key, item in value.items()
        }
    if type(value) in _CONTAINERS:
        return type(value)([_redacted(item, secret) for item in value])
    if secret:
        return None if value is None else REDACTED
    return _without_credentials(value) if isinstance(value, str) else value


def _without_credentials(text: str) -> str:
    """Hide what a text itself shows to be a secret: a URL's credentials, `password=…`."""
    if "://" in text:
        text = _URL.sub(
            lambda url: f"{url[1]}://{REDACTED}@" if _url_secrets(url) else url[0], text
        )
    if "=" in text or ":" in text:
        text = _NAMED.sub(
            lambda named: f"{named[1]}{named[2]}{REDACTED}" if is_secret(named[1]) else named[0],
            text,
        )
    if "earer" in text or "asic" in text:
        text = _BEARER.sub(rf"\1\2{REDACTED}", text)
    return text


def _url_secrets(url: re.Match[str]) -> list[str]:
    user, colon, password = url[2].partition(":")
    if colon:
        # A token may stand before the colon as well; a name that is no secret is short.
        return [password, url[2]]
    return [user] if "http" in url[1].lower() else []


class _Known:
    """The secrets that this process knows, in each form that they may have in a text."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.forms: dict[str, bool] = {}
        """What is looked for, longest first; True for what is hidden as a whole word only."""
        self.in_files: frozenset[str] = frozenset()
        """What no file may hold that is sent elsewhere."""

    def add_in_files(self, values: Iterable[str]) -> None:
        """Remember values that no file may hold, words and numbers excepted."""
        forms = {
            form
            for value in values
            if len(value.strip()) >= _SHORTEST_IN_FILES
            for form, only_word in _forms(value)
            if not only_word and len(form.strip()) >= _SHORTEST_IN_FILES
        }
        with self._lock:
            self.in_files |= forms

    def add(self, values: Iterable[str]) -> None:
        """Remember values, those too short or too ordinary excepted."""
        forms = {
            form: only_word for value in values for form, only_word in _forms(value) if form.strip()
        }
        with self._lock:
            known = {**forms, **self.forms}
            # Replaced and never changed, so that it can be read without the lock.
            self.forms = dict(sorted(known.items(), key=lambda item: -len(item[0])))


_known = _Known()


def register(values: Any, *, everything: bool = False) -> None:
    """Remember secrets, so that `hide` finds them.

    Values of fewer than 4 characters, numbers of fewer than 6 digits and some ordinary words such
    as "admin" are not remembered: they are in every text, which would be spoiled, and reveal
    nothing. They are still hidden where they stand under their name.

    Args:
        values: parameters: what is below a secret's name in them, in URLs, and Pydantic's
            `SecretStr`. Typed parameters are looked into.
        everything: whether each value is a secret, as in credentials.yml.

    Example:
        >>> register({"db": {"password": "correct horse", "host": "localhost"}})
        >>> hide("can't log in with 'correct horse' at localhost")
        "can't log in with '*****' at localhost"
    """
    _known.add(set(_secret_texts(values, everything)))
    _known.add_in_files(set(_secret_texts(values, everything, _PUBLIC)))


def line_with_secret(content: bytes) -> int | None:
    r"""Find the first line of a file that holds a secret that `register` was given.

    Not every registered value is looked for: none of fewer than 6 characters, no plain word or
    number, and of credentials no user, host, port, region or the like. These may be in any file.

    Args:
        content: what the file holds.

    Returns:
        The line's number, from 1 on; None if there is none.

    Example:
        >>> register({"db": {"password": "7-of-9", "region": "eu-central-1"}}, everything=True)
        >>> line_with_secret(b"region: eu-central-1"), line_with_secret(b"x\n7-of-9")
        (None, 2)
    """
    found = [content.find(form.encode(errors="surrogatepass")) for form in _known.in_files]
    first = min((position for position in found if position >= 0), default=None)
    return None if first is None else content.count(b"\n", 0, first) + 1


def _secret_texts(value: Any, secret: bool, public: frozenset[str] = frozenset()) -> Iterator[str]:
    if hasattr(value, "get_secret_value"):
        value, secret = value.get_secret_value(), True
    if dataclasses.is_dataclass(value) or hasattr(type(value), "model_fields"):
        value = vars(value)
    if isinstance(value, Mapping):
        for key, item in value.items():
            named = is_secret(str(key))
            last = _BETWEEN_WORDS.split(str(key))[-1].lower() if public else ""
            yield from _secret_texts(item, named or (secret and last not in public), public)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secret_texts(item, secret, public)
    elif isinstance(value, bytes):
        yield from _secret_texts(value.decode(errors="ignore"), secret, public)
    elif secret and not isinstance(value, bool | None):
        yield str(value)
    if isinstance(value, str):
        for url in _URL.finditer(value):
            yield from _url_secrets(url)
        yield from (named[3] for named in _NAMED.finditer(value) if is_secret(named[1]))


def _forms(value: str) -> Iterator[tuple[str, bool]]:
    """Give the texts that a secret may be found as, and whether only as a whole word."""
    value = value.strip()
    if len(value) < _SHORTEST or not value.strip("*") or value.lower() in _ORDINARY:
        return
    number = value.lstrip("+-").replace(".", "", 1).isdecimal()
    if number and len(value) < _FEWEST_DIGITS:
        return
    word = value.isalpha() and value in (value.lower(), value.title(), value.upper())
    whole = number or (word and len(value) < _LONGEST_WORD)
    raw = value.encode(errors="surrogatepass")
    escaped = [json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
    quoted = [quote(raw), quote(raw, safe=""), quote_plus(raw)]
    quoted += [re.sub("%..", lambda code: code[0].lower(), text) for text in quoted]
    # JSON within JSON, as MLRun keeps some fields, escapes twice.
    escaped += [json.dumps(text)[1:-1] for text in escaped]
    escaped += [repr(value)[1:-1], html.escape(value), html.escape(value, quote=False)]
    for form in (value, unquote(value), *escaped, *quoted):
        if len(form) >= _SHORTEST and form.strip("*"):
            yield form, whole
    # As Kubernetes keeps secrets. Within a longer text that is encoded it can't be found.
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode().rstrip("="), False
    if "\n" in value:
        # A private key may be found indented.
        for line in value.splitlines():
            if len(line) > _LONGEST_WORD and not line.startswith("-----"):
                yield from _forms(line)


def hide(text: str) -> str:
    """Hide each known secret in a text, as it is or escaped, quoted or in Base64.

    Short words and numbers are hidden where they stand alone, everything else also within a word.

    Args:
        text: any text.

    Returns:
        The text with `REDACTED` in place of secrets, and of credentials in URLs.

    Example:
        >>> hide("GET https://me:letmein@host/path?token=abc failed")
        'GET https://*****@host/path?token=***** failed'
    """
    text = _without_credentials(text)
    # What is left of one secret may, with what replaced it, be another one; this ends, because
    # each time characters go away that are no asterisks.
    while spans := _found(text):
        parts, end = [], 0
        for start, stop in spans:
            parts += [text[end:start], REDACTED]
            end = stop
        text = "".join(parts) + text[end:]
    return text


def _found(text: str) -> list[tuple[int, int]]:
    """Give where secrets are; those that overlap as one."""
    spans = []
    for form, whole in _known.forms.items():
        start = text.find(form)
        while start >= 0:
            stop = start + len(form)
            if not whole or _stands_alone(text, start, stop):
                spans.append((start, stop))
            start = text.find(form, start + 1)
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _stands_alone(text: str, start: int, stop: int) -> bool:
    after = text[stop : stop + 1]
    if after == "_" or after.isalnum():
        return False
    before = text[max(start - 3, 0) : start]
    # The letter before may be part of an escape such as \n or %3A.
    return not re.search(r"\w$", before) or bool(
        re.search(r"\\[abfnrtv]$|%[0-9A-Fa-f]{2}$", before)
    )


def hide_in(value: Any) -> Any:
    """Hide each known secret in the texts and keys of dicts and lists.

    Not for what names a thing: a project, an id or a path in which something was hidden is lost.

    Args:
        value: dicts, lists and scalars in each other.

    Returns:
        A copy without them. Of keys that become the same all but the first get a number.

    Example:
        >>> register({"password": "hunter2"})
        >>> hide_in({"sent": ["hunter2", 2]})
        {'sent': ['*****', 2]}
    """
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        copy: dict[Any, Any] = {}
        for key, item in value.items():
            name = first = hide_in(key)
            number = 1
            while name in copy:
                number += 1
                name = f"{first} ({number})"
            copy[name] = hide_in(item)
        return copy
    if type(value) in _CONTAINERS:
        return type(value)([hide_in(item) for item in value])
    if isinstance(value, int | float) and not isinstance(value, bool):
        return REDACTED if str(value) in _known.forms else value
    if isinstance(value, bytes):
        return hide(value.decode(errors="surrogateescape")).encode(errors="surrogateescape")
    return value


def command_line(argv: Sequence[str]) -> str:
    """Give a command as one types it, without the secrets in it.

    Args:
        argv: the command and its arguments, as in `sys.argv`.

    Returns:
        The command, quoted for a shell.

    Example:
        >>> command_line(["/usr/bin/kedro", "run", "--params", "db.password=hunter2,depth=3"])
        'kedro run --params db.password=*****,depth=3'
    """
    if not argv:
        return ""
    folder, program = os.path.split(argv[0])
    words = [program]
    if program == "__main__.py":
        words = ["python", "-m", os.path.basename(folder)]
    option = ""
    for argument in argv[1:]:
        # A password may begin with a hyphen; with two, what came before was a switch.
        if argument.startswith("--" if is_secret(option) else "-"):
            name, equals, value = argument.partition("=")
            words.append(f"{name}={_argument(name, value)}" if equals else hide(argument))
            option = "" if equals else name.lstrip("-")
        else:
            words.append(_argument(option, argument))
            option = ""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    # Asterisks of ours need no quotes to be read by a person.
    simple = word.replace(REDACTED, "x")
    return word if shlex.quote(simple) == simple else shlex.quote(word)


def _argument(option: str, value: str) -> str:
    name = option.lstrip("-")
    if is_secret(name):
        return REDACTED
    if name not in {"params", "runner-params"}:
        variable, equals, _ = value.partition("=")
        if equals and re.fullmatch(r"[\w.-]+", variable) and is_secret(variable):
            return f"{variable}={REDACTED}"
        return hide(value)
    items: list[str] = []
    secret = False
    for item in value.split(","):
        pair = re.match(r"([^=:]*)([=:])(.*)", item, re.DOTALL)
        if not pair and secret:
            # The rest of a value that has a comma in it.
            continue
        secret = bool(pair and is_secret(pair[1].strip()))
        items.append(f"{pair[1]}{pair[2]}{REDACTED}" if pair and secret else hide(item))
    return ",".join(items)


class SecretsFilter(logging.Filter):
    """Hides known secrets in log records: message, traceback, stack and extra fields.

    Kedro takes no filter of a project in logging.yml (it trusts modules of `logging` and its own
    only, and reads the file before the package can be imported), so `install` adds it.

    Example:
        >>> record = logging.makeLogRecord({"msg": "is it %s?", "args": ("hunter2",)})
        >>> register({"password": "hunter2"})
        >>> SecretsFilter().filter(record), record.getMessage()
        (True, 'is it *****?')
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Hide what is secret in a record.

        Args:
            record: the record; changed only where there is a secret in it.

        Returns:
            True: the record is to be logged.
        """
        try:
            message = record.getMessage()
        except Exception:  # logging shows the arguments of a message that they don't fit
            record.msg, record.args = hide(str(record.msg)), hide_in(record.args)
            message = str(record.msg)
        if (hidden := hide(message)) != message:
            record.msg, record.args = hidden, None
        for name, value in record.__dict__.items():
            if name not in _STANDARD and name != "message":
                setattr(record, name, hide_in(redacted(value, name)))
        if record.stack_info:
            record.stack_info = hide(record.stack_info)
        if record.exc_text:
            record.exc_text = hide(record.exc_text)
        error = record.exc_info[1] if record.exc_info else None
        if error and (text := _hidden_traceback(error, _handlers(record.name))):
            # In the message, because rich renders `exc_info` by itself, source and all, and
            # MLRun's formatters know nothing else.
            record.msg, record.args = f"{record.getMessage()}\n{text}", None
            record.exc_info = record.exc_text = None
            record.markup = False
        return True


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__)


def _handlers(name: str | None) -> Iterator[logging.Handler]:
    logger: logging.Logger | None = logging.getLogger(name)
    while logger:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _hidden_traceback(error: BaseException, handlers: Iterable[logging.Handler]) -> str | None:
    """Give a traceback as plain text, where one with more in it would show a secret."""
    if not _known.forms:
        return None
    told = traceback.TracebackException.from_exception(error)
    text = "".join(told.format()).rstrip("\n")
    around = "".join(_source_around(told, set()))
    shows_locals = any(getattr(handler, "tracebacks_show_locals", False) for handler in handlers)
    if shows_locals or hide(text) != text or _found(around):
        return hide(text)
    return None


def _source_around(told: traceback.TracebackException, seen: set[int]) -> Iterator[str]:
    """Give the source that rich may show with a traceback, and those of its causes."""
    seen.add(id(told))
    for frame in told.stack:
        line = frame.lineno or 0
        yield from linecache.getlines(frame.filename)[
            max(line - _LINES_AROUND, 0) : line + _LINES_AROUND
        ]
    for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if other and id(other) not in seen:
            yield from _source_around(other, seen)


class _HidingFactory:
    """Makes log records, for every handler that there is or will be."""

    def __init__(self, factory: Callable[..., logging.LogRecord]) -> None:
        self._factory = factory

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._factory(*args, **kwargs)
        SecretsFilter().filter(record)
        return record


class _HidingExceptHook:
    """Shows the error that ends the process."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self._hook = hook

    def __call__(self, kind: Any, error: BaseException, trace: Any) -> None:
        if text := _hidden_traceback(error, _handlers(None)):
            sys.stderr.write(f"{text}\n")
        else:
            self._hook(kind, error, trace)


class _HidingThreadHook:
    """Shows the error that ends a thread."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self._hook = hook

    def __call__(self, args: Any) -> None:
        error = args.exc_value
        if error and (text := _hidden_traceback(error, _handlers(None))):
            sys.stderr.write(f"{text}\n")
        else:
            self._hook(args)


def _show_in_ipython(
    shell: Any, kind: Any, error: BaseException, trace: Any, tb_offset: int | None = None
) -> None:
    """Show the error that ends a notebook's cell."""
    if text := _hidden_traceback(error, _handlers(None)):
        sys.stderr.write(f"{text}\n")
    else:
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def install() -> None:
    """Hide known secrets in all logs, and in tracebacks that end a process, thread or cell.

    To be called when logging is configured; again does no harm. In handlers that are added later,
    and not by MLRun, a record's extra fields aren't hidden; its message and traceback are.
    """
    if not isinstance(logging.getLogRecordFactory(), _HidingFactory):
        logging.setLogRecordFactory(_HidingFactory(logging.getLogRecordFactory()))
    if not isinstance(sys.excepthook, _HidingExceptHook):
        sys.excepthook = _HidingExceptHook(sys.excepthook)
    if not isinstance(threading.excepthook, _HidingThreadHook):
        threading.excepthook = _HidingThreadHook(threading.excepthook)
    ipython = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if ipython:
        ipython.set_custom_exc((Exception,), _show_in_ipython)
    _filter_handlers()
    _watch_mlrun()


def _filter_handlers() -> None:
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for logger in loggers:
        # A name that only has children stands there without a logger.
        for handler in logger.handlers if isinstance(logger, logging.Logger) else ():
            if not any(isinstance(known, SecretsFilter) for known in handler.filters):
                handler.addFilter(SecretsFilter())


@cache
def _watch_mlrun() -> None:
    # Its logger, which writes extra fields, and its handler are made when it is imported.
    wrapt.when_imported("mlrun.utils.helpers")(lambda _: _filter_handlers())


class MissingSecretError(click.ClickException, LookupError):
    """The configuration needs a secret that MLRun hasn't.

    Being one of click's, it reaches the user of `kedro` as one line and not as a traceback.
    """


_given_later: ContextVar[bool] = ContextVar("given_later", default=False)


@contextmanager
def given_later(later: bool = True) -> Iterator[None]:
    """Do without the secrets that a job will have, and that aren't here.

    Args:
        later: whether that is so: what is examined runs elsewhere.
    """
    token = _given_later.set(later)
    try:
        yield
    finally:
        _given_later.reset(token)


def mlrun_secret(name: str) -> str:
    """Read a secret from MLRun: what `${mlrun.secret:NAME}` in credentials.yml stands for.

    In a job these are the secrets that it was given (`mlrun run -s file=secrets.txt`) and those of
    the MLRun project; anywhere, an environment variable of that name.

    Args:
        name: the secret's name.

    Returns:
        Its value.

    Raises:
        MissingSecretError: there is none of that name.
    """
    mlrun = sys.modules.get("mlrun")
    job = mlrun.run.global_context.get() if mlrun else None
    value = job.get_secret(name) if job else os.environ.get(name)
    if not value and _given_later.get():
        return REDACTED
    if not value:
        raise MissingSecretError(
            f"The configuration takes the secret '{name}' from MLRun, and it isn't there. Set the "
            f"environment variable {name}; for jobs on a cluster, store it in the MLRun project: "
            f'project.set_secrets({{"{name}": "…"}}).'
        )
    return str(value)
