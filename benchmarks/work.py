"""Works of the benchmark, each in a process of its own: `work.py NAME WAY`, in a project's folder.

`nothing` only makes the data, `plain` writes and reads its file, `ours` saves and loads it.
"""

import hashlib
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

FILE = Path("data/plain")


def frame(rows: int = 1_000_000) -> pd.DataFrame:
    """Make a frame of 20 columns: floats, integers, times, categories, texts."""
    rng = np.random.default_rng(7)
    words = np.array([f"word number {number}" for number in range(10_000)], dtype=object)
    columns: dict[str, Any] = {f"float{n}": rng.random(rows) for n in range(6)}
    columns |= {f"integer{n}": rng.integers(0, 1_000_000, rows) for n in range(6)}
    start = np.datetime64("2026-01-01", "ns")
    columns |= {f"time{n}": start + rng.integers(0, 10**15, rows) for n in range(2)}
    for number in range(2):
        codes = rng.integers(0, 50, rows)
        columns[f"category{number}"] = pd.Categorical.from_codes(codes, words[:50])
    columns |= {f"text{n}": words[rng.integers(0, len(words), rows)] for n in range(4)}
    return pd.DataFrame(columns)


def sha1(file: Path) -> None:
    """Hash a file, as whoever writes or reads a verified one has to."""
    with file.open("rb") as stream:
        hashlib.file_digest(stream, "sha1")


def plain(name: str, data: Any) -> None:
    """Write data to a file as one would without a tracker, and read it."""
    FILE.parent.mkdir(exist_ok=True)
    if name in {"frame", "frames"}:
        from kedro_datasets.pandas import ParquetDataset  # noqa: PLC0415

        dataset = ParquetDataset(filepath=FILE.as_posix())
        dataset.save(data)
        dataset.load()
    elif name == "model":
        joblib.dump(data, FILE)
        sha1(FILE)
        sha1(FILE)
        joblib.load(FILE)
    else:
        with FILE.open("wb") as stream:
            pickle.dump(data, stream, protocol=pickle.HIGHEST_PROTOCOL)
        sha1(FILE)
        sha1(FILE)
        with FILE.open("rb") as stream:
            pickle.load(stream)  # noqa: S301 - it was written just now


def results(answer: Path) -> None:
    """Record a thousand results one by one, and write how much longer the last ones took."""
    from kedro_mlrun import MLRunResult  # noqa: PLC0415

    seconds = []
    for number in range(1_000):
        start = time.perf_counter()
        MLRunResult(f"metric{number}").save(number / 7)
        seconds.append(time.perf_counter() - start)
    # The very first one opens the run.
    answer.write_text(str(sum(seconds[-100:]) / sum(seconds[1:101])))


def main(name: str, way: str) -> None:
    """Do one of the works."""
    if name == "results":
        results(Path(way))
        return
    import kedro_mlrun as ours  # noqa: PLC0415

    rng = np.random.default_rng(7)
    kinds = {"frame": ours.MLRunDataframeDataset, "frames": ours.MLRunDataframeDataset}
    kinds |= {"model": ours.MLRunModel, "bytes": ours.MLRunAbstractDataset}
    # In each of the ways, for its imports and the run that it opens are no part of the work.
    ours.MLRunResult("first").save(1)
    kinds[name]("first")
    data: Any
    if name == "frames":
        data = frame(100)
    elif name == "frame":
        data = frame()
    elif name == "model":
        from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415

        learnt = rng.random((500_000, 50))
        data = KNeighborsClassifier(algorithm="brute").fit(learnt, learnt[:, 0] > 0.5)  # noqa: PLR2004
    else:
        data = rng.bytes(500_000_000)
    for number in range(200 if name == "frames" else 1):
        if way == "plain":
            plain(name, data)
        elif way == "ours":
            dataset = kinds[name](f"data{number}")
            dataset.save(data)
            dataset.load()


if __name__ == "__main__":
    main(*sys.argv[1:])
