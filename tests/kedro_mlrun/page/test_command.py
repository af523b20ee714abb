"""`kedro mlrun ui`, as a process of its own."""

import http.client
import json
import signal
import subprocess
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from conftest import Folder

from kedro_mlrun.web import REFUSED, bound


def test_the_page_is_served_until_ctrl_c(bake: Callable[..., Folder]) -> None:
    """Here without a token, elsewhere with one."""
    project = bake()
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    elsewhere = ["--host=0.0.0.0", "--token=a+b&c#ключ", "--read-only"]
    for words, status in ([], 200), (elsewhere, 303):
        process = project.start("mlrun", "ui", "--json", *words, **streams)
        try:
            lines = iter(process.stdout.readline, "")
            url = urlsplit(json.loads(next(line for line in lines if '{"url"' in line))["url"])
            # Nobody can open 0.0.0.0, from elsewhere.
            assert (url.hostname == "127.0.0.1") == (status == 200) and url.hostname != "0.0.0.0"
            connection = http.client.HTTPConnection("127.0.0.1", url.port, timeout=20)
            connection.request("GET", f"{url.path}?{url.query}")
            answer = connection.getresponse()
            assert answer.status == status
            text, cookie = answer.read().decode(), str(answer.getheader("set-cookie"))
            connection.request("GET", "/", headers={"cookie": cookie.partition(";")[0]})
            text += connection.getresponse().read().decode()
            assert "There are no runs yet" in text
            process.send_signal(signal.SIGINT)
            # Not even a connection that is left open keeps it.
            assert (process.wait(timeout=20), process.stderr.read()) == (0, "")
        finally:
            process.kill()
            process.wait()


def test_no_port_is_taken_that_browsers_refuse() -> None:
    with bound("127.0.0.1", REFUSED[0], next_free=True) as found:
        assert found.getsockname()[1] not in REFUSED
