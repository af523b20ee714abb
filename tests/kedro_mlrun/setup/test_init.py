"""`kedro mlrun init` on small projects: what it plans, writes, and takes back."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import ROOT
from kedro.framework.startup import ProjectMetadata
from kedro.pipeline import Pipeline, node

from kedro_mlrun.commands import setup as commands
from kedro_mlrun.setup import init

CATALOG = """\
# Raw data
cars:
  type: pandas.CSVDataset
  filepath: data/cars.csv

clean_cars:  # without gaps
  filepath: data/clean_cars.pq  # a file
  type: kedro_datasets.pandas.ParquetDataset  # columns
  # As it was saved
  save_args:
    index: false
    partition_cols:
    - year
  versioned: true

"big.regressor":
  type: pickle.PickleDataset
  filepath: data/big.pkl
metrics:
  type: json.JSONDataset
  filepath: data/metrics.json
encoder:
  type: pickle.PickleDataset
  filepath: data/encoder.pkl
plot:
  type: matplotlib.MatplotlibDataset
  filepath: data/plot.png
"""

CHANGED = """\
# Raw data
cars:
  type: pandas.CSVDataset
  filepath: data/cars.csv

clean_cars:  # without gaps
  type: kedro_mlrun.MLRunDataframeDataset  # columns
  # As it was saved
  versioned: true

"big.regressor":
  type: kedro_mlrun.MLRunModel
metrics:
  type: kedro_mlrun.MLRunResult
  flatten: true
encoder:
  type: pickle.PickleDataset
  filepath: data/encoder.pkl
plot:
  type: matplotlib.MatplotlibDataset
  filepath: data/plot.png
"""


def made(*names: str, of: str = "cars") -> dict[str, Pipeline]:
    """A pipeline that makes these."""
    nodes = [node(lambda data: data, of, name, name=f"node{i}") for i, name in enumerate(names)]
    return {"__default__": Pipeline(nodes)}


ALL = made("clean_cars", "big.regressor", "metrics", "encoder", "plot")


def edited(text: str, pipelines: dict[str, Pipeline]) -> str:
    for edit in init.catalog_edits({"catalog.yml": text}, pipelines):
        text = edit.apply(text)
    return text


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_models_metrics_and_frames_that_pipelines_make_become_mlruns(end: str) -> None:
    text = edited(CATALOG.replace("\n", end), ALL)
    assert text.replace("\r\n", "\n") == CHANGED
    assert edited(text, ALL) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("frame", "frame: &frame\n  type: {csv}\n  filepath: a.csv\ncars:\n  <<: *frame\n"),
        ("frame", "_csv: &csv\n  type: {csv}\nframe:\n  <<: *csv\n  filepath: a.csv\n"),
        ("frame", "frame:\n  type: ${{_csv}}\n  filepath: a.csv\n"),
        ("frame", '"{{name}}":\n  type: {csv}\n  filepath: a.csv\n'),
        ("frame@pandas", "frame@pandas:\n  type: {csv}\n  filepath: a.csv\n"),
        ("frame", "frame:\n  type: {csv}\n  filepath: s3://bucket/a.csv\n"),
        ("frame", "frame:\n  type: {csv}\n  filepath: a.csv\n  load_args: {{dtype: str}}\n"),
        ("frame", "frame: {{type: {csv}, filepath: a.csv}}\n"),
        ("frame", "frame: ${{_frame}}\n"),
        ("y_train", "y_train:\n  type: {csv}\n  filepath: a.csv\n"),
        (
            "evaluation.options",
            "evaluation.options:\n  type: json.JSONDataset\n  filepath: a.json\n",
        ),
    ],
)
def test_an_entry_that_would_mean_something_else_stays(name: str, text: str) -> None:
    text = text.format(csv="pandas.CSVDataset")
    assert edited(text, made(name)) == text


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectMetadata:
    monkeypatch.setattr(init, "starter_folder", lambda: ROOT)
    (tmp_path / "conf" / "base").mkdir(parents=True)
    (tmp_path / "source" / "cars").mkdir(parents=True)
    (tmp_path / "source" / "cars" / "settings.py").write_text("HOOKS = (object(),)")
    (tmp_path / ".gitignore").write_text("*.log")
    return ProjectMetadata(
        config_file=tmp_path / "pyproject.toml",
        package_name="cars",
        project_name="Cars & Vans, größer",
        project_path=tmp_path,
        source_dir=tmp_path / "source",
        kedro_init_version="1.7.0",
        tools=[],
        example_pipeline="no",
    )


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(project: ProjectMetadata, vendor: bool = False) -> None:
    conf = project.project_path / "conf" / "base"
    init.write(project.project_path, init.needed(project, conf, vendor))


def test_what_is_missing_is_written_once_and_taken_out_again(project: ProjectMetadata) -> None:
    before = files(project.project_path)
    write(project, vendor=True)
    written = files(project.project_path)
    assert written[".gitignore"] == "*.log\n\n# Added by `kedro mlrun init`\n/.mlrun/\n"
    assert "\nproject: cars-vans-grosser\n" in written["conf/base/mlrun.yml"]
    assert "\n  workdir: source #" in written["function.yaml"]
    assert "{{" not in written["conf/base/mlrun.yml"] + written["function.yaml"]
    assert written["source/cars/settings.py"].endswith("HOOKS = (*HOOKS, MLRunHooks(),)\n")
    assert not [name for name in written if "starter" in name]
    write(project, vendor=True)
    assert files(project.project_path) == written
    init.undo(project)
    assert files(project.project_path) == before
    assert not (project.project_path / ".mlrun").exists()


def test_files_that_are_there_stay_and_undo_leaves_them(project: ProjectMetadata) -> None:
    (project.project_path / "function.yaml").write_text("kind: job\n")
    (project.project_path / "conf" / "base" / "mlrun.yml").write_text("project: own\n")
    before = files(project.project_path)
    write(project)
    init.undo(project)
    assert files(project.project_path) == before


def test_undo_keeps_what_was_edited_since(project: ProjectMetadata) -> None:
    folder = project.project_path
    write(project)
    for name in (".gitignore", "function.yaml"):
        (folder / name).write_text((folder / name).read_text() + "# mine\n")
    done, left = init.undo(project)
    assert (done, left) == ({".gitignore", "conf/base/mlrun.yml"}, {"function.yaml"})
    assert (folder / ".gitignore").read_text() == "*.log# mine\n"
    (folder / "function.yaml").unlink()
    assert init.undo(project) == ({"function.yaml"}, set())
    assert not (folder / ".mlrun").exists()


def test_undo_without_its_memory_says_so(project: ProjectMetadata) -> None:
    """Law 9: what init wrote is not known in another clone; nothing is changed."""
    write(project)
    before = files(project.project_path)
    (project.project_path / init.MEMORY).rename(project.project_path / "elsewhere.json")
    done = CliRunner().invoke(commands.init, ["--undo"], obj=project)
    assert done.exit_code == 1
    assert "isn't known" in done.output and ".mlrun/init.json" in done.output
    assert "0 files" not in done.output
    (project.project_path / "elsewhere.json").rename(project.project_path / init.MEMORY)
    assert files(project.project_path) == before
    done = CliRunner().invoke(commands.init, ["--undo"], obj=project)
    assert (done.exit_code, "3 files" in done.output) == (0, True), done.output


def test_undo_of_one_entry_leaves_another_whose_name_ends_like_it() -> None:
    entry = "{}:\n  type: pandas.CSVDataset\n  filepath: {}.csv\n"
    text = before = entry.format("clean_cars", "a") + entry.format("cars", "b")
    edits = init.catalog_edits({"catalog.yml": text}, made("clean_cars", "cars", of="raw"))
    for edit in edits:
        text = edit.apply(text)
    for edit in reversed(edits):
        text = init.Edit("", edit.new, str(edit.old)).apply(text)
    assert text == before
