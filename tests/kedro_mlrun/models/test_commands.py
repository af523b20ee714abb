"""`kedro mlrun promote`, `rollback` and `history`, and promotion by the run that trains."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import KEDRO, Folder, give_pipelines
from helpers import Store

from kedro_mlrun.commands import cli as commands
from kedro_mlrun.project import GateConfig, MLRunConfig, ModelsConfig

REGISTRY = """
import sys

import numpy as np
import pandas as pd
from kedro.pipeline import Node, Pipeline
from sklearn.linear_model import LogisticRegression


class Model(LogisticRegression):
    # Law 7: what is loaded for a promotion is loaded without MLRun.
    def __setstate__(self, state):
        assert "mlrun" not in sys.modules
        super().__setstate__(state)


def split(options):
    random = np.random.default_rng(options["seed"])
    x = random.normal(size=(120, 2))
    rows = pd.DataFrame(x, columns=["x", "y"]).assign(kind=np.where(x[:, 0] > 0, "yes", "no"))
    return rows.head(60), rows.tail(60)


def train(rows, options):
    if options["broken"]:
        raise RuntimeError("broken")
    # One that learns the contrary is worse.
    kind = rows["kind"] if options["good"] else rows["kind"].map({"yes": "no", "no": "yes"})
    return Model().fit(rows[["x", "y"]], kind)


def register_pipelines():
    sets = ["training_set", "test_set"]
    return {"__default__": Pipeline([
        Node(split, "params:options", sets, name="split"),
        Node(train, ["training_set", "params:options"], "model", name="train"),
    ])}
"""
CATALOG = """
training_set: {type: kedro_mlrun.MLRunDataframeDataset}
test_set: {type: kedro_mlrun.MLRunDataframeDataset}
model: {type: kedro_mlrun.MLRunModel, save_args: {training_set: training_set}}
"""

# Where runs are recorded, MLRun was told.
CONFIG = MLRunConfig.model_construct(project="", dbpath="", artifact_path="")


def kedro_mlrun(*arguments: str, **options: Any) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(commands.cli, ["mlrun", *arguments], **options)


@pytest.fixture
def project(bake: Callable[..., Folder]) -> Folder:
    """A project that trains one small model."""
    project = bake()
    give_pipelines(project, REGISTRY, "options: {seed: 1, good: true, broken: false}", CATALOG)
    return project


def gates(project: Folder, better: bool, **gates: dict[str, float]) -> None:
    """Set the gates of mlrun.yml."""
    file = project.path / "conf" / "base" / "mlrun.yml"
    settings = yaml.safe_load(file.read_text())
    settings["models"] = {"gates": gates, "promote_if_better": better}
    file.write_text(yaml.safe_dump(settings))


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_a_model_is_promoted_by_hand_and_rolled_back(
    store: Store, train: Callable[..., str], tmp_path: Path
) -> None:
    """A refusal is one sentence and the numbers, with exit code 1; the history has it."""
    limits = GateConfig(at_least=0.9, worse_by=0.01)
    models = ModelsConfig(gates={"roc_auc": limits})
    store.manager.configure(CONFIG.model_copy(update={"models": models}), tmp_path)
    first = train()[:8]
    done = kedro_mlrun("promote", "model")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == f"model of run {first} is model:champion now."
    second = train("y")[:8]
    assert "is champion already." in kedro_mlrun("promote", "model:champion").stdout
    # The last run is the one that has trained, and not what was done with its model.
    command = ("promote", "model@last", "--reason", "to see")
    done = kedro_mlrun(*command)
    assert done.exit_code == 1 and done.stdout.split()[:3] == ["metric", "candidate", "previous"]
    assert done.stderr.startswith(f"Error: model of run {second} is not promoted to champion: roc_")
    assert done.stderr.endswith("To promote it nevertheless: --force\n")
    # Nor is there another way, and what was refused is remembered.
    done = kedro_mlrun("tag", "model@last", "champion")
    assert done.exit_code == 2
    assert done.stderr.endswith(f"kedro mlrun promote model@{second} --to champion\n")
    assert kedro_mlrun("tag", "model@last", "mine").exit_code == 0
    done = kedro_mlrun("promote", "model@last", "--to", "mine", "--reason", "to see")
    assert done.exit_code == 1 and "at_least is 0.9" in done.stderr
    kedro_mlrun("delete", "--state", "error", "--yes")
    done = kedro_mlrun(*command, "--force")
    assert f"model of run {second} is model:champion now, instead of run {first}." in done.stdout
    done = kedro_mlrun("rollback")
    assert done.stdout == f"model of run {first} is model:champion now, instead of run {second}.\n"
    told = json.loads(kedro_mlrun("history", "--json").stdout)
    assert [(row["action"], row["state"], row["force"]) for row in told] == [
        ("rollback", "completed", False),
        ("promote", "completed", True),
        ("promote", "error", False),
        ("promote", "error", False),
        ("promote", "completed", False),
    ]
    table = kedro_mlrun("history", "model").stdout
    assert "(was 0.9" in table and table.count("to see") == 3
    # Nor do promotions' parameters take the place of those that differ between trainings.
    assert "params." not in kedro_mlrun("runs").stdout
    done = kedro_mlrun("rollback", "model")
    assert done.exit_code == 1 and "No earlier champion of model" in done.stderr
    assert "champion" in kedro_mlrun("models").stdout
    done = kedro_mlrun("delete", first, "--artifacts", input="n")
    assert f"Warning: model of run {first[:8]} is tagged champion." in done.stderr


def test_a_run_promotes_what_it_has_trained_if_it_is_better(project: Folder) -> None:
    """Only what the gates let pass, once, and not of a run that failed; a run can't fail by it."""
    gates(project, better=True, roc_auc={"worse_by": 0.01})
    done = project.run(KEDRO, "run")
    assert done.stdout.splitlines()[-1].endswith("is model:champion now.")
    project.run(KEDRO, "run", "--params=options.broken=true", ok=False)
    done = project.run(KEDRO, "run", "--params=options.good=false")
    assert "is not promoted to champion: roc_auc is 0.0" in done.stdout.splitlines()[-1]
    gates(project, better=True, nonsense={"at_least": 1})
    done = project.run(KEDRO, "run")
    assert "no scorer of scikit-learn" in " ".join(done.stdout.split())
    found = json.loads(project.run(KEDRO, "mlrun", "runs", "--json").stdout)
    assert [(run["name"], run["state"]) for run in found] == [
        ("default", "completed"),
        ("promote", "error"),
        ("default", "completed"),
        ("default", "error"),
        ("promote", "completed"),
        ("default", "completed"),
    ]
