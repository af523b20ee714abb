"""Secrets: known by their names where they stand, and by their values everywhere else."""

import base64
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from time import thread_time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.logging import RichHandler
from pydantic import BaseModel, SecretStr
from rich.console import Console

from kedro_mlrun.secrets import known as secrets

REDACTED = secrets.REDACTED


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Know no secret but the test's own, and leave logging as it was."""
    monkeypatch.setattr(secrets, "_known", secrets._Known())
    monkeypatch.setattr(logging.Logger, "makeRecord", logging.Logger.makeRecord)
    factory, hook = logging.getLogRecordFactory(), sys.excepthook
    yield
    logging.setLogRecordFactory(factory)
    sys.excepthook = hook
    logging.getLogger("test-secrets").handlers = []


@pytest.mark.parametrize(
    "name",
    """password passwd pwd db.password dbPassword DB_PASSWORD user-password userpassword password2
    password_hash token github_token TOKEN_PROD accessToken auth_tokens secret client_secret secrets
    apiKey api_key API-KEY apikey access_key accesskey aws_secret_access_key aws_access_key_id
    secret_key private_key ssh_private_key encryption-key credentials credentials.s3.key auth
    basic_auth connection_string connectionString dsn db_pass passphrase jwt slack_webhook_url
    azure.storage_account_key cookies bearer otp github_pat db_pw userpass oauth""".split(),
)
def test_names_of_secrets(name: str) -> None:
    """Law 8: these leave nothing."""
    assert secrets.is_secret(name)
    assert secrets.hide(f"{name}=x1") == f"{name}={REDACTED}"


@pytest.mark.parametrize(
    "name",
    """tokenizer max_tokens n_tokens tokens pad_token eos_token_id key db_key primary_key keyboard
    sort_keys author authority monkey password_column token_count passing n_pass first_pass passes
    secretary model.depth path connection pattern user 1 pin auth_type max_token credentials.user
    credentials.db.host""".split()
    + ["", "…"],
)
def test_names_of_other_things(name: str) -> None:
    """Law 8: what is not secret is not starred out."""
    assert not secrets.is_secret(name)


def test_what_the_user_says_is_no_secret_is_none() -> None:
    """Law 8: names and patterns of mlrun.yml; the rest stays as it was."""
    names = ["visit_token", "db.visit_token", "my_token", "password"]
    assert all(map(secrets.is_secret, names))
    secrets.allow(["visit_*", "pass*"])
    assert [name for name in names if secrets.is_secret(name)] == ["my_token"]
    assert secrets.hide("visit_token=17 my_token=18") == f"visit_token=17 my_token={REDACTED}"
    secrets.allow(["split.api_key"])
    values = {"split": {"api_key": "left", "token": "b"}, "api_key": "c"}
    kept = {"split": {"api_key": "left", "token": REDACTED}, "api_key": REDACTED}
    assert secrets.hide_in(values) == kept
    secrets.register(values)
    assert secrets.hide("left b-bbb c") == "left b-bbb c"  # short ones are hidden by name alone
    secrets.allow(["visit_token"])
    assert secrets.hide("{'visit_token': '17'}") == "{'visit_token': '17'}"
    secrets.allow([])
    assert all(map(secrets.is_secret, names))


def test_what_has_a_secrets_name_is_hidden_at_any_depth() -> None:
    """Beside it in credentials, users and hosts are not."""
    values: dict[Any, Any] = {
        "db": {"password": "a", "hosts": ["http://me:b@host/x", "c"], "token": None},
        "credentials": {"user": "d", "keys": ["e", {"deep": 1, "port": 2}]},
        "dotted.api_key": 5,
        ("tuple",): (1, 2.5, True),
    }
    assert secrets.hide_in(values) == {
        "db": {"password": REDACTED, "hosts": [f"http://{REDACTED}@host/x", "c"], "token": None},
        "credentials": {"user": "d", "keys": [REDACTED, {"deep": REDACTED, "port": 2}]},
        "dotted.api_key": REDACTED,
        ("tuple",): (1, 2.5, True),
    }
    assert secrets.hide_in(["x"], "password") == [REDACTED]
    assert values["db"]["password"] == "a"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:pa55@db:5432/x", "postgresql://*****@db:5432/x"),
        ("git+https://TOKEN@host/repo.git", "git+https://*****@host/repo.git"),
        (
            "at 'https://a:b@one' and https://c:d@two",
            "at 'https://*****@one' and https://*****@two",
        ),
        (
            "GET https://host/p?page=2&sig_token=abc#top",
            "GET https://host/p?page=2&sig_token=*****",
        ),
        ("Server=db;Uid=me;Pwd=pa55;Timeout=3", "Server=db;Uid=me;Pwd=*****;Timeout=3"),
        ("{'Authorization': 'Bearer a.b-c'}", "{'Authorization': '*****'}"),
        ("Authorization: Token abcd1234", "Authorization: *****"),
        ('connect(user="bob", password="hunter99y")', 'connect(user="bob", password="*****")'),
        ('{"password": "a b c", "n": "d e"}', '{"password": "*****", "n": "d e"}'),
        ("https://a/b?sv=1&sig=ab%3D&se=2", "https://a/b?sv=1&sig=*****&se=2"),
        ("https://a/b?X-Amz-Signature=ab12", "https://a/b?X-Amz-Signature=*****"),
        ("-H Authorization: Basic bWU6cGE1NQ==", "-H Authorization: *****"),
        # These hold no secret.
        ("abfss://container@account.dfs/x", "abfss://container@account.dfs/x"),
        ("store://artifacts/p/k#0:v1@tree^uid", "store://artifacts/p/k#0:v1@tree^uid"),
        ("http://host:8080/a@b max_tokens=5", "http://host:8080/a@b max_tokens=5"),
        ("basic statistics: a token: 'x'", "basic statistics: a token: 'x'"),
    ],
)
def test_a_text_that_shows_by_itself_what_is_secret(text: str, shown: str) -> None:
    assert secrets.hide(text) == shown == secrets.hide_in({"text": text})["text"]


def test_register_takes_what_is_below_a_secrets_name_or_in_a_url() -> None:
    class Typed(BaseModel):
        code: SecretStr
        shown: str = "visible one"

    secrets.register(
        {
            "db": {"password": "hunter2", "name": "shop"},
            "uri": "mysql://root:s3cr3t%21@db",
            "typed": Typed(code=SecretStr("sesame42")),
        }
    )
    text = "hunter2 shop s3cr3t%21 s3cr3t! sesame42 visible one"
    assert secrets.hide(text) == "***** shop ***** ***** ***** visible one"


def test_of_credentials_users_and_hosts_are_no_secrets() -> None:
    """Law 8: a pipeline or a package may have such a name."""
    secrets.register(
        {
            "db": {
                "user": "training",
                "database": "space_lab",
                "password": "hunter22x",
                "port": 5433211,
            }
        }
        | {"dev": {"nested": ["swordfish"], "endpoint_url": "https://me:letmein7@minio"}},
        everything=True,
    )
    text = "training in space_lab at 5433211, minio"
    assert secrets.hide(text) == text
    assert secrets.hide("hunter22x, swordfish, letmein7") == "*****, *****, *****"


def test_ordinary_values_spoil_no_text() -> None:
    values = ["", " ", "1", 5432, "true", True, None, "abc", "admin", 0.25, "****", "password"]
    secrets.register(values, everything=True)
    text = "true: abc 1 of 5432, admin 0.25 **** password"
    assert secrets.hide(text) == text


def test_a_word_or_number_is_hidden_where_it_stands_alone() -> None:
    secrets.register(["letmein", 123456, "hunter2"], everything=True)
    assert secrets.hide("letmein letmeinside a_letmein") == "***** letmeinside a_letmein"
    assert secrets.hide("123456 1234567 0.123456") == "***** 1234567 0.123456"
    assert secrets.hide("xhunter2x") == "x*****x"


# No asterisks: with those that replace another secret they can make a third one.
SECRET = st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), min_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(SECRET, min_size=1, max_size=4), st.text(max_size=30), st.data())
def test_no_known_secret_is_left_in_any_form(values: list[str], text: str, data: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        known = secrets._Known()
        patch.setattr(secrets, "_known", known)
        secrets.register(values, everything=True)
        forms = [form for form, only_word in known.forms.items() if not only_word]
        pieces = data.draw(st.lists(st.sampled_from([text, *values, *forms]), max_size=6))
        hidden = secrets.hide("".join(pieces))
        nested = secrets.hide_in({"".join(pieces): [("".join(pieces), 1)]})
    assert not [form for form in forms if form in hidden]
    # Of pieces any name may come.
    assert nested == {hidden: [(hidden, 1)]} or secrets.is_secret("".join(pieces))


@pytest.mark.parametrize(
    "encode",
    [
        str,
        repr,
        lambda text: quote(text, safe=""),
        lambda text: base64.b64encode(text.encode()).decode(),
    ],
)
def test_a_secret_is_found_in_its_four_forms(encode: Any) -> None:
    value = "p\"ä\\s&/ w:1'"
    secrets.register({"password": value})
    assert secrets.hide(f"before {encode(value)} after").count(REDACTED) == 1
    assert encode(value).strip("'\"=") not in secrets.hide(f"before {encode(value)} after")


TEXTS = {
    "hexadecimal": "://0f1e2d3c4b5a69780f1e",
    "equals": "a=b=c=",
    "word": "password",
    "names": "token.secret_1_2_",
    "spaces": " ",
    "URLs": "http://a:b",
    "quotes": "'token' : ",
    "bearers": "Authorization: Bearer ",
}


@pytest.mark.parametrize("piece", TEXTS.values(), ids=TEXTS)
def test_a_long_text_takes_time_by_its_length_alone(piece: str) -> None:
    """Law 8: a pattern that goes back and forth would take hours for a megabyte."""
    secrets.register({"password": "correct horse"})

    def seconds(size: int) -> float:
        text = (piece * size)[:size]
        start = thread_time()
        secrets.hide(text)
        return thread_time() - start

    # Four times the text; what grows with its square takes sixteen times as long.
    assert seconds(1_000_000) < 10 * max(seconds(250_000) for _ in range(3))


def test_a_name_is_judged_once_in_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 8: a call for each match would take a tenth of a second for a megabyte."""
    judged: list[str] = []
    monkeypatch.setattr(secrets, "is_secret", lambda name: judged.append(name) or name == "token")
    assert secrets.hide("token=x n=1 " * 100) == "token=***** n=1 " * 100
    assert sorted(judged) == ["n", "token"]


def test_a_text_that_names_no_secret_is_not_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 7: a megabyte of a log that has none costs next to nothing."""
    monkeypatch.setattr(secrets, "_NAMED", None)
    for text in ("a_b=c; 'x': 'y'", "no name", "at: 12", "--params=a=b"):
        assert secrets.hide(text) == text


def test_what_is_known_already_is_not_known_twice() -> None:
    """Law 8: a log line of the hundredth session costs what one of the first has cost."""
    for _ in range(100):
        secrets.register({"password": "correct horse", "db": {"token": "hunter2"}})
        secrets.install()
    assert 0 < len(secrets._known.forms) <= 8
    assert not hasattr(logging.Logger.makeRecord.__wrapped__, "__wrapped__")


def test_numbers_are_hidden_as_such() -> None:
    secrets.register(["hunter2", 123456], everything=True)
    values = {"hunter2": 123456, 1: True, "score": 0.123456}
    assert secrets.hide_in(values) == {REDACTED: REDACTED, 1: True, "score": 0.123456}


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["/x/bin/kedro", "run"], "kedro run"),
        (["/x/shop/__main__.py", "--tags", "a b"], "python -m shop --tags 'a b'"),
        (["kedro", "run", "--params=db.password=hunter2,m.depth=3"], None),
        (["kedro", "--password", "-hunter2", "--token=hunter2", "--api-key", "hunter2"], None),
        (["env", "X_TOKEN=hunter2", "kedro"], "env X_TOKEN=***** kedro"),
        (["kedro", "--use-auth", "--params", "password=hunter2"], None),
        (["kedro", "--token=hunter2", "run"], "kedro --token=***** run"),
        (["kedro", "--conf-source", "https://me:hunter2@host"], None),
        (["kedro", "mlrun", "--db-password", "hunter 2"], "kedro mlrun --db-password *****"),
    ],
)
def test_a_command_line_is_as_typed_without_secrets(argv: list[str], shown: str | None) -> None:
    line = secrets.command_line(argv)
    assert "hunter2" not in line
    assert (line == shown) if shown is not None else (REDACTED in line)


def test_a_command_line_keeps_the_rest() -> None:
    line = secrets.command_line(["kedro", "run", "--params", "a=1,token=x,b.c=2", "--env=dev"])
    assert line == "kedro run --params a=1,token=*****,b.c=2 --env=dev"


def log_with(handler: logging.Handler, *, installed_before: bool) -> logging.Logger:
    logger = logging.getLogger("test-secrets")
    logger.propagate = False
    if installed_before:
        secrets.install()
    logger.addHandler(handler)
    secrets.install()
    return logger


def fail(secret: str) -> None:
    raise ValueError(f"can't log in with {secret} [/bad]")


@pytest.mark.parametrize("show_locals", [False, True])
def test_logs_show_no_secret(show_locals: bool) -> None:
    """Rich shows an exception by itself, with the source around it and the locals."""
    secrets.register({"password": "hunter2"})
    plain, rich = StringIO(), StringIO()
    for handler in (
        logging.StreamHandler(plain),
        RichHandler(
            console=Console(file=rich, width=300),
            rich_tracebacks=True,
            tracebacks_show_locals=show_locals,
        ),
    ):
        logger = log_with(handler, installed_before=True)
        logger.handlers = [handler]
        logger.warning("with %s", "hunter2", stack_info=True)
        logger.warning("with %(password)s [bold]%(n)s[/bold]", {"password": "hunter2", "n": 1})
        try:
            fail("hunter2")
        except ValueError:
            logger.exception("[red]failed[/red]")
    for output in (plain.getvalue(), rich.getvalue()):
        assert "hunter2" not in output
        assert "can't log in with ***** [/bad]" in output, output
        assert output.count("with *****") == 3
    assert "bold" not in rich.getvalue()


def test_locals_are_not_shown_where_there_are_secrets() -> None:
    secrets.register({"password": "hunter2"})
    output = StringIO()
    handler = RichHandler(
        console=Console(file=output, width=300), rich_tracebacks=True, tracebacks_show_locals=True
    )
    logger = log_with(handler, installed_before=False)
    name = "hunter" + str(2)
    try:
        raise KeyError(len(name))
    except KeyError:
        logger.exception("failed")
    assert "KeyError: 7" in output.getvalue() and "hunter2" not in output.getvalue()


def test_arguments_are_hidden_one_by_one() -> None:
    """Law 8: logging shows those that fit no message, and some formatters take them apart."""
    secrets.register({"password": "hunter2"})
    record = logging.makeLogRecord({"msg": "hunter2 %s", "args": ("hunter2", 1, "hunter2")})
    secrets.hide_in_record(record)
    assert (record.msg, record.args) == ("***** %s", (REDACTED, 1, REDACTED))
    record = logging.makeLogRecord({"msg": "%r %d%%", "args": (ValueError("no hunter2"), 1)})
    secrets.hide_in_record(record)
    assert record.getMessage() == "'no *****' 1%"


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("api_token=%s", ("abc",), "api_token=*****"),
        ("{'password': '%s'} %d", ("a b", 3), "{'password': '*****'} 3"),
        ("token=%(t)s of %(n)s", ({"t": "abc", "n": 2},), "token=***** of 2"),
        ("%s=%s", ("api_token", "abc"), "api_token=*****"),
        ("pw=%d 100%%", (1234,), "pw=***** 100%"),
        ("%d of %d", (3, 987654), "3 of *****"),
    ],
)
def test_what_stands_at_a_secrets_place_is_hidden(
    message: str, arguments: tuple[Any, ...], expected: str
) -> None:
    """Law 8: and the line is logged, though its format names a secret."""
    secrets.register({"password": 987654})
    record = logging.LogRecord("x", logging.INFO, __file__, 1, message, arguments, None)
    assert secrets.hide_in_record(record).getMessage() == expected


def test_uvicorns_access_log_is_left_whole() -> None:
    """Law 8: its formatter wants five arguments."""
    secrets.register({"password": "hunter2"})
    arguments = ("127.0.0.1", "GET", "/x?token=hunter2", "1.1", 200)
    record = logging.makeLogRecord({"msg": '%s - "%s %s HTTP/%s" %d', "args": arguments})
    secrets.hide_in_record(record)
    assert record.args == ("127.0.0.1", "GET", "/x?token=*****", "1.1", 200)


def test_an_argument_without_a_text_stops_nothing() -> None:
    class Silent:
        def __str__(self) -> str:
            raise ValueError("no")

    record = logging.makeLogRecord({"msg": "%s", "args": (Silent(),)})
    secrets.hide_in_record(record)
    assert record.args


def test_records_without_a_secret_are_left_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    secrets.register({"password": "hunter2"})
    secrets.install()
    try:
        fail("nothing")
    except ValueError:
        logging.getLogger("test-others").exception("failed %s", 1)
    (record,) = caplog.records
    assert record.args == (1,) and record.exc_info


def test_another_tools_factory_goes_on() -> None:
    """Law 8: the one before, and the one that is set later."""

    def other(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made.append("other")
        return before(*args, **kwargs)

    made: list[str] = []
    secrets.register({"password": "hunter2"})
    secrets.install()
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(other)
    secrets.install()
    secrets.install()
    record = logging.getLogger("test-others").makeRecord("x", 20, "", 1, "hunter2", (), None)
    assert (record.msg, made) == (REDACTED, ["other"])


def test_mlruns_own_fields_are_hidden(caplog: pytest.LogCaptureFixture) -> None:
    """MLRun's logger writes them from the record."""
    secrets.register({"password": "hunter2"})
    secrets.install()
    import mlrun

    caplog.set_level("ERROR", mlrun.utils.logger._logger.name)
    output = StringIO()
    handler = mlrun.utils.logger.get_handler("default")
    stream, handler.stream = handler.stream, output
    try:
        mlrun.utils.logger.error("failed", error="with hunter2", token="unknown one")
    finally:
        handler.stream = stream
    assert output.getvalue().count(REDACTED) == 2
    assert "hunter2" not in output.getvalue()


@pytest.fixture
def errors() -> list[BaseException]:
    return [KeyError("fine"), ValueError("hunter2")]


def test_the_error_that_ends_a_process_shows_no_secret(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    errors: list[BaseException],
) -> None:
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: seen.append(error[1]))
    secrets.register({"password": "hunter2"})
    secrets.install()
    secrets.install()
    for error in errors:
        try:
            raise error from RuntimeError("cause")
        except Exception:
            sys.excepthook(*sys.exc_info())
    assert seen == errors[:1]
    shown = capsys.readouterr().err
    assert "ValueError: *****" in shown and "hunter2" not in shown and "cause" in shown


def test_the_error_that_ends_a_cell_shows_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that somebody has set in the notebook is still called."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    seen = []
    shell.set_custom_exc((KeyError,), lambda _, kind, error, *rest, **more: seen.append(error))
    monkeypatch.setattr(shell, "showtraceback", shell.showtraceback)
    try:
        secrets.register({"password": "hunter2"})
        secrets.install()
        secrets.install()
        for cell in ("raise KeyError('own')", "1 / 0", "x = 'hunt' + 'er2'\nraise ValueError(x)"):
            shell.run_cell(cell)
    finally:
        InteractiveShell.clear_instance()
    printed = capsys.readouterr()
    assert [str(error) for error in seen] == ["'own'"]
    assert "ZeroDivisionError" in printed.out
    assert "ValueError: *****" in printed.err and "hunter2" not in printed.out + printed.err
