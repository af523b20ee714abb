"""Trials in several processes at once."""

import logging
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, cast

import cloudpickle
from joblib.externals.loky import ProcessPoolExecutor
from kedro.framework import project

from ..runs import log, workers
from ..secrets import known as secrets
from .trials import Asked, Trial
from .work import Prepared


def run_side_by_side(prepared: Prepared, asked: Iterator[Asked], jobs: int) -> Iterator[Trial]:
    """Run trials, so many at once, and give each when it has ended.

    The next one is asked for when there is a process for it.
    """
    waiting = set[Future[Trial]]()
    with TemporaryDirectory() as folder:
        # Once, and not with each trial: the data are in it.
        file = Path(folder, "prepared.pkl")
        file.write_bytes(cloudpickle.dumps(prepared))
        # Of processes that aren't forked, for libraries such as OpenMP have threads by now.
        own = logging.getLogger(project.PACKAGE_NAME)
        pool = ProcessPoolExecutor(
            jobs, initializer=_obey, initargs=(os.getpid(), own.name, own.level)
        )
        try:
            while True:
                for each in islice(asked, jobs - len(waiting)):
                    waiting.add(pool.submit(_run, file, *each))
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from sorted((each.result() for each in done), key=lambda each: each.number)
        finally:
            pool.shutdown(kill_workers=True)


def _obey(parent: int, package: str, level: int) -> None:
    """Log as the parent does, leave Ctrl-C to it, and end with it: loky's would wait for ever."""

    def end_with_it() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=end_with_it, daemon=True).start()
    os.dup2(2, 1)  # what nodes print is no part of a command's answer
    logging.getLogger(package).setLevel(level)
    if run := workers.announced():
        log.of_worker(os.getpid(), run.uid)


def _run(file: Path, *asked: Any) -> Trial:
    return _prepared(file).run(*asked)[0]


@cache
def _prepared(file: Path) -> Prepared:
    prepared = cast(Prepared, cloudpickle.loads(file.read_bytes()))
    secrets.register(prepared.work.parameters)
    secrets.install()
    return prepared
