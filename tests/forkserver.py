"""Runs `kedro` in a process that is forked from one that has imported what is slow already.

A command is a process of its own, as it is for a person: its working folder, environment, streams
and exit code are its own. Only MLRun, pandas, scikit-learn and their like are there from the start.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile

SLOW = ("mlrun", "pandas", "pyarrow", "sklearn.ensemble", "xgboost", "matplotlib.pyplot", "pandera")


class ForkServer:
    """The process that commands are forked from; it starts with the first of them."""

    def __init__(self) -> None:
        self._here, there = socket.socketpair()
        environment = {name: value for name, value in os.environ.items() if name[:6] != "MLRUN_"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(there.fileno())],
            env=environment | {"MLRUN_IGNORE_ENV_FILE": "true", "DO_NOT_TRACK": "1"},
            pass_fds=[there.fileno()],
        )
        there.close()

    def run(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run `kedro` with these arguments, and give its exit code and what it has printed."""
        command = ["kedro", *map(str, arguments)]
        order = {"command": command, "cwd": str(cwd), "env": dict(env)}
        with TemporaryFile() as out, TemporaryFile() as err, open(os.devnull) as nothing:
            files = [nothing.fileno(), out.fileno(), err.fileno()]
            text = json.dumps(order).encode()
            socket.send_fds(self._here, [len(text).to_bytes(4, "big")], files)
            self._here.sendall(text)
            code = int.from_bytes(self._here.recv(4), "big", signed=True)
            printed = []
            for file in (out, err):
                file.seek(0)
                printed.append(file.read().decode(errors="replace"))
        return subprocess.CompletedProcess(command, code, *printed)

    def stop(self) -> None:
        """End the process."""
        self._here.close()
        self._process.wait()


def serve(connection: socket.socket) -> dict[str, object] | None:
    """Fork for each order; give it to the child, and None to the parent at the end."""
    for name in SLOW:
        __import__(name)
    while True:
        size, files, _, _ = socket.recv_fds(connection, 4, 3)
        if not size:
            return None
        text = b""
        while len(text) < int.from_bytes(size, "big"):
            text += connection.recv(int.from_bytes(size, "big") - len(text))
        child = os.fork()
        if not child:
            connection.close()
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            return dict(json.loads(text))
        for file in files:
            os.close(file)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(code.to_bytes(4, "big", signed=True))


def become(order: Mapping[str, object]) -> None:
    """Be the command."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(str(order["cwd"]))
    os.environ.clear()
    os.environ.update(dict(order["env"]))  # type: ignore[call-overload]
    # What Python itself does when it starts.
    path = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    sys.path[:0] = path
    sys.argv = list(order["command"])  # type: ignore[call-overload]
    sys.modules["mlrun"].mlconf.reload()
    from kedro.framework.cli.cli import main  # noqa: PLC0415 - it reads the working folder

    main()


if __name__ == "__main__":
    # Python has put this file's folder there.
    sys.path.pop(0)
    given = serve(socket.socket(fileno=int(sys.argv[1])))
    if given:
        become(given)
