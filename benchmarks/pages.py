"""What `kedro mlrun ui` takes to answer on a full store, asked as a browser asks it."""

import re
import sqlite3
import statistics
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import serving
from measure import Line

COMPARED = 500
WORKS: dict[str, tuple[Any, ...]] = {
    "first view": (1_000, "ms"),
    "first view, with style and script": (300, "kB"),
    "filtered by words": (100, "ms"),
    "filtered by a condition": (100, "ms"),
    "sorted by a result": (100, "ms"),
    f"{COMPARED} runs compared": (1, "s"),
    f"{COMPARED} runs' metrics over steps": (None, "s"),
}


class Answer(NamedTuple):
    """What an answer takes: milliseconds until all of it is here, and kB."""

    time: float
    size: float

    def __add__(self, other: Self) -> "Answer":
        """Give what both take, one after the other."""
        return Answer(self.time + other.time, self.size + other.size)


def ask(url: str, expected: bytes = b"") -> tuple[Answer, bytes]:
    """Ask for an address, whose answer has something that is expected in it."""
    start = time.perf_counter()
    with urllib.request.urlopen(url) as answer:  # noqa: S310
        body = bytes(answer.read())
    took = (time.perf_counter() - start) * 1000
    if expected not in body:
        raise ValueError(f"{url} has no {expected.decode()}")
    return Answer(took, len(body) / 1000), body


def asked(folder: Path, kedro: Path) -> list[Answer]:
    """Start the page anew, and do each of the works."""
    with closing(sqlite3.connect(folder / ".mlrun" / "mlrun.db")) as db:
        newest = "SELECT uid FROM runs ORDER BY start_time DESC LIMIT ?"
        ids = ",".join(uid for (uid,) in db.execute(newest, [COMPARED]))
    port = serving.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [kedro, "mlrun", "ui", "--port", port]
    with serving.started(command, folder, url, "/static/page.css"):
        first, body = ask(url, b"data-id")
        whole = first
        for file in re.findall(r'(?:href|src)="(/static/[^"]*)"', body.decode()):
            whole += ask(url + file)[0]
        condition = quote("params.split.seed = 1007")
        queries = "q=evaluation", f"q={condition}", "sort=results.test.xgboost.roc_auc"
        shown = [ask(f"{url}/rows?{query}", b"data-id")[0] for query in queries]
        heading = f"{COMPARED} runs compared".encode()
        compared = ask(f"{url}/compare?id={ids}", heading)[0]
        compared += ask(f"{url}/compare/data?id={ids}")[0]
        curves, _ = ask(f"{url}/compare/data?id={ids}&curves=1")
    return [first, whole, *shown, compared, curves]


def measured(folder: Path, kedro: Path, repeat: int) -> list[Line]:
    """Do each work so often, and give the medians."""
    lines, rounds = [], [asked(folder, kedro) for _ in range(repeat + 1)][1:]
    for (_, unit), *answers in zip(WORKS.values(), *rounds, strict=True):
        time, size = (statistics.median(each) for each in zip(*answers, strict=True))
        value = {"ms": time, "s": time / 1000, "kB": size}[unit]
        lines.append(Line(f"{time:.0f} ms, {size:.0f} kB", "–", value))
    return lines
