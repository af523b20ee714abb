"""Runs Python commands in processes that are forked from one that has imported what is slow.

A command is a process of its own, as it is for a person: its working folder, environment, streams
and exit code are its own. Only MLRun, pandas, scikit-learn and their like are there from the start.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

SLOW = ("mlrun", "pandas", "pyarrow", "sklearn.ensemble", "xgboost", "matplotlib.pyplot", "pandera")

# What make calls as `kedro`; Python without its site starts at once.
CLIENT = """#!{python} -ISE
import sys
sys.path.insert(0, {folder!r})
from forkserver import order
sys.exit(order({address!r}, ["kedro", *sys.argv[1:]]))
"""


class ForkServer:
    """The process of a Python that commands are forked from; it starts with the first of them."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.address = str(folder / "fork")
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
                [python, __file__, str(listening.fileno())],
                env=environment | {"MLRUN_IGNORE_ENV_FILE": "true", "DO_NOT_TRACK": "1"},
                pass_fds=[listening.fileno()],
            )

    def run(
        self, command: Sequence[str | Path], cwd: Path, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run `kedro …` or `python -c …`, and give its exit code and what it has printed."""
        words = [*map(str, command)]
        with TemporaryFile() as out, TemporaryFile() as err, open(os.devnull) as nothing:
            files = (nothing.fileno(), out.fileno(), err.fileno())
            code = order(self.address, words, files, str(cwd), dict(env))
            printed = []
            for file in (out, err):
                file.seek(0)
                printed.append(file.read().decode(errors="replace"))
        return subprocess.CompletedProcess(words, code, *printed)

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()

    def client(self) -> str:
        """Give the script of a `kedro` that has its command forked."""
        python, folder = os.path.realpath(sys.executable), str(Path(__file__).parent)
        return CLIENT.format(python=python, folder=folder, address=self.address)


def order(
    address: str,
    command: Sequence[str],
    files: Sequence[int] = (0, 1, 2),
    cwd: str = "",
    env: Mapping[str, str] | None = None,
) -> int:
    """Have a command run with these streams, and give its exit code."""
    told = {"command": command, "cwd": cwd or os.getcwd(), "env": env or dict(os.environ)}
    text = json.dumps(told).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [len(text).to_bytes(4, "big")], files)
        connection.sendall(text)
        return int.from_bytes(connection.recv(4), "big", signed=True)


def serve(listening: socket.socket) -> dict[str, Any]:
    """Fork for each order, one after the other, and give it to the child."""
    for name in SLOW:
        with suppress(ImportError):
            __import__(name)
    # Else each child looks at all of these objects once more when it ends, for a second.
    gc.collect()
    gc.freeze()
    while True:
        connection = listening.accept()[0]
        size, files, _, _ = socket.recv_fds(connection, 4, 3)
        text = b""
        while len(text) < int.from_bytes(size, "big"):
            text += connection.recv(int.from_bytes(size, "big") - len(text))
        child = os.fork()
        if not child:
            connection.close()
            listening.close()
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            return dict(json.loads(text))
        for file in files:
            os.close(file)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(code.to_bytes(4, "big", signed=True))
        connection.close()


def become(told: dict[str, Any]) -> None:
    """Be the command."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["env"])
    # What Python itself does when it starts.
    path = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    sys.path[:0] = path
    sys.argv = told["command"]
    sys.modules["mlrun"].mlconf.reload()
    if sys.argv[0] != "kedro":
        _, _, code, *arguments = sys.argv
        sys.argv = ["-c", *arguments]
        sys.path.insert(0, "")
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(code, vars(main))  # noqa: S102
        return
    from kedro.framework.cli.cli import main  # noqa: PLC0415 - it reads the working folder

    main()


if __name__ == "__main__":
    # Python has put this file's folder there.
    sys.path.pop(0)
    become(serve(socket.socket(fileno=int(sys.argv[1]))))
