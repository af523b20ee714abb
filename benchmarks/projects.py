"""Kedro projects that do the same work in three ways: untracked, with ours, with kedro-mlflow."""

import random
import shutil
from pathlib import Path
from typing import Any

import yaml

OURS, MLFLOW, UNTRACKED = "ours", "kedro-mlflow", "untracked"

SETTINGS = {
    OURS: "from kedro_mlrun import MLRunHooks\n\nHOOKS = (MLRunHooks(),)\n",
    MLFLOW: "",
    UNTRACKED: 'DISABLE_HOOKS_FOR_PLUGINS = ("kedro-mlrun", "kedro-mlflow", "kedro_mlflow")\n',
}
REGISTRY = """from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline


def register_pipelines():
    pipelines = find_pipelines(raise_errors=True)
    return {**pipelines, "__default__": sum(pipelines.values(), Pipeline([]))}
"""
ONE_NODE = """from kedro.pipeline import Node, Pipeline


def create_pipeline():
    return Pipeline([Node(lambda depth: 0.5 * depth, "params:depth", "score", name="score")])
"""
# As Kedro's spaceflights starter has it: three tables are cleaned and joined, a regression is
# fitted and evaluated.
SPACEFLIGHTS = """import pandas as pd
from kedro.pipeline import Node, Pipeline
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split


def clean_companies(companies):
    rating = companies["company_rating"].str.rstrip("%").astype(float) / 100
    return companies.assign(company_rating=rating, iata=companies["iata"] == "t")


def clean_shuttles(shuttles):
    price = shuttles["price"].str.replace("[$,]", "", regex=True).astype(float)
    return shuttles.assign(price=price, checked=shuttles["checked"] == "t")


def join(companies, shuttles, reviews):
    rated = shuttles.merge(reviews, left_on="id", right_on="shuttle_id").drop(columns="id")
    return rated.merge(companies, left_on="company_id", right_on="id").dropna()


def split(table, options):
    return train_test_split(
        table[options["features"]], table["price"], test_size=0.2, random_state=3
    )


def fit(features, price):
    return LinearRegression().fit(features, price)


def evaluate(model, features, price):
    predicted = model.predict(features)
    errors = mean_absolute_error(price, predicted)
    return {"r2": float(r2_score(price, predicted)), "mae": float(errors)}


def create_pipeline():
    return Pipeline(
        [
            Node(clean_companies, "companies", "cleaned_companies"),
            Node(clean_shuttles, "shuttles", "cleaned_shuttles"),
            Node(join, ["cleaned_companies", "cleaned_shuttles", "reviews"], "model_input_table"),
            Node(
                split,
                ["model_input_table", "params:options"],
                ["x_train", "x_test", "y_train", "y_test"],
            ),
            Node(fit, ["x_train", "y_train"], "regressor"),
            Node(evaluate, ["regressor", "x_test", "y_test"], "metrics"),
        ]
    )
"""
FEATURES = ["engines", "passengers", "crew", "checked", "iata", "company_rating", "review_score"]


def entry(kind: str, way: str, name: str) -> dict[str, Any]:
    """Give the catalog entry with which one of the three ways keeps a result of some kind."""
    files = {
        "frame": ("pandas.ParquetDataset", "parquet"),
        "model": ("pickle.PickleDataset", "pkl"),
        "values": ("json.JSONDataset", "json"),
        "value": ("json.JSONDataset", "json"),
        "plot": ("matplotlib.MatplotlibDataset", "png"),
    }
    dataset, ending = files[kind]
    plain = {"type": dataset, "filepath": f"data/{name}.{ending}"}
    ours = {
        "frame": {"type": "kedro_mlrun.MLRunDataframeDataset"},
        "model": {"type": "kedro_mlrun.MLRunModel"},
        "values": {"type": "kedro_mlrun.MLRunResult", "flatten": True},
        "value": {"type": "kedro_mlrun.MLRunResult"},
        "plot": {"type": "kedro_mlrun.MLRunArtifactDataset", "dataset": plain},
    }
    artifacts, models = "kedro_mlflow.io.artifacts", "kedro_mlflow.io.models"
    as_artifact = {"type": f"{artifacts}.MlflowArtifactDataset", "dataset": plain}
    as_model: dict[str, Any] = {
        "type": f"{models}.MlflowModelTrackingDataset",
        "flavor": "mlflow.sklearn",
    }
    # Its default refuses forests.
    as_model["save_args"] = {"serialization_format": "cloudpickle"}
    mlflow = {kind: as_artifact for kind in files} | {"model": as_model}
    return {OURS: ours, MLFLOW: mlflow, UNTRACKED: dict.fromkeys(files, plain)}[way][kind]


def make(folder: Path, way: str, pipeline: str, entries: dict[str, str], **conf: Any) -> Path:
    """Write a project of one pipeline, of which each entry is kept as a kind of result."""
    package = folder / "src" / "bench"
    base = folder / "conf" / "base"
    for place in (package / "pipelines" / "work", base, folder / "conf" / "local"):
        place.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[tool.kedro]\npackage_name = "bench"\nproject_name = "bench"\n'
        'kedro_init_version = "1.7.0"\nsource_dir = "src"\n'
    )
    for empty in (package, package / "pipelines"):
        (empty / "__init__.py").touch()
    (package / "settings.py").write_text(SETTINGS[way])
    (package / "pipeline_registry.py").write_text(REGISTRY)
    (package / "pipelines" / "work" / "__init__.py").write_text(pipeline)
    catalog = {name: entry(kind, way, name) for name, kind in entries.items()}
    write(base / "catalog.yml", {**conf.pop("sources", {}), **catalog})
    write(base / "parameters.yml", conf)
    track(base, way)
    return folder


def track(base: Path, way: str) -> None:
    """Write what tells one of the trackers where to record."""
    if way == OURS:
        store, artifacts = "sqlite:///.mlrun/mlrun.db", ".mlrun/artifacts"
        own = {"project": "bench", "dbpath": store, "artifact_path": artifacts}
        write(base / "mlrun.yml", own)
    elif way == MLFLOW:
        write(base / "mlflow.yml", {"server": {"mlflow_tracking_uri": "sqlite:///mlflow.db"}})


def one_node(folder: Path, way: str) -> Path:
    """Make the project whose pipeline is one trivial node."""
    return make(folder, way, ONE_NODE, {"score": "value"}, depth=3)


def spaceflights(folder: Path, way: str) -> Path:
    """Make a project like Kedro's spaceflights, with tables of as many rows as there."""
    names = ("companies", "shuttles", "reviews")
    sources = {
        name: {"type": "pandas.CSVDataset", "filepath": f"data/01_raw/{name}.csv"} for name in names
    }
    entries = dict.fromkeys(["cleaned_companies", "cleaned_shuttles", "model_input_table"], "frame")
    entries |= {"regressor": "model", "metrics": "values"}
    options = {"features": FEATURES}
    made = make(folder, way, SPACEFLIGHTS, entries, sources=sources, options=options)
    write_tables(made / "data" / "01_raw", 77_000)
    return made


def write_tables(folder: Path, rows: int) -> None:
    """Write the three tables of spaceflights, the same each time."""
    folder.mkdir(parents=True)
    rng = random.Random(7)  # noqa: S311 - of data that nobody has to guess
    companies = [f"{number},{rng.randint(40, 100)}%,{rng.choice('tf')}" for number in range(rows)]
    shuttles = [
        f"{number},{rng.randint(1, 4)},{rng.randint(1, 8)},{rng.randint(1, 5)},{rng.choice('tf')}"
        f',"${rng.randint(1, 9)},{rng.randint(100, 999)}.0",{rng.randrange(rows)}'
        for number in range(rows)
    ]
    reviews = [f"{number},{rng.randint(20, 100)}" for number in range(rows)]
    tables = {
        "companies": ("id,company_rating,iata", companies),
        "shuttles": ("id,engines,passengers,crew,checked,price,company_id", shuttles),
        "reviews": ("shuttle_id,review_score", reviews),
    }
    for name, (header, lines) in tables.items():
        (folder / f"{name}.csv").write_text("\n".join([header, *lines]) + "\n")


def own_pipelines(folder: Path, way: str, baked: Path) -> Path:
    """Copy the generated project, and have it tracked in another way, or not at all."""
    shutil.copytree(baked, folder)
    if way == OURS:
        return folder
    kinds = {
        "MLRunDataframeDataset": "frame",
        "MLRunModel": "model",
        "MLRunResult": "values",
        "MLRunMetricHistory": "frame",
        "MLRunArtifactDataset": "plot",
    }
    catalog = folder / "conf" / "base" / "catalog.yml"
    entries = yaml.safe_load(catalog.read_text())
    for name, each in entries.items():
        if kind := kinds.get(each["type"].rpartition(".")[2]):
            kept = entry(kind, way, name)
            validator = {"validator": each["validator"]} if "validator" in each else {}
            entries[name] = {**kept, **validator}
    write(catalog, entries)
    (settings,) = folder.glob("src/*/settings.py")
    args = settings.read_text().partition("CONFIG_LOADER_ARGS")
    settings.write_text("".join([SETTINGS[way], *args[1:]]))
    (folder / "conf" / "base" / "mlrun.yml").unlink()
    shutil.rmtree(folder / "src" / "kedro_mlrun")
    track(folder / "conf" / "base", way)
    return folder


def write(file: Path, content: dict[str, Any]) -> None:
    """Write a YAML file."""
    file.write_text(yaml.safe_dump(content, sort_keys=False))
