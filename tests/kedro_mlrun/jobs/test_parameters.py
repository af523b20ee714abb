"""What a job is told: its own parameters and Kedro's, and which of them the project has."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from kedro.config import OmegaConfigLoader

from kedro_mlrun.jobs import parameters

Job = parameters.JobParameters

BASE = """
split: {seed: 42, columns: [], target: "${globals:target}"}
model:
  arguments: {max_depth: 4}
  others: {}
_hidden: 1
"""

SPLIT = {"seed": 7, "columns": ["a"], "target": ""}


@pytest.fixture
def loader(tmp_path: Path) -> OmegaConfigLoader:
    """Give the configuration of a project with parameters in several files."""
    files = {
        "base/parameters.yml": BASE,
        "base/parameters/deep/report.yml": "report: {title: A, size: '${runtime_params:size,3}'}",
        "base/catalog.yml": "raw: {filepath: '${runtime_params:folder}/a.csv'}",
        "local/parameters.yml": "mine: 1",
        "cluster/parameters.yml": "theirs: 1",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return OmegaConfigLoader(str(tmp_path), base_env="base", default_run_env="local")


def test_a_jobs_parameters_are_told_apart():
    """As MLRun's client types them, and as a person writes them on a command line."""
    told = {
        "pipeline": "training, evaluation",
        "tags": ["fast"],
        "nodes": "",
        "load_versions": "model:3f2a, leaderboard:a:b",
        "env": None,
        "chain_id": 20261121,
        "model.max_depth": 3,
        "split": {"seed": 7},
        "split.columns": ["a"],
        "split.target": "",
    }
    job = Job.of(told)
    assert (job.pipeline, job.tags, job.nodes) == (["training", "evaluation"], ["fast"], [])
    assert job.load_versions == {"model": "3f2a", "leaderboard": "a:b"}
    assert (job.env, job.chain_id) == (None, "20261121")
    assert job.nested == {"model": {"max_depth": 3}, "split": SPLIT}
    assert Job.of(job.to_dict()) == job


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"pipeline": {"a": 1}}, "Parameter 'pipeline'"),
        ({"env": ["a"]}, "Parameter 'env'"),
        ({"load_versions": "model"}, "'load_versions' is 'model': Write DATASET:VERSION"),
    ],
)
def test_what_has_the_wrong_type_is_refused(told, reason):
    with pytest.raises(parameters.JobError, match=reason) as caught:
        Job.of(told)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "known",
    [
        {"split.seed": 1, "model.arguments.max_depth": 3, "split": {"seed": 1}},
        {"model.others.anything": 1},
        {"report.title": "B", "mine": 2, "folder": "s3://a", "size": 4},
    ],
    ids=str,
)
def test_a_parameter_of_any_file_is_known(loader, known):
    """Of files of the environment, also in folders; asked for by a catalog; into an empty dict."""
    parameters.check_names(Job.of(known).nested, loader)


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ({"split.sed": 1}, "Did you mean 'split.seed'?"),
        ({"max_depth": 1}, "Did you mean 'model.arguments.max_depth'?"),
        ({"model": {"arguments": {"max_dept": 1}}}, "'model.arguments.max_dept'. Did you mean"),
        ({"split.seed.x": 1}, "no parameter 'split.seed.x'"),
        ({"theirs": 1}, "no parameter 'theirs'"),
        ({"xyz": 1}, "no parameter 'xyz'. To add it"),
        ({"model.max_iter": 1}, "no parameter 'model.max_iter'"),
        ({"model.max_depth": 1}, "Did you mean 'model.arguments.max_depth'?"),
    ],
    ids=str,
)
def test_a_parameter_that_no_file_has_is_refused(loader, unknown, nearest):
    """A misspelt one would change nothing, in silence."""
    with pytest.raises(parameters.JobError) as caught:
        parameters.check_names(Job.of(unknown).nested, loader)
    assert nearest in str(caught.value)
    assert "parameters.yml" in str(caught.value)


def test_an_argument_that_no_file_has_goes_beside_others(loader):
    """Law 9: another estimator takes its own arguments, as in `kedro run`; a misspelt one is said.

    The advice names the file that has the others.
    """
    new = {"model.arguments": {"probability": True, "max_iter": 500, "base": {"depth": 1}}}
    parameters.check_names(Job.of(new).nested, loader)
    with pytest.raises(parameters.JobError, match=r"title'.*/base/parameters/deep/report.yml"):
        parameters.check_names({"report": {"titel": "B"}}, loader)


def test_a_job_that_runs_again_gets_what_it_was_given():
    """MLRun hands it all that was recorded: shortened lists, and asterisks for secrets."""
    annotations: dict[str, str] = {}
    context = SimpleNamespace(
        parameters={"split.seed": 7},
        annotations=annotations,
        set_annotation=annotations.__setitem__,
    )
    assert parameters.given(context) == {"split.seed": 7}
    context.parameters = {"split.seed": 7, "db.password": "*****", "kedro.pipeline": "training"}
    assert parameters.given(context) == {"split.seed": 7}
