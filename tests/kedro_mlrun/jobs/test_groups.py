"""Which jobs pipelines become, in which order, and which data would be lost between them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import project_module
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.framework import project as kedro_project
from kedro.io import CachedDataset, DataCatalog, MemoryDataset
from kedro.io.shared_memory_dataset import SharedMemoryDataset
from kedro.pipeline import Pipeline, node
from kedro_datasets.pandas import CSVDataset

from kedro_mlrun.jobs import groups, plan
from kedro_mlrun.jobs.parameters import JobParameters
from kedro_mlrun.project import TrackingConfig

registry = project_module("pipeline_registry")


def take(*inputs: Any) -> Any:
    return inputs


def step(inputs: Any, outputs: Any, name: str, **options: Any) -> Any:
    return node(take, inputs, outputs, name=name, **options)


def shape(found: list[Any]) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(group.name, names_in(group), group.after) for group in found]


def names_in(group: Any) -> tuple[str, ...]:
    return tuple(node.name for node in group.part.nodes)


def parts(found: list[Any]) -> dict[str, Pipeline]:
    return {group.name: group.part for group in found}


def refused(*arguments: Any) -> str:
    with pytest.raises(groups.JobError) as raised:
        groups.grouped(*arguments)
    assert raised.value.exit_code == 2
    return raised.value.message


PIPELINES = {
    "last": Pipeline([step(["b@spark", "params:x"], "c", "z")]),
    "first": Pipeline([step("raw", "a", "x")]),
    "second": Pipeline([step(["a", "parameters"], "b@pandas", "y")]),
}


def test_the_project_becomes_a_job_for_training_and_one_for_evaluation():
    pipelines = registry.register_pipelines()
    training, evaluation = groups.grouped(pipelines)
    assert (training.name, training.after) == ("training", ())
    assert (evaluation.name, evaluation.after) == ("evaluation", ("training",))
    assert training.told == {"pipeline": ["training"]}
    assert {data["dataset"] for data in groups.crossing(parts([training, evaluation]))} == {
        "test_set",
        "random_forest_model",
        "xgboost_model",
        "best_model",
    }


def test_groups_come_in_the_order_of_their_data():
    """Transcoded data is the same data, and parameters are no data."""
    found = groups.grouped(PIPELINES)
    assert shape(found) == [
        ("first", ("x",), ()),
        ("second", ("y",), ("first",)),
        ("last", ("z",), ("second",)),
    ]
    assert groups.crossing(parts(found)) == [
        {"dataset": "a", "from": "first", "to": ["second"]},
        {"dataset": "b", "from": "second", "to": ["last"]},
    ]
    assert [group.name for group in groups.grouped(PIPELINES, ["last", "first"])] == [
        "last",
        "first",
    ]


def test_nodes_are_grouped_by_namespace_or_tag():
    """What has none is a group of its own, as in Kedro; only the outermost namespace counts."""
    inner = Pipeline([step("m", "n", "n1")], namespace="inner", inputs="m", outputs="n")
    first = [step("a", "m", "m1")]
    nodes = [
        step("raw", "a", "start", tags="slow"),
        *Pipeline([*first, *inner.nodes], namespace="outer", inputs="a", outputs="n").nodes,
        step("n", "end", "stop", tags="slow"),
    ]
    pipelines = {"__default__": Pipeline(nodes), "stop": Pipeline(nodes[-1:])}
    by_namespace = groups.grouped(pipelines, [], "namespace")
    assert shape(by_namespace) == [
        ("start", ("start",), ()),
        ("outer", ("outer.m1", "outer.inner.n1"), ("start",)),
        ("stop", ("stop",), ("outer",)),
    ]
    inside = ["outer.m1", "outer.inner.n1"]
    assert by_namespace[1].told == {"pipeline": ["__default__"], "nodes": inside}
    assert shape(groups.grouped(pipelines, ["stop"], "tag")) == [("slow", ("stop",), ())]
    assert refused(pipelines, [], "tag") == (
        "The groups need each other's data, so that none can run first: `a` of 'slow', "
        "`outer.m` of 'outer.m1', `n` of 'outer.inner.n1'. Put the nodes that lie between them "
        "into one group, or into groups of their own."
    )


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_each_node_runs_once_and_after_all_that_it_needs(data: st.DataObject):
    """Whatever the graph and however its nodes are tagged, if no groups wait for each other."""
    nodes = []
    for number in range(data.draw(st.integers(1, 12))):
        made = [f"d{earlier}" for earlier in range(number)]
        taken = data.draw(st.lists(st.sampled_from(made), unique=True)) if made else []
        tag = data.draw(st.sampled_from(["", "p", "q", "r"]))
        nodes.append(step(taken or ["raw"], f"d{number}", f"n{number}", tags=[tag] if tag else []))
    pipeline = Pipeline(data.draw(st.permutations(nodes)))
    try:
        found = groups.grouped({"__default__": pipeline}, [], "tag")
    except groups.JobError as error:
        assert "need each other's data" in error.message
        return
    names = [name for group in found for name in names_in(group)]
    assert sorted(names) == sorted(node.name for node in nodes)
    position = {name: place for place, name in enumerate(names)}
    for parent, child in (
        (parent.name, child.name)
        for child, parents in pipeline.node_dependencies.items()
        for parent in parents
    ):
        assert position[parent] < position[child]
    for place, group in enumerate(found):
        assert set(group.after) <= {other.name for other in found[:place]}


@pytest.mark.parametrize(
    ("pipelines", "names", "group_by", "message"),
    [
        (
            {
                "a": Pipeline([step("r", "x", "n"), step("y", "z", "o")]),
                "b": Pipeline([step("x", "y", "m")]),
            },
            [],
            "pipeline",
            "The groups need each other's data, so that none can run first: `x` of 'a', "
            "`y` of 'b'. Put the nodes that lie between them into one group, or into "
            "groups of their own.",
        ),
        (
            {**PIPELINES, "all": PIPELINES["first"] + PIPELINES["second"]},
            [],
            "pipeline",
            "Node 'x' is both in 'first' and in 'all', and would run twice. Name only one pipeline "
            "that has it, or leave it only one tag.",
        ),
        (
            {"a": Pipeline([step("r", "x", "n")]), "b": Pipeline([step("r", "x", "m")])},
            [],
            "pipeline",
            "Output(s) ['x'] are returned by more than one nodes. Node outputs must be unique. "
            "Name other pipelines or nodes.",
        ),
        (
            {"a": Pipeline([step("r", "x", "n")]), "b": Pipeline([step("r", "x", "m")])},
            ["a", "b"],
            "namespace",
            "Output(s) ['x'] are returned by more than one nodes. Node outputs must be unique. "
            "Name other pipelines or nodes.",
        ),
        (
            {"__default__": Pipeline([step("r", "x", "n", tags=["u", "t"])])},
            [],
            "tag",
            "Node 'n' is both in 't' and in 'u', and would run twice. Name only one pipeline "
            "that has it, or leave it only one tag.",
        ),
        (
            {"a": Pipeline([])},
            ["a"],
            "pipeline",
            "Pipeline contains no nodes after applying all provided filters. Please ensure that at "
            "least one pipeline with nodes has been defined. Name other pipelines or nodes.",
        ),
        (
            {"a": Pipeline([])},
            [],
            "namespace",
            "The project has no pipeline '__default__'. It has a.",
        ),
    ],
)
def test_what_can_be_no_workflow_is_refused(pipelines, names, group_by, message):
    assert refused(pipelines, names, group_by) == message


def test_an_unknown_pipeline_is_answered_with_the_nearest():
    message = (
        "The project has no pipeline 'frist'. Did you mean 'first'? It has first, last, second."
    )
    assert refused(PIPELINES, ["frist"]) == message
    message = "The project has no pipeline 'q'. It has first, last, second."
    assert refused(PIPELINES, ["q"], "tag") == message


# ---- what crosses


def entry(kind: str, **arguments: Any) -> dict[str, Any]:
    return {"type": f"kedro_mlrun.{kind}", "key": "k", **arguments}


def project(catalog: DataCatalog, folder: Path = Path("/p"), files: Any = ()) -> Any:
    """Give a project with this catalog, whose archive has these files."""
    made = plan.Project(folder, "archive", SimpleNamespace(catalog=catalog))
    made.archive = SimpleNamespace(files=files)
    made.tracking = TrackingConfig()
    return made


def problem(entry: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the one message about data that goes from one job to another."""
    is_config = isinstance(entry, dict)
    catalog = DataCatalog.from_config({"table": entry} if is_config else {})
    if entry is not None and not is_config:
        catalog["table"] = entry
    return lost(
        catalog, Pipeline([step("raw", "table", "m")]), {}, monkeypatch, step("table", "end", "u")
    )


def lost(
    catalog: DataCatalog, part: Pipeline, registered: Any, monkeypatch: Any, *others: Any
) -> str:
    """Give the messages about data that would be lost, but for their first and last lines."""
    monkeypatch.setattr(kedro_project, "pipelines", registered)
    mounts = [{"mountPath": "/mnt/team"}]
    job = plan.Plan(
        project(catalog),
        part,
        JobParameters(),
        {"spec": {"volume_mounts": mounts}},
        {"metadata": {"name": "make"}},
    )
    try:
        groups.check_outputs(job, {"use": Pipeline(others)} if others else {})
    except groups.JobError as error:
        first, *rest, kept, _, _ = error.message.splitlines()
        assert first == "What job 'make' makes would be lost with it."
        assert "kedro_mlrun.MLRunDataframeDataset" in kept
        return "\n".join(rest)
    return ""


@pytest.mark.parametrize(
    "lost",
    [
        None,
        MemoryDataset(),
        SharedMemoryDataset(),
        CachedDataset(MemoryDataset()),
        {"type": "CachedDataset", "dataset": {"type": "MemoryDataset"}},
    ],
    ids=["no entry", "memory", "shared", "cached", "cached entry"],
)
def test_data_in_memory_does_not_cross(lost: Any, monkeypatch: pytest.MonkeyPatch):
    assert problem(lost, monkeypatch) == "`table` for use is in the job's memory."


@pytest.mark.parametrize(
    "lost",
    [
        CSVDataset(filepath="/p/data/02/x.csv"),
        {"type": "pandas.CSVDataset", "filepath": "/p/data/02/x.csv", "versioned": True},
        {
            "type": "CachedDataset",
            "dataset": {"type": "pandas.CSVDataset", "filepath": "file:///p/data/02/x.csv"},
        },
    ],
)
def test_a_local_file_does_not_cross(lost: Any, monkeypatch: pytest.MonkeyPatch):
    where = "a file of the job's own machine: /p/data/02/x.csv."
    assert problem(lost, monkeypatch) == f"`table` for use is {where}"


@pytest.mark.parametrize(
    "kept",
    [
        entry("MLRunDataframeDataset"),
        entry("MLRunResult"),
        entry("MLRunArtifactDataset", dataset={"type": "pandas.CSVDataset", "filepath": "x.csv"}),
        {"type": "CachedDataset", "dataset": entry("MLRunModel")},
        {"type": "pandas.CSVDataset", "filepath": "memory://bucket/x.csv"},
        {"type": "pandas.CSVDataset", "filepath": "/mnt/team/x.csv"},
        # Where the jobs are on this machine, too.
        {"type": "pandas.CSVDataset", "filepath": "/elsewhere/x.csv"},
    ],
)
def test_mlruns_data_remote_files_and_volumes_cross(kept: Any, monkeypatch: pytest.MonkeyPatch):
    assert problem(kept, monkeypatch) == ""


def test_inputs_that_are_not_sent_with_the_source_are_named(tmp_path: Path):
    """Law 9: and data that the catalog itself has are there."""
    files = {
        "sent": "data/01_raw/sent.csv",
        "folder": "data/01_raw/parts",
        "ignored": "data/02_intermediate/ignored.csv",
        "outside": "/elsewhere/outside.csv",
        "given": "/elsewhere/given.csv",
        "remote": "memory://bucket/remote.csv",
        "volume": "/mnt/team/volume.csv",
    }
    entries = {
        name: {
            "type": "pandas.CSVDataset",
            "filepath": path if "//" in path or path[0] == "/" else f"{tmp_path}/{path}",
        }
        for name, path in files.items()
    }
    # One that has its data in the catalog, though in memory, needs no file.
    entries["here"] = {"type": "MemoryDataset", "data": {}}
    entries["empty"] = {"type": "MemoryDataset"}
    pipeline = Pipeline([step([*files, "here", "empty", "nowhere", "params:p"], "end", "n")])
    packed = {"data/01_raw/sent.csv", "data/01_raw/parts/1.csv"}
    job = plan.Plan(
        project(DataCatalog.from_config(entries), tmp_path, packed),
        pipeline,
        None,
        {"spec": {"volume_mounts": [{"mountPath": "/mnt/team"}]}},
        {"spec": {"inputs": {"given": "s3://a/b.csv"}}},
    )
    with pytest.raises(groups.JobError) as raised:
        groups.check_inputs(job)
    assert raised.value.message.splitlines()[1:-1] == [
        "`empty` is made by no node that runs, and the catalog has no data.",
        f"`ignored` is a file of this machine that isn't sent: {tmp_path}/{files['ignored']}.",
        "`nowhere` is made by no node that runs, and the catalog has no data.",
        "`outside` is a file of this machine that isn't sent: /elsewhere/outside.csv.",
    ]


def test_a_job_by_itself_leaves_what_later_ones_need(monkeypatch: pytest.MonkeyPatch):
    """Whatever is wholly in it needs nothing of it afterwards."""
    catalog = DataCatalog({"a": MemoryDataset(), "b@pandas": CSVDataset(filepath="b.csv")})

    def alone(part: Pipeline, *registered: str) -> str:
        return lost(catalog, part, {name: PIPELINES[name] for name in registered}, monkeypatch)

    assert alone(PIPELINES["first"], *PIPELINES) == "`a` for second is in the job's memory."
    assert alone(PIPELINES["first"] + PIPELINES["second"], "first", "second") == ""
