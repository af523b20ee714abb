"""Works of the benchmark, each in a process of its own: `work.py NAME WAY`.

It is run in the folder of a project, and prints what the work has cost: CPU and wall seconds, and
the peak of memory in MiB. Imports, opening the run and making the data are no part of it.
"""

import hashlib
import json
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SIZES = {"frame": 1_000_000, "model": 500_000, "bytes": 500_000_000, "frames": 100}
STEPS, FRAMES, RESULTS, HUNDRED = 1_000, 200, 1_000, 100


def frame(rows: int) -> pd.DataFrame:
    """Make a frame of 20 columns: floats, integers, times, categories, texts."""
    rng = np.random.default_rng(7)
    words = np.array([f"word number {number}" for number in range(10_000)], dtype=object)
    columns: dict[str, Any] = {f"float{n}": rng.random(rows) for n in range(6)}
    columns |= {f"integer{n}": rng.integers(0, 1_000_000, rows) for n in range(6)}
    start = np.datetime64("2026-01-01", "ns")
    columns |= {f"time{n}": start + rng.integers(0, 10**15, rows) for n in range(2)}
    codes = rng.integers(0, 50, (2, rows))
    columns |= {f"category{n}": pd.Categorical.from_codes(codes[n], words[:50]) for n in range(2)}
    columns |= {f"text{n}": words[rng.integers(0, len(words), rows)] for n in range(4)}
    return pd.DataFrame(columns)


def model(rows: int) -> Any:
    """Fit a model that keeps its data: 400 bytes a row."""
    from sklearn.neighbors import KNeighborsClassifier

    learnt = np.random.default_rng(7).random((rows, 50))
    return KNeighborsClassifier(algorithm="brute").fit(learnt, np.arange(rows) % 2)


def plain(kind: str, key: str, data: Any) -> None:
    """Write data to a file as one would without a tracker, and read it."""
    if kind == "frame":
        from kedro_datasets.pandas import ParquetDataset

        dataset = ParquetDataset(filepath=f"data/{key}")
        dataset.save(data)
        dataset.load()
        return
    import joblib

    file, format = Path("data", key), joblib if kind == "model" else pickle
    with file.open("wb") as stream:
        format.dump(data, stream)
    for _ in range(2):
        with file.open("rb") as stream:
            hashlib.file_digest(stream, "sha1")
    with file.open("rb") as stream:
        format.load(stream)


def ours(kind: str, key: str, data: Any) -> None:
    """Save data as an artifact, and load it."""
    import kedro_mlrun

    kinds = {"frame": "DataframeDataset", "model": "Model", "bytes": "AbstractDataset"}
    dataset = getattr(kedro_mlrun, f"MLRun{kinds[kind]}")(key)
    dataset.save(data)
    dataset.load()


def series(way: str, steps: int) -> None:
    """Record three metrics of each step."""
    names, values = ("loss", "auc", "f1"), [step / 7 for step in range(steps)]
    if way == "ours":
        from kedro_mlrun import MLRunMetricHistory

        MLRunMetricHistory(f"curve{steps}").save(dict.fromkeys(names, values))
    elif way == "mlflow":
        import mlflow

        mlflow.set_tracking_uri("sqlite:///series.db")
        with mlflow.start_run():
            for step, value in enumerate(values):
                mlflow.log_metrics(dict.fromkeys(names, value), step=step)
    else:
        import trackio

        trackio.init(project="bench", embed=False)
        for step, value in enumerate(values):
            trackio.log(dict.fromkeys(names, value), step=step)
        trackio.finish()


def results(first: int, last: int) -> None:
    """Record results one by one."""
    from kedro_mlrun import MLRunResult

    for number in range(first, last):
        MLRunResult(f"metric{number}").save(number / 7)


def trials(count: int) -> Callable[[], None]:
    """Give what records trials of a search, one by one, as large as those of our pipelines."""
    from kedro_mlrun import MLRunContextManager
    from kedro_mlrun.search.config import SearchConfig
    from kedro_mlrun.search.trials import Recorder, Study, Trial

    ranges = {f"model.arguments.argument{number}": "float(0, 1)" for number in range(3)}
    config = SearchConfig(metric="metric0", parameters=ranges, trials=count)
    parameters = {f"parameter{number}": number for number in range(20)}
    context = MLRunContextManager().open_run("search", parameters=parameters)
    study, recorder = Study(config), Recorder(context, config)
    asked = [(number, study.ask(number) or {}) for number in range(1, count + 1)]

    def record() -> None:
        for number, params in asked:
            # Better and worse ones in turn.
            values = {f"metric{name}": number * (-1) ** number / 7 for name in range(24)}
            trial = Trial(number, params, values["metric0"], values, started="2026-01-01")
            recorder.add(trial, study.tell(trial))

    return record


def cost(work: Callable[[], Any]) -> list[float]:
    """Do a work, and give what it has cost."""
    # The peak of memory begins anew, with what the process has now.
    Path("/proc/self/clear_refs").write_text("5")
    start, before = time.perf_counter(), cpu()
    work()
    seconds = [cpu() - before, time.perf_counter() - start]
    return [*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]


def cpu() -> float:
    """Give the seconds that this process and those that it waited for have taken so far."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main(name: str, way: str) -> list[float]:
    """Do one of the works."""
    Path("data").mkdir(exist_ok=True)
    if name == "results":
        results(-1, 0)
        results(0, RESULTS - HUNDRED if way == "last" else 0)
        return cost(lambda: results(RESULTS - HUNDRED, RESULTS))
    if name == "series":
        series(way, 2)
        return cost(lambda: series(way, STEPS))
    if name == "trials":
        return cost(trials(HUNDRED))
    kind = "frame" if name == "frames" else name
    make = {"frame": frame, "model": model, "bytes": np.random.default_rng(7).bytes}[kind]
    save_and_load = {"plain": plain, "ours": ours}[way]
    save_and_load(kind, "first", make(100))
    data = make(SIZES[name])
    keys = [f"data{number}" for number in range(FRAMES if name == "frames" else 1)]
    return cost(lambda: [save_and_load(kind, key, data) for key in keys])


if __name__ == "__main__":
    answer = json.dumps(main(*sys.argv[1:]))
    print(answer, flush=True)  # noqa: T201
    # Some of Arrow's threads abort a process that ends while they do.
    os._exit(0)
