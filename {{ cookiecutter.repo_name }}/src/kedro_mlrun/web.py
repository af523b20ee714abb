"""Servers of this package: their address, and how they begin and end."""

import signal
import socket
import threading
from contextlib import suppress
from typing import Any

import click

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN = "KEDRO_MLRUN_TOKEN"  # noqa: S105 - where a token may be
EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what nobody can ask, and what one can
_PORTS = 100  # that are tried
REFUSED = (5060, 5061, 6000, *range(6665, 6670), 6697, 10080)  # by browsers, of those above 5000
SECONDS = 60.0  # that a request has to come, and once more as many


class ServerError(click.ClickException):
    """There can't be a server, or not at the address that was asked for."""


def bound(host: str, port: int, next_free: bool) -> socket.socket:
    """Open the port, or the next free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in range(port, port + (_PORTS if next_free else 1)):
        if next_free and number in REFUSED:
            continue
        # With the protocol's number, without which asyncio lets an answer wait for 40 ms (Nagle).
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, number))
            found.listen(1024)
        except (OSError, OverflowError) as error:
            found.close()
            if not next_free or isinstance(error, socket.gaierror):
                reason = getattr(error, "strerror", None) or str(error)
                raise ServerError(
                    f"Port {port} of {host} can't be used: {reason}. Name another one with --port."
                ) from None
        else:
            return found
    raise ServerError(f"No port from {port} on is free. Name another one with --port.")


def addresses(host: str, opened: socket.socket) -> list[str]:
    """Give the URL of a server, and one for this machine alone where it listens everywhere."""
    own, number, *_ = opened.getsockname()
    hosts = [_own_address(opened.family), EVERY[own]] if own in EVERY else [host]
    return [f"http://{f'[{each}]' if ':' in each else each}:{number}" for each in hosts]


def _own_address(family: int) -> str:
    """Give this machine's address as others reach it, or its name."""
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asked:
        # An address of nobody, to which nothing is sent.
        asked.connect(("2001:db8::1" if family == socket.AF_INET6 else "198.51.100.1", 1))
        return str(asked.getsockname()[0])
    return socket.gethostname()


def make_server(app: Any) -> Any:
    """Make the server that runs an ASGI application; it ends within a second."""
    try:
        import uvicorn
        from uvicorn.protocols.http.auto import AutoHTTPProtocol
    except ImportError:
        raise ServerError(
            "Serving over HTTP needs uvicorn. Install it: pip install uvicorn"
        ) from None
    config = uvicorn.Config(
        app,
        http=_impatient(AutoHTTPProtocol),
        lifespan="off",
        interface="asgi3",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,  # longer than clients and proxies keep a connection for the next
        backlog=1024,
    )
    return uvicorn.Server(config)


def _impatient(protocol: Any) -> Any:
    """Let uvicorn's protocol end connections by which no request comes to its end."""

    class Impatient(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._look(False)

        def _look(self, before: Any) -> None:
            """End it if it still waits for the rest of the request that it has waited for."""
            cycle = self.cycle
            if cycle and not cycle.response_complete:
                waits = cycle.more_body and cycle
            else:
                # Between two requests uvicorn has a limit itself.
                waits = self.timeout_keep_alive_task is None and cycle
            if waits is before is not False:
                self.transport.close()
            elif not self.transport.is_closing():
                self.loop.call_later(SECONDS, self._look, waits)

    return Impatient


def run(server: Any, opened: socket.socket) -> None:
    """Run a server until SIGTERM or Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        # uvicorn sends itself once more what has ended it, to these.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[opened])
