"""Kedro projects that do the same untracked, with ours, with kedro-mlflow; and a full store."""

import json
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from kedro_mlrun.store.values import write_values

UNTRACKED, OURS, MLFLOW = "untracked", "ours", "kedro-mlflow"

HOOKS = "from kedro_mlrun import MLRunHooks\n\nHOOKS = (MLRunHooks(),)\n"
PYPROJECT = '[tool.kedro]\npackage_name = "bench"\nproject_name = "bench"\n'
PYPROJECT += 'kedro_init_version = "1.7.0"\nsource_dir = "src"\n'
ONE_NODE = """from kedro.pipeline import Node, Pipeline


def register_pipelines():
    node = Node(lambda depth: 0.5 * depth, "params:depth", "score", name="score")
    return {"__default__": Pipeline([node])}
"""
# Of each kind of result: the dataset that writes its file, the file's ending, our own dataset.
KINDS = {
    "frame": ("pandas.ParquetDataset", "parquet", "MLRunDataframeDataset"),
    "model": ("pickle.PickleDataset", "pkl", "MLRunModel"),
    "values": ("json.JSONDataset", "json", "MLRunResult"),
    "plot": ("matplotlib.MatplotlibDataset", "png", "MLRunArtifactDataset"),
}
MLRUN_YML = {"project": "breast-cancer", "dbpath": "sqlite:///.mlrun/mlrun.db"}
MLRUN_YML["artifact_path"] = ".mlrun/artifacts"
MLFLOW_YML = {"server": {"mlflow_tracking_uri": "sqlite:///mlflow.db"}}
ROWS = 77_000  # as the tables of spaceflights have
TABLES = {
    "companies": "id,company_rating,iata\n{row},{many}%,{flag}",
    "shuttles": "id,engines,passengers,crew,checked,price,company_id\n"
    '{row},{few},{few},{few},{flag},"${few},{many}0.0",{other}',
    "reviews": "shuttle_id,review_score\n{row},{many}",
}

OWNERS = {"run_labels": "runs", "run_inputs": "runs", "artifact_labels": "artifacts"}
PER_DAY = 20  # runs that a project has on each day


def entry(kind: str, way: str, name: str) -> dict[str, Any]:
    """Give the catalog entry with which one of the ways keeps a result of some kind."""
    dataset, ending, own = KINDS[kind]
    plain = {"type": dataset, "filepath": f"data/{name}.{ending}"}
    if way == OURS:
        more: dict[str, Any] = {"plot": {"dataset": plain}, "values": {"flatten": True}}
        return {"type": f"kedro_mlrun.{own}", **more.get(kind, {})}
    if way == UNTRACKED:
        return plain
    if kind != "model":
        return {"type": "kedro_mlflow.io.artifacts.MlflowArtifactDataset", "dataset": plain}
    # Its default format refuses forests. Without requirements, it finds them in another process.
    save_args = {"serialization_format": "cloudpickle", "pip_requirements": ["scikit-learn"]}
    model = "kedro_mlflow.io.models.MlflowModelTrackingDataset"
    return {"type": model, "flavor": "mlflow.sklearn", "save_args": save_args}


def make(folder: Path, way: str, pipelines: str, catalog: Any, parameters: Any) -> Path:
    """Write a Kedro project, which is of the MLRun project that our own pipelines have."""
    package, base = Path("src", "bench"), Path("conf", "base")
    files = {
        Path("pyproject.toml"): PYPROJECT,
        package / "__init__.py": "",
        package / "settings.py": HOOKS if way == OURS else "",
        package / "pipeline_registry.py": pipelines,
        # JSON is YAML.
        base / "catalog.yml": json.dumps(catalog),
        base / "parameters.yml": json.dumps(parameters),
        base / "mlrun.yml": json.dumps(MLRUN_YML),
        base / "mlflow.yml": json.dumps(MLFLOW_YML),
        Path("conf", "local", ".gitkeep"): "",
    }
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


def one_node(folder: Path, way: str) -> Path:
    """Make a project of one trivial node."""
    score = entry("values", way, "score")
    if way == MLFLOW:
        score = {"type": "kedro_mlflow.io.metrics.MlflowMetricDataset", "key": "score"}
    score.pop("flatten", None)
    return make(folder, way, ONE_NODE, {"score": score}, {"depth": 3})


def spaceflights(folder: Path, way: str) -> Path:
    """Make a project like Kedro's spaceflights."""
    kinds = dict.fromkeys(["cleaned_companies", "cleaned_shuttles", "model_input_table"], "frame")
    kinds |= {"regressor": "model", "metrics": "values"}
    catalog = {name: entry(kind, way, name) for name, kind in kinds.items()}
    (folder / "data").mkdir(parents=True)
    for name, text in TABLES.items():
        header, line = text.split("\n")
        lines = [header]
        for row in range(ROWS):
            other = row * 7919 % ROWS  # a prime, so that it is each of them once
            made = {"few": other % 8 + 1, "many": other % 81 + 20, "flag": "tf"[other % 2]}
            lines.append(line.format(row=row, other=other, **made))
        (folder / "data" / f"{name}.csv").write_text("\n".join(lines))
        catalog[name] = {"type": "pandas.CSVDataset", "filepath": f"data/{name}.csv"}
    pipelines = Path(__file__).with_name("spaceflights.py").read_text()
    return make(folder, way, pipelines, catalog, {})


def own_pipelines(folder: Path, way: str, baked: Path) -> Path:
    """Copy the generated project, and have it tracked in another way, or not at all."""
    shutil.copytree(baked, folder)
    if way == OURS:
        return folder
    base = folder / "conf" / "base"
    catalog = yaml.safe_load((base / "catalog.yml").read_text())
    kinds = {f"kedro_mlrun.{own}": kind for kind, (_, _, own) in KINDS.items()}
    kinds["kedro_mlrun.MLRunMetricHistory"] = "frame"
    for name, ours in catalog.items():
        if kind := kinds.get(ours["type"]):
            validator = {"validator": ours["validator"]} if "validator" in ours else {}
            catalog[name] = {**entry(kind, way, name), **validator}
    (settings,) = folder.glob("src/*/settings.py")
    _, name, rest = settings.read_text().partition("CONFIG_LOADER_ARGS")
    shutil.rmtree(folder / "src" / "kedro_mlrun")
    (base / "catalog.yml").write_text(json.dumps(catalog))
    (base / "mlflow.yml").write_text(json.dumps(MLFLOW_YML))
    settings.write_text(name + rest)
    return folder


def fill(store: Path, runs: int, artifacts: int) -> None:
    """Copy what a store has, to earlier days, until it has so many runs and artifacts of each.

    The copies have ids of their own, also in each other's inputs. They are written as rows: by way
    of the store's own functions it would take an hour. Compressed records are copied as they are.
    """
    with closing(sqlite3.connect(store)) as db, db:
        db.execute("PRAGMA journal_mode = OFF")
        names = ["runs", "artifacts", *OWNERS]
        tables = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in names}  # noqa: S608
        # Columns are: id, project, uid, … of runs; id, project, key, uid, … of artifacts.
        uids = [row[2] for row in tables["runs"]] + [row[3] for row in tables["artifacts"]]
        today = tables["runs"][-1][6][:10]  # start_time
        (seed,) = re.findall(r'"split\.seed": \d+', tables["runs"][0][-1])  # body
        count = {name: len(rows) for name, rows in tables.items()}
        for copy in range(1, max(runs // count["runs"], runs * artifacts // count["artifacts"])):
            day = date.fromisoformat(today) - timedelta(days=1 + copy // PER_DAY)
            changes = {uid: f"{copy:08x}{uid[8:]}" for uid in uids} | {today: day.isoformat()}
            # For a condition that holds for one in a thousand.
            changes[seed] = f'"split.seed": {1_000 + copy % 1_000}'
            for name, rows in tables.items():
                # The first column is the id, or that of the owner.
                shift = copy * count[OWNERS.get(name, name)]
                made = [(row[0] + shift, *(_changed(v, changes) for v in row[1:])) for row in rows]
                places = ", ".join("?" * len(made[0]))
                db.executemany(f"INSERT INTO {name} VALUES ({places})", made)  # noqa: S608
        for owner, body in db.execute("SELECT id, body FROM runs"):
            write_values(db, owner, json.loads(body))


def _changed(value: Any, changes: dict[str, str]) -> Any:
    if isinstance(value, str):
        for old, new in changes.items():
            value = value.replace(old, new)
    return value
