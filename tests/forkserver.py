"""Runs Python commands in processes that are forked from one that has imported what is slow.

A command is a process of its own, as it is for a person: its working folder, environment, streams
and exit code are its own. Only MLRun, Kedro, pandas, scikit-learn and their like are there from the
start. The Python that it sees has its own commands forked, too, among them background jobs.
"""

import atexit
import gc
import importlib
import inspect
import json
import os
import runpy
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

SLOW = (
    *("mlrun.__main__", "pandas", "pyarrow.parquet", "sklearn.ensemble", "xgboost"),
    *("matplotlib.backends.backend_agg", "matplotlib.pyplot", "pandera.pandas", "dynaconf"),
    *("pandera.backends.pandas.builtin_checks", "pyarrow.dataset", "PIL.JpegImagePlugin"),
    *("optuna.importance", "plotly.express", "joblib.externals.loky"),
    *("kedro.framework.cli.cli", "kedro.framework.cli.project", "kedro.framework.session"),
    *("kedro.framework.context", "kedro.validation.parameter_validator"),
    *("kedro_datasets.pandas", "kedro_datasets.matplotlib", "kedro_telemetry.plugin", "tomli_w"),
    *("kedro.framework.session.store", "sklearn.impute", "sklearn.feature_extraction.text"),
    *("pandera.backends.pandas.register", "pandera.api.geopandas.model", "pandera.typing.dask"),
    *("pandera.backends.pandas.builtin_hypotheses", "pandera.accessors.pandas_accessor"),
    *("narwhals.stable.v2", "narwhals._pandas_like.namespace", "PIL.BmpImagePlugin"),
    *("PIL.GifImagePlugin", "PIL.PpmImagePlugin", "fsspec.implementations.local"),
)

# What is called as `kedro` and as `python`; Python without its site starts at once.
CLIENT = """#!{python} -ISE
import sys
sys.path.insert(0, {folder!r})
from forkserver import be_forked
be_forked({address!r}, {name!r}, {own!r})
"""

# Where that is which pytest's processes share.
SHARED = "KEDRO_MLRUN_TESTS_FORKS"

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _draw() -> None:
    """Draw what a search draws, for Plotly imports a module for each word of a chart."""
    from plotly import express

    express.parallel_coordinates({"a": [1, 2], "b": [1, 2]}, color="a").to_html()


class ForkServer:
    """The process of a Python that commands are forked from; the first of them has it import.

    Args:
        python: whose commands are forked.
        folder: where it is to be, or is already.
    """

    def __init__(self, python: Path, folder: Path) -> None:
        self.address = str(folder / "fork")
        self.environment = folder / "environment"
        self._process: subprocess.Popen[bytes] | None = None
        if not self.environment.exists():
            self._make_environment(python.parents[1])
            self._start(python, folder)

    def _start(self, python: Path, folder: Path) -> None:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.address)
        listening.listen()
        # Kedro sets PYTHONPATH, to the project that the tests import the package from.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLRUN_", "PYTHONPATH"))
        }
        with listening:
            self._process = subprocess.Popen(
                [python, __file__, str(listening.fileno()), self.environment / "bin" / "python"],
                env=environment | {"MLRUN_IGNORE_ENV_FILE": "true", "DO_NOT_TRACK": "1"},
                pass_fds=[listening.fileno()],
                cwd=folder,
            )

    def _make_environment(self, own: Path) -> None:
        """Make an environment as this one, but for its commands, which are forked."""
        (self.environment / "bin").mkdir(parents=True)
        (self.environment / "lib").symlink_to(own / "lib")
        (self.environment / "pyvenv.cfg").symlink_to(own / "pyvenv.cfg")
        names = {"kedro", "mlrun", "python"}
        for program in (own / "bin").iterdir():
            if program.name not in names:
                (self.environment / "bin" / program.name).symlink_to(program)
        python, folder = os.path.realpath(sys.executable), str(Path(__file__).parent)
        for name in names:
            given = {"address": self.address, "name": name, "own": str(own / "bin" / "python")}
            program = self.environment / "bin" / name
            program.write_text(CLIENT.format(python=python, folder=folder, **given))
            program.chmod(0o755)

    def run(
        self, command: Sequence[str | Path], cwd: Path, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run `kedro …`, `mlrun …` or `python -c …`, and give its exit code and what it printed."""
        words = [*map(str, command)]
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            open(os.devnull) as nothing,
        ):
            files = (nothing.fileno(), out.fileno(), err.fileno())
            with order(self.address, words, files, str(cwd), dict(env)) as connection:
                code = exit_code(connection)
            printed = []
            for file in (out, err):
                file.seek(0)
                printed.append(file.read().decode(errors="replace"))
        return subprocess.CompletedProcess(words, code, *printed)

    def stop(self) -> None:
        """End the process."""
        if self._process:
            self._process.terminate()
            self._process.wait()


@cache
def fork_server(python: Path) -> ForkServer:
    """Give the process of a Python that commands are forked from.

    That of this Python is the same in all of pytest's processes if `share` was called before.
    """
    if SHARED in os.environ and python.parents[1] == Path(sys.prefix):
        return ForkServer(python, Path(os.environ[SHARED]))
    return _start_one(python)


def share() -> None:
    """Let the processes that pytest starts later have one of this Python together."""
    os.environ[SHARED] = str(Path(_start_one(Path(sys.executable)).address).parent)


def _start_one(python: Path) -> ForkServer:
    folder = Path(tempfile.mkdtemp(prefix="kedro-mlrun-fork-"))
    server = ForkServer(python, folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.stop)
    return server


def order(
    address: str, command: Sequence[str], files: Sequence[int], cwd: str, env: Mapping[str, str]
) -> socket.socket:
    """Have a command run with these streams; its exit code comes from the connection."""
    text = json.dumps({"command": command, "cwd": cwd, "env": env}).encode()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    socket.send_fds(connection, [len(text).to_bytes(4, "big")], files)
    connection.sendall(text)
    return connection


def exit_code(connection: socket.socket) -> int:
    """Wait for a command's exit code, or the negative number of the signal that it died of."""
    return int.from_bytes(connection.recv(4), "big", signed=True)


def be_forked(address: str, name: str, own: str) -> None:
    """Stand for a forked command: give it the signals that come, and end as it does."""
    words = [name, *sys.argv[1:]]
    if name == "python" and not option(words):
        os.execv(own, [own, *words[1:]])  # noqa: S606
    connection = order(address, words, (0, 1, 2), os.getcwd(), dict(os.environ))
    for number in SIGNALS:
        signal.signal(number, lambda number, _: connection.sendall(bytes([number])))
    code = exit_code(connection)
    if code < 0:
        with suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def option(command: Sequence[str]) -> str:
    """Give `-c` or `-m` of a Python command that has no other option before it but `-P`."""
    first = [word for word in command[1:3] if word != "-P"][:1]
    return first[0] if first in (["-c"], ["-m"]) else ""


def serve(listening: socket.socket) -> dict[str, Any]:
    """Fork for each order, and give it to the child."""
    # What nobody asks for needs no imports.
    select.select([listening], [], [])
    shown = os.dup(1)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    for name in SLOW:
        with suppress(ImportError):
            importlib.import_module(name)
    with suppress(ImportError):
        _draw()
    os.dup2(shown, 1)
    os.close(shown)
    # It goes through all modules the first time, and Kedro's settings need it.
    inspect.stack()
    # Else each child looks at all of these objects once more when it ends, for a second.
    gc.collect()
    gc.freeze()
    children: dict[int, socket.socket] = {}
    # A child that ends wakes the selector.
    ended, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting = selectors.DefaultSelector()
    waiting.register(listening, selectors.EVENT_READ)
    waiting.register(ended, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            ready: Any = key.fileobj
            if ready is ended:
                ended.recv(1024)
            elif ready is not listening:
                # A signal, or the end of whom the child works for.
                number = (ready.recv(1) or bytes([signal.SIGKILL]))[0]
                [pid] = [pid for pid, connection in children.items() if connection is ready]
                os.kill(pid, number)
                if number == signal.SIGKILL:
                    waiting.unregister(ready)
            else:
                connection = listening.accept()[0]
                told, files = received(connection)
                pid = os.fork()
                if not pid:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for other in (listening, ended, wake, connection, *children.values()):
                        other.close()
                    waiting.close()
                    for number, file in enumerate(files):
                        os.dup2(file, number)
                        os.close(file)
                    return told
                for file in files:
                    os.close(file)
                children[pid] = connection
                waiting.register(connection, selectors.EVENT_READ)
        reap(children, waiting)


def received(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Give an order and its streams."""
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    text = b""
    while len(text) < int.from_bytes(size, "big"):
        text += connection.recv(int.from_bytes(size, "big") - len(text))
    return json.loads(text), files


def reap(children: dict[int, socket.socket], waiting: selectors.BaseSelector) -> None:
    """Tell the exit codes of the children that have ended."""
    for pid in [*children]:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            connection = children.pop(pid)
            with suppress(KeyError):
                waiting.unregister(connection)
            with suppress(OSError), connection:
                connection.sendall(
                    os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True)
                )


def become(told: dict[str, Any]) -> None:
    """Be the command."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["env"])
    tempfile.tempdir = None  # which TMPDIR says
    if "PYTHONUNBUFFERED" in os.environ:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)
    # What Python itself does when it starts.
    path = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    sys.path[:0] = path
    sys.meta_path.insert(0, ImportMLRun())
    name, *sys.argv = told["command"]
    if name in {"kedro", "mlrun"}:
        sys.argv = told["command"]
        # It has read the working folder and the environment.
        sys.modules["kedro.framework.project"].LOGGING.__init__()
        program = {"kedro": "kedro.framework.cli.cli", "mlrun": "mlrun.__main__"}[name]
        sys.exit(importlib.import_module(program).main())
    if sys.argv[0] == "-P":
        del sys.argv[0]
    else:
        sys.path.insert(0, "")
    how, what, *arguments = sys.argv
    sys.argv = [how, *arguments]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(what, vars(main))  # noqa: S102


class ImportMLRun(MetaPathFinder, Loader):
    """Gives MLRun when it is first imported: it reads its settings then, and connects."""

    def __init__(self) -> None:
        names = [name for name in sys.modules if f"{name}.".startswith("mlrun.")]
        self.modules = {name: sys.modules.pop(name) for name in names}
        self.spec = self.modules["mlrun"].__spec__

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == "mlrun" else None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return self.modules["mlrun"]

    def exec_module(self, module: types.ModuleType) -> None:
        sys.meta_path.remove(self)
        module.__spec__ = self.spec
        sys.modules.update(self.modules)
        module.mlconf.reload()
        # kedro_mlrun has asked to be told. The clients, which import this file, have no packages.
        import wrapt

        for each in self.modules.values():
            wrapt.notify_module_loaded(each)


def end(error: BaseException | None) -> None:
    """End as Python does, but for freeing all that was imported."""
    code: Any = 0
    if isinstance(error, SystemExit):
        code = error.code
        if not isinstance(code, int | None):
            sys.stderr.write(f"{code}\n")
            code = 1
    elif error:
        sys.last_type, sys.last_value = type(error), error
        sys.last_traceback = error.__traceback__
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code or 0)


def main(listening: str, executable: str) -> None:
    """Serve, and in a child be the command to its end."""
    told = serve(socket.socket(fileno=int(listening)))
    sys.executable = executable
    try:
        become(told)
    except BaseException as error:
        end(error)
    end(None)


if __name__ == "__main__":
    # Python has put this file's folder there.
    sys.path.pop(0)
    main(*sys.argv[1:])
