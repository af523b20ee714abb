"""The program that looks after one background job: waits for its turn, runs it, records its end.

It imports no MLRun, so that a job that waits costs little.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from ..runs import workers
from ..store.fields import PARENT
from ..store.process import GOING_ON, lost, process_label
from ..store.queue import JobQueue

GRACE = 10
"""Seconds that the processes of a job have to end by themselves when it is aborted."""

POLL, LONGEST_POLL = 0.1, 1
ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER, which Python has no name for
# How much of the end of its log tells why a job died.
LAST_LINES, LAST_BYTES = 20, 2**14

# What is in a pod `mlrun run …`. It begins when it is in the queue, so that no job goes on that
# isn't; the project's tracking comes first, as it registers the store; and the label tells which
# process has the run. A job that is told its task here needs no MLRun.
JOB = """
import json, sys
label, task = json.loads(sys.stdin.read() or sys.exit())
sys.argv[:1] = ["mlrun", "run"]  # what the run's record says
import kedro_mlrun
if task:
    from kedro_mlrun.jobs.handler import main
    main(task)
else:
    from mlrun.__main__ import main
    main(["run", "--label", "process=" + label, *sys.argv[2:]])
"""


def main() -> None:
    """Run the job that stdin tells of when its turn comes, and record its end if it doesn't."""
    # It is told nothing if there is none after all.
    job = json.loads(sys.stdin.read() or sys.exit())
    store, stopped = JobQueue(job["url"]), list[int]()
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    state = "error"
    try:
        reason = _run(store, job, stopped)
    except Exception as exc:
        reason = f"The job could not be started: {exc}. Fix that, and submit it again."
        sys.stdout.write(f"{reason}\n")
    if stopped:
        state, reason = "aborted", "It was stopped by SIGTERM."
    # Where the job was killed, it couldn't do so itself.
    workers.forget(job["uid"])
    # A store that was deleted isn't made anew.
    if store.path.exists():
        store.end_run(job["uid"], job["project"], state, reason)
        _abort_lost_jobs(store, job["uid"], job["project"])
        store.remove_job(job["number"])


def _abort_lost_jobs(store: JobQueue, parent: str, project: str) -> None:
    """Abort the jobs that this one had started, and that ended with it before they could say so.

    Those are jobs whose supervisors had just begun, or hadn't been told yet what to do.
    """
    for run in store.find_runs(project=project, labels=[f"{PARENT}={parent}"], states=GOING_ON):
        uid = run["metadata"]["uid"]
        if (reason := lost(run)) and not store.job_is_alive(uid, project):
            store.end_run(uid, project, "aborted", reason)


def _run(store: JobQueue, job: dict[str, Any], stopped: list[int]) -> str:
    """Run a job, and say what became of it if it has recorded no end."""
    ahead = 1
    while ahead:
        if stopped or not store.path.exists():
            return ""
        ahead = store.jobs_ahead(job["number"], job["at_once"])
        # Those at the end of a long queue don't look as often.
        time.sleep(min(LONGEST_POLL, POLL * ahead))
    code = store.job_folder(job["number"])
    # Of an earlier store in this folder.
    shutil.rmtree(code, ignore_errors=True)
    code.mkdir(mode=0o700, parents=True)
    folder = code / job["workdir"] if job["source"] else code
    _unpack(job["source"], code)
    # What is importable here, as in a pod what the image has.
    here, _, path = os.environ["PYTHONPATH"].partition(os.pathsep)
    places = [str(folder), "" if (folder / "kedro_mlrun").is_dir() else here, path]
    if sys.platform == "linux":
        # Their parent becomes this process, so that they are found.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1, 0, 0, 0)
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", JOB, *job["arguments"]],
        cwd=folder,
        env={**os.environ, **job["env"], "PYTHONPATH": os.pathsep.join(filter(None, places))},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    label = process_label(process.pid)
    store.set_job_process(job["number"], label)
    assert process.stdin  # noqa: S101
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(json.dumps([label, job["task"]]).encode())
    while process.poll() is None and not stopped:
        time.sleep(POLL)
    # Nothing that it has started outlives it, as in a pod.
    end_tree(os.getpid())
    return _death(process.wait(), store.log_file(job["uid"], job["project"]))


def _unpack(source: str, folder: Path) -> None:
    if "://" in source:
        from mlrun.utils.clones import extract_source

        extract_source(source, str(folder))
    elif source:
        if not os.path.isfile(source):
            raise FileNotFoundError(f"The source {source} isn't there")
        # For zip files there is none to choose.
        shutil.unpack_archive(source, folder, filter=None if source.endswith(".zip") else "data")


def _death(code: int, log: Path) -> str:
    """Tell what became of a process that has recorded no end."""
    what = f"Its process ended with exit code {code} before the run's end."
    if code < 0:
        known = {number.value: number.name for number in signal.Signals}
        what = f"Its process was killed by {known.get(-code, f'signal {-code}')}."
    if code == -signal.SIGKILL:
        what += " The system itself does that when memory runs out."
    with suppress(OSError), log.open("rb") as file:
        # A log may be larger than this machine's memory.
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
        lines = file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        what += "\n\n" + "\n".join(lines)
    return what.strip()


def end_tree(pid: int) -> None:
    """End a process with all that it has started, in whatever sessions these are, but not this."""
    # A supervisor before its job, which it would take for one that was killed.
    tree, asked, begun = {psutil.Process(pid): None}, set[psutil.Process](), time.monotonic()
    while (passed := time.monotonic() - begun) < 2 * GRACE:
        left = set()
        # Anew each time: what ends may have started others, and leaves its own to no parent.
        for process in [*tree]:
            with suppress(psutil.Error):
                tree |= dict.fromkeys(process.children(recursive=True))
        for process in tree:
            with suppress(psutil.Error):
                is_running = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
                if is_running and process.pid != os.getpid():
                    left.add(process)
                    if passed > GRACE:
                        process.kill()
                    elif process not in asked:
                        process.terminate()
        if not left:
            return
        asked |= left
        time.sleep(POLL)


if __name__ == "__main__":
    main()
